"""The latent explorer: its arithmetic against PyTorch, and every control moved in a browser."""

import re

import numpy as np
import pytest
import torch
import traitlets
from conftest import rounded, settle, violations
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

import vae_src as vs
from vae_src.widgets import LatentExplorer


@pytest.fixture(scope="module")
def digits():
    """A thousand test digits, binary, and their classes."""
    split = vs.sample("mnist").test
    return vs.binarize(split.images, torch.Generator().manual_seed(0)), split.labels


@pytest.fixture(scope="module")
def given(plane_models, digits):
    """What `LatentExplorer` is given."""
    return *plane_models, *digits


def clouds_of(explorer) -> torch.Tensor:
    """The means and deviations that an explorer holds, in double precision."""
    return torch.from_numpy(np.frombuffer(explorer.clouds, "<f4").astype(float)).reshape(-1, 4)


def aggregate(explorer) -> MixtureSameFamily:
    """The average of q over the explorer's digits."""
    mean, scale = clouds_of(explorer).chunk(2, 1)
    each = Independent(Normal(mean, scale), 1)
    return MixtureSameFamily(Categorical(torch.ones(len(mean), dtype=torch.float64)), each)


def fitted(explorer) -> MultivariateNormal:
    """The Gaussian with the mean and covariance of the autoencoder's codes."""
    codes = torch.from_numpy(np.frombuffer(explorer.codes, "<f4").astype(float)).reshape(-1, 2)
    return MultivariateNormal(codes.mean(0), codes.T.cov())


def nats(text: str) -> float:
    """The number in “−2.46 nats”."""
    return float(re.search(r"[−-]?[\d.]+", text).group().replace("−", "-"))


# --- arithmetic ---------------------------------------------------------------------------------------


def test_state_holds_what_the_models_compute(given):
    vae, autoencoder, x, labels = given
    explorer = LatentExplorer(*given)
    with torch.no_grad():
        q, codes = vae.encode(x), autoencoder.encode(x)
    wanted = torch.cat([q.mean, q.stddev], 1).double()
    torch.testing.assert_close(clouds_of(explorer), wanted, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(np.frombuffer(explorer.codes, "<f4").reshape(-1, 2), codes.numpy())
    np.testing.assert_array_equal(np.frombuffer(explorer.labels, np.uint8), labels.numpy())


def test_densities_are_pytorchs(given, in_node):
    explorer = LatentExplorer(*given)
    plane = torch.cartesian_prod(*2 * [torch.linspace(-4, 4, 9, dtype=torch.float64)])
    wide = 12 * plane
    rng = torch.Generator().manual_seed(0)
    mean, scale = torch.randn(20, 3, generator=rng).double(), torch.rand(20, 3, generator=rng).double() + 0.01
    q = Independent(Normal(mean, scale), 1)
    standard = Independent(Normal(torch.zeros(3).double(), torch.ones(3).double()), 1)
    gaussian = fitted(explorer)
    point = torch.tensor(0.3, dtype=torch.float64)
    narrow = {"z": 0.3, "mean": -1.2, "scale": 0.04, "log_density": Normal(-1.2, 0.04).log_prob(point).item()}
    in_node(
        "latent",
        {
            "plane": plane.tolist(),
            "prior": Normal(0, 1).log_prob(plane).sum(1).tolist(),
            "normal": narrow,
            "clouds": clouds_of(explorer).flatten().tolist(),
            "aggregate": aggregate(explorer).log_prob(plane).tolist(),
            "codes": np.frombuffer(explorer.codes, "<f4").tolist(),
            "wide": wide.tolist(),
            "fitted": gaussian.log_prob(wide).tolist(),
            "gaussian": {"mean": gaussian.mean.tolist(), "covariance": gaussian.covariance_matrix.tolist()},
            "kl": {"mean": mean.tolist(), "scale": scale.tolist(), "value": vs.kl(q, standard).tolist()},
            "labels": np.frombuffer(explorer.labels, np.uint8).tolist(),
        },
    )  # fmt: skip


def test_bad_input_is_refused_in_a_sentence(given):
    vae, autoencoder, x, labels = given
    with pytest.raises(ValueError, match="each of the 1000 images; here are 999"):
        LatentExplorer(vae, autoencoder, x, labels[1:])
    with pytest.raises(ValueError, match="the VAE must have 2 latents, not 3"):
        LatentExplorer(vs.mlp_vae(latent_dim=3, hidden_dims=(8,)), autoencoder, x, labels)
    explorer = LatentExplorer(*given)
    with pytest.raises(traitlets.TraitError, match="z1 must be a finite number, not nan"):
        explorer.z1 = float("nan")
    with pytest.raises(traitlets.TraitError, match="path_to must be two finite numbers"):
        explorer.path_to = [1.0]
    with pytest.raises(traitlets.TraitError, match="space"):
        explorer.space = "GAN"
    assert repr(explorer) == "LatentExplorer(space='vae', z1=0.00, z2=0.00)"


# --- in the browser -------------------------------------------------------------------------------------


@pytest.fixture
def tab(given, show):
    """The explorer, alone on a page, as the book starts it."""
    return show(LatentExplorer(*given, z1=0.5, z2=1.0, path_from=[-2.0, 0.3], path_to=[1.8, -0.5]))


def painted(tab) -> str:
    """The map, as it is painted."""
    settle(tab)
    return tab.locator(".vae-map").evaluate("c => c.toDataURL()")


def numbers(tab) -> list[str]:
    """The three values of the read-out."""
    settle(tab)
    return tab.locator("dd").all_text_contents()


def place(tab) -> torch.Tensor:
    """The point, as its sliders hold it."""
    settle(tab)
    values = tab.locator(".vae-sliders input").evaluate_all("inputs => inputs.map(i => Number(i.value))")
    return torch.tensor(values, dtype=torch.float64)


def greys(tab, selector=".vae-decoded canvas") -> np.ndarray:
    """The grey levels of a painted picture, from 0 (ink) to 255."""
    settle(tab)
    data = tab.locator(selector).evaluate(
        "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
    )
    width = tab.locator(selector).evaluate("c => c.width")
    return np.array(data).reshape(-1, width, 4)[:, :, 0]


def map_at(tab, places: torch.Tensor) -> np.ndarray:
    """The colours of the map's pixels at these latents, ``[n, 3]``."""
    settle(tab)
    sliders = tab.locator(".vae-sliders input").all()
    low, high = (np.array([float(s.get_attribute(side)) for s in sliders]) for side in ("min", "max"))
    share = (places.numpy() - low) / (high - low)
    corners = np.clip(np.stack([share[:, 0], 1 - share[:, 1]], axis=1), 0, 1)
    colours = tab.locator(".vae-map").evaluate(
        """(canvas, corners) => {
          const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const at = (share) => Math.round(share * (width - 1));
          return corners.map(([x, y]) => [0, 1, 2].map((k) => data[4 * (at(y) * width + at(x)) + k]));
        }""",
        corners.tolist(),
    )
    return np.array(colours)


def holds(tab, given, space="vae") -> None:
    """Assert that point, picture and numbers are PyTorch's for the place that the sliders tell."""
    vae, autoencoder, _, labels = given
    explorer, z = LatentExplorer(*given), place(tab)
    model = vae if space == "vae" else autoencoder
    with torch.no_grad():
        probabilities = rounded(model.decoder)(z.float()[None]).mean[0, 0].numpy()
    assert np.abs(greys(tab) - 255 * (1 - probabilities)).max() <= 1
    assert map_at(tab, z[None]).tolist() == [[0xD5, 0x5E, 0x00]]
    first, second, near = numbers(tab)
    if space == "vae":
        points = clouds_of(explorer)[:, :2]
        assert nats(first) == pytest.approx(Normal(0, 1).log_prob(z).sum().item(), abs=0.006)
        assert nats(second) == pytest.approx(aggregate(explorer).log_prob(z).item(), abs=0.006)
    else:
        points = torch.from_numpy(np.frombuffer(explorer.codes, "<f4").astype(float)).reshape(-1, 2)
        assert first == "has none"
        assert nats(second) == pytest.approx(fitted(explorer).log_prob(z).item(), abs=0.006)
    distance = (points - z).norm(dim=1)
    assert near == f"a {labels[distance.argmin()]}, {distance.min():.2f} away"


def film_shows(tab, model, start: torch.Tensor, end: torch.Tensor) -> None:
    """Assert that the strip shows what a model decodes on the way from one place to another."""
    share = torch.linspace(0, 1, 9, dtype=torch.float64)[:, None]
    with torch.no_grad():
        images = rounded(model.decoder)(((1 - share) * start + share * end).float()).mean[:, 0].numpy()
    painted = greys(tab, ".vae-film")
    frames = np.stack([painted[:, 30 * k : 30 * k + 28] for k in range(9)])
    assert np.abs(frames - 255 * (1 - images)).max() <= 1


def test_starts_where_it_was_told(tab, given):
    assert place(tab).tolist() == [0.5, 1.0]
    holds(tab, given)


def test_point_follows_the_mouse(tab, given):
    box = tab.locator(".vae-map").bounding_box()
    tab.mouse.move(box["x"] + 200, box["y"] + 60)
    tab.mouse.down()
    for x, y in [(60, 60), (box["width"] - 40, 200), (150, box["height"] - 30)]:
        tab.mouse.move(box["x"] + x, box["y"] + y, steps=4)
        z = place(tab)
        holds(tab, given)
    tab.mouse.move(box["x"] - 500, box["y"] + 5000)  # beyond the map: the point stays at its edge
    edge = place(tab)
    tab.mouse.up()
    assert edge[0] < z[0]
    assert edge[1] < z[1]
    tab.mouse.move(box["x"] + 100, box["y"] + 100)  # after the button, nothing moves
    assert place(tab).tolist() == edge.tolist()


def test_point_follows_a_finger(given, show):
    tab = show(LatentExplorer(*given), touch=True, width=390)
    box = tab.locator(".vae-map").bounding_box()
    before = place(tab)
    tab.touchscreen.tap(box["x"] + 40, box["y"] + 50)
    assert (place(tab) - before).abs().min() > 0.5
    holds(tab, given)
    assert tab.locator(".vae-map").evaluate("c => getComputedStyle(c).touchAction") == "none"


def test_point_follows_the_arrow_keys(tab, given):
    canvas = tab.locator(".vae-map")
    canvas.focus()
    for key, axis, sign in [
        ("ArrowLeft", 0, -1),
        ("ArrowRight", 0, 1),
        ("ArrowUp", 1, 1),
        ("ArrowDown", 1, -1),
    ]:
        before = place(tab)
        canvas.press(key)
        step = place(tab) - before
        canvas.press(f"Shift+{key}")
        five = place(tab) - before - step
        assert step[axis].sign() == sign
        assert step[1 - axis] == 0
        assert five[axis] == pytest.approx(5 * step[axis].item(), rel=1e-6)
    for _ in range(60):
        canvas.press("Shift+ArrowRight")
    edge = place(tab)
    canvas.press("ArrowRight")
    assert place(tab).tolist() == edge.tolist()
    holds(tab, given)


def test_point_that_is_put_beyond_the_map_stays_at_its_edge(given, show):
    tab = show(LatentExplorer(*given, z1=1000, z2=-0.5))
    z, slider = place(tab), tab.locator(".vae-sliders input").first
    assert z.tolist() == [pytest.approx(float(slider.get_attribute("max")), abs=1e-6), -0.5]
    holds(tab, given)


@pytest.mark.parametrize("axis", [0, 1])
def test_sliders_reach_both_ends_of_the_map(tab, given, axis):
    slider = tab.locator(".vae-sliders input").nth(axis)
    low, high = (float(slider.get_attribute(side)) for side in ("min", "max"))
    slider.focus()
    for key, wanted in [("Home", low), ("End", high)]:
        slider.press(key)
        assert place(tab)[axis].item() == pytest.approx(wanted, abs=1e-6)
        holds(tab, given)
    box = slider.bounding_box()
    for share in (0.02, 0.5, 0.98):
        tab.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        assert place(tab)[axis].item() == pytest.approx(low + share * (high - low), abs=0.08 * (high - low))
        holds(tab, given)
    shown = tab.locator(".vae-sliders output").nth(axis).text_content().replace("−", "-")
    assert float(shown) == pytest.approx(place(tab)[axis].item(), abs=0.0051)


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_autoencoders_map(tab, given, by):
    if by == "mouse":
        tab.locator("[value=autoencoder]").click()
    else:
        tab.locator("[value=vae]").press("ArrowDown")
    holds(tab, given, "autoencoder")
    assert float(tab.locator(".vae-sliders input").first.get_attribute("max")) > 10
    # Point, A and B have gone to the codes of the digits that were nearest to them.
    explorer = LatentExplorer(*given)
    codes = torch.from_numpy(np.frombuffer(explorer.codes, "<f4").astype(float)).reshape(-1, 2)
    before = torch.tensor([[0.5, 1.0], [-2.0, 0.3], [1.8, -0.5]]).double()
    point, start, end = codes[torch.cdist(before, clouds_of(explorer)[:, :2]).argmin(1)]
    torch.testing.assert_close(place(tab), point)
    film_shows(tab, given[1], start, end)
    tab.locator(".vae-map").press("Shift+ArrowUp")
    holds(tab, given, "autoencoder")
    if by == "mouse":
        tab.locator("[value=vae]").click()
    else:
        tab.locator("[value=autoencoder]").press("ArrowUp")
    holds(tab, given)


def test_path_is_walked_by_slider_and_button(tab, given):
    start, end = torch.tensor([-2.0, 0.3]).double(), torch.tensor([1.8, -0.5]).double()
    slider = tab.locator(".vae-path input")
    slider.focus()
    for key, share in [("End", 1.0), ("ArrowLeft", 0.99), ("Home", 0.0)]:
        slider.press(key)
        torch.testing.assert_close(place(tab), start + share * (end - start), atol=1e-6, rtol=0)
        assert tab.locator(".vae-path output").text_content() == f"{round(100 * share)} %"
        holds(tab, given)
    box = slider.bounding_box()
    tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    torch.testing.assert_close(place(tab), (start + end) / 2, atol=0.1, rtol=0)
    play = tab.locator("[data-does=play]")
    play.click()
    assert play.text_content() == "Stop"
    tab.wait_for_function("document.querySelector('.vae-path input').value > 0.05")
    play.press("Enter")
    assert play.text_content() == "Walk from A to B"
    stopped = place(tab)
    tab.wait_for_timeout(100)
    assert place(tab).tolist() == stopped.tolist()
    play.press("Space")
    tab.wait_for_function("document.querySelector('.vae-path input').value == 1")
    torch.testing.assert_close(place(tab), end, atol=1e-6, rtol=0)
    assert play.text_content() == "Walk from A to B"


def test_where_stillness_is_asked_for_the_walk_is_at_its_end_at_once(show, given):
    tab = show(LatentExplorer(*given))
    tab.emulate_media(reduced_motion="reduce")
    play = tab.locator("[data-does=play]")
    for _ in range(2):  # and again, from the end
        play.click()
        assert tab.locator(".vae-path input").input_value() == "1"
        assert play.text_content() == "Walk from A to B"


def test_path_is_laid_by_buttons_and_by_dragging(tab, given):
    start, end = torch.tensor([-2.0, 0.3]).double(), torch.tensor([1.8, -0.5]).double()
    film_shows(tab, given[0], start, end)
    tab.locator("[data-does=from]").click()
    start = place(tab)
    film_shows(tab, given[0], start, end)
    tab.locator(".vae-map").press("Shift+ArrowDown")
    tab.locator("[data-does=to]").press("Enter")
    end = place(tab)
    film_shows(tab, given[0], start, end)
    # The point has gone from A, so that a drag which begins there takes A along, and nothing else.
    box, sliders = tab.locator(".vae-map").bounding_box(), tab.locator(".vae-sliders input").all()
    low, high = (
        torch.tensor([float(slider.get_attribute(side)) for slider in sliders], dtype=torch.float64)
        for side in ("min", "max")
    )
    share, point = ((start - low) / (high - low)).tolist(), place(tab)
    tab.mouse.move(box["x"] + share[0] * box["width"], box["y"] + (1 - share[1]) * box["height"])
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.2 * box["height"], steps=3)
    tab.mouse.up()
    assert place(tab).tolist() == point.tolist()
    film_shows(tab, given[0], low + torch.tensor([0.1, 0.8]) * (high - low), end)


def test_a_class_can_stand_out(tab):
    all_classes, seen = painted(tab), set()
    buttons = tab.locator(".vae-digits button").all()
    for digit, button in enumerate(buttons):
        if digit % 2:
            button.click()
        else:
            button.press("Enter")
        seen.add(painted(tab))
        pressed = [other.get_attribute("aria-pressed") for other in buttons]
        assert pressed == ["true" if k == digit else "false" for k in range(10)]
    assert len(seen | {all_classes}) == 11
    buttons[-1].press("Space")  # once more gives all classes back
    assert painted(tab) == all_classes


@pytest.mark.parametrize("space", ["vae", "autoencoder"])
def test_dots_are_where_the_codes_are(given, show, space):
    explorer = LatentExplorer(*given, space=space, highlight=1)
    codes = np.frombuffer(explorer.codes, "<f4").astype(float).reshape(-1, 2)
    points = clouds_of(explorer)[:, :2] if space == "vae" else torch.from_numpy(codes)
    own = points[given[3] == 1]
    distance = (map_at(show(explorer), own) - [0x88, 0xCC, 0xEE]).astype(float)
    near = np.abs(distance).max(axis=1) < 60  # the class's colour, let through a little
    assert near.mean() > 0.75  # the numeral, the path and the contour cover some


def test_read_out_is_spoken_when_the_point_rests(tab):
    tab.locator(".vae-map").press("ArrowUp")
    tab.wait_for_function("document.querySelector('[aria-live]').textContent.includes('nearest test digit')")
    assert "nats" in tab.locator("[aria-live]").text_content()


def test_theme_repaints_the_map(tab):
    light = painted(tab)
    tab.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert painted(tab) != light
    tab.evaluate("document.documentElement.dataset.theme = 'light'")
    assert painted(tab) == light


def test_theme_repaints_a_map_that_is_hidden_for_a_moment(tab):
    light = painted(tab)
    tab.evaluate("""() => {
      const root = document.querySelector('.vae-explorer');
      requestAnimationFrame(() => { root.style.display = 'none'; });
      document.documentElement.dataset.theme = 'dark';
      Promise.resolve().then(() => requestAnimationFrame(() => { root.style.display = ''; }));
    }""")
    assert painted(tab) != light


@pytest.mark.parametrize("width", [360, 760, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible_at_every_width(given, show, width, scheme):
    tab = show(LatentExplorer(*given), width=width, scheme=scheme)
    assert tab.evaluate("document.scrollingElement.scrollWidth") <= width
    assert violations(tab) == []
