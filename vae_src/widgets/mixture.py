"""A mixture of Gaussians to drag: evidence and responsibilities follow, and EM takes over when asked."""

import math
from typing import Any

import numpy as np
import traitlets

from vae_src.widgets.explorer import Explorer, Number, array, floats, script, styles

MOST = 4  # components: as many colours as any kind of eye can tell apart


class Mixture(traitlets.List):
    """A trait for up to four components, each a row of six numbers."""

    def validate(self, obj: Any, value: Any) -> list[list[float]]:
        """Return the rows as floats; raise TraitError unless they are a mixture of Gaussians in the plane."""
        try:
            rows = [[float(number) for number in row] for row in value]
        except (TypeError, ValueError):
            rows = [[]]
        form = "[weight, mean 1, mean 2, variance 1, covariance, variance 2]"
        if len(rows) > MOST or any(len(row) != 6 or not all(map(math.isfinite, row)) for row in rows):
            raise self.refusal(f"must be at most {MOST} rows {form} of finite numbers, not {value!r}")
        weights = [row[0] for row in rows]
        if rows and (min(weights) <= 0 or abs(sum(weights) - 1) > 1e-6):
            raise self.refusal(f"must have positive weights that sum to 1, not {weights}")
        for _, _, _, first, both, second in rows:
            if first <= 0 or second <= 0 or first * second <= both**2:
                raise self.refusal(
                    f"must have positive definite covariances: [[{first}, {both}], [{both}, {second}]] is not"
                )
        return rows

    def refusal(self, sentence: str) -> traitlets.TraitError:
        """Return the error that names the trait."""
        return traitlets.TraitError(f"{self.name} {sentence}")


class MixtureExplorer(Explorer):
    r"""Gaussians that are dragged over points, to explain them.

    .. math:: p(x) = \sum_k \pi_k \, \mathcal N(x; \mu_k, \Sigma_k), \qquad
              p(k \mid x) = \pi_k \, \mathcal N(x; \mu_k, \Sigma_k) / p(x)

    The page shows the log-evidence, the sum of log p(x) over the points, and Bayes' rule for one of them.
    Buttons take steps of EM, from good starts and bad ones; `floor` keeps one from shrinking to nothing.

    Args:
        points: ``[n, 2]``, two coordinates of each datum, n from 10 to 1,000; some 300 are enough.
        labels: ``[n]``, the digits from 0 to 9 that the points truly are, for the reader to reveal.
        traits: Starting values, such as ``selected=3``, or ``components=[[weight, mean 1, mean 2, variance 1,
            covariance, variance 2], …]``. The page puts three in the middle if there are none.

    Raises:
        ValueError: If the points are not finite pairs that differ in both coordinates, or there is not one
            digit for each.

    In the book: fig-explorer-mixture.
    """

    _esm = script("mixture")
    _css = styles("mixture")

    components = Mixture(help="weight, mean (2), variance 1, covariance, variance 2 of each").tag(sync=True)
    floor = Number(help="the smallest standard deviation of a component").tag(sync=True)
    selected = traitlets.Int(0, min=0, help="the point for which Bayes' rule is shown").tag(sync=True)
    marks = traitlets.Enum(["dots", "components", "labels"], "dots", help="what stands for a point").tag(
        sync=True
    )
    shade = traitlets.Bool(False, help="whether log p(x) is shaded").tag(sync=True)
    names = traitlets.List(traitlets.Unicode(), ["x₁", "x₂"], 2, 2, help="names of the axes").tag(sync=True)

    points = traitlets.Bytes(help="coordinates, 32-bit").tag(sync=True)
    labels = traitlets.Bytes(help="each point's digit; nothing if they have no names").tag(sync=True)

    def __init__(self, points: Any, labels: Any = None, **traits: Any) -> None:
        plane = array(points).astype(np.float32)
        if plane.ndim != 2 or plane.shape[1] != 2 or not 10 <= len(plane) <= 1000:
            raise ValueError(
                f"points must be 10 to 1,000 pairs of coordinates, [n, 2], not {list(plane.shape)}"
            )
        spread = plane.std(axis=0).min()
        if not np.isfinite(plane).all() or spread <= 0:
            raise ValueError("points must be finite numbers and differ in both coordinates")
        names = array([] if labels is None else labels).ravel()
        if labels is not None and (len(names) != len(plane) or not np.isin(names, range(10)).all()):
            raise ValueError(
                f"labels must name a digit from 0 to 9 for each of the {len(plane)} points; "
                f"here are {len(names)}: {np.unique(names).tolist()}"
            )
        traits.setdefault("floor", 0.02 * float(spread))
        super().__init__(points=floats(plane), labels=names.astype(np.uint8).tobytes(), **traits)

    @traitlets.validate("floor")
    def _check_floor(self, proposal: Any) -> float:
        """Refuse a floor that is none."""
        if proposal["value"] <= 0:
            raise traitlets.TraitError(f"floor must be positive, not {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("selected")
    def _check_selected(self, proposal: Any) -> int:
        """Refuse a point that there is not."""
        count = len(self.points) // 8
        if not 0 <= proposal["value"] < count:
            raise traitlets.TraitError(
                f"selected must be a point from 0 to {count - 1}, not {proposal['value']}"
            )
        return proposal["value"]

    @traitlets.validate("marks")
    def _check_marks(self, proposal: Any) -> str:
        """Refuse to show names that were not given."""
        if proposal["value"] == "labels" and not self.labels:
            raise traitlets.TraitError('marks="labels" needs labels: MixtureExplorer(points, labels)')
        return proposal["value"]

    def __repr__(self) -> str:
        """Say how many points and components there are."""
        return f"MixtureExplorer({len(self.points) // 8} points, {len(self.components) or 3} components)"
