"""The KL playground: its numbers against PyTorch's and SciPy's, then every control in a browser."""

import base64
import io
import itertools
import json
import math
import re
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
import traitlets
from conftest import settle, violations
from PIL import Image
from scipy.integrate import quad, solve_ivp
from scipy.optimize import minimize
from torch.distributions import Categorical, MixtureSameFamily, Normal, kl_divergence

from vae_src.widgets.divergence import DivergenceExplorer

# --- independent numbers -----------------------------------------------------------------------------

double = partial(torch.tensor, dtype=torch.float64)
OF_P = ["distance", "left_weight", "left_scale", "right_scale"]
START = {"distance": 4.0, "left_weight": 0.5, "left_scale": 0.6, "right_scale": 0.6}
PRESETS = {
    "two equal bumps": START,
    "one narrow, one wide": {"distance": 4, "left_weight": 0.35, "left_scale": 0.35, "right_scale": 1.2},
    "skewed": {"distance": 2, "left_weight": 0.6, "left_scale": 0.5, "right_scale": 1.3},
    "one bump": {"distance": 0, "left_weight": 0.5, "left_scale": 1, "right_scale": 1},
}
TARGETS = [
    *PRESETS.values(),
    *(
        dict(zip(OF_P, numbers, strict=True))
        for numbers in [
            (6, 0.5, 0.3, 0.3), (6, 0.02, 1.5, 0.3), (5, 0.0, 0.7, 0.9), (5, 1.0, 0.7, 0.9),
            (3, 0.7, 1.0, 0.4), (4, 0.5, 0.8, 0.8), (1, 0.3, 0.3, 1.5),
        ]
    ),
]  # fmt: skip

# Gauss and Legendre on short pieces of the line: other points than the page's evenly spaced ones.
PIECES = np.arange(-75, 75, 0.125)
NODES, WEIGHTS = np.polynomial.legendre.leggauss(14)
Z = torch.from_numpy((PIECES[:, None] + 0.0625 * (NODES + 1)).ravel())
DZ = torch.from_numpy(np.tile(0.0625 * WEIGHTS, len(PIECES)))
FINE = torch.linspace(-45, 45, 18_001, dtype=torch.float64)  # for areas, which end where they please


def mixture(traits: dict[str, float]) -> MixtureSameFamily:
    half, left = traits["distance"] / 2, traits["left_weight"]
    scales = double([traits["left_scale"], traits["right_scale"]])
    bumps = Normal(double([-half, half]), scales)
    return MixtureSameFamily(Categorical(double([left, 1 - left])), bumps)


def log_prob(p: MixtureSameFamily, z: torch.Tensor) -> torch.Tensor:
    """Return log p(z) with a bump's weight as it is: torch's Categorical bounds it away from 0."""
    weights = p.mixture_distribution.probs
    return (weights.log() + p.component_distribution.log_prob(z[..., None])).logsumexp(-1)


@cache
def log_table(key: tuple[float, ...]) -> torch.Tensor:
    return log_prob(mixture(dict(zip(OF_P, key, strict=True))), Z)


def table(traits: dict[str, float]) -> torch.Tensor:
    return log_table(tuple(traits[name] for name in OF_P))


def both(traits: dict[str, float], mean: torch.Tensor, scale: torch.Tensor) -> list[torch.Tensor]:
    """Return KL(q‖p) and KL(p‖q)."""
    log_p, log_q = table(traits), Normal(mean, scale).log_prob(Z)
    return [(DZ * log_q.exp() * (log_q - log_p)).sum(), (DZ * log_p.exp() * (log_p - log_q)).sum()]


def integrands(traits: dict[str, float], mean: float, scale: float, z: torch.Tensor) -> list[torch.Tensor]:
    log_p, log_q = log_prob(mixture(traits), z), Normal(double(mean), double(scale)).log_prob(z)
    return [log_q.exp() * (log_q - log_p), log_p.exp() * (log_p - log_q)]


def areas(values: torch.Tensor, z: torch.Tensor) -> list[float]:
    """Return the areas above and below the axis, and all beyond the picture's edges."""
    inside = z.abs() < 6.5 + 1e-9
    parts = [(values.clamp(min=0), z), (-values.clamp(max=0), z), (values, z), (values[inside], z[inside])]
    above, below, total, between = (torch.trapezoid(part, place).item() for part, place in parts)
    return [above, below, total - between]


def numbers(
    traits: dict[str, float], divergence: str, mean: float, scale: float, log_z: float
) -> dict[str, float]:
    """Return every number that the explorer prints."""
    reverse, forward = (kl.item() for kl in both(traits, double(mean), double(scale)))
    above, below, _ = areas(integrands(traits, mean, scale, FINE)[divergence == "forward"], FINE)
    elbo = log_z - reverse
    return {
        "reverse": reverse, "forward": forward, "above": above, "below": below,
        "evidence": log_z, "elbo": elbo, "gap": reverse,
    }  # fmt: skip


def slopes(traits: dict[str, float], mean: float, scale: float) -> list[list[float]]:
    """Return both divergences' derivatives by mean and log σ."""
    m, log_scale = double(mean).requires_grad_(), double(math.log(scale)).requires_grad_()
    return [
        [slope.item() for slope in torch.autograd.grad(kl, (m, log_scale), retain_graph=True)]
        for kl in both(traits, m, log_scale.exp())
    ]


T = np.linspace(-8, 8, 401)
BELL = scipy.stats.norm.pdf(T) * (T[1] - T[0])


def flow(traits: dict[str, float], divergence: str, mean: float, log_scale: float) -> np.ndarray:
    """Return the way down, for a solver of differential equations; that of KL(q‖p) by paths z = m + σ t."""
    m = np.array([-0.5, 0.5]) * traits["distance"]
    w = np.array([traits["left_weight"], 1 - traits["left_weight"]])
    s, scale = np.array([traits["left_scale"], traits["right_scale"]]), math.exp(log_scale)
    if divergence == "forward":
        second = (w * ((m - mean) ** 2 + s**2)).sum()
        return np.array([(w * m).sum() - mean, second - scale**2]) / scale**2
    z = mean + scale * T[:, None]
    with np.errstate(divide="ignore"):
        logs = np.log(w) - 0.5 * ((z - m) / s) ** 2 - np.log(s)
    share = np.exp(logs - np.logaddexp.reduce(logs, axis=1, keepdims=True))
    slope = (share * (m - z) / s**2).sum(1) * BELL
    return np.array([slope.sum(), (slope * scale * T).sum() + 1])


@cache
def destination(name: str, divergence: str, start: tuple[float, float]) -> tuple[float, float]:
    """Follow the flow from a start for long."""

    def down(_, y):
        return flow(PRESETS[name], divergence, *y)

    path = solve_ivp(down, (0, 300), [start[0], math.log(start[1])], method="LSODA", rtol=1e-8, atol=1e-10).y
    return float(path[0, -1]), math.exp(path[1, -1])


def valleys(traits: dict[str, float]) -> list[list[float]]:
    """Return all lowest points of KL(q‖p), found from many starts: mean, σ, KL."""

    def kl(y):
        return both(traits, double(y[0]), double(math.exp(y[1])))[0].item()

    def uphill(y):
        return -flow(traits, "reverse", *y)

    found: list[list[float]] = []
    half = traits["distance"] / 2
    starts = [(-half, traits["left_scale"]), (half, traits["right_scale"]), (0, 1), (0, half + 0.3), (2, 2)]
    for mean, scale in starts:
        end = minimize(kl, [mean, math.log(scale)], jac=uphill, method="BFGS", options={"gtol": 1e-6})
        one = [float(end.x[0]), math.exp(end.x[1]), float(end.fun)]
        if np.abs(np.array(uphill(end.x))).max() < 1e-4 and all(
            math.hypot(one[0] - other[0], one[1] - other[1]) > 0.02 for other in found
        ):
            found.append(one)
    return found


def test_arithmetic(in_node):
    z = torch.arange(-9, 9.1, 0.5).double()
    targets, cases, bells, extremes = [], [], [], []
    for traits in TARGETS:
        p, log_p = mixture(traits), table(traits)
        at = z.clone().requires_grad_()
        (slope,) = torch.autograd.grad(log_prob(p, at).sum(), at)
        logs = p.mixture_distribution.probs.log() + p.component_distribution.log_prob(z[:, None])
        share = (logs[:, 0] - log_prob(p, z)).exp()
        first = (DZ * log_p.exp() * Z).sum()
        lowest = valleys(traits)
        targets.append(
            {
                "traits": traits,
                "z": z.tolist(),
                "log_p": log_prob(p, z).tolist(),
                "slope": slope.tolist(),
                "share": share.tolist(),
                "mean": first.item(),
                "variance": (DZ * log_p.exp() * (Z - first) ** 2).sum().item(),
                "entropy": -(DZ * log_p.exp() * log_p).sum().item(),
                "peak": log_p.max().exp().item(),
                "valleys": lowest,
                "best": min(kl for _, _, kl in lowest),
            }
        )
        for mean, scale in itertools.product((-5.0, -1.3, 0.0, 0.4, 3.0), (0.2, 0.5, 1.1, 4.0)):
            reverse, forward = (kl.item() for kl in both(traits, double(mean), double(scale)))
            by = slopes(traits, mean, scale)
            paid = [areas(values, FINE) for values in integrands(traits, mean, scale, FINE)]
            case = {"traits": traits, "q": [mean, scale], "log_normaliser": mean / 2 - scale}
            case |= {"reverse": reverse, "forward": forward, "elbo": mean / 2 - scale - reverse}
            case["gradient"] = dict(zip(["reverse", "forward"], by, strict=True))
            case["areas"] = dict(zip(["reverse", "forward"], paid, strict=True))
            cases.append(case)
        values = [
            [mean, scale, *(kl.item() for kl in both(traits, double(mean), double(scale)))]
            for mean, scale in itertools.product((-8.0, 8.0), (0.05, 0.2, 6.0))
        ]
        extremes.append({"traits": traits, "values": values})
    for (weight, left, right), mean, scale in itertools.product(
        [(1.0, 0.7, 1.1), (0.0, 0.7, 1.1), (0.0, 0.3, 0.3), (1.0, 1.5, 0.3)],
        (-8.0, -2.5, 0.0, 3.1),
        (0.05, 0.4, 1.0, 6.0),
    ):
        traits = dict(zip(OF_P, (3.0, weight, left, right), strict=True))
        bump = Normal(double(-1.5 if weight else 1.5), double(left if weight else right))
        q = Normal(double(mean), double(scale))
        kls = {"reverse": kl_divergence(q, bump).item(), "forward": kl_divergence(bump, q).item()}
        bells.append({"traits": traits, "q": [mean, scale], **kls})
    starts = [(0.4, 0.5), (-0.4, 0.5), (0.3, 2.5), (-2.4, 0.25)]
    slides = [
        {"traits": PRESETS[name], "divergence": d, "from": s, "to": destination(name, d, s)}
        for name, d, s in itertools.product(PRESETS, ("reverse", "forward"), starts)
    ]
    golden = {"targets": targets, "cases": cases, "bells": bells, "slides": slides, "extremes": extremes}
    in_node("divergence", golden)


@pytest.mark.parametrize("traits", [TARGETS[0], TARGETS[4]])
def test_reference_is_scipys(traits):
    def log_p(z):
        half, left = traits["distance"] / 2, traits["left_weight"]
        logs = [
            math.log(left) + scipy.stats.norm.logpdf(z, -half, traits["left_scale"]),
            math.log(1 - left) + scipy.stats.norm.logpdf(z, half, traits["right_scale"]),
        ]
        return np.logaddexp(*logs)

    q = scipy.stats.norm(0.4, 0.5)

    def paid(z):
        return q.pdf(z) * (q.logpdf(z) - log_p(z))

    def missed(z):
        return math.exp(log_p(z)) * (log_p(z) - q.logpdf(z))

    expected = [quad(f, -12, 12, points=[-3, 0, 3], limit=300, epsabs=1e-10)[0] for f in (paid, missed)]
    assert [kl.item() for kl in both(traits, double(0.4), double(0.5))] == pytest.approx(expected, rel=1e-8)


def test_reference_knows_its_optima():
    for start in [(0.4, 0.5), (3.0, 0.9)]:
        assert destination("one bump", "reverse", start) == pytest.approx((0, 1), abs=1e-6)
        moments = (0, math.sqrt(4 + 0.36))
        assert destination("two equal bumps", "forward", start) == pytest.approx(moments, abs=1e-6)
    found = sorted(valleys(START))
    assert [round(mean, 2) for mean, *_ in found] == [-2.0, 0.0, 2.0]
    assert found[0][2] == pytest.approx(math.log(2), abs=2e-3)  # the price of one bump of two


# --- the Python side -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("traits", "message"),
    [
        ({"mean": 5.1}, "'mean' trait of a DivergenceExplorer instance should not be greater than 5"),
        ({"mean": math.nan}, "mean must be a finite number, not nan"),
        ({"scale": 0.1}, "should not be less than 0.2"),
        ({"scale": math.inf}, "should not be greater than 4"),
        ({"distance": -1}, "should not be less than 0"),
        ({"left_weight": 1.5}, "should not be greater than 1"),
        ({"left_scale": 0}, "should not be less than 0.3"),
        ({"right_scale": 2}, "should not be greater than 1.5"),
        ({"log_normaliser": -4}, "should not be less than -3"),
        ({"divergence": "both"}, "any of \\['reverse', 'forward'\\]"),
    ],
)
def test_bad_values_are_refused(traits, message):
    with pytest.raises(traitlets.TraitError, match=message):
        DivergenceExplorer(**traits)


TRAITS = ["divergence", "mean", "scale", *OF_P, "log_normaliser"]


def test_state():
    explorer = DivergenceExplorer(divergence="forward", mean=-1)
    assert repr(explorer) == "DivergenceExplorer(divergence='forward', mean=-1.00, scale=0.50)"
    state = json.loads(json.dumps(explorer.get_state(TRAITS)))
    expected = {"divergence": "forward", "mean": -1.0, "scale": 0.5, **START, "log_normaliser": 1.0}
    assert state == expected


def test_limits_are_the_pages():
    text = (Path(__file__).parents[1] / "vae_src/widgets/divergence.js").read_text("utf8")
    for name, trait in DivergenceExplorer().traits().items():
        if name in TRAITS[1:]:
            assert f"{name}: [{trait.min:g}, {trait.max:g}]" in text


# --- in a browser ----------------------------------------------------------------------------------------

PINK, AMBER, INK, BLUE = (204, 121, 167), (230, 159, 0), (34, 38, 43), (0, 114, 178)
VERMILION = (213, 94, 0)
SLIDERS = ["log_normaliser", "mean", "scale", *OF_P]  # as they stand on the page


def pixels(tab, name: str, index: int = 0) -> np.ndarray:
    """Return a canvas's pixels, ``[height, width, 4]``."""
    url = tab.locator(f"canvas.vae-{name}").nth(index).evaluate("canvas => canvas.toDataURL()")
    return np.array(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGBA")).astype(int)


def where(image: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return (np.abs(image[..., :3] - color).max(-1) <= 2) & (image[..., 3] > 250)


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def read(tab) -> dict[str, float]:
    """Return the numbers on the page."""
    settle(tab)
    found = tab.locator("[data-of]").evaluate_all("all => all.map(e => [e.dataset.of, e.textContent])")
    return {name: number(text) for name, text in found if name not in {"paid", "name"}}


def position(tab) -> dict[str, float]:
    """Return the sliders' values."""
    values = tab.locator("[type=range]").evaluate_all("all => all.map(e => e.valueAsNumber)")
    return dict(zip(SLIDERS, values, strict=True))


def chosen(tab) -> str:
    return tab.locator("[type=radio]:checked").get_attribute("value")


def holds(tab, **expected) -> dict[str, float]:
    """Check that the page prints what its sliders' numbers are, to the digits shown."""
    settle(tab)
    found = position(tab)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=0.0251), name
    now = {**found, **expected}  # sliders hold steps, a drag what lies between
    traits = {name: now[name] for name in OF_P}
    right = numbers(traits, chosen(tab), now["mean"], now["scale"], now["log_normaliser"])
    assert read(tab) == {name: pytest.approx(value, abs=0.00502) for name, value in right.items()}
    outputs = [number(text) for text in tab.locator("output").all_inner_texts()]
    assert outputs == pytest.approx([now[name] for name in SLIDERS], abs=0.00502)
    return now


def to_x(box: dict[str, float], z: float) -> float:
    return box["x"] + (z / 6.5 + 1) / 2 * box["width"]


def top(traits: dict[str, float]) -> float:
    """Return the density that the upper picture has room for."""
    peak = table(traits).max().exp().item()
    weights = {"left_scale": traits["left_weight"], "right_scale": 1 - traits["left_weight"]}
    tallest = max(min(1, 4 * w) / traits[name] / math.sqrt(2 * math.pi) for name, w in weights.items())
    return max(1.6 * peak, min(3 * peak, 1.2 * tallest))


def level(density: float, height: float, traits: dict[str, float]) -> float:
    floor = height - 22
    return floor - (floor - 20) * density / top(traits)


def normal(z: float, mean: float, scale: float) -> float:
    return math.exp(-0.5 * ((z - mean) / scale) ** 2) / scale / math.sqrt(2 * math.pi)


def shoulder(box, mean: float, scale: float, side: int = 1, traits=START) -> tuple[float, float]:
    """Return where an open dot is on the screen: q's density one σ from its mean, or near the top."""
    y = max(14, level(normal(1, 0, 1) / scale, box["height"] - 2, traits))
    return to_x(box, mean + side * scale), box["y"] + 1 + y


def map_y(box: dict[str, float], scale: float) -> float:
    share = math.log(4 / scale) / math.log(20)
    return box["y"] + 1 + 8 + share * (box["height"] - 2 - 32)


@pytest.mark.parametrize("index", range(len(SLIDERS)), ids=SLIDERS)
def test_sliders(show, index):
    tab = show(DivergenceExplorer(divergence="forward" if index % 2 else "reverse"))
    slider = tab.locator("[type=range]").nth(index)
    low, high = (float(slider.get_attribute(end)) for end in ("min", "max"))
    step = float(slider.get_attribute("step"))
    trait = DivergenceExplorer().traits()[SLIDERS[index]]
    assert (low, high) == (trait.min, trait.max)
    for key, value in [
        ("Home", low), ("ArrowRight", low + step), ("ArrowUp", low + 2 * step), ("ArrowLeft", low + step),
        ("End", high), ("ArrowRight", high), ("ArrowDown", high - step),
    ]:  # fmt: skip
        slider.press(key)
        holds(tab, **{SLIDERS[index]: value})
        assert slider.get_attribute("aria-valuetext") == f"{value:.2f}".replace("-", "−")
    box, seen = slider.bounding_box(), set()
    middle = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + 1, middle)
    tab.mouse.down()
    for share in (0.02, 0.35, 0.98):
        tab.mouse.move(box["x"] + share * box["width"], middle)
        holds(tab)
        seen.add(slider.input_value())
    tab.mouse.up()
    assert len(seen) == 3


def test_divergence_by_mouse_and_keyboard(show):
    tab = show(DivergenceExplorer())
    names = ("areas", "map")
    before = [pixels(tab, name) for name in names]
    plot = pixels(tab, "plot")
    tab.locator(".vae-card").nth(1).click()
    assert chosen(tab) == "forward"
    holds(tab)
    assert tab.locator("[data-of=paid]").inner_text() == "p log(p / q)"
    assert tab.locator("[data-of=name]").inner_text() == "KL(p ‖ q)"
    assert tab.get_by_role("button", name="Let q descend KL(p ‖ q)").is_visible()
    assert all((pixels(tab, n) != b).any() for n, b in zip(names, before, strict=True))
    tab.keyboard.press("ArrowUp")
    assert chosen(tab) == "reverse"
    holds(tab)
    assert all((pixels(tab, n) == b).all() for n, b in zip(names, before, strict=True))
    tab.keyboard.press("ArrowDown")
    assert chosen(tab) == "forward"
    assert (pixels(tab, "plot") == plot).all()


def test_targets_by_mouse_and_keyboard(show):
    tab = show(DivergenceExplorer(distance=3.3))
    buttons, seen = tab.locator(".vae-targets button"), set()
    assert buttons.all_inner_texts() == list(PRESETS)
    assert buttons.evaluate_all("all => all.map(e => e.ariaPressed)") == ["false"] * 4
    for k, (name, traits) in enumerate(PRESETS.items()):
        button = tab.get_by_role("button", name=name)
        if k % 2:
            button.press("Enter")
        else:
            button.click()
        holds(tab, mean=0.4, scale=0.5, log_normaliser=1, **traits)
        pressed = buttons.evaluate_all("all => all.map(e => e.ariaPressed)")
        assert pressed == ["true" if other == name else "false" for other in PRESETS]
        seen.add(pixels(tab, "plot").tobytes() + pixels(tab, "map").tobytes())
    assert len(seen) == 4


def test_drag_the_mean(show):
    tab = show(DivergenceExplorer())
    box = tab.locator(".vae-plot").bounding_box()
    tab.mouse.move(to_x(box, -3), box["y"] + 12)  # beside q: it comes to the pointer
    tab.mouse.down()
    for z in (-3, 1.5, 4.9, 6.4, 0.0, -6):
        tab.mouse.move(to_x(box, z), box["y"] + 40)
        holds(tab, mean=max(-5, min(5, z)), scale=0.5)
    tab.mouse.up()
    tab.mouse.move(to_x(box, 1), box["y"] + 40)  # no longer held
    holds(tab, mean=-5)


def test_body_is_held_where_it_is_touched(show):
    tab = show(DivergenceExplorer(mean=-1, scale=1.5))
    box = tab.locator(".vae-plot").bounding_box()
    y = box["y"] + box["height"] - 30  # inside q, far below the dots
    tab.mouse.move(to_x(box, -0.2), y)
    tab.mouse.down()
    holds(tab, mean=-1)
    tab.mouse.move(to_x(box, 1.3), y)
    holds(tab, mean=0.5, scale=1.5)
    tab.mouse.up()


@pytest.mark.parametrize("side", [-1, 1])
def test_drag_the_width(show, side):
    tab = show(DivergenceExplorer())
    box = tab.locator(".vae-plot").bounding_box()
    tab.mouse.move(*shoulder(box, 0.4, 0.5, side))
    tab.mouse.down()
    for scale in (0.5, 1.0, 2.5, 5.0, 0.1, 0.3):
        tab.mouse.move(to_x(box, 0.4 + side * scale), box["y"] + 70)
        now = max(0.2, min(4, scale))
        holds(tab, mean=0.4, scale=now)
    tab.mouse.up()
    tab.mouse.move(*shoulder(box, 0.4, now, side))  # the dots have followed, and wait near the top
    tab.mouse.down()
    tab.mouse.move(to_x(box, 0.4 + side * 1.7), box["y"] + 70)
    holds(tab, mean=0.4, scale=1.7)
    tab.mouse.up()


def test_drag_on_the_map(show):
    tab = show(DivergenceExplorer(divergence="forward"))
    box = tab.locator("canvas.vae-map").bounding_box()
    tab.mouse.move(to_x(box, 0), map_y(box, 1))
    tab.mouse.down()
    for mean, scale in [(0, 1), (-2, 0.6), (3, 3), (-6, 0.3)]:
        tab.mouse.move(to_x(box, mean), map_y(box, scale))
        settle(tab)
        found, pixel = position(tab), math.log(20) / (box["height"] - 34)
        assert found["mean"] == pytest.approx(max(-5, mean), abs=0.02)
        assert found["scale"] == pytest.approx(scale, rel=1.2 * pixel, abs=0.0051)
        dot = np.argwhere(where(pixels(tab, "map"), BLUE)).mean(0)
        assert dot == pytest.approx(
            [map_y(box, found["scale"]) - box["y"] - 1, to_x(box, found["mean"]) - box["x"] - 1], abs=1.5
        )
    tab.mouse.move(box["x"] + 5, box["y"] + 500)
    tab.mouse.up()
    holds(tab, mean=-5, scale=0.2)
    tab.mouse.move(to_x(box, 0), map_y(box, 1))
    holds(tab, mean=-5, scale=0.2)


def test_touch(show):
    tab = show(DivergenceExplorer(), touch=True, width=390)
    for name in ("plot", "map"):
        canvas = tab.locator(f"canvas.vae-{name}")
        assert canvas.evaluate("c => getComputedStyle(c).touchAction") == "none"
    box = tab.locator(".vae-plot").bounding_box()
    tab.touchscreen.tap(to_x(box, -3), box["y"] + 30)
    assert position(tab)["mean"] == pytest.approx(-3, abs=0.03)
    canvas = tab.locator("canvas.vae-map")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    tab.touchscreen.tap(to_x(box, 1), map_y(box, 2))
    now = position(tab)
    assert (now["mean"], now["scale"]) == pytest.approx((1, 2), abs=0.05)


@pytest.mark.parametrize("name", ["plot", "map"])
def test_keys(show, name):
    tab = show(DivergenceExplorer(mean=1, scale=0.6))
    canvas, mean, scale = tab.locator(f"canvas.vae-{name}"), 1.0, 0.6
    for key, right, up in [
        ("ArrowRight", 1, 0), ("ArrowLeft", -1, 0), ("Shift+ArrowRight", 5, 0), ("Shift+ArrowLeft", -5, 0),
        ("ArrowUp", 0, 1), ("ArrowDown", 0, -1), ("Shift+ArrowUp", 0, 5), ("Shift+ArrowDown", 0, -5),
    ]:  # fmt: skip
        canvas.press(key)
        mean, scale = mean + 0.05 * right, scale * 1.05**up
        holds(tab, mean=mean, scale=scale)
    for key, presses, mean, scale in [
        ("Shift+ArrowRight", 17, 5, 0.6), ("Shift+ArrowLeft", 41, -5, 0.6),
        ("Shift+ArrowUp", 9, -5, 4), ("Shift+ArrowDown", 14, -5, 0.2),
    ]:  # fmt: skip
        for _ in range(presses):
            canvas.press(key)
        holds(tab, mean=mean, scale=scale)


# --- pixels ------------------------------------------------------------------------------------------------


def bar_lengths(tab) -> dict[str, float]:
    """Read the bar in nats, with nothing but the axis's own ticks as a measure."""
    settle(tab)
    image = pixels(tab, "bar")
    columns = np.flatnonzero(image[61, 15:, 3]) + 15
    ticks = [group.mean() for group in np.split(columns, np.flatnonzero(np.diff(columns) > 2) + 1)]
    assert len(ticks) == 13
    nat = (ticks[12] - ticks[0]) / 12
    row = image[35:36]
    pink, amber = (np.flatnonzero(where(row, color)[0]) for color in (PINK, AMBER))
    mark = np.flatnonzero(where(image[54:55], INK)[0])  # below the bar there is nothing else
    assert mark.min() - amber.max() <= 3  # the gap ends at log Z
    return {
        "pink": (pink.max() + 1 - ticks[0]) / nat - 8 if len(pink) else math.nan,
        "amber": (mark.min() + 1 - amber.min()) / nat,  # with its frame
        "evidence": (mark.min() - ticks[0]) / nat - 8,
        "tolerance": 2.5 / nat,
    }


@pytest.mark.parametrize("width", [360, 760, 1600])
def test_bar_is_as_long_as_the_numbers_say(show, width):
    tab = show(DivergenceExplorer(mean=2, scale=0.6, log_normaliser=2), width=width)
    slider, plot = tab.locator("[type=range]").first, tab.locator(".vae-plot")
    for end, log_z in [("End", 3), ("ArrowLeft", 2.95), ("Home", -3)]:
        slider.press(end)
        for _ in range(4):
            plot.press("Shift+ArrowLeft")
            now, bar = holds(tab), bar_lengths(tab)
            kl = both(START, double(now["mean"]), double(now["scale"]))[0].item()
            assert bar["evidence"] == pytest.approx(log_z, abs=bar["tolerance"])
            if log_z - kl > -7.9:
                assert bar["pink"] == pytest.approx(log_z - kl, abs=bar["tolerance"])
                assert bar["amber"] == pytest.approx(kl, abs=bar["tolerance"])
    for _ in range(20):
        plot.press("Shift+ArrowUp")  # q far wider than p: the ELBO leaves the axis
    bar = bar_lengths(tab)
    assert read(tab)["elbo"] < -8
    assert math.isnan(bar["pink"])
    assert bar["amber"] == pytest.approx(5, abs=9 * bar["tolerance"])  # to the axis's end, and its torn edge


def test_log_z_moves_the_bound_and_not_the_gap(show):
    tab = show(DivergenceExplorer())
    still = [pixels(tab, name).tobytes() for name in ("plot", "areas", "map")]
    before = read(tab)
    tab.locator("[type=range]").first.press("Home")
    after = read(tab)
    assert after["gap"] == before["gap"]
    assert after["elbo"] == pytest.approx(before["elbo"] - 4, abs=0.011)
    assert [pixels(tab, name).tobytes() for name in ("plot", "areas", "map")] == still


def painted_area(tab) -> tuple[float, float]:
    """Return the amber pixels of the integrand, and those of the square of known area."""
    settle(tab)
    amber = where(pixels(tab, "areas"), AMBER)
    left = read(tab) and position(tab)["mean"] > 0
    corner = np.zeros_like(amber)
    corner[10:31, slice(10, 31) if left else slice(-130, None)] = True
    square = amber & corner
    rows, columns = (np.flatnonzero(square.any(axis)) for axis in (1, 0))
    side = (np.ptp(rows) + np.ptp(columns)) / 2 + 2  # and half of the frame at either side
    return (amber & ~corner).sum(), side**2


@pytest.mark.parametrize("divergence", ["reverse", "forward"])
@pytest.mark.parametrize(
    ("mean", "scale"), [(0.4, 0.5), (-2, 0.6), (1, 0.25), (-0.5, 2.0), (2, 1.0), (0.3, 2.09)]
)
def test_areas_are_the_numbers(show, divergence, mean, scale):
    tab = show(DivergenceExplorer(divergence=divergence, mean=mean, scale=scale), width=1600)
    pixels_above, square = painted_area(tab)
    z = torch.linspace(-6.5, 6.5, 13_001).double()
    values = integrands(START, mean, scale, z)[divergence == "forward"]
    above, below, _ = areas(values, z)
    worth = above / pixels_above * square  # in nats, what the square must say
    leading = worth / 10 ** math.floor(math.log10(worth))
    assert min(abs(leading / nice - 1) for nice in (1, 2, 5, 10)) < 0.09
    # The hatching lies where the integrand is below the axis, and nowhere else.
    image = pixels(tab, "areas")
    zero = round(image.shape[0] * 0.74)
    inky = (np.abs(image[zero + 3 :, :, :3] - INK).max(-1) <= 60) & (image[zero + 3 :, :, 3] > 100)
    columns = np.interp(np.arange(image.shape[1]), np.linspace(0, image.shape[1], len(z)), values)
    assert inky[:, columns > 0.02 * values.abs().max().item()].sum() <= 12
    deep = columns < -0.06 * values.abs().max().item()
    assert inky[:, deep].any(0).mean() > 0.9 if deep.sum() > 30 else below < above


def test_what_lies_beyond_the_picture_is_told(show):
    tab = show(DivergenceExplorer(mean=4.6, scale=2.5))
    corner = pixels(tab, "areas")[36:52, 8:200, 3]
    assert (corner > 200).sum() > 100  # words
    for _ in range(14):
        tab.locator(".vae-plot").press("Shift+ArrowLeft")
    for _ in range(3):
        tab.locator(".vae-plot").press("Shift+ArrowDown")
    settle(tab)
    assert (pixels(tab, "areas")[36:52, 8:200, 3] > 200).sum() == 0


@pytest.mark.parametrize("name", ["two equal bumps", "one narrow, one wide"])
def test_picture_shows_the_densities(show, name):
    traits = PRESETS[name]
    tab = show(DivergenceExplorer(mean=0, scale=0.7, **traits))
    image = pixels(tab, "plot")
    height, width, _ = image.shape

    def upper(color, z):  # the uppermost pixel of a colour near a place
        column = round(to_x({"x": 0, "width": width}, z))
        return np.flatnonzero(where(image, color)[24:, column - 1 : column + 2].any(1))[0] + 24

    for z in (-0.45, 0.25, 0.9):
        assert upper(BLUE, z) == pytest.approx(level(normal(z, 0, 0.7), height, traits), abs=4)
    for z in (-2.3, -1.7, 1.8, 2.4):
        density = log_prob(mixture(traits), double(z)).exp().item()
        assert upper(VERMILION, z) == pytest.approx(level(density, height, traits), abs=4)


@pytest.mark.parametrize("divergence", ["reverse", "forward"])
def test_map_is_shaded_with_the_divergence(show, divergence):
    tab = show(DivergenceExplorer(divergence=divergence, mean=-5, scale=4), width=1000)
    image = pixels(tab, "map")
    height, width, _ = image.shape
    box, good, seen = {"x": -1, "y": -1, "width": width + 2, "height": height + 2}, [], set()
    for mean, scale in itertools.product(np.linspace(-4.4, 4.4, 12), np.geomspace(0.24, 3.4, 12)):
        kl = both(START, double(mean), double(scale))[divergence == "forward"].item()
        share = min(1, max(0, math.log(kl / 0.2) / math.log(50 / 0.2)))
        r, g, _, alpha = image[round(map_y(box, scale)), round((mean / 6.5 + 1) / 2 * width)]
        good.append(abs(alpha / 255 - share) < 0.03 and abs(r - AMBER[0]) < 12 and abs(g - AMBER[1]) < 12)
        seen.add(round(share, 1))
    assert len(seen) > 4
    assert np.mean(good) > 0.8  # the others lie on a contour, a name or a mark
    # On the row of σ = 1, a dark line stands where the divergence is 1, 2, 5, 10 nats.
    row = image[round(map_y(box, 1))]
    is_line = row[:, 2] > 25  # amber has no blue in it
    places = np.linspace(-4.5, 4.5, 3001)
    kls = [both(START, double(m), double(1.0))[divergence == "forward"].item() for m in places[::30]]
    kls = np.interp(places, places[::30], kls)
    crossings = [
        place
        for nats in (2, 5)
        for place in places[1:][np.diff(np.sign(kls - nats)) != 0]
        if np.abs(np.gradient(kls, places))[np.searchsorted(places, place)] > 0.5
    ]
    assert crossings or divergence == "forward"
    for place in crossings:
        column = round((place / 6.5 + 1) / 2 * width)
        assert is_line[column - 3 : column + 4].any()


@pytest.mark.parametrize(("name", "count"), [("two equal bumps", 3), ("skewed", 1)])
def test_valleys_are_marked(show, name, count):
    tab = show(DivergenceExplorer(mean=-5, scale=0.2, **PRESETS[name]))
    image, lowest = pixels(tab, "map"), valleys(PRESETS[name])
    box = {"x": -1, "y": -1, "width": image.shape[1] + 2, "height": image.shape[0] + 2}
    assert len(lowest) == count
    for mean, scale, _ in lowest:
        x, y = round((mean / 6.5 + 1) / 2 * image.shape[1]), round(map_y(box, scale))
        assert where(image, INK)[y - 4 : y + 5, x - 4 : x + 5].sum() > 8


# --- descending --------------------------------------------------------------------------------------------

ARRIVED = "document.querySelector('.vae-status').textContent.startsWith('Arrived')"
HINT = "Where will q end? Guess, then let it go. Then start it elsewhere, and guess again."


@pytest.mark.parametrize(
    ("divergence", "name", "start", "words"),
    [
        ("reverse", "two equal bumps", (0.4, 0.5), "sits on the right bump. 0.69 nats is left"),
        ("reverse", "two equal bumps", (-0.4, 0.5), "sits on the left bump. 0.69 nats is left"),
        ("reverse", "two equal bumps", (0.3, 2.5), "lies across both bumps. 1.14 nats is left"),
        ("reverse", "one narrow, one wide", (-2.4, 0.25), "the right bump is 0.64 nats better"),
        ("forward", "two equal bumps", (0.4, 0.5), "standard deviation, 2.09: forward KL matches moments"),
        ("forward", "one narrow, one wide", (-2.4, 0.25), "p’s mean, 0.60, and standard deviation, 2.1"),
    ],
)
def test_descent_ends_in_the_nearest_valley(show, divergence, name, start, words):
    explorer = DivergenceExplorer(divergence=divergence, mean=start[0], scale=start[1], **PRESETS[name])
    tab = show(explorer)
    symbol = {"reverse": "KL(q ‖ p)", "forward": "KL(p ‖ q)"}[divergence]
    button = tab.get_by_role("button", name=f"Let q descend {symbol}")
    if start != (0.4, 0.5):  # the others need not be waited for
        tab.emulate_media(reduced_motion="reduce")
    button.click()
    if start == (0.4, 0.5):
        told = f"Descending: each step follows the slope of {symbol}."
        assert tab.locator(".vae-status").inner_text() == told
    tab.wait_for_function(ARRIVED)
    assert words in tab.locator(".vae-status").inner_text()
    mean, scale = destination(name, divergence, start)
    holds(tab, mean=mean, scale=scale)
    assert button.is_visible()  # no longer "Stop"
    # The trail is there, from the start to the dot.
    image = pixels(tab, "map")
    box = {"x": -1, "y": -1, "width": image.shape[1] + 2, "height": image.shape[0] + 2}
    x, y = round((start[0] / 6.5 + 1) / 2 * image.shape[1]), round(map_y(box, start[1]))
    assert where(image, BLUE)[y - 2 : y + 3, x - 2 : x + 3].any()
    trail = where(image, BLUE).sum()
    tab.get_by_role("button", name="Reset q").click()
    holds(tab, mean=start[0], scale=start[1])
    assert tab.locator(".vae-status").inner_text() == HINT
    assert where(pixels(tab, "map"), BLUE).sum() < trail - 4


def test_descent_stops_and_resets_by_keyboard(show):
    tab = show(DivergenceExplorer(mean=-4, scale=3))
    start = read(tab)
    tab.locator("[data-does=descend]").focus()
    tab.keyboard.press("Enter")
    stop = tab.get_by_role("button", name="Stop")
    tab.wait_for_function("document.querySelector('[data-of=reverse]').textContent < '11'")
    stop.press("Space")
    halted = read(tab)
    assert halted["reverse"] < start["reverse"]
    tab.wait_for_timeout(150)
    assert read(tab) == halted
    assert tab.locator(".vae-status").inner_text() == HINT
    tab.keyboard.press("Enter")  # goes on from there
    tab.wait_for_function(ARRIVED)
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    holds(tab, mean=-4, scale=3)


def test_descent_takes_its_time_whatever_the_frames(show):
    tab = show(DivergenceExplorer(mean=-4, scale=3))
    tab.locator("[data-does=descend]").click()
    began = tab.evaluate("performance.now()")
    tab.evaluate("const end = performance.now() + 700; while (performance.now() < end);")  # a busy page
    tab.wait_for_function(ARRIVED)
    took = tab.evaluate("performance.now()") - began
    assert took > 1000


def test_reduced_motion_arrives_at_once(show):
    tab = show(DivergenceExplorer())
    tab.emulate_media(reduced_motion="reduce")
    tab.locator("[data-does=descend]").click()
    assert "sits on the right bump" in tab.locator(".vae-status").inner_text()
    mean, scale = destination("two equal bumps", "reverse", (0.4, 0.5))
    holds(tab, mean=mean, scale=scale)
    tab.locator("[data-does=descend]").click()  # there already
    assert "sits on the right bump" in tab.locator(".vae-status").inner_text()
    tab.locator("[type=range]").first.press("Home")  # log Z changes nothing of it
    settle(tab)
    assert "sits on the right bump" in tab.locator(".vae-status").inner_text()
    tab.locator(".vae-card").nth(1).click()  # but what was said of another divergence is no longer true
    settle(tab)
    assert tab.locator(".vae-status").inner_text() == HINT
    tab.locator("[data-does=descend]").click()
    assert "moments" in tab.locator(".vae-status").inner_text()
    tab.get_by_role("button", name="skewed").click()
    settle(tab)
    assert tab.locator(".vae-status").inner_text() == HINT


def test_descent_gives_way(show):
    tab = show(DivergenceExplorer(mean=-4, scale=3), height=1400)
    descend = tab.locator("[data-does=descend]")

    def is_over(label="Let q descend KL(q ‖ p)"):
        settle(tab)
        return descend.inner_text() == label and tab.locator(".vae-status").inner_text() == HINT

    descend.click()
    tab.locator("[type=range]").nth(1).press("Home")  # a slider of q
    assert is_over()
    assert position(tab)["mean"] == -5
    descend.click()
    tab.locator("canvas.vae-map").press("ArrowUp")  # its keys
    assert is_over()
    for name in ("plot", "map"):
        descend.click()
        box = tab.locator(f"canvas.vae-{name}").bounding_box()
        tab.mouse.click(to_x(box, -2), box["y"] + 20)  # its pictures
        assert is_over()
        assert position(tab)["mean"] == pytest.approx(-2, abs=0.02)
    descend.click()
    tab.get_by_role("button", name="Reset q").click()
    assert is_over()
    descend.click()
    tab.get_by_role("button", name="skewed").click()  # another target
    assert is_over()
    descend.click()
    tab.locator(".vae-card").nth(1).click()
    assert is_over("Let q descend KL(p ‖ q)")


# --- as a whole --------------------------------------------------------------------------------------------


def test_traits_set_from_outside_repaint(show):
    from ipywidgets import jslink

    # Whatever happens to the first explorer happens to the second through its traits alone.
    pair = [
        DivergenceExplorer(),
        DivergenceExplorer(divergence="forward", mean=-1, scale=2, left_weight=0.2, log_normaliser=0),
    ]
    links = [jslink((pair[0], name), (pair[1], name)) for name in TRAITS]
    tab = show(*pair, *links, height=2500)
    sliders = tab.locator("[type=range]")

    def agree():
        settle(tab)
        shown = tab.locator(".vae-divergence").evaluate_all(
            "all => all.map(e => [...e.querySelectorAll('[data-of], output')].map(e => e.textContent).join())"
        )
        assert shown[0] == shown[1]
        states = tab.locator("[type=radio]").evaluate_all("all => all.map(e => e.checked)")
        assert states[:2] == states[2:]
        for name in ("plot", "areas", "map", "bar"):
            assert (pixels(tab, name, 0) == pixels(tab, name, 1)).all()
        return shown[0]

    seen = {agree()}
    for index in range(len(SLIDERS)):
        sliders.nth(index).press("End")
        seen.add(agree())
    tab.locator(".vae-card").nth(3).click()
    seen.add(agree())
    assert len(seen) == 9


def test_read_out_speaks_when_q_rests(show):
    tab = show(DivergenceExplorer())
    live, bar = tab.locator("[aria-live=polite].vae-hidden"), tab.locator(".vae-bar")
    tab.wait_for_timeout(600)
    first = live.inner_text()
    sum_ = "log Z 1.00 = ELBO −2.53 + KL(q ‖ p) 3.53 nats"
    assert first == f"KL(q ‖ p) 3.53, KL(p ‖ q) 7.67 nats; {sum_}"
    assert bar.get_attribute("aria-label") == sum_
    for _ in range(4):
        tab.locator(".vae-plot").press("ArrowRight")
        settle(tab)
        assert live.inner_text() == first
        assert bar.get_attribute("aria-label") != sum_
    tab.wait_for_timeout(600)
    assert bar.get_attribute("aria-label") in live.inner_text()
    now = read(tab)
    label = tab.locator(".vae-areas").get_attribute("aria-label")
    told = [number(text) for text in re.findall("[−0-9.]+[0-9]", label)]
    assert told == pytest.approx([now["above"], now["below"], now["reverse"]], abs=0.011)
    assert "mean 0.60, width 0.50" in tab.locator("canvas.vae-map").get_attribute("aria-label")


def test_theme_repaints(show):
    tab = show(DivergenceExplorer(mean=-1, scale=2))
    names = ("plot", "areas", "map", "bar")
    light = {name: pixels(tab, name) for name in names}
    tab.evaluate("document.documentElement.dataset.theme = 'dark'")
    settle(tab)
    for name, before in light.items():
        assert (pixels(tab, name) != before).any(axis=-1).mean() > 0.01
    assert not where(pixels(tab, "bar"), PINK).any()
    tab.evaluate("document.documentElement.dataset.theme = 'light'")
    settle(tab)
    for name, before in light.items():
        assert (pixels(tab, name) == before).all()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(show, scheme):
    tab = show(DivergenceExplorer(), scheme=scheme)
    tab.emulate_media(reduced_motion="reduce")
    tab.locator("[data-does=descend]").click()
    assert violations(tab) == []


@pytest.mark.parametrize("width", [360, 760, 1600])
def test_fits_and_nothing_jumps(show, width):
    tab = show(DivergenceExplorer(log_normaliser=-3), width=width)
    tab.emulate_media(reduced_motion="reduce")

    def layout():
        settle(tab)
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= width
        inside = tab.locator(".vae-divergence *:not(option)").evaluate_all(
            "all => all.filter(e => e.offsetParent && !e.closest('.vae-hidden'))"
            ".map(e => e.getBoundingClientRect().right)"
        )
        assert max(inside) <= width - 11
        fixed = tab.locator("canvas, button, input, .vae-sum, .vae-sum > span, .vae-legend > *")
        root = tab.locator(".vae-divergence").bounding_box()
        boxes = fixed.evaluate_all("all => all.map(e => Object.values(e.getBoundingClientRect().toJSON()))")
        return np.array(boxes)[:, :4] - [root["x"], root["y"], 0, 0]

    first = layout()
    plot = tab.locator(".vae-plot")
    box = plot.bounding_box()
    for z in (-5, 5):
        tab.mouse.click(to_x(box, z), box["y"] + 5)
        assert layout() == pytest.approx(first, abs=0.01)
    for key in ("Shift+ArrowDown", "Shift+ArrowUp"):  # the largest numbers, either way
        for _ in range(15):
            plot.press(key)
        assert layout() == pytest.approx(first, abs=0.01)
    tab.locator("[data-does=descend]").click()
    assert layout() == pytest.approx(first, abs=0.01)
    tab.get_by_role("button", name="one narrow").click()
    tab.locator("[data-does=descend]").click()
    assert layout() == pytest.approx(first, abs=0.01)
