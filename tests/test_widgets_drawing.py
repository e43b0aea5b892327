"""Tests of the drawing pad: its arithmetic in node against PyTorch, and every control in a browser."""

import base64
import functools
import json
import math
import re

import numpy as np
import pytest
import scipy.ndimage
import torch
import traitlets
from conftest import rounded, settle, spilling, violations
from ipywidgets import jslink
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

import vae_src as vs
from vae_src import plotting, trained
from vae_src.widgets.drawing import DrawADigit

DRAWS, SHOWN, FINE, BRUSH = 16, 6, 8, 2.6


@functools.cache
def full_model() -> vs.VAE:
    """The book's two-latent model of binary digits."""
    model = vs.mlp_vae(latent_dim=2, hidden_dims=(256, 128))
    trained.load_trained(model, "mnist-2d-vae")
    return model.eval()


@functools.cache
def model() -> vs.VAE:
    """The same with its weights rounded as they travel, computed in 64 bits."""
    return rounded(full_model()).double()


@functools.cache
def digits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Binary test images of the sample, their labels, and rows μ₁, μ₂, σ₁, σ₂."""
    test = vs.sample("mnist").test
    x = (test.images > 127).float()
    with torch.no_grad():
        q = full_model().encode(x)
    return x, test.labels, torch.cat([q.mean, q.stddev], dim=1)


@functools.cache
def examples() -> torch.Tensor:
    """Of each class the image whose code is nearest to the median of its class."""
    x, labels, codes = digits()
    picked = []
    for digit in range(10):
        own = (labels == digit).nonzero().ravel()
        middle = codes[own, :2].quantile(0.5, dim=0)
        picked.append(x[own[(codes[own, :2] - middle).norm(dim=1).argmin()]])
    return torch.stack(picked)


def pad(**traits) -> DrawADigit:
    x, labels, _ = digits()
    return DrawADigit(full_model(), x, labels, **traits)


def text(image) -> str:
    return "".join(str(int(v)) for v in np.asarray(image).ravel())


def image(pixels: str) -> torch.Tensor:
    return torch.tensor([float(c) for c in pixels], dtype=torch.float64).reshape(1, 28, 28)


def normal_draws(count: int, seed: int) -> np.ndarray:
    """Mulberry32, then Box and Muller, as the page draws them."""
    state, mask = seed, 2**32 - 1
    uniforms = []
    for _ in range(count + count % 2):
        state = (state + 0x6D2B79F5) & mask
        t = ((state ^ state >> 15) * (state | 1)) & mask
        t = ((t + (((t ^ t >> 7) * (t | 61)) & mask)) & mask) ^ t
        uniforms.append((t ^ t >> 14) / 2**32)
    first, second = np.array(uniforms).reshape(-1, 2).T
    radius, angle = np.sqrt(-2 * np.log(1 - first)), 2 * np.pi * second
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).ravel()[:count]


@torch.no_grad()
def reading(pixels: str, seed: int = 0) -> dict:
    """What PyTorch makes of a drawing, with the rounded weights."""
    x = image(pixels)
    q = model().encode(x)
    mean, scale = q.mean, q.stddev
    z = mean + scale * torch.tensor(normal_draws(2 * DRAWS, seed).reshape(DRAWS, 2))
    each = -model().decode(z).log_prob(x)
    rate = kl_divergence(q, Independent(Normal(torch.zeros(2).double(), torch.ones(2).double()), 1))
    return {
        "pixels": pixels,
        "seed": seed,
        "mean": mean.tolist(),
        "scale": scale.tolist(),
        "codes": z.tolist(),
        "rate": rate.item(),
        "distortion": each.mean().item(),
        "error": (each.std() / math.sqrt(DRAWS)).item(),
        "images": model().decode(torch.cat([mean[None], z[:SHOWN]])).mean.flatten(1).tolist(),
    }


# --- the numbers ------------------------------------------------------------------------------------------

DRAWINGS = [
    [[[8, 6], [7, 14], [16, 14]], [[17, 4], [15.5, 24]]],  # a four
    [[[3.2, 5.1], [20.7, 4.4], [9.9, 26.3]]],  # a seven
    [[[20, 20], [22, 24]]],  # small, in a corner
    [[[14 + 9 * math.cos(a), 13 + 12 * math.sin(a)] for a in np.linspace(0, 6.4, 50)]],  # a zero
    [[[0, 0], [28, 0]], [[0.3, 27], [13, 27.9]]],  # half over the border, and so half as thick
]


def brush(strokes: list) -> np.ndarray:
    """Fine cells within the brush's radius of a polyline, by the distance to its parts' nearest points."""
    centres = (np.arange(28 * FINE) + 0.5) / FINE
    grid = np.stack(np.meshgrid(centres, centres), axis=-1)
    ink = np.zeros(grid.shape[:2], bool)
    for stroke in strokes:
        for a, b in zip(stroke, stroke[1:] or stroke, strict=False):
            a, b = np.array(a, float), np.array(b, float)
            way = b - a
            t = np.clip((grid - a) @ way / max(way @ way, 1e-300), 0, 1)
            ink |= np.linalg.norm(grid - a - t[..., None] * way, axis=-1) <= BRUSH / 2
    return ink


def mnist_place(ink: np.ndarray) -> np.ndarray:
    """Each pixel's share of ink, by sampling, once a raster is scaled to 20×20 around its centre of mass."""
    box = scipy.ndimage.find_objects(ink.astype(int))[0]
    step = max(s.stop - s.start for s in box) / 20
    row, column = scipy.ndimage.center_of_mass(ink)  # counted from the middle of the first cell
    inside = (np.arange(28 * 50) + 0.5) / 50 - 14.5  # 50 × 50 samples of each pixel
    rows, columns = np.meshgrid(row + inside * step, column + inside * step, indexing="ij")
    samples = scipy.ndimage.map_coordinates(ink.astype(float), [rows, columns], order=0, mode="grid-constant")
    return samples.reshape(28, 50, 28, 50).mean(axis=(1, 3)).ravel()


def test_the_page_computes_what_pytorch_computes(in_node):
    x, labels, codes = digits()
    widget = pad()
    encode = lambda data: base64.b64encode(data).decode()  # noqa: E731
    generator = torch.Generator().manual_seed(0)
    axis = torch.linspace(-3, 3, 5).double()
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        q = model().encode(x[:50].double())
        decoded = model().decode(grid).mean.flatten(1)
    rates = []
    for mean in ([0, 0], [1.5, -0.2], [-4, 3]):
        for scale in ([1, 1], [0.03, 0.2], [1e-3, 5]):
            q_z = Normal(torch.tensor(mean).double(), torch.tensor(scale).double())
            kl = kl_divergence(q_z, Normal(torch.zeros(2).double(), torch.ones(2).double())).sum().item()
            rates.append({"mean": mean, "scale": scale, "kl": kl})
    distortions = []
    for size in (1, 10, 60):
        logits = size * torch.randn(784, generator=generator, dtype=torch.float64)
        pixels = torch.rand(784, generator=generator).round().double()
        value = -Bernoulli(logits=logits).log_prob(pixels).sum().item()
        distortions.append({"x": pixels.tolist(), "logits": logits.tolist(), "value": value})
    segments = [
        [[14.0, 14.0], [14.0, 14.0]],
        [[3.3, 4.1], [20.9, 17.2]],
        [[-2, 13], [30, 12.5]],
        [[9, 9], [9, 0.2]],
    ]
    blank = "0" * 784
    centred = [{"strokes": s, "base": blank, "share": mnist_place(brush(s)).tolist()} for s in DRAWINGS]
    for strokes, base in (([], x[0]), ([[[4, 20], [9, 22]]], x[1])):  # a test digit, and a stroke on another
        ink = np.kron(base[0], np.ones((FINE, FINE))).astype(bool) | brush(strokes)
        centred.append({"strokes": strokes, "base": text(base), "share": mnist_place(ink).tolist()})
    for drawing in (4, 6):  # lines thinner than a pixel once they are scaled
        centred[drawing]["thin"] = True
    shown = codes.float().numpy()
    golden = {
        "encoder": encode(widget.encoder),
        "encoder_layers": widget.encoder_layers,
        "decoder": encode(widget.decoder),
        "decoder_layers": widget.decoder_layers,
        "encoded": [
            {"pixels": text(x[i]), "q": [*q.mean[i].tolist(), *q.stddev[i].tolist()]} for i in range(50)
        ],
        "decoded": [{"z": z.tolist(), "image": p.tolist()} for z, p in zip(grid, decoded, strict=True)],
        "inferred": [reading(text(x[i]), seed) for i, seed in enumerate([0, 1, 7, 2**31 - 1])],
        "rates": rates,
        "distortions": distortions,
        "segments": [
            {"from": a, "to": b, "ink": np.flatnonzero(brush([[a, b]])).tolist()} for a, b in segments
        ],
        "centred": centred,
        "hardly": 12,  # of 784
        "examples": [text(example) for example in examples()],
        "packed": encode(widget.examples),
        "codes": encode(widget.clouds),
        "labels": encode(widget.labels),
        "extent": math.ceil(2 * np.quantile(np.abs(shown[:, :2]).max(1), 0.995, method="lower")) / 2,
        "medians": [np.median(shown[labels == digit, :2], axis=0).tolist() for digit in range(10)],
        "colors": [color.lower() for color in plotting.DIGIT_COLORS],
    }
    in_node("drawing", golden)


def test_rounded_weights_say_nearly_the_same():
    x = digits()[0][:500]
    axis = torch.linspace(-3, 3, 31)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        exact, rounded = full_model().encode(x), model().encode(x.double())
        gap = full_model().decode(grid).mean - model().decode(grid.double()).mean
    # measured: 0.0085 and 0.5 %; over all 10,000 test digits 0.016 and 0.5 %; 0.006
    assert (exact.mean - rounded.mean).abs().max() < 0.012
    assert (exact.stddev / rounded.stddev - 1).abs().max() < 0.01
    assert gap.abs().max() < 0.01


# --- in Python ----------------------------------------------------------------------------------------------


def test_the_state_is_bytes_text_and_json():
    widget = pad()
    _, labels, codes = digits()
    assert repr(widget) == f"DrawADigit({widget.pixels.count('1')} pixels of ink)"
    state = widget.get_state()
    for name in ("encoder", "decoder", "clouds", "labels", "examples"):
        assert isinstance(state.pop(name), bytes)
    json.dumps(state)
    rows = np.frombuffer(widget.clouds, "<f4").reshape(-1, 4)
    assert np.array_equal(rows, codes.numpy())
    assert np.array_equal(np.frombuffer(widget.labels, np.uint8), labels.numpy())
    unpacked = np.unpackbits(np.frombuffer(widget.examples, np.uint8)).reshape(10, 784)
    assert np.array_equal(unpacked, examples().reshape(10, 784).numpy())
    assert widget.pixels == text(examples()[3])
    assert len(widget.examples) == 980


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [1, 2]}, "each of the 1000 images; here are 2"),
        ({"labels": np.full(1000, 10)}, r"from 0 to 9 .* \[10\]"),
        ({"labels": np.full(1000, 0.5)}, r"from 0 to 9 .* \[0.5\]"),
        (
            {"labels": np.full(1000, 7)},
            r"each digit, and the labels lack \[0, 1, 2, 3, 4, 5, 6, 8",
        ),
        ({"images": torch.full((1000, 1, 28, 28), 0.5)}, "binarize the images"),
        ({"images": torch.zeros(1000, 1, 8, 8)}, r"28 × 28 pixels; images of shape \[1, 8, 8\]"),
        ({"model": vs.mlp_vae(3, (4,))}, "must have 2 latents, not 3"),
    ],
)
def test_what_cannot_be_shown_is_refused(change, message):
    x, labels, _ = digits()
    with pytest.raises(ValueError, match=message):
        DrawADigit(**({"model": full_model(), "images": x, "labels": labels} | change))


def test_a_network_that_the_page_cannot_run_is_refused():
    x, labels, _ = digits()
    with pytest.raises(TypeError, match="OverImages"):
        DrawADigit(vs.conv_vae(2), x, labels)


def test_traits_refuse_nonsense():
    widget = pad()
    for value, message in (
        ("01", "784 characters 0 or 1, row by row, not 2 characters$"),
        ("2" * 784, "with '2' among them"),
        ("0" * 783 + "x", "with 'x' among them"),
    ):
        with pytest.raises(traitlets.TraitError, match=message):
            widget.pixels = value
    assert widget.pixels == text(examples()[3])
    widget.pixels = ""
    assert widget.pixels == "0" * 784
    for value in (-1, 2**31, 0.5, "a"):
        with pytest.raises(traitlets.TraitError):
            widget.seed = value
    with pytest.raises(traitlets.TraitError):
        widget.centred = "yes"


# --- in a browser -------------------------------------------------------------------------------------------

NUMBERS = ("z1", "z2", "rate-value", "distortion-value", "elbo-value")


# A copy of a canvas is read, so that the browser does not warn that reading one often is slow.
READ = """c => {
  const copy = new OffscreenCanvas(c.width, c.height).getContext("2d", {willReadFrequently: true});
  copy.drawImage(c, 0, 0);
  const { data } = copy.getImageData(0, 0, c.width, c.height);
  return [c.width, Array.from(data, (level) => String.fromCharCode(level)).join("")];
}"""


def canvas(tab, selector: str, index: int = 0) -> np.ndarray:
    """A canvas as it is painted, ``[height, width, rgba]``."""
    width, levels = tab.locator(selector).nth(index).evaluate(READ)
    return np.frombuffer(levels.encode("latin1"), np.uint8).astype(int).reshape(-1, width, 4)


def grey(tab, selector: str, index: int = 0) -> np.ndarray:
    """Grey levels of one of the 28×28 pictures, flat."""
    levels = canvas(tab, selector, index).reshape(784, 4)
    assert (levels[:, 3] == 255).all()
    assert (levels[:, :3] == levels[:, :1]).all()
    return levels[:, 0]


def pixels_of(tab, index: int = 0) -> str:
    """What the encoder reads, as its picture shows it."""
    return text(grey(tab, ".vae-reading", index) == 0)


def shown(tab, index: int = 0) -> dict[str, str]:
    return {name: tab.locator(f".vae-{name}").nth(index).inner_text() for name in NUMBERS}


def close_up(scale: list[float]) -> float:
    return next(half for half in (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2) if half >= 3.2 * max(scale))


def holds(tab, seed: int = 0, index: int = 0) -> dict:
    """Hold numbers and pictures of a page to what PyTorch makes of the pixels that it says it read."""
    settle(tab)
    expected = reading(pixels_of(tab, index), seed)
    seen = shown(tab, index)
    places = 3 if close_up(expected["scale"]) < 0.2 else 2
    values = re.compile(r"[−\d.]+")

    def number(found: str) -> float:
        return float(found.replace("−", "-"))

    for j, name in enumerate(("z1", "z2")):
        mean, scale = values.findall(seen[name])
        assert number(mean) == pytest.approx(expected["mean"][j], abs=0.51 * 10**-places)
        assert number(scale) == pytest.approx(expected["scale"][j], abs=0.51 * 10**-places)
    terms = {"rate": expected["rate"], "distortion": expected["distortion"]}
    terms["elbo"] = -sum(terms.values())
    for name, value in terms.items():
        found = seen[f"{name}-value"]
        assert found.endswith(" nats")
        assert number(values.findall(found)[0]) == pytest.approx(value, abs=0.051)
    note = tab.locator(".vae-note").nth(index).inner_text()
    assert f"{DRAWS} draws" in note
    assert number(values.findall(note)[1].rstrip(".")) == pytest.approx(expected["error"], abs=0.051)
    for k, probabilities in enumerate(expected["images"]):
        levels = grey(tab, ".vae-painted", k + index * (1 + SHOWN))
        assert np.abs(levels - 255 * (1 - np.array(probabilities))).max() <= 1
    return expected


def corners(tab, *points: tuple[float, float], selector: str = ".vae-pad") -> list[tuple[float, float]]:
    """Points of the pad, given in its pixels, on the screen."""
    box = tab.locator(selector).first.bounding_box()
    return [(box["x"] + x / 28 * box["width"], box["y"] + y / 28 * box["height"]) for x, y in points]


def stroke(tab, *points: tuple[float, float]) -> None:
    """Draw with the mouse."""
    places = corners(tab, *points)
    tab.mouse.move(*places[0])
    tab.mouse.down()
    for place in places[1:]:
        tab.mouse.move(*place, steps=5)
    tab.mouse.up()
    settle(tab)


def cleared(tab) -> None:
    tab.get_by_role("button", name="Clear").click()
    settle(tab)


def box_of(pixels: str) -> tuple[list[int], list[int]]:
    rows, columns = np.nonzero(np.array(list(pixels)).reshape(28, 28) == "1")
    return [columns.min(), columns.max()], [rows.min(), rows.max()]


def test_a_first_look_shows_the_example(show):
    tab = show(pad())
    assert pixels_of(tab) == text(examples()[3])
    holds(tab)
    assert tab.get_by_role("button", name="Undo").is_disabled()
    assert tab.get_by_role("button", name="Clear").is_enabled()
    assert "1,000 test digits" in tab.locator(".vae-count").inner_text()


def test_q_is_painted_where_it_is(show):
    tab = show(pad())
    expected = holds(tab)
    lens, half = canvas(tab, ".vae-lens"), close_up(expected["scale"])
    blue = (lens[..., :3] == [0x00, 0x72, 0xB2]).all(axis=-1) & (lens[..., 3] == 255)
    rows, columns = np.nonzero(blue)
    unit = lens.shape[1] / (2 * half)
    for places, scale in ((columns, expected["scale"][0]), (rows, expected["scale"][1])):
        # two standard deviations each way, to the outer edge of a line two pixels wide
        assert places.max() - places.min() + 1 == pytest.approx(4 * scale * unit + 2, abs=2.5)
        assert (places.max() + places.min() + 1) / 2 == pytest.approx(lens.shape[1] / 2, abs=1)
    seen = canvas(tab, ".vae-map")
    rows, columns = np.nonzero(
        (np.abs(seen[..., :3] - [0x00, 0x72, 0xB2]).sum(axis=-1) < 60) & (seen[..., 3] == 255)
    )
    size, extent = seen.shape[1], 3.5
    z1, z2 = expected["mean"]
    middle = [(side.max() + side.min() + 1) / 2 for side in (columns, rows)]
    assert middle == pytest.approx([(z1 + extent) / 7 * size, (extent - z2) / 7 * size], abs=1.5)


def test_every_example_lands_among_its_class(show):
    _, labels, codes = digits()
    tab = show(pad())
    for digit in range(10):
        button = tab.get_by_role("button", name=str(digit), exact=True)
        if digit % 2:
            button.click()
        else:
            button.press("Enter")
        settle(tab)
        assert pixels_of(tab) == text(examples()[digit])
        expected = holds(tab)
        middle = codes[labels == digit, :2].median(0).values
        assert math.dist(expected["mean"], middle.tolist()) < 0.3
        assert digit in nearest_classes(expected["mean"])


def nearest_classes(mean: list[float]) -> set[int]:
    """Classes of the 15 nearest test digits."""
    _, labels, codes = digits()
    order = (codes[:, :2] - torch.tensor(mean)).norm(dim=1).argsort()[:15]
    return set(labels[order].tolist())


@pytest.mark.parametrize("digit", [0, 7])
def test_pixels_set_from_python_are_on_the_pad_as_they_are(show, digit):
    tab = show(pad(pixels=text(examples()[digit]), centred=False))
    assert pixels_of(tab) == text(examples()[digit])
    assert digit in nearest_classes(holds(tab)["mean"])
    surface = canvas(tab, ".vae-pad")
    middles = ((np.arange(28) + 0.5) * surface.shape[0] / 28).astype(int)
    assert text(surface[middles][:, middles, 0] == 0) == text(examples()[digit])
    assert not tab.get_by_role("checkbox").is_checked()


def test_a_four_is_drawn_undone_and_cleared(show):
    tab = show(pad())
    undo, clear = (tab.get_by_role("button", name=name) for name in ("Undo", "Clear"))
    seen = [pixels_of(tab)]
    cleared(tab)
    assert undo.is_enabled()
    assert clear.is_disabled()
    assert pixels_of(tab) == "0" * 784
    for part in DRAWINGS[0]:
        seen.append(pixels_of(tab))
        stroke(tab, *part)
    expected = holds(tab)
    columns, rows = box_of(pixels_of(tab))
    assert 19 <= max(columns[1] - columns[0], rows[1] - rows[0]) + 1 <= 21
    assert nearest_classes(expected["mean"]) & {4, 9}
    for before in reversed(seen):
        undo.click()
        settle(tab)
        assert pixels_of(tab) == before
    assert undo.is_disabled()
    holds(tab)


def test_undo_brings_back_what_an_example_replaced(show):
    tab = show(pad(pixels=""))
    stroke(tab, (8, 4), (18, 24))
    drawn = pixels_of(tab)
    tab.get_by_role("button", name="8", exact=True).click()
    stroke(tab, (20, 20), (24, 24))  # on the example
    assert pixels_of(tab) not in (drawn, text(examples()[8]))
    for before in (text(examples()[8]), drawn, "0" * 784):
        tab.get_by_role("button", name="Undo").press("Space")
        settle(tab)
        assert pixels_of(tab) == before


def test_an_empty_pad_asks_for_a_digit(show):
    tab = show(pad(pixels=""))
    assert set(shown(tab).values()) == {"–"}
    assert "Draw a digit" in tab.locator(".vae-note").inner_text()
    assert not canvas(tab, ".vae-lens").any()
    assert tab.get_by_role("button", name="Draw new samples").is_disabled()
    assert tab.get_by_role("button", name="Clear").is_disabled()
    assert (grey(tab, ".vae-painted") == 255).all()
    stroke(tab, (8, 4), (18, 24))
    holds(tab)
    cleared(tab)
    assert set(shown(tab).values()) == {"–"}


def test_new_samples_by_mouse_and_by_key(show):
    tab = show(pad(seed=4))
    first = holds(tab, seed=4)
    button = tab.get_by_role("button", name="Draw new samples")
    before = canvas(tab, ".vae-lens")
    button.click()
    second = holds(tab, seed=5)
    assert first["codes"] != second["codes"]
    assert (canvas(tab, ".vae-lens") != before).any()
    button.press("Enter")
    holds(tab, seed=6)


def test_centring_by_mouse_and_by_key(show):
    tab = show(pad(pixels=""))
    box = tab.get_by_role("checkbox", name="Centre and scale like MNIST")
    assert box.is_checked()
    stroke(tab, (4, 4), (4, 9), (8, 9))
    centred = pixels_of(tab)
    box.click()
    settle(tab)
    # the brush is 2.6 wide: 4 ± 1.3 covers pixels 3 and 4, its ends reach 1.3 further
    assert box_of(pixels_of(tab)) == ([3, 8], [3, 9])
    holds(tab)
    box.press("Space")
    settle(tab)
    assert pixels_of(tab) == centred
    columns, rows = box_of(centred)
    assert max(columns[1] - columns[0], rows[1] - rows[0]) + 1 == 20


def test_the_pen_by_keys(show):
    tab = show(pad(pixels="", centred=False))
    surface, status = tab.locator(".vae-pad"), tab.locator(".vae-pen-status")
    surface.focus()
    settle(tab)
    still = canvas(tab, ".vae-pad")
    for _ in range(3):
        tab.keyboard.press("ArrowLeft")
    settle(tab)
    assert (canvas(tab, ".vae-pad") != still).any()
    assert pixels_of(tab) == "0" * 784  # the pen is up
    tab.keyboard.press("Space")
    tab.wait_for_function(
        "e => /Pen down at column 12, row 15/.test(e.textContent)", arg=status.element_handle()
    )
    tab.keyboard.press("Shift+ArrowDown")
    settle(tab)
    # from (11, 14) to (11, 19) with a brush of 2.6
    assert box_of(pixels_of(tab)) == ([10, 11], [13, 19])
    assert pixels_of(tab).count("1") == 14
    holds(tab)
    tab.wait_for_function(
        "e => /Pen down, column 12, row 20/.test(e.textContent)", arg=status.element_handle()
    )
    tab.keyboard.press("Space")
    tab.wait_for_function("e => /Pen lifted/.test(e.textContent)", arg=status.element_handle())
    tab.keyboard.press("ArrowUp")
    tab.keyboard.press("Shift+ArrowRight")
    settle(tab)
    assert pixels_of(tab).count("1") == 14
    for _ in range(9):  # to the corner, and no further
        tab.keyboard.press("Shift+ArrowRight")
        tab.keyboard.press("Shift+ArrowUp")
    tab.keyboard.press("Space")
    settle(tab)
    assert box_of(pixels_of(tab)) == ([10, 27], [0, 19])
    reached = pixels_of(tab)
    for key in ("Tab", "Shift+Tab", "Shift+ArrowDown"):  # leaving the pad lifts the pen
        tab.keyboard.press(key)
    settle(tab)
    assert pixels_of(tab) == reached
    tab.get_by_role("button", name="Undo").press("Enter")
    settle(tab)
    assert pixels_of(tab).count("1") == 14


def test_one_undo_takes_back_all_that_keys_drew_with_the_pen_down(show):
    tab = show(pad(pixels="", centred=False))
    tab.locator(".vae-pad").focus()
    for key in ("Space", "ArrowUp", "ArrowRight", "ArrowDown", "ArrowLeft", "Space"):
        tab.keyboard.press(key)
    settle(tab)
    assert pixels_of(tab).count("1") > 6
    tab.get_by_role("button", name="Undo").click()
    settle(tab)
    assert pixels_of(tab) == "0" * 784


def test_a_finger_draws(show):
    tab = show(pad(pixels="", centred=False), width=360, touch=True)
    tab.locator(".vae-pad").scroll_into_view_if_needed()
    session = tab.context.new_cdp_session(tab)
    for kind, place in zip(
        ["touchStart", "touchMove", "touchMove"], corners(tab, (14, 5), (14, 12), (14, 23)), strict=True
    ):
        point = {"x": place[0], "y": place[1]}
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    settle(tab)
    assert tab.evaluate("scrollY") == 0
    assert box_of(pixels_of(tab)) == ([13, 14], [4, 23])
    holds(tab)


def test_what_is_drawn_outside_the_pad_stays_at_its_edge(show):
    tab = show(pad(pixels="", centred=False))
    stroke(tab, (14, 14), (40, 14), (40, -9))
    (left, right), (top, _) = box_of(pixels_of(tab))
    assert (left, right, top) == (13, 27, 0)
    holds(tab)


def test_traits_set_from_outside_repaint(show):
    first, second = pad(pixels=""), pad(seed=3)
    links = [jslink((first, name), (second, name)) for name in ("pixels", "seed", "centred")]
    tab = show(first, second, *links, height=1800)
    assert pixels_of(tab, 1) == "0" * 784
    stroke(tab, *DRAWINGS[1][0])
    assert pixels_of(tab, 0) == pixels_of(tab, 1) != "0" * 784
    holds(tab, index=0)
    holds(tab, index=1)
    tab.get_by_role("button", name="Draw new samples").nth(1).click()
    holds(tab, seed=1, index=0)
    tab.get_by_role("checkbox").nth(1).click()
    settle(tab)
    assert not tab.get_by_role("checkbox").nth(0).is_checked()
    assert pixels_of(tab, 0) == pixels_of(tab, 1)
    _, rows = box_of(pixels_of(tab, 0))  # the first pad has the strokes, and reads them unscaled now
    assert rows[1] - rows[0] > 20
    assert tab.get_by_role("button", name="Undo").nth(1).is_disabled()  # what came from outside is no step


def test_a_code_off_the_map_is_pointed_at(show):
    x, _, codes = digits()
    farthest = codes[:, :2].abs().max(1).values.argmax()
    assert codes[farthest, :2].abs().max() > 3.5
    tab = show(pad(pixels=text(x[farthest])))
    expected = holds(tab)
    seen = canvas(tab, ".vae-map")
    blue = (np.abs(seen[..., :3] - [0x00, 0x72, 0xB2]).sum(axis=-1) < 60) & (seen[..., 3] == 255)
    rows, columns = np.nonzero(blue)
    size = seen.shape[0]
    near = [min(size, max(0, (z + 3.5) / 7 * size)) for z in (expected["mean"][0], -expected["mean"][1])]
    assert columns.size
    assert np.abs(columns - near[0]).max() < 25
    assert np.abs(rows - near[1]).max() < 25


def test_what_is_read_aloud_waits_for_a_pause(show):
    tab = show(pad(pixels=""))
    spoken = tab.locator(".vae-spoken")
    tab.wait_for_function("e => /pad is empty/.test(e.textContent)", arg=spoken.element_handle())
    stroke(tab, *DRAWINGS[1][0])
    assert "pad is empty" in spoken.inner_text()
    tab.wait_for_function("e => /ELBO/.test(e.textContent)", arg=spoken.element_handle())
    for found in shown(tab).values():
        assert found in spoken.inner_text()


def test_the_theme_repaints_all_but_the_pictures(show):
    tab = show(pad())
    before = {
        name: canvas(tab, name)
        for name in (".vae-map", ".vae-lens", ".vae-painted", ".vae-reading", ".vae-pad")
    }
    tab.evaluate("document.documentElement.dataset.theme = 'dark'")
    settle(tab)
    for name, old in before.items():
        assert (canvas(tab, name) != old).any() == (name in {".vae-map", ".vae-lens"}), name
    marks = tab.locator(".vae-class").evaluate_all(
        "marks => marks.map(mark => getComputedStyle(mark).backgroundColor)"
    )
    assert marks[0] == "rgb(138, 127, 240)"


def test_hidden_and_shown_again(show):
    tab = show(pad())
    tab.evaluate("document.querySelector('main').style.display = 'none'")
    settle(tab)
    tab.evaluate("document.querySelector('main').style.display = ''")
    settle(tab)
    holds(tab)
    assert canvas(tab, ".vae-map").any()


@pytest.mark.parametrize("width", [360, 500, 760, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible_and_within_the_page(show, width, scheme):
    tab = show(pad(), width=width, scheme=scheme)
    for step in (None, cleared):
        if step:
            step(tab)
        assert violations(tab) == []
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= width
        assert spilling(tab) == []
