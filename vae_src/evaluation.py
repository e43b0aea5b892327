"""Measuring a trained model: estimates, named so, in nats per example and without gradients."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vae_src.models import LatentVariableModel
from vae_src.objectives import log_weights
from vae_src.randomness import seeded


class Estimate(NamedTuple):
    """A mean over examples and its standard error."""

    mean: float
    standard_error: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.standard_error:.2f}"


class ActiveUnits(NamedTuple):
    """Which latents carry information about x."""

    variance: Float[Tensor, " latent"]
    active: Bool[Tensor, " latent"]

    @property
    def count(self) -> int:
        """How many latents are active."""
        return int(self.active.sum())


def estimate(values: Float[Tensor, " batch"]) -> Estimate:
    """Summarise per-example values by their mean and its standard error over examples.

    Args:
        values: One value per example, at least two, all finite.

    Returns:
        Mean and standard error, in the unit of ``values``.

    Raises:
        ValueError: If there are fewer than two values or one is not finite.
    """
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"a standard error needs at least two values on one axis, got {list(values.shape)}")
    if not values.isfinite().all():
        raise ValueError(f"{int((~values.isfinite()).sum())} of {len(values)} values are not finite")
    values = values.double()
    return Estimate(values.mean().item(), (values.std() / math.sqrt(len(values))).item())


@torch.no_grad()
def log_marginal(
    model: LatentVariableModel,
    x: Float[Tensor, "batch *event"],
    num_samples: int = 5000,
    *,
    chunk_size: int = 100,
    batch_size: int = 100,
    seed: int = 0,
) -> Float[Tensor, " batch"]:
    r"""Importance-sampling estimate of log p(x), in nats per example.

    .. math:: \log \hat p(x) = \log \tfrac1K \sum_{k=1}^K w_k

    A lower bound in expectation, for every K: report it as log p(x) ≥ …, with K beside it.

    Args:
        model: Encoder (the proposal), decoder and prior.
        x: Data, one example per row.
        num_samples: K, at least 1.
        chunk_size: Draws held in memory at once.
        batch_size: Examples held in memory at once.
        seed: Of the draws.

    Returns:
        One estimate per example.

    Raises:
        ValueError: If a count is below 1.

    Reference: Burda, Grosse & Salakhutdinov (2016), arXiv:1509.00519, section 5.
    In the book: eq-log-marginal.
    """
    if min(num_samples, chunk_size, batch_size) < 1:
        raise ValueError(
            "num_samples, chunk_size and batch_size count things and must be at least 1, "
            f"not {num_samples}, {chunk_size} and {batch_size}"
        )
    chunks = [min(chunk_size, num_samples - done) for done in range(0, num_samples, chunk_size)]
    with seeded(seed):
        log_p = []
        for x_part in x.split(batch_size):
            total = x_part.new_full((len(x_part),), -math.inf)
            for chunk in chunks:
                total = torch.logaddexp(total, log_weights(model, x_part, chunk).logsumexp(0))
            log_p.append(total - math.log(num_samples))
    return torch.cat(log_p)


def effective_sample_size(log_w: Float[Tensor, "samples batch"]) -> Float[Tensor, " batch"]:
    r"""How many equally weighted draws the weighted ones are worth.

    .. math:: \mathrm{ESS} = \frac{(\sum_k w_k)^2}{\sum_k w_k^2} \in [1, K]

    Args:
        log_w: Log-weights from `log_weights`, in nats.

    Returns:
        A number of draws per example, from 1 (one weight dominates) to K (all are equal).

    In the book: eq-effective-sample-size.
    """
    return (2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp()


@torch.no_grad()
def active_units(
    model: LatentVariableModel, x: Float[Tensor, "batch *event"], threshold: float = 0.01
) -> ActiveUnits:
    r"""Which latents move with the data: those whose posterior mean varies across it.

    .. math:: A_j = \operatorname{Var}_x \big(\mathbb E_{q(z \mid x)}[z_j]\big) > 0.01

    Args:
        model: Anything with ``encode``.
        x: Data, at least two examples.
        threshold: Variance above which a latent counts as active.

    Returns:
        The variance of each latent's posterior mean, and whether it is active.

    Raises:
        ValueError: If there are fewer than two examples.

    Reference: Burda, Grosse & Salakhutdinov (2016), arXiv:1509.00519, section 5.2.
    In the book: eq-active-units.
    """
    if len(x) < 2:
        raise ValueError(f"a variance over the data needs at least two examples, got {len(x)}")
    variance = model.encode(x).mean.var(0)
    return ActiveUnits(variance, variance > threshold)
