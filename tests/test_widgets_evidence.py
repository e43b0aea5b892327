"""The evidence bar: its numbers against PyTorch's and SciPy's, then every control in a browser."""

import base64
import io
import itertools
import json
import math
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
import traitlets
from conftest import settle, violations
from PIL import Image
from scipy.integrate import quad, solve_ivp
from torch.distributions import Normal, kl_divergence

from vae_src.exact import LinearGaussian
from vae_src.widgets.evidence import EvidenceBar

# --- independent numbers -----------------------------------------------------------------------------

double = partial(torch.tensor, dtype=torch.float64)
LINEAR = LinearGaussian(double([[1.0]]), double([0.0]), 1.0)
NODES, WEIGHTS = (torch.tensor(a) for a in np.polynomial.hermite_e.hermegauss(12))  # exact up to z²³
PRIOR = Normal(double(0.0), double(1.0))
HALVES = ((-10, 0), (0, 10))


def mean_of_x(decoder: str, z: torch.Tensor) -> torch.Tensor:
    return z if decoder == "linear" else z**2


def log_joint(decoder: str, x: float, z: torch.Tensor) -> torch.Tensor:
    likelihood = Normal(mean_of_x(decoder, z), double(1.0))
    return PRIOR.log_prob(z) + likelihood.log_prob(double(x))


def integral(function) -> float:
    return sum(quad(function, *ends, epsabs=0, epsrel=1e-12, limit=200)[0] for ends in HALVES)


@cache
def log_marginal(decoder: str, x: float) -> float:
    if decoder == "linear":
        return LINEAR.log_marginal(double([[x]])).item()
    return math.log(integral(lambda z: math.exp(-0.5 * (z * z + (x - z * z) ** 2)) / (2 * math.pi)))


def log_posterior(decoder: str, x: float, z: torch.Tensor) -> torch.Tensor:
    if decoder == "linear":
        return LINEAR.posterior(double([[x]])).log_prob(z[:, None])
    return log_joint(decoder, x, z) - log_marginal(decoder, x)


def terms(
    decoder: str, x: float, mean: torch.Tensor, scale: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return E_q log p(x|z), exactly by Gauss and Hermite, and KL(q‖p(z))."""
    z = mean + scale * NODES
    logs = Normal(mean_of_x(decoder, z), double(1.0)).log_prob(double(x))
    return (WEIGHTS * logs).sum() / WEIGHTS.sum(), kl_divergence(Normal(mean, scale), PRIOR)


def kl_to_posterior(decoder: str, x: float, mean: float, scale: float) -> float:
    if decoder == "linear":
        p = LINEAR.posterior(double([[x]]))
        p = Normal(p.mean.squeeze(), p.covariance_matrix.squeeze().sqrt())
        return kl_divergence(Normal(*double([mean, scale])), p).item()
    evidence = log_marginal(decoder, x)

    def integrand(t: float) -> float:
        z, log_q = mean + scale * t, -0.5 * (t * t + math.log(2 * math.pi))
        log_p = -0.5 * (z * z + (x - z * z) ** 2) - math.log(2 * math.pi) - evidence
        return math.exp(log_q) * (log_q - math.log(scale) - log_p)

    return integral(integrand)


def numbers(decoder: str, x: float, mean: float, scale: float) -> dict[str, float]:
    """Return every number that the explorer prints."""
    likelihood, rate = terms(decoder, x, *double([mean, scale]))
    return {
        "evidence": log_marginal(decoder, x),
        "elbo": (likelihood - rate).item(),
        "gap": kl_to_posterior(decoder, x, mean, scale),
        "likelihood": likelihood.item(),
        "rate": rate.item(),
    }


def gradient(decoder: str, x: float, mean: float, scale: float) -> list[float]:
    m = double(mean).requires_grad_()
    log_scale = double(math.log(scale)).requires_grad_()
    likelihood, rate = terms(decoder, x, m, log_scale.exp())
    return [slope.item() for slope in torch.autograd.grad(likelihood - rate, (m, log_scale))]


def destination(decoder: str, x: float, start: tuple[float, float]) -> list[float]:
    """Follow the ELBO's gradient from a start for long, by a solver of differential equations."""

    def flow(_, y):
        return gradient(decoder, x, y[0], math.exp(y[1]))

    begin = [start[0], math.log(start[1])]
    path = solve_ivp(flow, (0, 40), begin, method="LSODA", rtol=1e-7, atol=1e-9).y
    return [path[0, -1], math.exp(path[1, -1])]


def test_arithmetic(in_node):
    z = torch.linspace(-4, 4, 17).double()
    data, cases = [], []
    for decoder, x in itertools.product(("linear", "square"), (-2.0, -0.5, 0.0, 0.5, 1.7, 3.0, 4.0)):
        data.append(
            {
                "decoder": decoder,
                "x": x,
                "log_marginal": log_marginal(decoder, x),
                "z": z.tolist(),
                "log_joint": log_joint(decoder, x, z).tolist(),
                "log_posterior": log_posterior(decoder, x, z).tolist(),
            }
        )
        for mean, scale in itertools.product((-3.0, -0.7, 0.0, 1.5, 3.0), (0.25, 0.7, 2.0)):
            values = numbers(decoder, x, mean, scale)
            values["gradient"] = gradient(decoder, x, mean, scale)
            cases.append({"decoder": decoder, "x": x, "mean": mean, "scale": scale, **values})
    starts = [("linear", 3.0, (0.5, 0.6)), ("linear", -2.0, (3.0, 2.0)), ("square", 0.5, (2.0, 0.3))]
    starts += [("square", 3.0, start) for start in ((0.5, 0.6), (-0.5, 0.6), (0.3, 1.5))]
    starts += [("square", 2.2, (1.5, 0.4)), ("square", 4.0, (-1.0, 0.25)), ("square", -2.0, (3.0, 2.0))]
    climbs = [{"decoder": d, "x": x, "from": s, "to": destination(d, x, s)} for d, x, s in starts]
    in_node("evidence", {"data": data, "cases": cases, "climbs": climbs})


def test_reference_knows_its_optima():
    mean, scale = destination("linear", 3.0, (0.5, 0.6))
    assert (mean, scale) == pytest.approx((1.5, math.sqrt(0.5)), abs=1e-6)
    right, left, both = (destination("square", 3.0, s) for s in ((0.5, 0.6), (-0.5, 0.6), (0.3, 1.5)))
    variance = (10 - math.sqrt(52)) / 24  # where 12 σ⁴ − (4x − 2) σ² + 1 = 0
    bump = (math.sqrt(2.5 - 3 * variance), math.sqrt(variance))
    assert right == pytest.approx(bump, abs=1e-6)
    assert left == pytest.approx((-bump[0], bump[1]), abs=1e-6)
    assert both == pytest.approx((0, 1), abs=1e-6)


# --- the Python side -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("traits", "message"),
    [
        ({"x": 5}, "'x' trait of an EvidenceBar instance should not be greater than 4"),
        ({"x": -2.1}, "'x' trait of an EvidenceBar instance should not be less than -2"),
        ({"q_mean": math.nan}, "q_mean must be a finite number, not nan"),
        ({"q_mean": -3.5}, "should not be less than -3"),
        ({"q_scale": 0}, "should not be less than 0.25"),
        ({"q_scale": math.inf}, "should not be greater than 2"),
        ({"decoder": "cubic"}, "any of \\['linear', 'square'\\]"),
    ],
)
def test_bad_values_are_refused(traits, message):
    with pytest.raises(traitlets.TraitError, match=message):
        EvidenceBar(**traits)


def test_state():
    bar = EvidenceBar(decoder="square", q_mean=-1)
    assert repr(bar) == "EvidenceBar(decoder='square', x=3.00, q_mean=-1.00, q_scale=0.60)"
    state = json.loads(json.dumps(bar.get_state(["decoder", "x", "q_mean", "q_scale"])))
    assert state == {"decoder": "square", "x": 3.0, "q_mean": -1.0, "q_scale": 0.6}


def test_limits_are_the_pages():
    script = Path(EvidenceBar.__module__.replace(".", "/") + ".js").name
    text = (Path(__file__).parents[1] / "vae_src/widgets" / script).read_text("utf8")
    for name, trait in EvidenceBar().traits().items():
        if name in {"x", "q_mean", "q_scale"}:
            assert f"{name}: [{trait.min:g}, {trait.max:g}]" in text


# --- in a browser ----------------------------------------------------------------------------------------

PINK, AMBER, INK, BLUE = (204, 121, 167), (230, 159, 0), (34, 38, 43), (0, 114, 178)
ROW, TICKS = 41, 69  # through the bar's middle, and through the axis's ticks


def pixels(tab, name: str, index: int = 0) -> np.ndarray:
    """Return a canvas's pixels, ``[height, width, 4]``."""
    url = tab.locator(f".vae-{name}").nth(index).evaluate("canvas => canvas.toDataURL()")
    return np.array(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGBA")).astype(int)


def where(image: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return (np.abs(image[..., :3] - color).max(-1) <= 2) & (image[..., 3] > 250)


def read(tab) -> dict[str, float]:
    """Return the numbers on the page, those that stand twice being the same."""
    settle(tab)
    found = tab.locator("[data-of]").evaluate_all("all => all.map(e => [e.dataset.of, e.textContent])")
    values: dict[str, float] = {}
    for name, text in found:
        number = float(text.replace("−", "-"))
        assert values.setdefault(name, number) == number
    return values


def position(tab) -> tuple[str, float, float, float]:
    """Return the decoder and the sliders' values: decoder, x, mean, σ."""
    decoder = tab.locator("[type=radio]:checked").get_attribute("value")
    return decoder, *tab.locator("[type=range]").evaluate_all("all => all.map(e => e.valueAsNumber)")


def holds(tab, *state) -> None:
    """Check that the page prints what the state's numbers are, to the digits shown."""
    decoder, x, mean, scale = state or position(tab)
    expected = numbers(decoder, x, mean, scale)
    assert read(tab) == {name: pytest.approx(value, abs=0.00501) for name, value in expected.items()}
    outputs = tab.locator("output").all_inner_texts()
    assert [float(text.replace("−", "-")) for text in outputs] == pytest.approx([x, mean, scale], abs=0.00501)


def to_z(box: dict[str, float], x: float) -> float:
    return -4 + 8 * (x - box["x"]) / box["width"]


def to_x(box: dict[str, float], z: float) -> float:
    return box["x"] + (z + 4) / 8 * box["width"]


def shoulder(box: dict[str, float], mean: float, scale: float) -> tuple[float, float]:
    """Return where the right open dot is on the screen: q's density one σ from its mean."""
    density = math.exp(-0.5) / math.sqrt(2 * math.pi) / scale
    floor = box["height"] - 2 - 22
    return to_x(box, mean + scale), box["y"] + 1 + floor * (1 - density / 1.85)


def bar_lengths(tab) -> dict[str, float]:
    """Read the bar in nats, with nothing but the axis's own ticks as a measure."""
    settle(tab)
    image = pixels(tab, "bar")
    columns = np.flatnonzero(image[TICKS, 15:, 3]) + 15
    ticks = [group.mean() for group in np.split(columns, np.flatnonzero(np.diff(columns) > 2) + 1)]
    assert len(ticks) == 9
    assert np.diff(ticks) == pytest.approx((ticks[8] - ticks[0]) / 8, abs=1)
    nat = (ticks[8] - ticks[0]) / 8
    row = image[ROW : ROW + 1]
    pink, amber = (np.flatnonzero(where(row, color)[0]) for color in (PINK, AMBER))
    mark = np.flatnonzero(where(image[21:22], INK)[0])  # above the bar there is nothing else
    return {
        "pink": (pink.max() + 1 - ticks[0]) / nat - 8 if len(pink) else math.nan,
        "amber": len(amber) / nat,
        "evidence": (mark.min() - ticks[0]) / nat - 8,
        "two pixels": 2 / nat,
    }


def bar_holds(tab, *state) -> float:
    """Check the bar's lengths against the numbers; return where log p(x) is marked."""
    expected, bar = numbers(*(state or position(tab))), bar_lengths(tab)
    tolerance = bar["two pixels"]
    assert bar["pink"] == pytest.approx(expected["elbo"], abs=tolerance)
    assert bar["amber"] == pytest.approx(expected["gap"], abs=tolerance)
    assert bar["evidence"] == pytest.approx(expected["evidence"], abs=tolerance)
    return bar["evidence"]


@pytest.mark.parametrize("decoder", ["linear", "square"])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_sliders(show, decoder, index):
    tab = show(EvidenceBar(decoder=decoder))
    slider = tab.locator("[type=range]").nth(index)
    low, high = (float(slider.get_attribute(end)) for end in ("min", "max"))
    step = float(slider.get_attribute("step"))
    for key, value in [
        ("Home", low), ("ArrowRight", low + step), ("ArrowUp", low + 2 * step), ("ArrowLeft", low + step),
        ("End", high), ("ArrowRight", high), ("ArrowDown", high - step),
    ]:  # fmt: skip
        slider.press(key)
        assert float(slider.input_value()) == pytest.approx(value)
        assert slider.get_attribute("aria-valuetext") == f"{value:.2f}".replace("-", "−")
        holds(tab)
    box, seen = slider.bounding_box(), set()
    middle = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + 1, middle)
    tab.mouse.down()
    for share in (0.02, 0.25, 0.5, 0.75, 0.98):
        tab.mouse.move(box["x"] + share * box["width"], middle)
        holds(tab)
        seen.add(slider.input_value())
    tab.mouse.up()
    assert len(seen) == 5


def test_decoder_by_mouse_and_keyboard(show):
    tab = show(EvidenceBar())
    before = pixels(tab, "plot")
    tab.get_by_label("square").click()
    assert position(tab)[0] == "square"
    holds(tab)
    assert (pixels(tab, "plot") != before).any()
    tab.keyboard.press("ArrowUp")
    assert position(tab)[0] == "linear"
    holds(tab)
    assert (pixels(tab, "plot") == before).all()
    tab.keyboard.press("ArrowDown")
    assert position(tab)[0] == "square"
    holds(tab)


@pytest.mark.parametrize("decoder", ["linear", "square"])
def test_drag_the_mean(show, decoder):
    tab = show(EvidenceBar(decoder=decoder))
    box = tab.locator(".vae-plot").bounding_box()
    tab.mouse.move(to_x(box, 0.5), box["y"] + 20)
    tab.mouse.down()
    for z in (0.5, 1.5, 2.9, 3.9, 0.0, -1.2, -3.5):
        tab.mouse.move(to_x(box, z), box["y"] + 40)
        holds(tab, decoder, 3.0, max(-3, min(3, z)), 0.6)
    tab.mouse.up()
    tab.mouse.move(to_x(box, 1), box["y"] + 40)  # no longer held
    holds(tab, decoder, 3.0, -3.0, 0.6)


def test_drag_the_width(show):
    tab = show(EvidenceBar())
    box = tab.locator(".vae-plot").bounding_box()
    tab.mouse.move(*shoulder(box, 0.5, 0.6))
    tab.mouse.down()
    for z, scale in ((1.5, 1.0), (2.5, 2.0), (3.5, 2.0), (0.9, 0.4), (0.5, 0.25), (-0.7, 1.2)):
        tab.mouse.move(to_x(box, z), box["y"] + 10)
        holds(tab, "linear", 3.0, 0.5, scale)
    tab.mouse.up()
    # the left dot, not quite in its middle
    tab.mouse.move(to_x(box, 0.5 - 1.2) - 5, shoulder(box, 0.5, 1.2)[1])
    tab.mouse.down()
    tab.mouse.move(to_x(box, -0.3), box["y"] + 100)
    tab.mouse.up()
    holds(tab, "linear", 3.0, 0.5, 0.8)
    tab.mouse.move(to_x(box, 0.5), shoulder(box, 0.5, 0.8)[1])  # the full dot between them moves the mean
    tab.mouse.down()
    tab.mouse.move(to_x(box, 1.5), box["y"] + 100)
    tab.mouse.up()
    holds(tab, "linear", 3.0, 1.5, 0.8)


def test_touch(show):
    tab = show(EvidenceBar(), width=360, touch=True)
    box = tab.locator(".vae-plot").bounding_box()
    touch = tab.context.new_cdp_session(tab)

    def send(kind, *points):
        points = [{"x": x, "y": y} for x, y in points]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    send("touchStart", (to_x(box, 0.5), box["y"] + 30))
    for z in (0.8, 1.2, 2.0):
        send("touchMove", (to_x(box, z), box["y"] + 60))
    send("touchEnd")
    holds(tab, "linear", 3.0, 2.0, 0.6)
    dot = shoulder(box, 2.0, 0.6)
    send("touchStart", dot)
    send("touchMove", (dot[0] + 10, dot[1]))
    send("touchMove", (to_x(box, 3.5), dot[1] + 40))
    send("touchEnd")
    holds(tab, "linear", 3.0, 2.0, 1.5)


def test_keys_on_the_picture(show):
    tab = show(EvidenceBar())
    plot = tab.locator(".vae-plot")
    for key, mean, scale in [
        ("ArrowRight", 0.55, 0.6), ("Shift+ArrowRight", 0.8, 0.6), ("ArrowLeft", 0.75, 0.6),
        ("Shift+ArrowLeft", 0.5, 0.6), ("ArrowUp", 0.5, 0.62), ("Shift+ArrowUp", 0.5, 0.72),
        ("ArrowDown", 0.5, 0.7), ("Shift+ArrowDown", 0.5, 0.6),
    ]:  # fmt: skip
        plot.press(key)
        holds(tab, "linear", 3.0, mean, scale)
    for key, mean, scale in [
        ("Shift+ArrowRight", 3.0, 0.6), ("Shift+ArrowLeft", -3.0, 0.6),
        ("Shift+ArrowUp", -3.0, 2.0), ("Shift+ArrowDown", -3.0, 0.25),
    ]:  # fmt: skip
        for _ in range(26):
            plot.press(key)
        holds(tab, "linear", 3.0, mean, scale)


@pytest.mark.parametrize(
    ("width", "decoder", "x"),
    [(360, "linear", 3), (760, "square", 3), (1600, "square", 3), (360, "square", 0.5), (760, "linear", 4)],
)
def test_bar_is_as_long_as_the_numbers_say(show, width, decoder, x):
    tab = show(EvidenceBar(decoder=decoder, x=x, q_mean=x / 2, q_scale=0.5), width=width)
    plot = tab.locator(".vae-plot")
    mark = bar_lengths(tab)["evidence"]
    seen = set()
    for _ in range(8):
        plot.press("Shift+ArrowLeft")
        if numbers(*position(tab))["elbo"] > -7.9:
            assert bar_holds(tab) == mark  # while q moves, log p(x) stays where it is
            seen.add(round(bar_lengths(tab)["pink"], 2))
    assert len(seen) > 2
    tab.locator("[type=range]").first.press("ArrowLeft")
    tab.locator("[type=range]").first.press("PageDown")
    assert bar_lengths(tab)["evidence"] != mark


def test_bar_stays_while_the_pointer_drags(show):
    tab = show(EvidenceBar(decoder="square"))
    box = tab.locator(".vae-plot").bounding_box()
    tab.mouse.move(to_x(box, 0.5), box["y"] + 20)
    tab.mouse.down()
    marks = set()
    for z in (0.2, 0.6, 1.0, 1.4, 1.7):
        tab.mouse.move(to_x(box, z), box["y"] + 20)
        marks.add(bar_holds(tab, "square", 3.0, z, 0.6))
    assert len(marks) == 1


def test_bar_of_an_exact_q_has_no_gap(show):
    tab = show(EvidenceBar(q_mean=1.5, q_scale=math.sqrt(0.5)))
    assert read(tab)["gap"] == 0
    bar = bar_lengths(tab)
    assert bar["amber"] == 0
    assert bar["pink"] == pytest.approx(bar["evidence"], abs=bar["two pixels"])


def test_bound_off_the_axis(show):
    tab = show(EvidenceBar(decoder="square", x=-2, q_mean=3, q_scale=2))
    holds(tab)
    assert read(tab)["elbo"] == -206.73
    image, bar = pixels(tab, "bar"), bar_lengths(tab)
    assert where(image, PINK)[:, 10:].sum() == 0  # only the arrow is left of it
    assert where(image, PINK)[:, :10].sum() > 60
    assert bar["amber"] == pytest.approx(8 + log_marginal("square", -2.0), abs=7 * bar["two pixels"])
    tab.locator(".vae-plot").press("Shift+ArrowLeft")
    assert bar_lengths(tab)["evidence"] == bar["evidence"]


def test_picture_shows_the_densities(show):
    tab = show(EvidenceBar(q_mean=-1, q_scale=0.5))
    image = pixels(tab, "plot")
    height, width, _ = image.shape
    floor = height - 22

    def top(color, z):  # the uppermost pixel of a colour near a place
        column = round((z + 4) / 8 * width)
        return np.flatnonzero(where(image, color)[40:, column - 1 : column + 2].any(1))[0] + 40

    def level(density):
        return floor * (1 - density / 1.85)

    def normal(z, mean, scale):
        return math.exp(-0.5 * ((z - mean) / scale) ** 2) / scale / math.sqrt(2 * math.pi)

    for z in (-1.25, -1.15, -0.75):
        assert top(BLUE, z) == pytest.approx(level(normal(z, -1, 0.5)), abs=4)
    for z in (0.8, 1.5, 2.4):
        assert top((213, 94, 0), z) == pytest.approx(level(normal(z, 1.5, math.sqrt(0.5))), abs=4)


CLIMBED = "document.querySelector('.vae-status').textContent.startsWith('Arrived')"


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ({"q_mean": 0.5, "q_scale": 0.6}, "chosen the right bump; KL 0.75"),
        ({"q_mean": -0.5, "q_scale": 0.6}, "chosen the left bump; KL 0.75"),
        ({"q_mean": 0.3, "q_scale": 1.5}, "straddles both bumps; KL 1.25"),
    ],
)
def test_climb_ends_in_the_nearest_optimum(show, start, words):
    tab = show(EvidenceBar(decoder="square", **start))
    button = tab.get_by_role("button", name="Let q climb the ELBO")
    button.click()
    tab.wait_for_function(CLIMBED)
    assert words in tab.locator(".vae-status").inner_text()
    mean, scale = destination("square", 3.0, (start["q_mean"], start["q_scale"]))
    holds(tab, "square", 3.0, mean, scale)
    bar_holds(tab, "square", 3.0, mean, scale)
    assert button.is_visible()  # no longer "Stop"
    tab.get_by_role("button", name="Reset q").click()
    holds(tab, "square", 3.0, start["q_mean"], start["q_scale"])
    assert tab.locator(".vae-status").inner_text() == ""


def test_climb_stop_and_reset_by_keyboard(show):
    tab = show(EvidenceBar(q_mean=-3, q_scale=2))
    tab.get_by_role("button", name="Let q climb the ELBO").focus()
    tab.keyboard.press("Enter")
    stop = tab.get_by_role("button", name="Stop")
    assert "Climbing" in tab.locator(".vae-status").inner_text()
    settle(tab)
    stop.press("Space")
    halted = read(tab)
    assert halted["elbo"] > numbers("linear", 3.0, -3.0, 2.0)["elbo"]
    tab.wait_for_timeout(150)
    assert read(tab) == halted
    assert tab.locator(".vae-status").inner_text() == ""
    tab.keyboard.press("Enter")  # goes on from there
    tab.wait_for_function(CLIMBED)
    assert "exact posterior" in tab.locator(".vae-status").inner_text()
    holds(tab, "linear", 3.0, 1.5, math.sqrt(0.5))
    assert read(tab)["gap"] == 0
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    holds(tab, "linear", 3.0, -3.0, 2.0)


@pytest.mark.parametrize("decoder", ["linear", "square"])
def test_where_stillness_is_asked_for_the_climb_takes_one_frame(show, decoder):
    tab = show(EvidenceBar(decoder=decoder))
    tab.emulate_media(reduced_motion="reduce")
    label = tab.evaluate(
        """() => new Promise((done) => {
          const climb = document.querySelector("[data-does=climb]");
          climb.click();
          requestAnimationFrame(() => done(climb.textContent));
        })"""
    )
    assert label == "Let q climb the ELBO"
    assert "Climbing" not in tab.locator(".vae-status").inner_text() != ""


def test_climb_gives_way(show):
    tab = show(EvidenceBar(q_mean=-3, q_scale=2))
    climb = tab.locator("[data-does=climb]")

    def is_over():
        settle(tab)
        return climb.inner_text() == "Let q climb the ELBO" and tab.locator(".vae-status").inner_text() == ""

    climb.click()
    tab.locator("[type=range]").nth(1).press("Home")  # a slider of q
    assert is_over()
    assert position(tab)[2] == -3
    climb.click()
    tab.locator(".vae-plot").press("ArrowUp")  # its keys
    assert is_over()
    climb.click()
    box = tab.locator(".vae-plot").bounding_box()
    tab.mouse.click(to_x(box, -2), box["y"] + 20)  # its picture
    assert is_over()
    assert position(tab)[2] == -2
    climb.click()
    tab.get_by_role("button", name="Reset q").click()
    assert is_over()
    climb.click()
    tab.locator("[type=range]").first.press("Home")  # a new datum is a new hill, which it climbs
    tab.wait_for_function(CLIMBED)
    holds(tab, "linear", -2.0, -1.0, math.sqrt(0.5))
    tab.get_by_label("square").click()  # what was said is no longer true
    settle(tab)
    assert tab.locator(".vae-status").inner_text() == ""


def test_traits_set_from_outside_repaint(show):
    from ipywidgets import jslink

    # Whatever happens to the first explorer happens to the second through its traits alone.
    bars = [EvidenceBar(), EvidenceBar(decoder="square", x=1, q_mean=-1, q_scale=2)]
    links = [jslink((bars[0], name), (bars[1], name)) for name in ("decoder", "x", "q_mean", "q_scale")]
    tab = show(*bars, *links, height=1500)
    sliders = tab.locator("[type=range]")

    def agree():
        settle(tab)
        sums = tab.locator(".vae-sums").all_inner_texts()
        assert sums[0] == sums[1]
        states = tab.locator("[type=radio]").evaluate_all("all => all.map(e => e.checked)")
        assert states[:2] == states[2:]
        for name in ("plot", "bar"):
            assert (pixels(tab, name, 0) == pixels(tab, name, 1)).all()
        return sums[0]

    seen = {agree()}
    for index, key in enumerate(["End"] * 3 + ["Home"] * 3):
        sliders.nth(index).press(key)
        seen.add(agree())
    tab.get_by_label("square").last.click()
    seen.add(agree())
    assert len(seen) == 8


def test_read_out_speaks_when_q_rests(show):
    tab = show(EvidenceBar())
    live, bar = tab.locator("[aria-live=polite].vae-hidden"), tab.locator(".vae-bar")
    tab.wait_for_timeout(600)
    first = "log p(x) = −3.52 = ELBO −4.54 + KL 1.02 nats"
    assert live.inner_text() == bar.get_attribute("aria-label") == first
    for _ in range(5):
        tab.locator(".vae-plot").press("ArrowRight")
        settle(tab)
        assert live.inner_text() == first
        assert bar.get_attribute("aria-label") != first
    tab.wait_for_timeout(600)
    assert live.inner_text() == bar.get_attribute("aria-label")
    now = numbers("linear", 3.0, 0.75, 0.6)
    words = f"log p(x) = {now['evidence']:.2f} = ELBO {now['elbo']:.2f} + KL {now['gap']:.2f} nats"
    assert live.inner_text() == words.replace("-", "−")


def test_theme_repaints(show):
    tab = show(EvidenceBar())
    light = {name: pixels(tab, name) for name in ("plot", "bar")}
    tab.evaluate("document.documentElement.dataset.theme = 'dark'")
    settle(tab)
    for name, before in light.items():
        assert (pixels(tab, name) != before).any(axis=-1).mean() > 0.02
    assert not where(pixels(tab, "bar"), PINK).any()
    tab.evaluate("document.documentElement.dataset.theme = 'light'")
    settle(tab)
    for name, before in light.items():
        assert (pixels(tab, name) == before).all()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(show, scheme):
    tab = show(EvidenceBar(decoder="square"), scheme=scheme)
    tab.locator("[data-does=climb]").click()
    tab.wait_for_function(CLIMBED)
    assert violations(tab) == []


@pytest.mark.parametrize("width", [360, 760, 1600])
def test_fits_and_nothing_jumps(show, width):
    tab = show(EvidenceBar(decoder="square", x=-2, q_mean=3, q_scale=2), width=width)

    def layout():
        settle(tab)
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= width
        fixed = tab.locator("canvas, button, input, .vae-sum, .vae-sum > span")
        return fixed.evaluate_all("all => all.map(e => JSON.stringify(e.getBoundingClientRect()))")

    wide = layout()
    tab.locator("[data-does=climb]").click()
    tab.wait_for_function(CLIMBED)
    assert layout() == wide
