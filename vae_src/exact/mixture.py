r"""A mixture of Gaussians, whose latent is one of K names, so that integrals are sums; and EM, to fit it."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Categorical, MultivariateNormal


class MixtureSample(NamedTuple):
    """Points, and what a reader of the data never sees: which component made each."""

    x: Float[Tensor, "samples features"]
    component: Int[Tensor, " samples"]


class GaussianMixture:
    r"""A mixture of K Gaussians, whose evidence and posterior are sums over its components.

    .. math:: p(z = k) = \pi_k, \qquad p(x \mid z = k) = \mathcal N(x;\ \mu_k, \Sigma_k), \qquad
              p(x) = \sum_{k=1}^{K} \pi_k\, \mathcal N(x;\ \mu_k, \Sigma_k)

    Args:
        weights: π, shape ``[components]``, not negative, with sum 1.
        means: μ, shape ``[components, features]``.
        covariances: Σ, shape ``[components, features, features]``, positive definite.

    Raises:
        ValueError: If the shapes disagree, the weights are no probabilities, or a covariance is not positive
            definite.

    Reference: Bishop (2006), section 9.2. In the book: eq-lvm-mixture.
    """

    def __init__(
        self,
        weights: Float[Tensor, " components"],
        means: Float[Tensor, "components features"],
        covariances: Float[Tensor, "components features features"],
    ):
        _require_components(weights, means, covariances)
        self.weights = weights
        self.means = means
        self.covariances = covariances
        self._scale_tril = _cholesky(covariances)

    def log_joint(self, x: Float[Tensor, "batch features"]) -> Float[Tensor, "batch components"]:
        """Return log p(x, z = k) for every component k, in nats."""
        return self.weights.log() + self._components().log_prob(x[:, None])

    def log_prob(self, x: Float[Tensor, "batch features"]) -> Float[Tensor, " batch"]:
        """Return log p(x), the log-evidence, exactly, in nats per example."""
        return self.log_joint(x).logsumexp(1)

    def responsibilities(self, x: Float[Tensor, "batch features"]) -> Float[Tensor, "batch components"]:
        r"""Return the exact posterior over components, by Bayes' rule.

        .. math:: r_{nk} = p(z = k \mid x_n) = \frac{p(x_n, z = k)}{\sum_j p(x_n, z = j)}

        Each row sums to 1. In the book: eq-lvm-responsibility.
        """
        return self.log_joint(x).softmax(1)

    def sample(self, num_samples: int) -> MixtureSample:
        """Draw points as the story goes: a component each, then a point from it."""
        z = Categorical(self.weights).sample(torch.Size((num_samples,)))
        noise = torch.randn(num_samples, self.means.shape[1], 1).to(self.means)
        return MixtureSample(self.means[z] + (self._scale_tril[z] @ noise)[..., 0], z)

    def _components(self) -> MultivariateNormal:
        """Return p(x | z = k), with batch shape ``[components]``."""
        return MultivariateNormal(self.means, scale_tril=self._scale_tril)


class EMResult(NamedTuple):
    """What `em` found, and the way there."""

    model: GaussianMixture
    log_likelihood: Float[Tensor, " steps"]  # mean log p(x) at the start and after each step, in nats


def em(
    x: Float[Tensor, "batch features"], start: GaussianMixture, num_steps: int, floor: float = 0.0
) -> EMResult:
    r"""Fit a mixture by expectation maximisation: a posterior for each point, then a fit to weighted points.

    Without a floor the mean log-likelihood never falls. With one it may, where a variance is near the floor.

    Args:
        x: Data, one point per row.
        start: Where to begin; EM climbs to a maximum near it, not to the best one.
        num_steps: How many pairs of steps to make, at least 1.
        floor: Added to each variance at every step: what keeps a component from collapsing on a point.

    Returns:
        The last mixture, and the mean log-likelihood per point, ``num_steps + 1`` values.

    Raises:
        ValueError: If the data are unusable, ``num_steps`` is below 1, the floor is negative, or a component
            collapses.

    Reference: Dempster, Laird & Rubin (1977), doi:10.1111/j.2517-6161.1977.tb01600.x.
    In the book: eq-lvm-free-energy.
    """
    _require_points(x)
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, not {num_steps}")
    model, log_likelihood = start, [start.log_prob(x).mean()]
    for _ in range(num_steps):
        model = m_step(x, model.responsibilities(x), floor)
        log_likelihood.append(model.log_prob(x).mean())
    return EMResult(model, torch.stack(log_likelihood))


def m_step(
    x: Float[Tensor, "batch features"],
    responsibilities: Float[Tensor, "batch components"],
    floor: float = 0.0,
) -> GaussianMixture:
    r"""Fit each component to the points, counted as often as the component is responsible for them.

    .. math:: N_k = \sum_n r_{nk}, \quad \pi_k = \frac{N_k}{N}, \quad
              \mu_k = \frac{1}{N_k} \sum_n r_{nk} x_n, \quad
              \Sigma_k = \frac{1}{N_k} \sum_n r_{nk} (x_n - \mu_k)(x_n - \mu_k)^\top

    Args:
        x: Data, one point per row.
        responsibilities: One row per point, with sum 1.
        floor: Added to each variance.

    Returns:
        The mixture that maximises the expected log-joint.

    Raises:
        ValueError: If the floor is negative, or a component is left without points or collapses on one.

    Reference: Bishop (2006), eqs. 9.24 to 9.26. In the book: eq-lvm-m-step.
    """
    if not (floor >= 0 and math.isfinite(floor)):
        raise ValueError(f"floor is added to variances and must not be negative, not {floor}")
    counts = responsibilities.sum(0)
    if counts.min() <= 0:
        raise ValueError(f"component {int(counts.argmin())} has no points left: start it elsewhere")
    means = responsibilities.T @ x / counts[:, None]
    offset = x[:, None] - means
    spread = torch.einsum("nk,nki,nkj->kij", responsibilities, offset, offset) / counts[:, None, None]
    return GaussianMixture(counts / counts.sum(), means, spread + floor * torch.eye(x.shape[1]).to(x))


def random_start(x: Float[Tensor, "batch features"], num_components: int, seed: int) -> GaussianMixture:
    """Make a start for `em`: equal weights, random points of the data as means, all its spread in each.

    Args:
        x: Data, one point per row.
        num_components: K, at least 1.
        seed: Which points.

    Raises:
        ValueError: If the data are unusable, or there are fewer points than components.
    """
    _require_points(x)
    if not 1 <= num_components <= len(x):
        raise ValueError(f"num_components must lie between 1 and the {len(x)} points, not {num_components}")
    chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:num_components]
    share = x.new_full((num_components,), 1 / num_components)
    return GaussianMixture(share, x[chosen], x.T.cov(correction=0).expand(num_components, -1, -1))


def _cholesky(covariances: Float[Tensor, "components n n"]) -> Float[Tensor, "components n n"]:
    """Triangular roots, or an error that says which component collapsed."""
    root, info = torch.linalg.cholesky_ex(covariances)
    if info.any():
        bad = int(info.nonzero()[0])
        raise ValueError(
            f"the covariance of component {bad} is not positive definite: it has collapsed on a point or a "
            "line. Give em a floor, or start elsewhere"
        )
    return root


def _require_components(weights: Tensor, means: Tensor, covariances: Tensor) -> None:
    """Raise unless the three agree on the number of components and features, and π are probabilities."""
    k, features = means.shape
    if weights.shape != (k,) or covariances.shape != (k, features, features):
        raise ValueError(
            f"{k} means in {features} dimensions need weights [{k}] and covariances [{k}, {features}, "
            f"{features}], not {list(weights.shape)} and {list(covariances.shape)}"
        )
    if not (weights.min() >= 0 and abs(weights.sum().item() - 1) < 1e-5):
        raise ValueError(f"weights must be probabilities with sum 1, not {weights.tolist()}")


def _require_points(x: Tensor) -> None:
    """Raise unless there are two points at least and all of them are finite."""
    if len(x) < 2 or not x.isfinite().all():
        raise ValueError(
            f"x needs at least two points, all finite, one per row; got {len(x)}, of which "
            f"{int((~x.isfinite()).any(1).sum())} hold NaN or infinity"
        )
