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
    chunk_size: int = 50,
    batch_size: int = 10,
    seed: int = 0,
) -> Float[Tensor, " batch"]:
    r"""Importance-sampling estimate of log p(x), in nats per example.

    .. math:: \log \hat p(x) = \log \tfrac1K \sum_{k=1}^K w_k

    A lower bound in expectation, for every K: report it as log p(x) ≥ …, with K beside it.

    Args:
        model: Encoder (the proposal), decoder and prior.
        x: Data, one example per row.
        num_samples: K, at least 1.
        chunk_size: Draws of one example held in memory at once. The defaults suit a CPU, whose cache five
            hundred decoded images just fill; a GPU is quicker with ten times as many of each.
        batch_size: Examples held in memory at once.
        seed: Of the draws.

    Returns:
        One estimate per example.

    Raises:
        ValueError: If a count is below 1, or x holds no examples of floats.

    Reference: Burda, Grosse & Salakhutdinov (2016), arXiv:1509.00519, section 5.
    In the book: eq-log-marginal.
    """
    if min(num_samples, chunk_size, batch_size) < 1:
        raise ValueError(
            "num_samples, chunk_size and batch_size count things and must be at least 1, "
            f"not {num_samples}, {chunk_size} and {batch_size}"
        )
    if x.ndim == 0 or not x.is_floating_point():
        raise ValueError(f"x needs one example of floats per row, got {list(x.shape)} of {x.dtype}")
    chunks = [min(chunk_size, num_samples - done) for done in range(0, num_samples, chunk_size)]
    with seeded(seed):
        log_p = []
        for x_part in x.split(batch_size):
            total = x_part.new_full((len(x_part),), -math.inf)
            for chunk in chunks:
                total = torch.logaddexp(total, log_weights(model, x_part, chunk).logsumexp(0))
            log_p.append(total - math.log(num_samples))
    return torch.cat(log_p)


@torch.no_grad()
def ais(
    model: LatentVariableModel,
    x: Float[Tensor, "batch *event"],
    num_chains: int = 16,
    num_steps: int = 500,
    *,
    num_leapfrog: int = 2,
    seed: int = 0,
) -> Float[Tensor, " batch"]:
    r"""Annealed importance sampling: estimate log p(x) without the encoder, in nats per example.

    .. math:: \log \hat p(x)
              = \log \frac1C \sum_{c=1}^{C} \prod_{t=1}^{T} p(x \mid z_{t-1})^{\beta_t - \beta_{t-1}},
              \qquad z_0 \sim p(z), \quad 0 = \beta_0 < \dots < \beta_T = 1

    Each chain starts in the prior and walks by Hamiltonian Monte Carlo towards the posterior, through the
    densities :math:`p(z)\, p(x \mid z)^{\beta_t}`. The exponential of the result is unbiased for p(x) however
    badly the chains mix, so the result is a lower bound on log p(x) in expectation. Step sizes come from a
    pilot run with random numbers of its own: adapting them on the chains themselves would bias the result.

    The temperatures are the squares :math:`\beta_t = (t/T)^2`: the first steps must be the smallest, since a
    draw of the prior meets a likelihood of minus hundreds of nats. (On digits this beat an even spacing and
    a sigmoid at the same cost.)

    Args:
        model: Decoder and prior; both are differentiated with respect to z.
        x: Data, one example per row.
        num_chains: C, independent chains per example, at least 1.
        num_steps: T, temperatures per chain, at least 1; with 1 it is importance sampling from the prior.
        num_leapfrog: Gradients of the decoder per temperature, at least 1.
        seed: Of the draws.

    Returns:
        One estimate per example.

    Raises:
        ValueError: If a count is below 1.

    Reference: Neal (2001), doi:10.1023/A:1008923215028; Wu et al. (2017), arXiv:1611.04273, for decoders.
    In the book: eq-ais.
    """
    if min(num_chains, num_steps, num_leapfrog) < 1:
        raise ValueError(
            "num_chains, num_steps and num_leapfrog count things and must be at least 1, "
            f"not {num_chains}, {num_steps} and {num_leapfrog}"
        )
    with seeded(seed):
        # a shorter pilot will do: how far a step may go depends on the temperature, not on their number
        _, step_sizes = _anneal(model, x, 2, -(-num_steps // 4), num_leapfrog, None)
        log_w, _ = _anneal(model, x, num_chains, num_steps, num_leapfrog, step_sizes)
    return log_w.logsumexp(0) - math.log(num_chains)


def _anneal(
    model: LatentVariableModel,
    x: Float[Tensor, "batch *event"],
    num_chains: int,
    num_steps: int,
    num_leapfrog: int,
    step_sizes: list[Float[Tensor, " batch"]] | None,
) -> tuple[Float[Tensor, "chains batch"], list[Float[Tensor, " batch"]]]:
    """Walk the chains through the temperatures; without step sizes, find them on the way."""
    z = model.prior.sample(torch.Size((num_chains, len(x))))
    here = _point(model, x, z)
    log_w = torch.zeros_like(here.log_likelihood)
    step, used = torch.full_like(log_w[0], 0.1), []
    for t in range(1, num_steps + 1):
        before, beta = ((t - 1) / num_steps) ** 2, (t / num_steps) ** 2
        log_w += (beta - before) * here.log_likelihood
        if step_sizes is not None:
            step = step_sizes[(t - 1) * len(step_sizes) // num_steps]
        used.append(step)
        here, accepted = _hamiltonian_move(model, x, here, beta, step, num_leapfrog)
        if step_sizes is None:  # aim at two moves accepted of three
            step = (step * (0.2 * (accepted.mean(0) - 0.65)).exp()).clamp(1e-4, 1.0)
    return log_w, used


class _Point(NamedTuple):
    """Where the chains stand, and the two log-densities there with their slopes."""

    z: Float[Tensor, "chains batch latent"]
    log_prior: Float[Tensor, "chains batch"]
    log_likelihood: Float[Tensor, "chains batch"]
    prior_slope: Float[Tensor, "chains batch latent"]
    likelihood_slope: Float[Tensor, "chains batch latent"]


def _point(
    model: LatentVariableModel, x: Float[Tensor, "batch *event"], z: Float[Tensor, "chains batch latent"]
) -> _Point:
    """Evaluate both log-densities and their slopes in z."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        log_prior, log_likelihood = model.prior.log_prob(z), model.decode(z).log_prob(x)
        (prior_slope,) = torch.autograd.grad(log_prior.sum(), z)
        (likelihood_slope,) = torch.autograd.grad(log_likelihood.sum(), z)
    return _Point(z.detach(), log_prior.detach(), log_likelihood.detach(), prior_slope, likelihood_slope)


def _hamiltonian_move(
    model: LatentVariableModel,
    x: Float[Tensor, "batch *event"],
    start: _Point,
    beta: float,
    step: Float[Tensor, " batch"],
    num_leapfrog: int,
) -> tuple[_Point, Float[Tensor, "chains batch"]]:
    """One move that leaves p(z) p(x|z)^β unchanged, and the probability with which each was accepted."""
    size = step[:, None]
    momentum = first = torch.randn_like(start.z)
    here = start
    for _ in range(num_leapfrog):
        momentum = momentum + size / 2 * (here.prior_slope + beta * here.likelihood_slope)
        here = _point(model, x, here.z + size * momentum)
        momentum = momentum + size / 2 * (here.prior_slope + beta * here.likelihood_slope)
    gain = here.log_prior - start.log_prior + beta * (here.log_likelihood - start.log_likelihood)
    log_ratio = gain + (first.square() - momentum.square()).sum(-1) / 2
    accepted = log_ratio.nan_to_num(nan=-math.inf).clamp(max=0).exp()  # a diverged path is refused
    keep = torch.rand_like(accepted) < accepted
    moved = [
        torch.where(keep if old.ndim == 2 else keep[..., None], new, old)
        for new, old in zip(here, start, strict=True)
    ]
    return _Point(*moved), accepted


def effective_sample_size(log_w: Float[Tensor, "samples batch"]) -> Float[Tensor, " batch"]:
    r"""How many equally weighted draws the weighted ones are worth.

    .. math:: \mathrm{ESS} = \frac{(\sum_k w_k)^2}{\sum_k w_k^2} \in [1, K]

    Args:
        log_w: Log-weights from `log_weights`, in nats.

    Returns:
        A number of draws per example, from 1 (one weight dominates) to K (all are equal).

    Raises:
        ValueError: If some example has no draw of positive, finite weight.

    In the book: eq-effective-sample-size.
    """
    total = log_w.logsumexp(0)
    if not total.isfinite().all():
        raise ValueError("an example needs at least one draw, and no log-weight may be NaN or +∞")
    return (2 * total - (2 * log_w).logsumexp(0)).exp()


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
        ValueError: If there are fewer than two examples, or a posterior mean is not finite.

    Reference: Burda, Grosse & Salakhutdinov (2016), arXiv:1509.00519, section 5.2.
    In the book: eq-active-units.
    """
    if len(x) < 2:
        raise ValueError(f"a variance over the data needs at least two examples, got {len(x)}")
    variance = model.encode(x).mean.var(0)
    if not variance.isfinite().all():
        raise ValueError("some posterior means are NaN or infinite: look at x and at the encoder's weights")
    return ActiveUnits(variance, variance > threshold)
