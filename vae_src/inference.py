r"""Inference without an encoder: one q for each datum, optimised, and what the encoder's q lacks beside it.

An encoder answers at once, for every x; the optimisation here takes thousands of evaluations of the decoder
for each. The difference between the two answers is the price of answering at once.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal
from tqdm import tqdm

from vae_src.evaluation import log_marginal
from vae_src.models import LatentVariableModel
from vae_src.objectives import log_weights
from vae_src.randomness import seeded

IMAGES_AT_ONCE = 1000  # decoded side by side where nothing is differentiated; they fit a CPU's cache


class GivenPosterior(NamedTuple):
    """A model with one given q for each of some x in its encoder's place, so that every objective serves."""

    model: LatentVariableModel
    q: Distribution

    @property
    def prior(self) -> Distribution:
        """p(z)."""
        return self.model.prior

    def encode(self, x: Tensor) -> Distribution:
        """Return the given q; raise ValueError unless it holds as many as there are examples."""
        if self.q.batch_shape != x.shape[:1]:
            raise ValueError(
                f"q holds {list(self.q.batch_shape)} distributions for {len(x)} examples, not one for each"
            )
        return self.q

    def decode(self, z: Tensor) -> Distribution:
        """Return p(x|z)."""
        return self.model.decode(z)


class PosteriorFit(NamedTuple):
    """The optimised q, one for each x; its noisy ELBO at each step in nats; and what each x cost."""

    q: Independent | MultivariateNormal
    values: Float[Tensor, "steps batch"]
    num_decodes: int


class InferenceGaps(NamedTuple):
    r"""Four rungs of a ladder, in nats per example, and the gaps between them.

    .. math:: \log p(x) - \mathcal L(q_\phi)
              = \underbrace{\log p(x) - \mathcal L(q^\star)}_{\text{approximation}}
              + \underbrace{\mathcal L(q^\star) - \mathcal L(q_\phi)}_{\text{amortization}}

    Reference: Cremer, Li & Duvenaud (2018), arXiv:1801.03558. In the book: eq-inference-gap.
    """

    encoder: Float[Tensor, " batch"]  # the ELBO of the encoder's q
    diagonal: Float[Tensor, " batch"]  # of the best Gaussian with a diagonal covariance
    full: Float[Tensor, " batch"]  # of the best Gaussian
    log_marginal: Float[Tensor, " batch"]  # log p(x), by importance sampling from the best Gaussian

    @property
    def inference(self) -> Float[Tensor, " batch"]:
        """What the encoder's bound lacks, in all."""
        return self.log_marginal - self.encoder

    @property
    def amortization(self) -> Float[Tensor, " batch"]:
        """The part that optimising q for each datum gives back."""
        return self.diagonal - self.encoder

    @property
    def approximation(self) -> Float[Tensor, " batch"]:
        """The part that no diagonal Gaussian can give back."""
        return self.log_marginal - self.diagonal

    @property
    def approximation_full(self) -> Float[Tensor, " batch"]:
        """The part that no Gaussian can give back."""
        return self.log_marginal - self.full


def optimize_posterior(
    model: LatentVariableModel,
    x: Float[Tensor, "batch *event"],
    family: str = "diagonal",
    start: Distribution | None = None,
    *,
    num_steps: int = 500,
    num_samples: int = 8,
    learning_rate: float = 0.05,
    seed: int = 0,
) -> PosteriorFit:
    r"""Climb the ELBO of one Gaussian q for each x, all of them side by side, the decoder held fixed.

    .. math:: \max_{\mu, L}\ \mathbb E_q\big[\log p(x, z) - \log q(z)\big],
              \qquad q(z) = \mathcal N(z;\ \mu,\ L L^\top)

    L is diagonal, or a triangle: log-scales on its diagonal, and each row's other entries in units of its
    scale. The gradients are those that vanish where q is the posterior (`estimators`), and Adam's steps
    shrink along a cosine, so that the end is not noise.

    Args:
        model: Decoder and prior; its encoder is not used.
        x: Data, one example per row.
        family: ``"diagonal"`` or ``"full"``, the covariance of q.
        start: Where each q begins, such as ``model.encode(x)``; the prior unless given. A full covariance
            takes over the tilt of a ``MultivariateNormal``; a diagonal one its standard deviations.
        num_steps: Gradient steps, at least 1.
        num_samples: Draws of z for each x in each step, at least 1.
        learning_rate: Adam's first one.
        seed: Of the draws.

    Returns:
        q with batch shape ``[batch]``; its ELBO's estimates in nats; ``num_steps * num_samples``.

    Raises:
        ValueError: If the family is unknown, a count is below 1, x holds no example, ``start`` does not fit
            x, or the ELBO stops being a finite number.

    Reference: Cremer, Li & Duvenaud (2018), arXiv:1801.03558, section 5.1; Roeder, Wu & Duvenaud (2017),
    arXiv:1703.09194, for the gradient. In the book: eq-inference-gap.
    """
    _require(family, x, num_steps, num_samples)
    (dim,) = model.prior.event_shape
    below = torch.tril_indices(dim, dim, -1, device=x.device)
    parameters = [p.detach().clone().requires_grad_() for p in _start(model, x, start, family, below)]
    adam = torch.optim.Adam(parameters, lr=learning_rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, num_steps)
    values = []
    with torch.enable_grad(), seeded(seed):
        for step in tqdm(range(num_steps), f"optimising q ({family})", leave=False):
            q, still = (_gaussian(below, *ps) for ps in (parameters, [p.detach() for p in parameters]))
            z = q.rsample(torch.Size((num_samples,)))
            value = (model.prior.log_prob(z) + model.decode(z).log_prob(x) - still.log_prob(z)).mean(0)
            if not value.isfinite().all():
                bad = int((~value.isfinite()).nonzero()[0])
                raise ValueError(
                    f"the ELBO of example {bad} is {value[bad].item()} at step {step}: "
                    "look at x, or try a smaller learning_rate"
                )
            gradients = torch.autograd.grad(-value.sum(), parameters)  # of q alone, not of the decoder
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            adam.step()
            decay.step()
            values.append(value.detach())
    q = _gaussian(below, *(p.detach() for p in parameters))
    return PosteriorFit(q, torch.stack(values), num_steps * num_samples)


@torch.no_grad()
def elbo_of(
    model: LatentVariableModel,
    x: Float[Tensor, "batch *event"],
    q: Distribution,
    num_samples: int = 1000,
    *,
    seed: int = 1,
) -> Float[Tensor, " batch"]:
    r"""ELBO of any q, one for each x, in nats per example, without gradients.

    .. math:: \mathcal L(q) = \mathbb E_q\big[\log p(x, z) - \log q(z)\big]

    Args:
        model: Decoder and prior.
        x: Data, one example per row.
        q: With batch shape ``[batch]``, such as the result of `optimize_posterior`.
        num_samples: Draws for each x, at least 1.
        seed: Of the draws; they should not be those of the search that found q.

    Raises:
        ValueError: If ``num_samples`` is below 1, x holds no examples of floats, or q does not hold one
            distribution for each x.

    In the book: eq-inference-gap.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples counts draws and must be at least 1, not {num_samples}")
    _require_floats(x)
    given, chunk = GivenPosterior(model, q), max(1, IMAGES_AT_ONCE // len(x))
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    with seeded(seed):
        for done in range(0, num_samples, chunk):
            total += log_weights(given, x, min(chunk, num_samples - done)).double().sum(0)
    return (total / num_samples).to(x.dtype)


def log_marginal_with(
    model: LatentVariableModel,
    x: Float[Tensor, "batch *event"],
    q: Distribution,
    num_samples: int = 5000,
    *,
    seed: int = 0,
) -> Float[Tensor, " batch"]:
    """Estimate log p(x) by importance sampling from any q, in nats per example; see `log_marginal`.

    Args:
        model: Decoder and prior.
        x: Data, one example per row.
        q: The proposal, with batch shape ``[batch]``.
        num_samples: K, at least 1.
        seed: Of the draws.

    Raises:
        ValueError: If ``num_samples`` is below 1, x holds no examples of floats, or q does not hold one
            distribution for each x.

    In the book: eq-log-marginal.
    """
    _require_floats(x)
    chunk = max(1, IMAGES_AT_ONCE // len(x))
    given = GivenPosterior(model, q)
    return log_marginal(given, x, num_samples, chunk_size=chunk, batch_size=len(x), seed=seed)


def inference_gaps(
    model: LatentVariableModel,
    x: Float[Tensor, "batch *event"],
    *,
    num_steps: int = 500,
    num_samples: int = 8,
    num_evaluations: int = 1000,
    num_importance: int = 5000,
    batch_size: int = 100,
    seed: int = 0,
) -> InferenceGaps:
    """Measure what the encoder's q lacks, and why: it is not the best of its family, or the family is poor.

    The diagonal Gaussian starts at the encoder's, the one with a full covariance at the best diagonal one.
    Each is then judged with fresh draws, the same for all three. Where a posterior has several hills, as with
    very few latents, a climb may end on a wrong one: then the best q is a better one than ours.

    Args:
        model: Encoder, decoder and prior.
        x: Data, one example per row.
        num_steps: Of each optimisation.
        num_samples: Draws for each x in each step.
        num_evaluations: Draws for each x with which an ELBO is judged.
        num_importance: Draws for each x with which log p(x) is estimated.
        batch_size: Examples optimised side by side.
        seed: Of the searches' draws; the judgement's are those of ``seed + 1``.

    Returns:
        The ladder, one value of each rung per example, in nats.

    Raises:
        ValueError: As in `optimize_posterior`.

    Reference: Cremer, Li & Duvenaud (2018), arXiv:1801.03558. In the book: eq-inference-gap.
    """
    _require_floats(x)
    rungs = []
    for part in x.split(batch_size):
        with torch.no_grad():
            encoder = model.encode(part)
        steps = {"num_steps": num_steps, "num_samples": num_samples, "seed": seed}
        diagonal = optimize_posterior(model, part, "diagonal", encoder, **steps).q
        full = optimize_posterior(model, part, "full", diagonal, **steps).q
        fresh = seed + 1  # a search must not be judged by the noise that it has seen
        bounds = [elbo_of(model, part, q, num_evaluations, seed=fresh) for q in (encoder, diagonal, full)]
        rungs.append([*bounds, log_marginal_with(model, part, full, num_importance, seed=fresh)])
    return InferenceGaps(*(torch.cat(rung) for rung in zip(*rungs, strict=True)))


def _gaussian(
    below: Tensor,
    mean: Float[Tensor, "batch latent"],
    log_scale: Float[Tensor, "batch latent"],
    tilt: Float[Tensor, "batch pairs"] | None = None,
) -> Independent | MultivariateNormal:
    """Put q together: what is below the diagonal of L comes in units of its row's scale."""
    if tilt is None:
        return Independent(Normal(mean, log_scale.exp(), validate_args=False), 1)
    rows = torch.eye(mean.shape[1]).to(mean).repeat(len(mean), 1, 1)
    rows = rows.index_put((torch.arange(len(mean), device=mean.device)[:, None], *below), tilt)
    return MultivariateNormal(mean, scale_tril=log_scale.exp()[..., None] * rows, validate_args=False)


def _start(
    model: LatentVariableModel, x: Tensor, start: Distribution | None, family: str, below: Tensor
) -> list[Tensor]:
    """Return mean and log-scale of each q's start, and for a full covariance what is below L's diagonal."""
    start = start or model.prior.expand(x.shape[:1])
    if start.batch_shape != x.shape[:1] or start.event_shape != model.prior.event_shape:
        raise ValueError(
            f"start has batch shape {list(start.batch_shape)} and event shape {list(start.event_shape)}, "
            f"but there are {len(x)} examples and a latent of shape {list(model.prior.event_shape)}"
        )
    if family == "diagonal":
        return [start.mean, start.stddev.log()]
    tilted = isinstance(start, MultivariateNormal)
    factor = start.scale_tril if tilted else torch.diag_embed(start.stddev)
    scale = factor.diagonal(dim1=-2, dim2=-1)
    return [start.mean, scale.log(), (factor / scale[..., None])[(..., *below)]]


def _require(family: str, x: Tensor, num_steps: int, num_samples: int) -> None:
    """Raise unless there is something to optimise, in a family that we know."""
    if family not in ("diagonal", "full"):
        raise ValueError(f"family is 'diagonal' or 'full', not {family!r}")
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"x needs at least one example, one per row, got shape {list(x.shape)}")
    if min(num_steps, num_samples) < 1:
        raise ValueError(f"num_steps and num_samples must be at least 1, not {num_steps} and {num_samples}")


def _require_floats(x: Tensor) -> None:
    """Raise unless x holds examples, as floats: nats would be rounded to its integers."""
    if x.ndim == 0 or len(x) == 0 or not x.is_floating_point():
        raise ValueError(f"x needs at least one example of floats per row, got {list(x.shape)} of {x.dtype}")
