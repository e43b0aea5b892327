"""The mixture to drag: its arithmetic against PyTorch and scikit-learn; its controls, in a browser."""

import base64
import functools
import io
import itertools
import json
import math
import re
import warnings

import numpy as np
import pytest
import torch
import traitlets
from conftest import settle, violations
from ipywidgets import jslink
from PIL import Image
from scipy.spatial.distance import cdist
from sklearn.mixture import GaussianMixture
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from vae_src.widgets import MixtureExplorer

LEFT, RIGHT, TOP, BOTTOM = 30, 9, 9, 23  # pixels around the plane
INKS = ["#2a1593", "#e5432f", "#129fb0", "#70102a"]
FOCUS = "#0b5c8e"
STEP = 1 / 80


def three_groups() -> tuple[np.ndarray, np.ndarray]:
    """Return 120 points in three groups, and the name of each."""
    rng = np.random.default_rng(1)
    shapes = [([-1.0, 0.4], [[0.02, 0.01], [0.01, 0.05]], 50), ([0.5, 1.2], [[0.2, 0.15], [0.15, 0.2]], 40)]
    shapes.append(([1.0, -0.8], [[0.2, -0.1], [-0.1, 0.15]], 30))
    groups = [rng.multivariate_normal(mean, np.array(cov), n) for mean, cov, n in shapes]
    order = rng.permutation(120)
    return np.concatenate(groups)[order].astype(np.float32), np.repeat([7, 1, 4], [50, 40, 30])[order]


POINTS, LABELS = three_groups()
X = POINTS.astype(float)
FLOOR = 0.02 * float(POINTS.std(axis=0).min())


# --- the same in PyTorch and NumPy -------------------------------------------------------------------


def matrix(row) -> np.ndarray:
    return np.array([[row[3], row[4]], [row[4], row[5]]])


def row_of(weight, mean, covariance) -> list[float]:
    return [float(v) for v in (weight, *mean, covariance[0, 0], covariance[0, 1], covariance[1, 1])]


def joint(rows, places=X) -> torch.Tensor:
    """Log of weight times density, ``[n, K]``."""
    each = [
        MultivariateNormal(torch.tensor(row[1:3], dtype=torch.float64), torch.from_numpy(matrix(row)))
        for row in rows
    ]
    weights = torch.tensor([row[0] for row in rows], dtype=torch.float64)
    return torch.stack([q.log_prob(torch.from_numpy(places)) for q in each], 1) + weights.log()


def log_p(rows, places=X) -> torch.Tensor:
    means = torch.tensor([row[1:3] for row in rows], dtype=torch.float64)
    covariances = torch.from_numpy(np.stack([matrix(row) for row in rows]))
    weights = Categorical(torch.tensor([row[0] for row in rows], dtype=torch.float64))
    mixture = MixtureSameFamily(weights, MultivariateNormal(means, covariances))
    return mixture.log_prob(torch.from_numpy(places))


def shares_of(rows) -> np.ndarray:
    return joint(rows).softmax(1).numpy()


def clipped(covariance, floor) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return vectors @ np.diag(np.maximum(values, floor**2)) @ vectors.T


def m_step(shares, floor=FLOOR) -> list[list[float]]:
    rows = []
    for share in shares.T:
        mean = np.average(X, axis=0, weights=share)
        covariance = np.cov(X.T, aweights=share, bias=True)
        rows.append(row_of(share.mean(), mean, clipped(covariance, floor)))
    return rows


def em(rows, floor=FLOOR) -> list[list[float]]:
    return m_step(shares_of(rows), floor)


@functools.cache
def arrived(kind="middle", count=3) -> tuple[list[list[float]], int]:
    """Run EM as the page does; return the end and the number of steps."""
    rows, total = start(kind, count), -math.inf
    for steps in itertools.count():
        before, total = total, log_p(rows).sum().item()
        if total - before < 1e-3:
            return rows, steps
        rows = em(rows)
    raise AssertionError


def start(kind, count) -> list[list[float]]:
    mean, covariance = X.mean(0), np.cov(X.T, bias=True)
    if kind == "alike":
        return [row_of(1 / count, mean, covariance)] * count
    scale, rows = np.sqrt(np.diag(covariance)), []
    for angle in math.pi / 2 + 2 * math.pi * np.arange(count) / count:
        away = 0.4 * (count > 1) * scale * [math.cos(angle), math.sin(angle)]
        rows.append(row_of(1 / count, mean + away, np.diag(scale**2 / 4)))
    if kind == "single":
        index, distance = loneliest()
        rows[-1] = row_of(1 / count, X[index], np.eye(2) * max(distance / 8, 3 * FLOOR) ** 2)
    return rows


def loneliest() -> tuple[int, float]:
    gaps = cdist(X, X) + np.diag([math.inf] * len(X))
    return int(gaps.min(1).argmax()), float(gaps.min(1).max())


def sklearn_steps(rows, count=12) -> list[dict]:
    """Let scikit-learn take steps of EM, one at a time."""
    model = GaussianMixture(
        len(rows),
        weights_init=[row[0] for row in rows],
        means_init=[row[1:3] for row in rows],
        precisions_init=[np.linalg.inv(matrix(row)) for row in rows],
        max_iter=1,
        reg_covar=0,
        warm_start=True,
    )
    steps, before = [], log_p(rows).sum().item()
    for _ in range(count):
        with warnings.catch_warnings(action="ignore"):  # that one step does not converge
            model.fit(X)
        parts = zip(model.weights_, model.means_, model.covariances_, strict=True)
        steps.append({"before": before, "rows": [row_of(*part) for part in parts]})
        before = model.score_samples(X).sum()
    return steps


def mixtures() -> list[list[list[float]]]:
    rng, found = np.random.default_rng(0), []
    for count in (1, 2, 3, 4):
        weights = rng.dirichlet(np.ones(count))
        factors = rng.normal(size=(count, 2, 2))
        covariances = factors @ factors.transpose(0, 2, 1) + 0.01 * np.eye(2)
        found.append(
            [
                row_of(w, m, c)
                for w, m, c in zip(weights, rng.normal(size=(count, 2)), covariances, strict=True)
            ]
        )
    return found


def blend(inks, shares) -> np.ndarray:
    srgb = np.array([[int(ink[i : i + 2], 16) / 255 for i in (1, 3, 5)] for ink in inks])[: len(shares)]
    light = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    mixed = np.asarray(shares) @ light
    return np.where(mixed <= 0.0031308, 12.92 * mixed, 1.055 * mixed ** (1 / 2.4) - 0.055) * 255


def ellipses() -> list[dict]:
    found = []
    for angle, first, second in itertools.product([-1.2, 0.0, 0.4, 1.5], [0.05, 1.0, 30.0], [0.4, 2.0]):
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        covariance = turn @ np.diag([first**2, second**2]) @ turn.T
        wide = clipped(covariance, 0.5)
        entry = {"angle": angle, "radii": [first, second], "floor": 0.5}
        covariances = {
            name: row_of(1, (0, 0), c)[3:] for name, c in [("covariance", covariance), ("widened", wide)]
        }
        found.append({**entry, **covariances})
    return found


def weights() -> list[dict]:
    rows, found = mixtures()[3], []
    old = np.array([row[0] for row in rows])
    for chosen, weight in itertools.product(range(4), [0.0, 0.2, 0.77, 1.0]):
        new = min(1 - 3 * 0.005, max(0.005, weight))
        all_weights = old * (1 - new) / (1 - old[chosen])
        all_weights[chosen] = new
        found.append({"rows": rows, "chosen": chosen, "weight": weight, "weights": all_weights.tolist()})
    alone = [[1.0, 0.0, 0.0, 1.0, 0.0, 1.0]]
    return [*found, {"rows": alone, "chosen": 0, "weight": 0.3, "weights": [1.0]}]


def test_arithmetic_is_pytorchs_and_scikit_learns(in_node):
    plane = torch.cartesian_prod(*2 * [torch.linspace(-6, 6, 7, dtype=torch.float64)]).numpy()
    narrow = [[0.3, 0.1, 0.2, 1e-4, 0.0, 1e-4], [0.7, 0.0, 0.0, 4.0, 3.9, 4.0]]
    densities, inferred = [], []
    for rows in [*mixtures(), narrow]:
        own = [joint([[1.0, *row[1:]]], plane)[:, 0].tolist() for row in rows]
        densities.append(
            {
                "mixture": rows,
                "places": plane.tolist(),
                "components": own,
                "log": log_p(rows, plane).tolist(),
            }
        )
        logs = log_p(rows)
        inferred.append(
            {
                "mixture": rows,
                "shares": shares_of(rows).ravel().tolist(),
                "logs": logs.tolist(),
                "total": logs.sum().item(),
            }
        )
    shares = np.random.default_rng(2).dirichlet(np.ones(3), len(X))
    halves = [INKS[:2], [0.5, 0.5]], [INKS[:3], [0.2, 0.7, 0.1]], [INKS, [0.1, 0.2, 0.3, 0.4]]
    index, distance = loneliest()
    named = [
        row_of((name == LABELS).mean(), X[name == LABELS].mean(0), np.cov(X[name == LABELS].T, bias=True))
        for name in (1, 4, 7)
    ]
    best = GaussianMixture(3, n_init=5, random_state=0, reg_covar=0, tol=1e-10, max_iter=5000).fit(X)
    golden = {
        "points": X.ravel().tolist(),
        "labels": LABELS.tolist(),
        "floor": FLOOR,
        "densities": densities,
        "inferred": inferred,
        "trajectories": [
            {"start": rows, "steps": sklearn_steps(rows)}
            for rows in [start("middle", 1), start("middle", 2), start("middle", 3), mixtures()[3]]
        ],
        "floored": [
            {"shares": shares.ravel().tolist(), "floor": floor, "rows": m_step(shares, floor)}
            for floor in (0.01, 0.7, 3.0)
        ],
        "starts": [
            {"kind": kind, "K": count, "rows": start(kind, count)}
            for kind, count in itertools.product(["middle", "alike", "single"], [1, 2, 3, 4])
        ],
        "loneliest": {"index": index, "distance": distance},
        "optimum": best.score_samples(X).sum(),
        "ellipses": ellipses(),
        "weights": weights(),
        "named": named,
        "blends": [
            {
                "inks": inks,
                "shares": part,
                "rgb": "rgb({}, {}, {})".format(*np.rint(blend(inks, part)).astype(int)),
            }
            for inks, part in halves
        ],
    }
    in_node("mixture", golden)


# --- Python's side -------------------------------------------------------------------------------------

ROUND = [1.0, 0.0, 0.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("trait", "value", "words"),
    [
        ("components", [ROUND[:5]], "components must be at most 4 rows"),
        ("components", [[0.2, *ROUND[1:]]] * 5, "components must be at most 4 rows"),
        ("components", [[1.0, math.nan, *ROUND[2:]]], "of finite numbers"),
        ("components", "three", "components must be"),
        ("components", [[0.4, *ROUND[1:]]] * 2, "positive weights that sum to 1, not"),
        ("components", [[1.5, *ROUND[1:]], [-0.5, *ROUND[1:]]], "positive weights"),
        ("components", [[1.0, 0, 0, 1, 2, 1]], "positive definite"),
        ("components", [[1.0, 0, 0, 1, 0, 0]], "positive definite"),
        ("floor", 0, "floor must be positive, not 0"),
        ("floor", math.inf, "floor must be a finite number"),
        ("selected", 120, "selected must be a point from 0 to 119, not 120"),
        ("selected", -1, "selected"),
        ("marks", "crosses", "marks"),
        ("names", ["one"], "names"),
        ("shade", "dark", "shade"),
    ],
)
def test_bad_values_are_refused(trait, value, words):
    with pytest.raises(traitlets.TraitError, match=re.escape(words)):
        MixtureExplorer(POINTS, **{trait: value})
    explorer = MixtureExplorer(POINTS)
    before = getattr(explorer, trait)
    with pytest.raises(traitlets.TraitError, match=re.escape(words)):
        setattr(explorer, trait, value)
    assert getattr(explorer, trait) == before


def test_bad_data_are_refused():
    with pytest.raises(ValueError, match=r"10 to 1,000 pairs of coordinates, \[n, 2\], not \[120, 3\]"):
        MixtureExplorer(np.zeros((120, 3)))
    with pytest.raises(ValueError, match="10 to 1,000 pairs"):
        MixtureExplorer(POINTS[:9])
    with pytest.raises(ValueError, match="differ in both coordinates"):
        MixtureExplorer(POINTS * [1, 0])
    with pytest.raises(ValueError, match="finite numbers"):
        MixtureExplorer(np.where(POINTS > 1, np.nan, POINTS))
    with pytest.raises(ValueError, match="each of the 120 points; here are 119"):
        MixtureExplorer(POINTS, LABELS[1:])
    with pytest.raises(ValueError, match="from 0 to 9"):
        MixtureExplorer(POINTS, LABELS + 3)
    with pytest.raises(traitlets.TraitError, match="needs labels"):
        MixtureExplorer(POINTS, marks="labels")


def test_state_is_all_there_is():
    explorer = MixtureExplorer(
        torch.from_numpy(POINTS), torch.from_numpy(LABELS), components=start("middle", 2)
    )
    assert repr(explorer) == "MixtureExplorer(120 points, 2 components)"
    assert repr(MixtureExplorer(POINTS)) == "MixtureExplorer(120 points, 3 components)"
    state = explorer.get_state()
    np.testing.assert_array_equal(np.frombuffer(state["points"], "<f4").reshape(-1, 2), POINTS)
    np.testing.assert_array_equal(np.frombuffer(state["labels"], np.uint8), LABELS)
    shown = {
        key: value
        for key, value in state.items()
        if not key.startswith("_") and key not in {"points", "labels"}
    }
    assert {"components", "floor", "selected", "marks", "shade", "names"} <= set(shown)
    assert json.loads(json.dumps(shown)) == shown
    assert explorer.floor == pytest.approx(FLOOR)


# --- in a browser ----------------------------------------------------------------------------------------


def nice(value: float, digits: int = 2) -> str:
    text = f"{value:.{digits}f}"
    return (text.replace("-", "") if float(text) == 0 else text).replace("-", "−")


def number(text: str) -> float:
    """Read a number as the page writes it: −1.2, or 3.4 · 10⁻⁵."""
    if text == "< 10⁻³⁰⁰":
        return 0.0
    digits, _, power = text.replace("−", "-").partition(" · 10")
    return float(digits) * 10.0 ** int(power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) or 0)


def opened(show, width=760, scheme="light", touch=False, **traits):
    explorer = MixtureExplorer(POINTS, LABELS, **traits)
    return show(explorer, width=width, scheme=scheme, touch=touch, height=1300)


READ = """root => {
  const text = (selector) => root.querySelector(selector).innerText;
  const bar = (i) => i.getBoundingClientRect().width;
  return {
    total: text(".vae-total b"), each: text(".vae-each"), best: text(".vae-best"), which: text(".vae-which"),
    weights: [...root.querySelectorAll(".vae-weights output")].map((node) => node.innerText),
    sliders: [...root.querySelectorAll("[type=range]")].map((input) => Number(input.value)),
    cells: [...root.querySelectorAll("tbody tr")].map((row) => [...row.cells].map((cell) => cell.innerText)),
    sum: text(".vae-sum"),
    bars: [...root.querySelectorAll("tbody .vae-meter i")].map(bar),
    parts: [...root.querySelectorAll(".vae-parts i")].map(bar),
    room: parseFloat(getComputedStyle(root.querySelector("tbody .vae-meter")).width)
      - parseFloat(getComputedStyle(root.querySelector("tbody .vae-meter")).paddingLeft),
    chart: root.querySelector(".vae-evidence canvas").ariaLabel, status: text(".vae-status"),
    count: root.querySelector("[name$=count]:checked").value, floor: text(".vae-floor output"),
  };
}"""


def read(tab, root=0) -> dict:
    settle(tab)
    return tab.locator(".vae-mixture").nth(root).evaluate(READ)


def expect(tab, rows, selected=0, root=0, abs_total=0.0051) -> dict:
    """Hold every number that the explorer shows to PyTorch's."""
    seen, logs = read(tab, root), log_p(rows)
    assert number(seen["total"]) == pytest.approx(logs.sum().item(), abs=abs_total)
    assert number(seen["each"].split()[0]) == pytest.approx(logs.mean().item(), abs=0.0051)
    assert seen["count"] == str(len(rows))
    assert list(map(number, seen["weights"])) == pytest.approx([row[0] for row in rows], abs=6e-4)
    assert seen["sliders"] == pytest.approx([row[0] for row in rows], abs=0.006)
    place, shares = nice(X[selected, 0]), shares_of(rows)[selected]
    assert seen["which"].startswith(f"x = ({place}, {nice(X[selected, 1])}), log p(x) = ")
    assert number(seen["which"].split()[-2]) == pytest.approx(logs[selected].item(), abs=0.0051)
    products = joint(rows)[selected].exp().numpy()
    for k, (name, weight, density, product, _, share) in enumerate(seen["cells"]):
        assert (name, number(weight)) == (str(k + 1), pytest.approx(rows[k][0], abs=6e-4))
        assert number(density) == pytest.approx(products[k] / rows[k][0], rel=0.06, abs=6e-5)
        assert number(product) == pytest.approx(products[k], rel=0.06, abs=6e-5)
        assert number(share) == pytest.approx(shares[k], abs=6e-4)
    assert number(seen["sum"]) == pytest.approx(products.sum(), rel=0.06, abs=6e-5)
    assert seen["bars"] == pytest.approx((shares * seen["room"]).tolist(), abs=0.6)
    assert seen["parts"] == pytest.approx((shares * seen["room"]).tolist(), abs=0.6)
    assert sum(seen["parts"]) == pytest.approx(seen["room"], abs=0.6)
    assert seen["chart"].split(";")[0].split()[-2] == seen["total"]
    return seen


class Plane:
    """Where things are on the canvas, in pixels from its corner and on the page."""

    def __init__(self, tab) -> None:
        self.canvas = tab.locator(".vae-plane canvas").first
        self.box = self.canvas.bounding_box()
        size = self.canvas.evaluate("canvas => [canvas.clientWidth, canvas.clientHeight]")
        low, high = X.min(0), X.max(0)
        self.middle, self.half = (low + high) / 2, 0.54 * (high - low).max()
        self.room = np.array(size) - [LEFT + RIGHT, TOP + BOTTOM]
        self.unit = self.room / 2 / self.half * [1, -1]

    def pixel(self, place) -> np.ndarray:
        return np.array([LEFT, TOP]) + self.room / 2 + (np.asarray(place) - self.middle) * self.unit

    def place(self, pixel) -> np.ndarray:
        return (np.asarray(pixel) - [LEFT, TOP] - self.room / 2) / self.unit + self.middle

    def page(self, pixel) -> tuple[float, float]:
        return self.box["x"] + 1 + pixel[0], self.box["y"] + 1 + pixel[1]


def colours(tab, selector=".vae-plane canvas", root=0) -> np.ndarray:
    """Return a canvas's pixels, ``[height, width, 3]``."""
    settle(tab)
    canvas = tab.locator(f".vae-mixture >> nth={root} >> {selector}")
    picture = base64.b64decode(canvas.evaluate("canvas => canvas.toDataURL()").partition(",")[2])
    image = Image.open(io.BytesIO(picture)).convert("RGBA")
    paper = tab.evaluate("getComputedStyle(document.querySelector('.vae-explorer canvas')).backgroundColor")
    ground = Image.new("RGBA", image.size, paper)
    return np.array(Image.alpha_composite(ground, image))[..., :3].astype(int)


def is_ring(picture, pixel, ink, radius=11) -> bool:
    """Tell whether there is a ring of this colour around a pixel."""
    rgb = np.array([int(ink[i : i + 2], 16) for i in (1, 3, 5)])
    turns = np.linspace(0, 2 * math.pi, 12, endpoint=False)
    at = np.rint(pixel[:, None] - 0.5 + radius * np.stack([np.cos(turns), np.sin(turns)])).astype(int)
    return bool((abs(picture[at[1], at[0]] - rgb).max(1) < 60).sum() >= 10)


def moved(rows, k, mean=None, covariance=None) -> list[list[float]]:
    rows = [list(row) for row in rows]
    rows[k] = row_of(
        rows[k][0],
        rows[k][1:3] if mean is None else mean,
        matrix(rows[k]) if covariance is None else covariance,
    )
    return rows


def stretched(plane, row, axis, arm) -> np.ndarray:
    """Return an upright ellipse's covariance after the handle of an axis has gone to `arm`, in pixels."""
    radii = np.sqrt([row[3], row[5]]) * abs(plane.unit)
    radii[axis] = math.hypot(*arm) / 2
    angle = math.atan2(arm[1], arm[0]) - axis * math.pi / 2
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    inverse = np.diag(1 / plane.unit)
    return inverse @ turn @ np.diag(radii**2) @ turn.T @ inverse


def test_starts_in_the_middle(show):
    tab = opened(show)
    rows = start("middle", 3)
    seen = expect(tab, rows)
    assert seen["best"] == f"best yet with 3: {seen['total']}"
    assert tab.locator(".vae-count").inner_text() == "120"
    picture, plane = colours(tab), Plane(tab)
    for row, ink in zip(rows, INKS, strict=False):
        assert is_ring(picture, plane.pixel(row[1:3]), ink)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_points_have_the_blended_colours(show, scheme):
    rows = arrived()[0]
    tab = opened(show, scheme=scheme, components=rows)
    inks = INKS if scheme == "light" else ["#8a74ff", "#f2513f", "#63e6f0", "#f6df3a"]
    picture, plane, shares = colours(tab), Plane(tab), shares_of(rows)
    pixels = np.array([plane.pixel(place) for place in X])
    gaps = cdist(pixels, pixels) + np.diag([math.inf] * len(X))
    clear = 0
    for i in np.flatnonzero(gaps.min(1) > 8)[1:]:
        x, y = np.floor(pixels[i]).astype(int)
        clear += (abs(picture[y, x] - blend(inks, shares[i])).max() <= 3).item()
    alone = (gaps.min(1) > 8).sum()
    assert alone > 30
    assert clear > 0.7 * alone  # the others are under an ellipse or a handle


def test_means_are_dragged(show):
    tab, rows = opened(show), start("middle", 3)
    plane = Plane(tab)
    pixel = plane.pixel(rows[1][1:3])
    grip = np.add(pixel, (4, -3))  # on the handle, not on its middle
    tab.mouse.move(*plane.page(grip))
    tab.mouse.down()
    expect(tab, rows)  # it does not jump
    entries = []
    for by in ([30, -20], [-80, 60], [-60.5, 40.25]):
        tab.mouse.move(*plane.page(grip + by))
        rows = moved(rows, 1, plane.place(pixel + by))
        entries.append(expect(tab, rows)["chart"])
    assert all("over the last 2 changes" in text for text in entries)  # one drag is one mark
    assert is_ring(colours(tab), pixel + by, FOCUS)
    tab.mouse.move(*plane.page([-500, 5000]))  # beyond the plane: at its edge
    rows = moved(rows, 1, plane.middle - plane.half * np.ones(2))
    expect(tab, rows)
    tab.mouse.up()
    tab.mouse.move(*plane.page(pixel))
    expect(tab, rows)  # let go


@pytest.mark.parametrize("axis", [0, 1])
def test_axes_stretch_and_turn(show, axis):
    tab, rows = opened(show), start("middle", 3)
    plane = Plane(tab)
    k = 2 - 2 * axis  # the first one's lower handle, the third one's right one: nothing is near them
    centre = plane.pixel(rows[k][1:3])
    arm = np.zeros(2)
    arm[axis] = 2 * math.sqrt(rows[k][3 + 2 * axis]) * abs(plane.unit[axis])
    assert is_ring(colours(tab), centre + arm, INKS[k], 6)
    tab.mouse.move(*plane.page(centre + arm))
    tab.mouse.down()
    begin = rows[k]
    for pull in ([20, 35], [60, -10], [-15, 20]):
        tab.mouse.move(*plane.page(centre + arm + pull))
        covariance = stretched(plane, begin, axis, arm + pull)
        rows = moved(rows, k, covariance=covariance)
        expect(tab, rows)
    tab.mouse.move(*plane.page(centre))  # onto the mean: as narrow as it may be
    seen = read(tab)
    assert seen["status"] == f"Gaussian {k + 1} is as narrow as it may be."
    tab.mouse.up()


def test_dragging_by_touch(show):
    tab, rows = opened(show, width=360, touch=True), start("middle", 3)
    plane = Plane(tab)
    assert plane.canvas.evaluate("canvas => getComputedStyle(canvas).touchAction") == "none"
    touch, pixel = tab.context.new_cdp_session(tab), plane.pixel(rows[0][1:3])

    def send(kind, *pixels):
        finger = [dict(zip("xy", plane.page(p), strict=True)) for p in pixels]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": finger})

    send("touchStart", pixel)
    for k in range(1, 6):
        send("touchMove", np.add(pixel, (6 * k, -8 * k)))
    send("touchEnd")
    expect(tab, moved(rows, 0, plane.place(np.add(pixel, (30, -40)))))
    assert tab.evaluate("scrollY") == 0


def test_keys_move_every_handle(show):
    tab, rows = opened(show), start("middle", 3)
    plane = Plane(tab)
    plane.canvas.focus()
    by = plane.room[0] * STEP
    keys = {"ArrowRight": [1, 0], "ArrowLeft": [-1, 0], "ArrowUp": [0, -1], "ArrowDown": [0, 1]}
    for key, way in [*keys.items(), *((f"Shift+{k}", np.multiply(v, 5)) for k, v in keys.items())]:
        tab.keyboard.press(key)
        rows = moved(rows, 0, plane.place(plane.pixel(rows[0][1:3]) + np.multiply(way, by)))
        expect(tab, rows)
    assert "the mean of Gaussian 1 is chosen" in plane.canvas.get_attribute("aria-label")
    for k, axis in [(2, 0), (1, 1)]:
        tab.keyboard.press(str(k + 1))
        for _ in range(axis + 1):
            tab.keyboard.press("Space")
        settle(tab)
        name = ["first axis", "second axis"][axis]
        assert f"the {name} of Gaussian {k + 1} is chosen" in plane.canvas.get_attribute("aria-label")
        arm = np.zeros(2)
        arm[axis] = 2 * math.sqrt(rows[k][3 + 2 * axis]) * abs(plane.unit[axis])
        begin = rows[k]
        for key, way in [("Shift+ArrowRight", [5, 0]), ("ArrowDown", [0, 1]), ("ArrowLeft", [-1, 0])]:
            tab.keyboard.press(key)
            arm = arm + np.multiply(way, by)
            rows = moved(rows, k, covariance=stretched(plane, begin, axis, arm))
            expect(tab, rows)
    tab.keyboard.press("Space")
    settle(tab)
    assert "the mean of Gaussian 2 is chosen" in plane.canvas.get_attribute("aria-label")
    tab.keyboard.press("4")  # there are three
    expect(tab, rows)


def test_points_are_chosen(show):
    tab, rows = opened(show, components=arrived()[0]), arrived()[0]
    plane, order = Plane(tab), list(np.argsort(X[:, 0], kind="stable"))
    for wanted in (order[-1], order[-4]):
        tab.mouse.click(*plane.page(plane.pixel(X[wanted]) + 1))
        expect(tab, rows, wanted)
    tab.mouse.move(*plane.page(plane.pixel(X[order[-1]])))
    tab.mouse.down()
    tab.mouse.move(*plane.page([LEFT + 3, TOP + 3]))
    seen = int(((X - plane.place([LEFT + 3, TOP + 3])) ** 2).sum(1).argmin())
    expect(tab, rows, seen)
    tab.mouse.up()
    plane.canvas.focus()
    at = order.index(seen)
    for key, by in [("n", 1), ("n", 1), ("p", -1), ("N", 1)]:
        tab.keyboard.press(key)
        at = (at + by) % len(X)
        expect(tab, rows, order[at])
    for name, by in [("Previous", -1), ("Next", 1)]:
        tab.get_by_role("button", name=name).click()
        at = (at + by) % len(X)
        expect(tab, rows, order[at])
    shares = joint(rows).softmax(1)
    entropy = Categorical(shares).entropy()
    tab.get_by_role("button", name="Most doubtful").press("Enter")
    expect(tab, rows, int(entropy.argmax()))
    tab.get_by_role("button", name="Least probable").press("Space")
    least = int(log_p(rows).argmin())
    expect(tab, rows, least)
    picture = colours(tab)
    assert is_ring(picture, plane.pixel(X[least]), "#22262b", 7)


def test_doubt_is_entropy(show):
    rows = [[0.4, -0.9, 0.5, 0.3, 0, 1], [0.3, 1.1, 2, 0.1, 0, 1], [0.2, -0.9, 0.4, 0.3, 0, 1]]
    rows.append([0.1, 0.4, 1.4, 0.1, 0, 0.1])
    tab = opened(show, components=rows)
    tab.get_by_role("button", name="Most doubtful").click()
    shares = shares_of(rows)
    wanted = int(Categorical(torch.from_numpy(shares)).entropy().argmax())
    assert wanted not in {(shares**2).sum(1).argmin(), shares.max(1).argmin()}  # other ideas of doubt
    place = tuple(map(nice, X[wanted]))
    assert f"x = ({place[0]}, {place[1]})" in read(tab)["which"]


def reweighted(rows, chosen, weight) -> list[list[float]]:
    new = min(1 - 0.005 * (len(rows) - 1), max(0.005, weight))
    rest = 1 - rows[chosen][0]
    return [[new if k == chosen else r[0] * (1 - new) / rest, *r[1:]] for k, r in enumerate(rows)]


def test_weights(show):
    tab, rows = opened(show), start("middle", 3)
    for k in range(3):
        slider = tab.locator("[type=range]").nth(k)
        slider.focus()
        for key, weight in [("End", 1.0), ("Home", 0.0), ("ArrowRight", None)]:
            before = float(slider.input_value())
            tab.keyboard.press(key)
            rows = reweighted(rows, k, round(before + 0.01, 2) if weight is None else weight)
            expect(tab, rows)
        box = slider.bounding_box()
        for share in (0.0, 1.0, 0.4):
            tab.mouse.click(box["x"] + share * (box["width"] - 1), box["y"] + box["height"] / 2)
            settle(tab)
            shown = float(tab.locator(".vae-weights output").nth(k).inner_text())
            assert shown == pytest.approx(min(0.99, max(0.005, share)), abs=0.03)
            rows = reweighted(rows, k, 1.0 if share == 1 else 0.0 if share == 0 else round(shown, 2))
            expect(tab, rows)


IDLE = "document.querySelector('[data-does=run]').textContent === 'Run EM'"


def test_step_of_em(show):
    tab, rows = opened(show), start("middle", 3)
    for press in ("click", "Enter", "Space"):
        before, rows = log_p(rows).sum().item(), em(rows)
        button = tab.get_by_role("button", name="EM step", exact=True)
        button.click() if press == "click" else button.press(press)
        expect(tab, rows)  # the numbers at once, the picture in a moment
        tab.wait_for_function("document.querySelector('.vae-status').textContent.includes('raised')")
        gain = log_p(rows).sum().item() - before
        status = tab.locator(".vae-status").inner_text()
        assert number(status.split()[-2]) == pytest.approx(gain, abs=0.0051)
        tab.evaluate("document.querySelector('.vae-status').textContent = ''")
    picture, plane = colours(tab), Plane(tab)
    assert all(is_ring(picture, plane.pixel(rows[k][1:3]), INKS[k]) for k in range(3))


SLOWLY = """() => {
  const now = performance.now.bind(performance), ask = requestAnimationFrame.bind(window), start = now();
  const slow = (time) => start + (time - start) / 15;
  performance.now = () => slow(now());
  window.requestAnimationFrame = (callback) => ask((time) => callback(slow(time)));
}"""


def test_a_step_glides_by_the_old_colours(show):
    tab, rows = opened(show), start("middle", 3)
    plane, before = Plane(tab), colours(tab)
    i = int(np.argmax(X[:, 0]))
    x, y = np.floor(plane.pixel(X[i])).astype(int)
    tab.evaluate(SLOWLY)
    tab.get_by_role("button", name="EM step", exact=True).click()
    tab.wait_for_timeout(700)
    on_its_way = colours(tab)
    assert (on_its_way != before).any()  # moving
    assert (on_its_way[y, x] == before[y, x]).all()  # by the old share
    tab.wait_for_function("document.querySelector('.vae-status').textContent.includes('raised')")
    after = colours(tab)
    wanted = blend(INKS, shares_of(em(rows))[i])
    assert abs(after[y, x] - wanted).max() <= 3
    assert (after[y, x] != before[y, x]).any()


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_run_em(show, motion):
    tab = opened(show)
    tab.emulate_media(reduced_motion=motion)
    rows, steps = arrived()
    tab.get_by_role("button", name="Run EM").click()
    if motion == "reduce":
        expect(tab, rows)  # at once
    tab.wait_for_function(IDLE)
    seen = expect(tab, rows)
    assert seen["status"].startswith(
        f"EM has arrived after {steps} steps, none of which lowered the evidence."
    )
    assert f"over the last {steps + 1} changes" in seen["chart"]
    tab.get_by_role("button", name="badly").click()
    assert "Two Gaussians share one group" in read(tab)["status"]
    tab.get_by_role("button", name="Run EM").press("Enter")
    tab.wait_for_function(IDLE)
    stuck = read(tab)
    behind = log_p(rows).sum().item() - number(stuck["total"])
    assert behind > 10
    assert f"But {behind:.2f} nats below the best seen here: a local optimum." in stuck["status"]
    assert stuck["best"] == f"best yet with 3: {seen['total']}"


def test_run_is_stopped_and_gives_way(show):
    tab = opened(show)

    def is_over():
        settle(tab)
        return tab.evaluate(IDLE)

    def run():
        tab.get_by_role("button", name="in the middle").click()
        tab.get_by_role("button", name="Run EM").click()
        settle(tab)
        assert not is_over()

    run()
    tab.get_by_role("button", name="Stop").press("Space")
    halted = read(tab)["total"]
    assert is_over()
    tab.wait_for_timeout(450)
    assert read(tab)["total"] == halted
    run()
    tab.locator("[type=range]").first.press("Home")
    assert is_over()
    run()
    tab.locator(".vae-plane canvas").press("ArrowUp")
    assert is_over()
    run()
    tab.get_by_role("button", name="all alike").click()
    assert is_over()
    run()
    plane = Plane(tab)
    tab.mouse.click(*plane.page(plane.pixel(X[3])))  # a point is looked at while it runs
    tab.wait_for_function(IDLE)
    expect(tab, arrived()[0], 3)


def test_starts_over(show):
    tab = opened(show, components=[[1.0, 0.0, 0.0, 1.0, 0.0, 1.0]])
    expect(tab, [[1.0, 0.0, 0.0, 1.0, 0.0, 1.0]])
    assert tab.locator("[type=range]").is_disabled()
    kinds = {"in the middle": "middle", "all alike": "alike", "one on a point": "single"}
    for count in (2, 3, 4, 1):
        radio = tab.get_by_label(str(count), exact=True)
        radio.click()
        for name, kind in kinds.items():
            tab.get_by_role("button", name=name).click()
            expect(tab, start(kind, count), abs_total=0.02)
        tab.get_by_role("button", name="badly").press("Enter")
        assert len(read(tab)["weights"]) == count
    radio.focus()
    for count in (2, 3):
        tab.keyboard.press("ArrowRight")
        assert len(read(tab)["weights"]) == count


def test_alike_stay_alike(show):
    tab = opened(show)
    tab.emulate_media(reduced_motion="reduce")
    tab.get_by_role("button", name="all alike").click()
    tab.get_by_role("button", name="Run EM").click()
    tab.wait_for_function(IDLE)
    seen = expect(tab, start("alike", 3))
    assert "Alike they stay" in seen["status"]


def test_the_likelihood_has_no_top(show):
    tab = opened(show)
    tab.emulate_media(reduced_motion="reduce")
    tab.get_by_role("button", name="one on a point").click()
    tab.get_by_role("button", name="Run EM").click()
    tab.wait_for_function(IDLE)
    rows, floor = arrived("single")[0], FLOOR
    seen = expect(tab, rows)
    assert "Gaussian 3 has shrunk onto a point" in seen["status"]
    assert "gains log 4 = 1.39 nats" in seen["status"]
    assert "no runaway" in seen["best"]
    halve = tab.get_by_role("button", name="Halve it")
    for press in ["click", "Enter", "Space"] + ["click"] * 9:
        before, floor = log_p(rows).sum().item(), floor / 2
        rows = em(rows, floor)
        halve.click() if press == "click" else halve.press(press)
        tab.wait_for_function(IDLE)
        seen = expect(tab, rows, abs_total=0.006)
        assert log_p(rows).sum().item() - before == pytest.approx(math.log(4), abs=0.01)
        assert number(seen["floor"]) == pytest.approx(floor, rel=0.06)
    assert "rose by 1.39 nats. Halve again" in seen["status"]
    assert halve.is_disabled()  # twelve times are enough
    tab.get_by_role("button", name="in the middle").click()
    expect(tab, start("middle", 3))
    assert halve.is_enabled()
    halve.click()
    tab.wait_for_function("document.querySelector('.vae-status').textContent.includes('No Gaussian is at')")


def test_marks_and_shade(show):
    rows = arrived()[0]
    tab = opened(show, components=rows)
    plane, pictures = Plane(tab), {"dots": colours(tab)}
    tab.locator("[value=components]").click()
    pictures["components"] = colours(tab)
    assert "Each numeral names" in tab.locator(".vae-note").inner_text()
    tab.locator("[value=components]").press("ArrowRight")
    pictures["labels"] = colours(tab)
    note, largest = tab.locator(".vae-note").inner_text(), shares_of(rows).argmax(1)
    for k in range(3):
        counts = {name: int(((name == LABELS) & (largest == k)).sum()) for name in (1, 4, 7)}
        for name, count in counts.items():
            assert (f"{count} × “{name}”" in note.split("Gaussian ")[k + 1]) == (count > 0)
    named = [
        row_of((name == LABELS).mean(), X[name == LABELS].mean(0), np.cov(X[name == LABELS].T, bias=True))
        for name in (1, 4, 7)
    ]
    assert number(note.split()[-2]) == pytest.approx(log_p(named).sum().item(), abs=0.0051)
    assert log_p(rows).sum() > log_p(named).sum()
    for one, other in itertools.combinations(pictures, 2):
        assert (pictures[one] != pictures[other]).any(-1).mean() > 0.01
    tab.locator("[value=dots]").click()
    assert (colours(tab) == pictures["dots"]).all()

    tab.get_by_label("shade log p(x)").press("Space")
    shaded = colours(tab)
    pixels = itertools.product(range(45, 375, 30), range(25, 355, 30))
    top = math.ceil(np.sort(log_p(rows).numpy())[int(0.9 * len(X))])
    tones = set()
    for x, y in pixels:
        if (pictures["dots"][y - 4 : y + 5, x - 4 : x + 5] < 250).any():
            continue  # something is drawn there
        value = log_p(rows, plane.place([x + 0.5, y + 0.5])[None]).item()
        tone = min(6, max(0, math.ceil(value) - top + 6))
        if 0 < tone < 6 and abs(value - round(value)) < 0.3:
            continue  # near the border of two tones
        ink = np.array([0x22, 0x26, 0x2B])
        assert abs(shaded[y, x] - (255 + 0.055 * tone * (ink - 255))).max() <= 3
        tones.add(tone)
    assert len(tones) >= 4
    tab.get_by_label("shade log p(x)").click()
    assert (colours(tab) == pictures["dots"]).all()


def test_without_labels_there_are_none_to_show(show):
    tab = show(MixtureExplorer(POINTS))
    assert not tab.locator("[value=labels]").is_visible()
    assert tab.locator("[value=components]").is_visible()


def test_chart_shows_the_climb(show):
    tab, rows = opened(show), start("middle", 3)
    tab.emulate_media(reduced_motion="reduce")
    totals = [log_p(rows).sum().item()]
    for _ in range(4):
        tab.get_by_role("button", name="EM step", exact=True).click()
        rows = em(rows)
        totals.append(log_p(rows).sum().item())
    expect(tab, rows)
    picture = colours(tab, ".vae-evidence canvas")
    height, width, _ = picture.shape
    left, right, top, bottom = 62, width - 12, 12, height - 16
    most, least = max(totals), max(min(totals), max(totals) - 2.5 * len(X))
    for i, total in enumerate(totals[1:], 1):
        x = left + i / 24 * (right - left)
        y = min(bottom, top + (most - total) / (most - least) * (bottom - top))
        assert abs(picture[int(y), int(x)] - [0x22, 0x26, 0x2B]).max() < 40
    tab.locator(".vae-plane canvas").press("Shift+ArrowRight")
    settle(tab)
    label = tab.locator(".vae-evidence canvas").get_attribute("aria-label")
    assert label.startswith("Log-evidence over the last 6 changes, from ")


def test_traits_set_from_outside(show):
    first, second = (MixtureExplorer(POINTS, LABELS, selected=i) for i in (4, 5))
    traits = ["components", "floor", "selected", "marks", "shade"]
    links = [jslink((first, trait), (second, trait)) for trait in traits]
    tab = show(first, second, *links, height=2400)
    rows = start("middle", 3)
    expect(tab, rows, 4, root=1)
    plane = Plane(tab)
    plane.canvas.focus()
    tab.keyboard.press("Shift+ArrowRight")
    rows = moved(rows, 0, plane.place(np.add(plane.pixel(rows[0][1:3]), (5 * STEP * plane.room[0], 0))))
    tab.locator("[value=labels]").first.click()
    tab.get_by_label("shade").first.click()
    tab.get_by_role("button", name="Least probable").first.click()
    for root in (0, 1):
        expect(tab, rows, int(log_p(rows).argmin()), root=root)
    assert (colours(tab, root=0) == colours(tab, root=1)).all()
    tab.get_by_label("4", exact=True).first.click()
    for root in (0, 1):
        expect(tab, start("middle", 4), int(log_p(rows).argmin()), root=root)


def test_what_no_plane_could_show_is_brought_inside(show):
    tab = opened(show, components=[[0.5, 100.0, 0.0, 1.0, 0.0, 1.0], [0.5, 0.0, 0.0, 1e-12, 0.0, 1.0]])
    plane = Plane(tab)
    inside = plane.middle[0] + plane.half
    expect(tab, [[0.5, inside, 0.0, 1.0, 0.0, 1.0], [0.5, 0.0, 0.0, FLOOR**2, 0.0, 1.0]])


def test_read_out_waits_for_a_pause(show):
    tab, rows = opened(show), start("middle", 3)
    live = tab.locator("[aria-live].vae-hidden")
    tab.wait_for_function("document.querySelector('.vae-mixture > [aria-live]').textContent !== ''")
    before = live.inner_text()
    total = log_p(rows).sum().item()
    assert before.startswith(
        f"Log-evidence {nice(total)} nats, {nice(total / 120)} per point. Gaussian 1, mean:"
    )
    tab.locator(".vae-plane canvas").press("ArrowRight")
    settle(tab)
    assert live.inner_text() == before
    tab.wait_for_timeout(600)
    assert live.inner_text() != before
    assert tab.locator(".vae-total b").inner_text() in live.inner_text()


def test_theme_repaints(show):
    tab = opened(show)
    light = {name: colours(tab, name) for name in (".vae-plane canvas", ".vae-evidence canvas")}
    tab.evaluate("document.documentElement.dataset.theme = 'dark'")
    for name, before in light.items():
        assert (colours(tab, name) != before).any(-1).mean() > 0.005
    tab.evaluate("document.documentElement.dataset.theme = 'light'")
    for name, before in light.items():
        assert (colours(tab, name) == before).all()


@pytest.mark.parametrize("width", [360, 760, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible_and_fits(show, width, scheme):
    tab = opened(show, width=width, scheme=scheme, components=start("middle", 4), shade=True)
    for marks in ("dots", "labels"):
        tab.locator(f"[value={marks}]").check()
        settle(tab)
        assert violations(tab) == []
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= width
    cramped = "e => e.scrollWidth > e.clientWidth + 1"
    assert not any(
        tab.locator("td, th:not(:has(.vae-hidden)), button").evaluate_all(f"all => all.map({cramped})")
    )


@pytest.mark.parametrize("width", [360, 724])
def test_nothing_jumps(show, width):
    """Dragging, stepping and choosing change numbers and sentences, but move no control and no canvas."""
    tab = opened(show, width=width)
    tab.emulate_media(reduced_motion="reduce")
    places = """[...document.querySelectorAll('canvas, input, button, table')]
      .map((e) => [e.getBoundingClientRect().top + scrollY, e.getBoundingClientRect().left])"""
    settle(tab)
    before = tab.evaluate(places)

    def still():
        settle(tab)
        return tab.evaluate(places) == before

    for name in (
        "EM step",
        "badly",
        "Run EM",
        "in the middle",
        "Run EM",
        "badly",
        "Run EM",
        "all alike",
        "Run EM",
    ):
        tab.get_by_role("button", name=name).click()
        assert still(), name
    for name in ("one on a point", "EM step", "Run EM", "Halve it", "Least probable", "Most doubtful"):
        tab.get_by_role("button", name=name).click()
        assert still(), name
    tab.get_by_role("button", name="in the middle").click()
    for key in ["Shift+ArrowLeft"] * 4 + ["Space"] + ["Shift+ArrowLeft"] * 4 + ["n"] * 4:
        tab.locator(".vae-plane canvas").press(key)
        assert still(), key
    for marks in ("components", "labels"):
        tab.locator(f"[value={marks}]").click()
        assert still(), marks


def test_clean_up_lets_go_of_the_model(show):
    tab = opened(show)
    left, said = tab.evaluate(
        """async () => {
          const [text] = document.querySelectorAll('script[type$="widget-state+json"]');
          const models = Object.values(JSON.parse(text.textContent).state);
          const { state, buffers } = models.find((model) => model.model_name === "AnyModel");
          for (const { path, data } of buffers)
            state[path[0]] = new DataView(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)).buffer);
          const url = URL.createObjectURL(new Blob([state._esm], { type: "text/javascript" }));
          const listeners = new Set();
          const names = (text, listener) => text.split(" ").map((name) => [name, listener]);
          const find = ([name, listener]) => [...listeners].find(([n, l]) => n === name && l === listener);
          const model = {
            get: (name) => state[name], set: (values) => Object.assign(state, values), save_changes: () => {},
            on: (text, listener) => names(text, listener).forEach((pair) => listeners.add(pair)),
            off: (text, listener) => names(text, listener).forEach((pair) => listeners.delete(find(pair))),
          };
          const el = document.createElement("div");
          document.body.append(el);
          const cleanUp = (await import(url)).default.render({ model, el });
          if (listeners.size < 6) throw new Error("nobody listens");
          await new Promise((done) => setTimeout(done, 200));  // painted, and about to say so
          const before = JSON.stringify(state.components);
          el.querySelector("[data-does=run]").click();
          const after = JSON.stringify(state.components);
          if (before === after) throw new Error("EM does not run");
          cleanUp();
          await new Promise((done) => setTimeout(done, 700));
          if (JSON.stringify(state.components) !== after) throw new Error("EM runs on");
          return [listeners.size, el.querySelector(".vae-mixture > [aria-live]").textContent];
        }"""
    )
    assert left == 0
    assert said == ""
