"""Tests of plotting.py: every figure draws what it is given, where it is told, without a warning."""

import io
import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from vae_src import plotting
from vae_src.plotting import (
    COLORS,
    DIGIT_COLORS,
    frame_images,
    learning_curves,
    posterior_map,
    scatter_codes,
    show_images,
    tile,
    vae_diagram,
)


@pytest.fixture(autouse=True)
def style():
    with plt.rc_context():
        plotting.use_style()
        yield
    plt.close("all")


def save(axes: Axes) -> bytes:
    """Save the figure of these axes; any warning fails the test."""
    buffer = io.BytesIO()
    axes.figure.savefig(buffer, format="png")
    return buffer.getvalue()


def title(ax: Axes) -> str:
    """The title, wherever the style puts it."""
    return "".join(ax.get_title(side) for side in ("left", "center", "right"))


def codes(n: int = 200, apart: float = 5.0) -> tuple[np.ndarray, np.ndarray]:
    """Ten clouds of codes on a circle, far enough from each other for their numerals."""
    labels = np.arange(n) % 10
    angle = 2 * np.pi * labels / 10
    centres = apart * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return centres + 0.2 * np.random.default_rng(0).normal(size=(n, 2)), labels


# ---------------------------------------------------------------- tile


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 12),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    columns=st.integers(1, 6),
    gap=st.integers(0, 3),
    channel=st.booleans(),
)
def test_tile_pixel_by_pixel(n, size, columns, gap, channel):
    height, width = size
    images = np.random.default_rng(0).random((n, height, width))
    sheet = tile(images[:, None] if channel else images, columns, gap)
    rows = (n + columns - 1) // columns
    assert sheet.shape == (rows * height + (rows - 1) * gap, columns * width + (columns - 1) * gap)
    blank = sheet[~np.isin(sheet, images)]
    assert len(set(blank.tolist())) <= 1
    assert np.all((sheet >= 0) & (sheet <= 1))
    for y, x in itertools.product(*map(range, sheet.shape)):
        row, inner_y = divmod(y, height + gap)
        column, inner_x = divmod(x, width + gap)
        k = row * columns + column
        if inner_y < height and inner_x < width and k < n:
            assert sheet[y, x] == images[k, inner_y, inner_x]
        else:
            assert sheet[y, x] == blank[0]


def test_tile_leaves_its_input_alone():
    images = np.ones((3, 2, 2))
    tile(images, 2)[:] = 0
    assert (images == 1).all()


# ---------------------------------------------------------------- show_images


def test_images_are_shown_clipped_and_labelled_beside_their_rows():
    images = np.linspace(-0.5, 1.5, 6 * 16).reshape(6, 1, 4, 4)
    _, ax = plt.subplots()
    show_images(ax, images, columns=3, title="Digits", rows=["data", "model"])
    (drawn,) = ax.get_images()
    np.testing.assert_array_equal(drawn.get_array(), tile(images.clip(0, 1), 3))
    assert drawn.get_clim() == (0, 1)
    assert title(ax) == "Digits"
    assert [t.get_text() for t in ax.get_yticklabels()] == ["data", "model"]
    for tick, row in zip(ax.get_yticks(), range(2), strict=True):
        top = row * (4 + 2)
        assert top <= tick <= top + 4  # beside its row
    assert len(ax.get_xticks()) == 0
    assert save(ax)


def test_frames_surround_the_images_that_are_named():
    ax = plt.figure().subplots()
    show_images(ax, np.zeros((5, 1, 8, 8)), columns=3)
    frame_images(ax, np.array([0, 1, 0, 0, 1]), columns=3, size=8)
    save(ax)
    found = [(patch.get_xy(), patch.get_width(), patch.get_height()) for patch in ax.patches]
    # image 1 is the second of the first row, image 4 the second of the second: rows and columns are 10 apart
    assert found == [((9, -1), 9, 9), ((9, 9), 9, 9)]
    assert {patch.get_edgecolor()[:3] for patch in ax.patches} == {to_rgb(COLORS["gap"])}


def test_ink_is_dark_on_light_paper():
    _, ax = plt.subplots()
    show_images(ax, np.zeros((1, 2, 2)), columns=1)
    colormap = ax.get_images()[0].get_cmap()
    assert np.mean(colormap(0.0)[:3]) > 0.9
    assert np.mean(colormap(1.0)[:3]) < 0.2


# ---------------------------------------------------------------- the other figures


def test_learning_curves_draw_both_splits_with_their_meanings():
    train = {"rate": [1.0, 2.0, 3.0], "distortion": [30.0, 20.0, 10.0]}
    validation = {"rate": [1.5, 2.5, 3.5], "distortion": [31.0, 22.0, 13.0]}
    _, axes = plt.subplots(1, 3)
    learning_curves(axes, [2, 4, 6], train, validation)
    expected = {
        "ELBO": ([-31, -22, -13], [-32.5, -24.5, -16.5], "bound"),
        "distortion": (train["distortion"], validation["distortion"], "decoder"),
        "rate": (train["rate"], validation["rate"], "encoder"),
    }
    assert [title(ax) for ax in axes] == list(expected)
    for ax in axes:
        *curves, color = expected[title(ax)]
        for line, curve, name in zip(ax.get_lines(), curves, ["train", "validation"], strict=True):
            assert line.get_label() == name
            assert line.get_color() == COLORS[color]
            np.testing.assert_allclose(line.get_xdata(), [2, 4, 6])
            np.testing.assert_allclose(line.get_ydata(), curve)
        assert len({line.get_linestyle() for line in ax.get_lines()}) == 2  # told apart in grey, too
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "nats per image")
        assert ax.get_legend() is not None
    assert save(axes[0])


def test_a_history_without_a_validation_set_has_one_curve_a_panel():
    _, axes = plt.subplots(1, 3)
    learning_curves(axes, [1], {"rate": [1.0], "distortion": [2.0]}, {})
    assert [len(ax.lines) for ax in axes] == [1, 1, 1]


def test_codes_stand_where_they_are_with_numerals_at_their_medians():
    points, labels = codes()
    _, ax = plt.subplots()
    scatter_codes(ax, points, labels, title="Map")
    drawn = [(c.get_offsets(), c.get_facecolor()[0]) for c in ax.collections]
    assert len(drawn) == 10
    for digit, (offsets, color) in enumerate(drawn):
        np.testing.assert_allclose(offsets, points[labels == digit])
        np.testing.assert_allclose(color[:3], to_rgb(DIGIT_COLORS[digit]))
    numerals = {t.get_text(): t.get_position() for t in ax.texts}
    assert sorted(numerals) == [str(d) for d in range(10)]
    for digit, position in numerals.items():
        np.testing.assert_allclose(position, np.median(points[labels == int(digit)], axis=0))
    assert (title(ax), ax.get_xlabel(), ax.get_ylabel()) == ("Map", "$z_1$", "$z_2$")
    assert save(ax)


def test_numerals_that_would_cover_each_other_are_pushed_apart():
    _, ax = plt.subplots()
    scatter_codes(ax, *codes(apart=0.05))
    medians = [np.median(codes(apart=0.05)[0][codes()[1] == digit], axis=0) for digit in range(10)]
    span = [np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())]

    def nearest(places: list) -> float:
        pairs = itertools.combinations(np.array(places) / span, 2)
        return min(float(np.linalg.norm(a - b)) for a, b in pairs)

    placed = [t.get_position() for t in ax.texts]
    assert nearest(placed) > 0.05 > nearest(medians)
    for place, median in zip(placed, medians, strict=True):
        assert np.linalg.norm((place - median) / span) < 0.25


def test_a_digit_that_does_not_occur_is_left_out():
    points, labels = codes()
    present = np.isin(labels, [3, 7])
    _, ax = plt.subplots()
    scatter_codes(ax, points[present], labels[present])
    assert [t.get_text() for t in ax.texts] == ["3", "7"]
    assert save(ax)


def test_a_posterior_map_shades_the_density_where_it_lies():
    ax = plt.figure().subplots()
    z1, z2 = np.linspace(-4, 4, 161), np.linspace(-2, 2, 81)
    density = -0.5 * ((z1[:, None] - 1) / 0.5) ** 2 - 0.5 * (z2[None] / 0.2) ** 2
    posterior_map(ax, z1, z2, density + 300, q=(np.array([1.0, 0.0]), np.array([0.5, 0.2])), title="a 7")
    save(ax)
    (contours,) = ax.collections
    outer = contours.get_paths()[0].get_extents()  # the fourth standard deviation, along either axis
    np.testing.assert_allclose(outer.extents, [-1, -0.8, 3, 0.8], atol=0.02)
    (ellipse,) = ax.lines
    assert to_rgb(ellipse.get_color()) == to_rgb(COLORS["encoder"])
    x, y = ellipse.get_data()
    np.testing.assert_allclose([x.min(), x.max(), y.min(), y.max()], [0, 2, -0.4, 0.4], atol=0.01)
    title = ax.get_title() or ax.get_title(loc="left")
    assert (title, ax.get_xlabel(), ax.get_ylabel()) == ("a 7", "$z_1$", "$z_2$")


def test_a_posterior_map_without_q_has_no_ellipse():
    ax = plt.figure().subplots()
    posterior_map(ax, np.arange(5.0), np.arange(4.0), -np.arange(20.0).reshape(5, 4))
    assert len(ax.lines) == 0


def test_the_diagram_names_the_parts_inside_its_frame():
    _, ax = plt.subplots(figsize=(9, 2.5))
    vae_diagram(ax)
    text = " ".join(t.get_text() for t in ax.texts)
    for part in ("image", "encoder", "code", "decoder", "likelihood", "noise", "rate", "distortion"):
        assert part in text
    assert len(ax.patches) == 5 + 4 + 1  # boxes, arrows between them, the arrow of the noise
    assert not ax.axison
    assert save(ax)
    for t in ax.texts:
        x, y = t.get_position()
        assert 0 <= x <= 1
        assert 0 <= y <= 1.05


def test_only_the_given_axes_are_drawn_on():
    _, (given_axes, *others) = plt.subplots(1, 3)
    open_before = plt.get_fignums()
    vae_diagram(given_axes)
    scatter_codes(given_axes, *codes())
    show_images(given_axes, np.zeros((2, 3, 3)), 2)
    assert plt.get_fignums() == open_before
    assert not any(ax.has_data() or ax.texts or ax.patches for ax in others)


# ---------------------------------------------------------------- colours


def luminance(color: str) -> float:
    """Relative luminance of a colour (WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def deuteranopic(color: str) -> np.ndarray:
    """What a reader without green cones sees (Viénot, Brettel & Mollon 1999, linear RGB)."""
    linear = np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)])
    matrix = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    return np.clip(matrix @ linear, 0, 1) ** (1 / 2.4)


@pytest.mark.parametrize("palette", [list(COLORS.values()), DIGIT_COLORS], ids=["meanings", "digits"])
def test_colours_can_be_told_apart(palette):
    assert len(set(palette)) == len(palette)
    for one, other in itertools.combinations(palette, 2):
        assert np.linalg.norm(np.subtract(to_rgb(one), to_rgb(other))) > 0.15, (one, other)
        assert np.linalg.norm(deuteranopic(one) - deuteranopic(other)) > 0.05, (one, other)


def test_every_meaning_has_a_colour_that_shows_on_white():
    assert set(COLORS) == {"data", "encoder", "decoder", "prior", "bound", "gap"}
    for color in COLORS.values():
        assert 1.05 / (luminance(color) + 0.05) > 2
