"""The code explorer: its arithmetic against PyTorch, and every control moved in a browser."""

import base64
import json
import math

import numpy as np
import pytest
import torch
import traitlets
from conftest import rounded, settle, spilling, violations
from ipywidgets import jslink
from ipywidgets.embed import dependency_state
from torch.distributions import Binomial, MultivariateNormal

import vae_src as vs
from vae_src.experiments.runs import digit_classifier
from vae_src.trained import load_trained
from vae_src.widgets.codes import GRID, CodeExplorer

START = [0.5, -1.4]
GREEN = (0x00, 0x9E, 0x73)
PALETTE = ["#332288", "#88ccee", "#44aa99", "#117733", "#999933"]
PALETTE += ["#ddcc77", "#cc6677", "#882255", "#aa4499", "#777777"]
RADIOS = {"standard": "a standard normal", "fitted": "a Gaussian fitted"}


@pytest.fixture(scope="module")
def given():
    """What `CodeExplorer` is given: the chapter's autoencoder, the judge, and a thousand grey test digits."""
    autoencoder = vs.mlp_autoencoder(2, (256, 128), vs.NormalLikelihood())
    load_trained(autoencoder, "autoencoder-mlp-2d")
    judge = digit_classifier()
    load_trained(judge, "digit-classifier")
    split = vs.sample("mnist").test
    return autoencoder, judge, vs.rescale(split.images), split.labels


@pytest.fixture(scope="module")
def truth(given):
    """What PyTorch makes of the same models."""
    return Truth(*given)


class Truth:
    """Pictures, opinions and codes, computed in PyTorch, with the weights as the page has them or exact."""

    def __init__(self, autoencoder, judge, images, labels):
        self.exact, self.rounded = (
            (autoencoder.decoder, judge),
            (rounded(autoencoder.decoder), rounded(judge)),
        )
        with torch.no_grad():
            self.codes = autoencoder.encode(images)
            self.original = judge(images).softmax(1).max(1).values
        self.labels = labels
        self.view = CodeExplorer(autoencoder, judge, images, labels).view

    @torch.no_grad()
    def of(self, places, kind="rounded"):
        """Pictures and probabilities at these codes."""
        decoder, judge = getattr(self, kind)
        z = torch.as_tensor(np.asarray(places), dtype=torch.float32).reshape(-1, 2)
        pictures = decoder(z).mean.clamp(0, 1)
        return pictures.flatten(1), judge(pictures).softmax(1)

    def gaussian(self, source):
        """The Gaussian that codes are drawn from."""
        if source == "standard":
            return MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
        codes = self.codes.double()
        return MultivariateNormal(codes.mean(0), codes.T.cov())

    def draws(self, source, count, seed):
        """Codes drawn at random."""
        q, noise = self.gaussian(source), torch.from_numpy(normal_draws(2 * count, seed)).reshape(-1, 2)
        return q.mean + noise @ q.scale_tril.T

    def nearest(self, place):
        """The index of the nearest code, and its distance."""
        distance = (self.codes.double() - torch.tensor(place).double()).norm(dim=1)
        return int(distance.argmin()), float(distance.min())

    def shares(self, places):
        """Where places are on the map, from the left and from the top."""
        first, second, half = self.view
        z = np.asarray(places, dtype=float).reshape(-1, 2)
        return np.stack([(z[:, 0] - first) / (2 * half) + 0.5, 0.5 - (z[:, 1] - second) / (2 * half)], axis=1)

    def place(self, x, y):
        """The code at these shares of the map's width and height."""
        first, second, half = self.view
        return [first + (2 * x - 1) * half, second + (1 - 2 * y) * half]


def normal_draws(count: int, seed: int) -> np.ndarray:
    """Mulberry32, then Box and Muller, as the page draws them."""
    mask, state, uniforms = 2**32 - 1, seed, []
    for _ in range(count):
        state = (state + 0x6D2B79F5) & mask
        t = (state ^ state >> 15) * (state | 1) & mask
        t = ((t + ((t ^ t >> 7) * (t | 61) & mask)) & mask) ^ t
        uniforms.append((t ^ t >> 14) / 2**32)
    first, second = np.array(uniforms).reshape(-1, 2).T
    radius = np.sqrt(-2 * np.log(1 - first))
    return np.stack([radius * np.cos(2 * np.pi * second), radius * np.sin(2 * np.pi * second)], 1).ravel()


def percent(probability: float) -> int:
    """Whole percent, rounded down."""
    return math.floor(100 * probability)


def named(digit: int) -> str:
    """A digit with its article."""
    return f"{'an' if digit == 8 else 'a'} {digit}"


def verdict(probabilities: torch.Tensor) -> str:
    """The judge's opinion in words."""
    (most, following), (first, second) = (values.tolist() for values in probabilities.topk(2))
    if most >= 0.9:
        return f"{percent(most)} % sure: {named(first)}"
    return f"Unsure: {percent(most)} % {named(first)}, {percent(following)} % {named(second)}"


def minus(value: float) -> str:
    """A number with two digits and a true minus sign."""
    return f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")


# --- arithmetic ---------------------------------------------------------------------------------------


def test_state_holds_what_the_models_compute(given, truth):
    explorer = CodeExplorer(*given)
    np.testing.assert_allclose(
        np.frombuffer(explorer.codes, "<f4").reshape(-1, 2), truth.codes.numpy(), rtol=1e-6
    )
    np.testing.assert_array_equal(np.frombuffer(explorer.labels, np.uint8), given[3].numpy())
    rebuilt = truth.of(truth.codes, "exact")[1].max(1).values
    assert explorer.unsure == [int((p < 0.9).sum()) for p in (truth.original, rebuilt)]
    grid = np.frombuffer(explorer.certainty, np.uint8).reshape(GRID, GRID) / 255
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(GRID, size=(2, 400))
    places = [
        truth.place(column / (GRID - 1), row / (GRID - 1)) for row, column in zip(rows, columns, strict=True)
    ]
    for kind, tolerance in [("exact", 0.0021), ("rounded", 0.05)]:
        highest = truth.of(places, kind)[1].max(1).values.numpy()
        assert np.abs(grid[rows, columns] - highest).max() < tolerance


def test_the_map_has_room(given, truth):
    inside = truth.shares(truth.codes)
    assert ((inside >= 0) & (inside <= 1)).all(axis=1).mean() > 0.93
    for source in ("standard", "fitted"):
        shares = truth.shares(contour(truth, source))
        assert shares.min() > 0
        assert shares.max() < 1


def contour(truth, source, count=90) -> torch.Tensor:
    """Places on the ellipse of two standard deviations."""
    q, angle = truth.gaussian(source), 2 * math.pi * torch.arange(count).double() / count
    return q.mean + 2 * torch.stack([angle.cos(), angle.sin()], 1) @ q.scale_tril.T


def test_page_computes_what_pytorch_computes(given, truth, in_node):
    explorer = CodeExplorer(*given)
    axis = torch.linspace(-4, 4, 9)
    places = [*torch.cartesian_prod(axis, axis).tolist(), START, [0.45, -1.45], [20.0, -30.0]]
    golden = {}
    for kind, where in [("rounded", places), ("exact", places[:-1])]:  # not far beyond the map: errors grow
        pictures, probabilities = truth.of(where, kind)
        golden[kind] = [
            {"picture": x.tolist(), "probabilities": p.tolist(), "order": p.topk(2).indices.tolist(),
             "sure": bool(p.max() >= 0.9)} for x, p in zip(pictures, probabilities, strict=True)
        ]  # fmt: skip
    q, rng = truth.gaussian("fitted"), torch.Generator().manual_seed(0)
    grid, corners = torch.rand(1, 1, 5, 5, generator=rng), torch.rand(40, 2, generator=rng)
    corners = torch.cat([corners, torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])])
    between = torch.nn.functional.grid_sample(grid, 2 * corners[None, None] - 1, align_corners=True)[0, 0, 0]
    in_node(
        "codes",
        golden
        | {
            "decoder": {"bytes": explorer.decoder.hex(), "layers": explorer.decoder_layers},
            "judge": {"bytes": explorer.judge.hex(), "layers": explorer.judge_layers},
            "places": places,
            "codes": truth.codes.flatten().tolist(),
            "nearest": [
                dict(zip(("index", "distance"), truth.nearest(place), strict=True)) for place in places
            ],
            "seed": 7,
            "gaussian": {
                "mean": q.mean.tolist(),
                "covariance": q.covariance_matrix.tolist(),
                "ellipse": contour(truth, "fitted").tolist(),
                "draws": truth.draws("fitted", 20, 7).tolist(),
                "standard": truth.draws("standard", 20, 7).tolist(),
            },
            "shares": [
                {"count": k, "n": n, "share": 100 * k / n,
                 "error": 100 * Binomial(n, torch.tensor(k / n).double()).stddev.item() / n}
                for k, n in [(0, 50), (31, 50), (50, 50), (382, 1500)]
            ],
            "grid": grid.flatten().tolist(),
            "interpolated": [
                {"x": x, "y": y, "value": v}
                for (x, y), v in zip(corners.tolist(), between.tolist(), strict=True)
            ],
        },
    )  # fmt: skip


def test_bad_input_is_refused_in_a_sentence(given):
    autoencoder, judge, x, labels = given
    with pytest.raises(ValueError, match="each of the 1000 images; here are 999"):
        CodeExplorer(autoencoder, judge, x, labels[1:])
    with pytest.raises(ValueError, match="a digit from 0 to 9"):
        CodeExplorer(autoencoder, judge, x, labels + 3)
    with pytest.raises(ValueError, match="a code must be 2 numbers, not 3"):
        CodeExplorer(vs.mlp_autoencoder(3, (8,)), judge, x, labels)
    with pytest.raises(ValueError, match="logits of 10 digits, not 4"):
        CodeExplorer(autoencoder, torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 4)), x, labels)
    explorer = CodeExplorer(*given)
    for trait, value in [
        ("z1", math.nan), ("z2", math.inf), ("source", "uniform"),
        ("draws", -1), ("draws", 501), ("seed", -1),
    ]:  # fmt: skip
        with pytest.raises(traitlets.TraitError, match=trait):
            setattr(explorer, trait, value)
    assert repr(explorer) == "CodeExplorer(z1=0.50, z2=-1.40)"


def test_state_is_json_and_light(given):
    explorer = CodeExplorer(*given)
    json.dumps(dependency_state([explorer], drop_defaults=False))
    own = [getattr(explorer, name) for name in CodeExplorer.class_own_traits(sync=True)]
    assert sum(len(value) for value in own if isinstance(value, bytes)) * 16 / 13 < 0.7e6


def test_a_bernoulli_decoder_is_understood_as_well(plane_models, given):
    explorer = CodeExplorer(plane_models[1], *given[1:])
    assert explorer.decoder_layers[-1] == {"op": "sigmoid"}


def test_starts_in_a_hole(truth):
    _, distance = truth.nearest(START)
    assert truth.of([START])[1].max() < 0.35
    assert distance > 0.3


# --- in the browser -------------------------------------------------------------------------------------


@pytest.fixture
def tab(given, show):
    """The explorer, alone on a page, as the book starts it."""
    return show(CodeExplorer(*given))


def pixels(tab, selector: str, index=0) -> np.ndarray:
    """What a canvas shows: ``[height, width, 4]``."""
    settle(tab)
    width, data = (
        tab.locator(selector)
        .nth(index)
        .evaluate(
            """canvas => {
          const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          let text = "";
          for (let i = 0; i < data.length; i += 4096)
            text += String.fromCharCode(...data.subarray(i, i + 4096));
          return [width, btoa(text)];
        }"""
        )
    )
    return np.frombuffer(base64.b64decode(data), np.uint8).reshape(-1, width, 4).astype(int)


def greys(tab, selector: str, index=0) -> np.ndarray:
    """The ink of a painted picture, from 0 to 255, flat."""
    return 255 - pixels(tab, selector, index)[..., 0].ravel()


def on_map(image: np.ndarray, truth, places, shift=(0, 0)) -> np.ndarray:
    """The colours of a picture of the map at these codes, moved by some pixels, ``[n, 4]``."""
    size = len(image)
    at = np.clip(np.floor(truth.shares(places) * size + np.array(shift)).astype(int), 0, size - 1)
    return image[at[:, 1], at[:, 0]]


def close_to(colours: np.ndarray, colour: tuple[int, ...], apart=60) -> np.ndarray:
    """Whether colours are near one."""
    return np.abs(colours[..., :3] - colour).max(axis=-1) < apart


def holds(tab, truth, place, index=0) -> None:
    """Assert that point, pictures, words and bars are PyTorch's for a place."""
    pictures, (probabilities,) = truth.of([place])
    nearest, distance = truth.nearest(place)
    near = f"{named(int(truth.labels[nearest]))}, {distance:.2f} away"
    assert np.abs(greys(tab, ".vae-large", index) - 255 * pictures[0].numpy()).max() <= 1
    rebuilt = truth.of(truth.codes[nearest])[0][0].numpy()
    assert np.abs(greys(tab, ".vae-near", index) - 255 * rebuilt).max() <= 1
    where = f"z = ({minus(place[0])}, {minus(place[1])})"
    shown = {name: tab.locator(f".vae-{name}").nth(index).text_content() for name in
             ("place", "verdict", "nearest")}  # fmt: skip
    assert shown == {"place": where, "verdict": verdict(probabilities), "nearest": near}
    label = tab.locator(".vae-large").nth(index).get_attribute("aria-label")
    assert label == f"Picture decoded from {where}. {verdict(probabilities)}"
    bars = tab.locator(".vae-bars").nth(index)
    percents = ", ".join(f"{digit}: {percent(p)} %" for digit, p in enumerate(probabilities.tolist()))
    assert bars.get_attribute("aria-label") == f"The judge’s probabilities. {percents}"
    assert np.abs(bar_lengths(tab, index) - probabilities.numpy()).max() < 0.025


def bar_lengths(tab, index=0) -> np.ndarray:
    """The ten painted bars, as shares of the whole."""
    image = pixels(tab, ".vae-bars", index)
    height, width, _ = image.shape
    base, top, slot = height - 20, 18, (width - 36) / 10
    lengths = []
    for digit, colour in enumerate(PALETTE):
        column = image[:base, round(36 + (digit + 0.5) * slot) + 6, :3]
        own = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        rows = close_to(column, own, 3).sum()
        lengths.append((rows + (rows > 0)) / (base - top))  # its outline covers half a row at either end
    return np.array(lengths)


def test_starts_where_it_was_told(tab, given, truth, show):
    holds(tab, truth, START)
    assert close_to(on_map(pixels(tab, ".vae-map"), truth, [START]), (0xD5, 0x5E, 0x00), 3).all()
    assert not tab.get_by_role("checkbox").is_checked()
    assert tab.get_by_role("button", name="Clear").is_disabled()


def test_point_follows_the_mouse(tab, truth):
    box = tab.locator(".vae-map").bounding_box()
    tab.mouse.move(box["x"] + 200, box["y"] + 60)
    tab.mouse.down()
    for x, y in [(60, 60), (box["width"] - 40, 200), (150, box["height"] - 30), (170, 200)]:
        tab.mouse.move(box["x"] + x, box["y"] + y, steps=4)
        place = truth.place(x / box["width"], y / box["height"])
        holds(tab, truth, place)
        image = pixels(tab, ".vae-map")
        assert close_to(on_map(image, truth, [place]), (0xD5, 0x5E, 0x00), 3).all()
    tab.mouse.move(box["x"] - 500, box["y"] + 5000)  # beyond the map: the point stays at its edge
    holds(tab, truth, truth.place(0, 1))
    tab.mouse.up()
    tab.mouse.move(box["x"] + 100, box["y"] + 100)  # after the button, nothing moves
    holds(tab, truth, truth.place(0, 1))


def test_point_follows_a_finger(given, truth, show):
    tab = show(CodeExplorer(*given), touch=True, width=390)
    box = tab.locator(".vae-map").bounding_box()
    session = tab.context.new_cdp_session(tab)
    for kind, x, y in [("touchStart", 40, 50), ("touchMove", 90, 140), ("touchMove", 60, 250)]:
        point = {"x": box["x"] + x, "y": box["y"] + y}
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        holds(tab, truth, truth.place(x / box["width"], y / box["height"]))
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert tab.evaluate("scrollY") == 0
    assert tab.locator(".vae-map").evaluate("c => getComputedStyle(c).touchAction") == "none"


def test_point_follows_the_arrow_keys(tab, truth):
    canvas, place, step = tab.locator(".vae-map"), list(START), 2 * truth.view[2] / 120
    canvas.focus()
    for key, axis, sign in [
        ("ArrowLeft", 0, -1), ("ArrowRight", 0, 1), ("ArrowUp", 1, 1), ("ArrowDown", 1, -1),
    ]:  # fmt: skip
        for press, steps in [(key, 1), (f"Shift+{key}", 5)]:
            canvas.press(press)
            place[axis] += sign * steps * step
            holds(tab, truth, place)
    for _ in range(25):
        canvas.press("Shift+ArrowRight")
    holds(tab, truth, [truth.place(1, 0)[0], place[1]])


def test_point_that_is_put_beyond_the_map_stays_at_its_edge(given, truth, show):
    holds(show(CodeExplorer(*given, z1=1000, z2=-0.5)), truth, [truth.place(1, 0)[0], -0.5])


def test_fog_lies_where_the_judge_is_unsure(tab, truth):
    clear = pixels(tab, ".vae-map")
    tab.get_by_role("checkbox").click()
    rng = np.random.default_rng(1)
    places = np.array([truth.place(x, y) for x, y in rng.uniform(0.02, 0.98, size=(4000, 2))])
    bare = on_map(clear, truth, places)[:, 3] == 0  # nothing is painted there
    highest = truth.of(places[bare], "exact")[1].max(1).values.numpy()
    fog = on_map(pixels(tab, ".vae-map"), truth, places[bare])[:, 3] / 255
    plain = np.abs(highest - 0.9) > 0.05  # away from where it begins
    opacity = np.where(highest < 0.9, 0.25 + 0.5 * (0.9 - highest), 0)
    most, nearly_all = np.quantile(np.abs(fog - opacity)[plain], [0.9, 0.99])
    assert most < 0.015
    assert nearly_all < 0.08  # narrow seams lie between the grid's points
    assert (highest < 0.9)[plain].sum() > 100 < (highest >= 0.9)[plain].sum()
    tab.get_by_role("checkbox").press("Space")
    assert (pixels(tab, ".vae-map") == clear).all()


def test_dots_are_where_the_codes_are(tab, truth):
    ones = truth.codes[truth.labels == 1].numpy()
    seen = on_map(pixels(tab, ".vae-map"), truth, ones)
    assert close_to(seen, (0x88, 0xCC, 0xEE)).mean() > 0.75  # numeral and contour cover some


def counts(tab, index=0) -> list[str]:
    """The three rows of shares."""
    settle(tab)
    rows = tab.locator("dl").nth(index)
    return [
        f"{of}: {share}"
        for of, share in zip(
            rows.locator("dt").all_text_contents(), rows.locator("dd").all_text_contents(), strict=True
        )
    ]


def share(count: int, n: int) -> str:
    """A share with its standard error, as the page writes it."""
    p = count / n
    return f"{100 * p:.0f} % ± {100 * math.sqrt(p * (1 - p) / n):.0f} %"


def drawn(tab, truth, source, count, seed=0, index=0) -> None:
    """Assert that the page shows so many draws, PyTorch's, judged as PyTorch judges them."""
    places = truth.draws(source, count, seed)
    pictures, probabilities = truth.of(places)
    sure = (probabilities.max(1).values >= 0.9).numpy()
    unsure = int((~sure).sum())
    assert counts(tab, index)[0] == f"{unsure} of {count} codes drawn: {share(unsure, count)}"
    widths = tab.locator("dl").nth(index).locator("dd i").evaluate_all(
        "bars => bars.map(bar => bar.getBoundingClientRect().width)"
    )  # fmt: skip
    rebuilt = (truth.of(truth.codes, "exact")[1].max(1).values < 0.9).float().mean().item()
    assert widths[0] / widths[1] == pytest.approx(unsure / count / rebuilt, rel=0.03)
    strip = tab.locator(".vae-strip").nth(index)
    names = [f"{'' if sure[i] else '× '}{int(probabilities[i].argmax())}" for i in range(count - 10, count)]
    assert strip.locator("p").all_text_contents() == names
    for k in (0, 4, 9):
        ink = greys(tab, ".vae-strip canvas", 10 * index + k)
        assert np.abs(ink - 255 * pictures[count - 10 + k].numpy()).max() <= 1
        label = strip.locator("canvas").nth(k).get_attribute("aria-label")
        assert label == f"Picture of a code drawn at random. {verdict(probabilities[count - 10 + k])}"
    if index:
        return
    # Discs and crosses on the map, where no other mark is near.
    size = tab.locator(".vae-map").nth(index).evaluate("c => c.clientWidth")
    at = truth.shares(places) * size
    apart = np.linalg.norm(at[:, None] - at[None], axis=-1) + 1e3 * np.eye(count)
    alone = (apart.min(axis=1) > 14) & (at > 12).all(axis=1) & (at < size - 12).all(axis=1)
    alone &= np.linalg.norm(at - truth.shares([START]) * size, axis=1) > 20
    image = pixels(tab, ".vae-map")
    boxes = [image[max(0, y - 10) : y + 11, max(0, x - 10) : x + 11, :3] for x, y in at.astype(int)]
    alone &= np.array([box.size > 0 and box.max(axis=-1).min() > 60 for box in boxes])  # no numeral near
    assert alone.sum() >= 8

    def green(x, y):
        return close_to(on_map(image, truth, places[alone], (x, y)), GREEN)

    assert green(0, 0).mean() > 0.9
    for x, y in [(2.5, 0), (-2.5, 0), (0, -2.5)]:  # in a disc, but between a cross's arms
        assert (green(x, y) == sure[alone]).mean() > 0.9
    for x, y in [(4, 4), (-4, -4), (4, -4), (-4, 4)]:  # on its arms, but outside a disc
        assert (green(x, y) != sure[alone]).mean() > 0.9


def test_codes_are_drawn_counted_and_cleared(tab, truth):
    empty = counts(tab)
    rebuilt, real = (
        int((p < 0.9).sum()) for p in (truth.of(truth.codes, "exact")[1].max(1).values, truth.original)
    )
    assert empty == [
        "codes drawn: none yet",
        f"{rebuilt} of 1,000 test digits, rebuilt: {share(rebuilt, 1000)}",
        f"{real} of 1,000 test digits as they are: {share(real, 1000)}",
    ]
    before = pixels(tab, ".vae-map")
    tab.get_by_role("button", name="Draw 50 codes").click()
    drawn(tab, truth, "standard", 50)
    tab.get_by_role("button", name="Draw 50 more").press("Enter")
    drawn(tab, truth, "standard", 100)
    clear = tab.get_by_role("button", name="Clear")
    clear.click()
    assert counts(tab) == empty
    assert tab.locator(".vae-strip p").all_text_contents() == 10 * ["–"]
    assert greys(tab, ".vae-strip canvas").max() == 0
    assert (pixels(tab, ".vae-map") == before).all()
    tab.get_by_role("button", name="Draw 50 codes").press("Space")
    drawn(tab, truth, "standard", 50, seed=1)  # other draws than before
    clear.press("Enter")
    assert counts(tab) == empty
    assert clear.is_disabled()
    tab.keyboard.press("Enter")  # the focus has gone over to the other button
    drawn(tab, truth, "standard", 50, seed=2)


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_codes_are_drawn_from_either_gaussian(tab, truth, by):
    def choose(source):
        other = "fitted" if source == "standard" else "standard"
        if by == "mouse":
            tab.get_by_label(RADIOS[source]).click()
        else:
            tab.get_by_label(RADIOS[other]).press("ArrowDown" if source == "fitted" else "ArrowUp")
        assert tab.get_by_label(RADIOS[source]).is_checked()

    def rim(source):
        image = pixels(tab, ".vae-map")
        near = [
            close_to(on_map(image, truth, contour(truth, source), (x, y)), GREEN)
            for x in (-1, 0, 1)
            for y in (-1, 0, 1)
        ]
        return np.any(near, axis=0).mean()

    assert rim("standard") > 0.8 > 0.5 > rim("fitted")
    choose("fitted")
    assert rim("fitted") > 0.8 > 0.5 > rim("standard")
    tab.get_by_role("button", name="Draw 50 codes").click()
    drawn(tab, truth, "fitted", 50)
    choose("standard")
    drawn(tab, truth, "standard", 50)
    choose("fitted")
    drawn(tab, truth, "fitted", 50)


def test_there_is_a_last_draw(given, truth, show):
    tab = show(CodeExplorer(*given, draws=420, source="fitted"))
    more = tab.get_by_role("button", name="Draw 50 more")
    more.click()
    settle(tab)
    assert not more.is_disabled()
    more.click()
    settle(tab)
    assert more.is_disabled()
    assert " of 500 codes drawn" in counts(tab)[0]
    beyond = truth.shares(truth.draws("fitted", 500, 0))
    lost = int(((beyond < 0) | (beyond > 1)).any(axis=1).sum())
    spoken = tab.locator(".vae-draws-spoken").text_content()
    assert spoken.startswith("500 codes drawn; the judge is unsure of ")
    assert spoken.endswith(f"; {lost} lie beyond the map")


def test_hint_says_how_many_codes_are_not_shown(tab, truth):
    shares = truth.shares(truth.codes)
    away = int(((shares < 0) | (shares > 1)).any(axis=1).sum())
    assert (
        f"one of 1,000 test digits ({away} lie beyond the map)" in tab.locator(".vae-plane p").text_content()
    )


def test_traits_set_from_outside_repaint(given, truth, show):
    first, second = CodeExplorer(*given), CodeExplorer(*given, fog=True, draws=50)
    names = ("z1", "z2", "fog", "source", "draws", "seed")
    tab = show(first, second, *(jslink((first, name), (second, name)) for name in names), height=2000)
    assert not tab.get_by_role("checkbox").nth(1).is_checked()
    assert "none yet" in counts(tab, 1)[0]
    tab.locator(".vae-map").first.press("Shift+ArrowUp")
    place = [START[0], START[1] + 10 * truth.view[2] / 120]
    tab.get_by_role("checkbox").first.click()
    tab.get_by_label(RADIOS["fitted"]).first.click()
    tab.get_by_role("button", name="Draw 50 codes").first.click()
    for index in (0, 1):
        holds(tab, truth, place, index)
        drawn(tab, truth, "fitted", 50, index=index)
    assert (pixels(tab, ".vae-map", 0) == pixels(tab, ".vae-map", 1)).all()
    tab.get_by_role("button", name="Clear").nth(1).click()
    tab.get_by_role("button", name="Draw 50 codes").nth(1).click()
    for index in (0, 1):
        drawn(tab, truth, "fitted", 50, seed=1, index=index)
    assert tab.get_by_role("checkbox").nth(1).is_checked()


def test_read_out_is_spoken_when_the_point_rests(tab, truth):
    spoken = tab.locator(".vae-point-spoken")
    tab.wait_for_function("e => e.textContent.includes('z = (0.50, −1.40)')", arg=spoken.element_handle())
    tab.locator(".vae-map").press("ArrowUp")
    settle(tab)
    assert "−1.40" in spoken.text_content()
    tab.wait_for_function("e => !e.textContent.includes('−1.40')", arg=spoken.element_handle())
    (probabilities,) = truth.of([[START[0], START[1] + truth.view[2] / 60]])[1]
    assert verdict(probabilities) in spoken.text_content()


def test_theme_repaints_all_but_the_pictures(given, show):
    tab = show(CodeExplorer(*given, fog=True, draws=50))
    names = (".vae-map", ".vae-bars", ".vae-large", ".vae-near", ".vae-strip canvas")
    light = [pixels(tab, name) for name in names]
    tab.evaluate("document.documentElement.dataset.theme = 'dark'")
    dark = [pixels(tab, name) for name in names]
    changed = [(new != old).any(axis=-1).mean() for new, old in zip(dark, light, strict=True)]
    assert changed[0] > 0.1  # fog and dots, too, not only the point
    assert changed[1] > 0
    assert changed[2:] == [0, 0, 0]
    tab.evaluate("document.documentElement.dataset.theme = 'light'")
    assert (pixels(tab, ".vae-map") == light[0]).all()


@pytest.mark.parametrize("width", [360, 640, 760, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible_and_within_the_page(given, show, width, scheme):
    tab = show(CodeExplorer(*given, draws=50, fog=True, z1=-1.91), width=width, scheme=scheme)
    for count in (50, 0):
        assert violations(tab) == []
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= width
        assert spilling(tab) == []
        if count:
            tab.get_by_role("button", name="Clear").click()
            settle(tab)
