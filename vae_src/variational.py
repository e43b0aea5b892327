r"""Fitting a tractable q to a posterior known up to its normaliser, and two ways around it.

Everything here needs `log_joint` only, a function that maps z of shape ``[*batch, dim]`` to log p(x, z) in
nats, shape ``[*batch]``, for data x that it holds. Each result counts what it cost: evaluations of
`log_joint`, and evaluations of its gradient.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal
from tqdm import tqdm

from vae_src.randomness import seeded

LogJoint = Callable[[Tensor], Tensor]
State = TypeVar("State")


class Approximation(Protocol):
    """What `bbvi` asks of q: draws that carry gradients, and its log-density."""

    def rsample(self, sample_shape: torch.Size) -> Tensor:
        """Return draws, ``[*sample_shape, dim]``."""
        ...

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of draws, in nats."""
        ...


class MeanField:
    r"""A product of one-dimensional distributions of any kinds, one for each coordinate of z.

    .. math:: q(z) = \prod_j q_j(z_j)

    Args:
        factors: The q_j, each over one real number.

    In the book: eq-vi-mean-field.
    """

    def __init__(self, *factors: Distribution):
        self.factors = factors

    def rsample(self, sample_shape: torch.Size) -> Float[Tensor, "*samples dim"]:
        """Return draws that carry gradients to the factors' parameters."""
        return torch.stack([factor.rsample(sample_shape) for factor in self.factors], -1)

    def log_prob(self, value: Float[Tensor, "*samples dim"]) -> Float[Tensor, " *samples"]:
        """Return the log-density, in nats."""
        parts = zip(self.factors, value.unbind(-1), strict=True)
        return torch.stack([factor.log_prob(coordinate) for factor, coordinate in parts]).sum(0)


class Ascent(NamedTuple):
    """Where coordinate ascent has come to, and the objective at the start and after each update, in nats."""

    state: Any
    values: Float[Tensor, " steps"]


class Fit(NamedTuple):
    """A fitted q's parameters, the noisy objective at each step in nats, and what it cost."""

    parameters: Float[Tensor, " parameters"]
    values: Float[Tensor, " steps"]
    num_evaluations: int
    num_gradients: int


class LaplaceFit(NamedTuple):
    """A Gaussian at the mode, what it takes log p(x) for, and what it cost."""

    q: MultivariateNormal
    log_evidence: float
    num_evaluations: int
    num_gradients: int


class Chain(NamedTuple):
    """Draws of all chains in order, the share of proposals accepted, and what they cost."""

    draws: Float[Tensor, "steps chains dim"]
    acceptance: float
    num_evaluations: int


def cavi(
    state: State,
    updates: Sequence[Callable[[State], State]],
    objective: Callable[[State], float],
    num_sweeps: int = 20,
) -> Ascent:
    r"""Coordinate ascent: apply one factor's update after the other, and watch the objective rise.

    .. math:: \log q_j(z_j) = \mathbb E_{q_{-j}}[\log p(x, z)] + \text{const}

    Args:
        state: The factors' parameters, in any form that the updates understand.
        updates: One for each factor, from a state to the state with that factor renewed.
        objective: E_q[log p(x, z) − log q(z)] of a state, in nats.
        num_sweeps: How often all updates are applied.

    Raises:
        ValueError: If an update lowers the objective: then it is not the optimum of its factor.

    Reference: Bishop (2006), section 10.1; Blei, Kucukelbir & McAuliffe (2017), algorithm 1.
    In the book: eq-vi-factor.
    """
    values = [objective(state)]
    for step in range(num_sweeps * len(updates)):
        state = updates[step % len(updates)](state)
        values.append(objective(state))
        if not values[-1] >= values[-2] - 1e-9 * (1 + abs(values[-2])):
            raise ValueError(
                f"update {step % len(updates)} moved the objective from {values[-2]:.6g} to {values[-1]:.6g} "
                "nats: an optimal factor cannot lower it, so the update (or the objective) is wrong"
            )
    return Ascent(state, torch.tensor(values, dtype=torch.float64))


def bbvi(
    log_joint: LogJoint,
    family: Callable[[Tensor], Approximation],
    start: Float[Tensor, " parameters"],
    *,
    num_steps: int = 1000,
    num_samples: int = 20,
    learning_rate: float = 0.05,
    seed: int = 0,
) -> Fit:
    r"""Black-box variational inference: climb the objective along stochastic gradients.

    .. math:: \hat{\mathcal L}(\phi) = \frac1K \sum_{k=1}^K \big[\log p(x, z_k) - \log q_\phi(z_k)\big],
              \qquad z_k \sim q_\phi

    Adam, with a learning rate that falls to zero along a cosine, so that the end does not jitter.

    Args:
        log_joint: log p(x, z), differentiable.
        family: From unconstrained parameters to a q with `rsample` and `log_prob`.
        start: Where the parameters begin.
        num_steps: How many gradient steps.
        num_samples: K, the draws in each.
        learning_rate: Adam's first one.
        seed: Of the draws.

    Returns:
        The last parameters; the objective's estimates, in nats, one for each step.

    Raises:
        ValueError: If a count is below 1, or the objective stops being a finite number.

    Reference: Ranganath, Gerrish & Blei (2014), arXiv:1401.0118, with the gradient of Kingma & Welling
    (2014), arXiv:1312.6114. In the book: eq-vi-black-box.
    """
    if min(num_steps, num_samples) < 1:
        raise ValueError(f"num_steps and num_samples must be at least 1, not {num_steps} and {num_samples}")
    parameters = start.detach().clone().requires_grad_()
    adam = torch.optim.Adam([parameters], lr=learning_rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, num_steps)
    values = []
    with seeded(seed):
        for step in tqdm(range(num_steps), "climbing", leave=False):
            q = family(parameters)
            z = q.rsample(torch.Size((num_samples,)))
            objective = (log_joint(z) - q.log_prob(z)).mean()
            if not objective.isfinite():
                raise ValueError(
                    f"the objective is {objective.item()} at step {step}: try a smaller learning_rate"
                )
            adam.zero_grad()
            (-objective).backward()
            adam.step()
            decay.step()
            values.append(objective.detach())
    cost = num_steps * num_samples
    return Fit(parameters.detach(), torch.stack(values), cost, cost)


def laplace(log_joint: LogJoint, start: Float[Tensor, " dim"], num_steps: int = 100) -> LaplaceFit:
    r"""Laplace's approximation: climb to the mode by Newton's method and match the curvature there.

    .. math:: q(z) = \mathcal N\big(\hat z,\ H^{-1}\big), \qquad H = -\nabla^2 \log p(x, \hat z), \qquad
              \log p(x) \approx \log p(x, \hat z) + \tfrac d2 \log 2\pi - \tfrac12 \log|H|

    Args:
        log_joint: log p(x, z), twice differentiable.
        start: Where the climb begins.
        num_steps: At most so many Newton steps.

    Raises:
        ValueError: If that many steps reach no mode.

    Reference: MacKay (2003), chapter 27; Bishop (2006), section 4.4. In the book: eq-vi-laplace.
    """
    z, evaluations, dim = start.detach().double(), 1, len(start)
    value = log_joint(z)
    for step in range(1, num_steps + 1):
        gradient = torch.func.grad(log_joint)(z)
        curvature = -torch.func.jacrev(torch.func.jacrev(log_joint))(z)  # reverse twice: needs no jit
        if gradient.abs().max() < 1e-8 * (1 + value.abs()):
            q = MultivariateNormal(z, precision_matrix=curvature)
            log_evidence = value + dim / 2 * math.log(2 * math.pi) - 0.5 * curvature.logdet()
            return LaplaceFit(q, log_evidence.item(), evaluations, step * (1 + dim))
        # where the surface is not concave, turn each axis so that the step still leads uphill
        size, axes = torch.linalg.eigh(curvature)
        move = axes @ ((axes.T @ gradient) / size.abs().clamp(min=1e-6))
        for halving in range(40):
            trial = z + move / 2**halving
            trial_value, evaluations = log_joint(trial), evaluations + 1
            if trial_value > value:
                break
        z, value = trial, trial_value
    raise ValueError(f"no mode after {num_steps} Newton steps from {start.tolist()}: try another start")


def metropolis(
    log_joint: LogJoint,
    start: Float[Tensor, "chains dim"],
    num_steps: int,
    scale: float | Float[Tensor, " dim"],
    *,
    seed: int = 0,
) -> Chain:
    r"""Random-walk Metropolis: propose a Gaussian step, accept it with the ratio of the densities.

    .. math:: z' = z + s \odot \varepsilon, \qquad
              \alpha(z \to z') = \min\Big(1, \frac{p(x, z')}{p(x, z)}\Big)

    A rejected proposal repeats the old state, which must be counted again.

    Args:
        log_joint: log p(x, z).
        start: One point for each chain; the chains run side by side and do not see each other.
        num_steps: Steps of each chain.
        scale: s, the steps' standard deviation, for all coordinates or one for each.
        seed: Of steps and acceptances.

    Raises:
        ValueError: If ``num_steps`` is below 1 or a chain starts where the density is zero.

    Reference: Metropolis et al. (1953), doi:10.1063/1.1699114. In the book: eq-vi-metropolis.
    """
    z, log_p = start.detach(), log_joint(start).detach()
    if num_steps < 1 or not log_p.isfinite().all():
        raise ValueError(
            f"need at least one step and a start with positive density, got {num_steps} and {log_p}"
        )
    draws, accepted = [], 0.0
    with torch.no_grad(), seeded(seed):
        for _ in tqdm(range(num_steps), "walking", leave=False):
            trial = z + scale * torch.randn_like(z)
            trial_log_p = log_joint(trial)
            accept = torch.rand_like(log_p).log() < trial_log_p - log_p
            z = torch.where(accept[:, None], trial, z)
            log_p = torch.where(accept, trial_log_p, log_p)
            accepted += accept.double().mean().item()
            draws.append(z)
    return Chain(torch.stack(draws), accepted / num_steps, (num_steps + 1) * len(start))


def chain_ess(draws: Float[Tensor, "steps chains"]) -> float:
    r"""How many independent draws the chains' mean is worth.

    .. math:: \mathrm{ESS} = \frac{n}{1 + 2\sum_{t \ge 1} \rho_t}

    The autocorrelations ρ_t are summed in neighbouring pairs until a pair is negative; the variance includes
    what separates the chains, so that chains stuck in different places are worth little.

    Args:
        draws: One coordinate of each chain, at least 4 steps.

    Returns:
        Between 1 and somewhat above the number n of all draws.

    Raises:
        ValueError: If there are fewer than 4 steps, or nothing ever moved.

    Reference: Geyer (1992), doi:10.1214/ss/1177011137; Gelman et al. (2013), section 11.5.
    In the book: eq-vi-chain-ess.
    """
    steps, chains = draws.shape
    centred = draws.double() - draws.double().mean(0)
    spectrum = torch.fft.rfft(centred, n=2 * steps, dim=0)
    covariance = torch.fft.irfft(spectrum.abs().square(), n=2 * steps, dim=0)[:steps].mean(1) / steps
    between = draws.double().mean(0).var() if chains > 1 else torch.tensor(0.0).double()
    variance = covariance[0] + between
    if steps < 4 or not variance > 0:
        raise ValueError(f"need at least 4 steps of chains that move, got {steps} with variance {variance:g}")
    rho = 1 - (covariance[0] - covariance) / variance
    pairs = rho[: steps // 2 * 2].reshape(-1, 2).sum(1)
    negative = (pairs < 0).nonzero()
    end = int(negative[0]) if len(negative) else len(pairs)
    return steps * chains / max(2 * pairs[:end].sum().item() - 1, 1e-3)
