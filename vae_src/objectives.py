r"""Every bound of the book, as a pure function of a model and a batch.

All of them are in nats per example, shape ``[batch]``, neither averaged nor negated: bounds, higher is
better. They share one primitive, `log_weights`, and one split, `rate_distortion`.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vae_src.distributions import kl
from vae_src.models import Autoencoder, LatentVariableModel


class RateDistortion(NamedTuple):
    """The two terms of the negative ELBO, in nats per example."""

    rate: Float[Tensor, " batch"]
    distortion: Float[Tensor, " batch"]


def log_weights(
    model: LatentVariableModel, x: Float[Tensor, "batch *event"], num_samples: int = 1
) -> Float[Tensor, "samples batch"]:
    r"""Draw z from q(z | x) and return the log of each draw's importance weight.

    .. math:: \log w_k = \log p(x, z_k) - \log q(z_k \mid x), \qquad z_k \sim q(z \mid x)

    The mean of log w is the ELBO, the log of the mean of w estimates log p(x); if q is the exact posterior,
    every single log w *is* log p(x). Gradients flow through the draws.

    Args:
        model: Encoder, decoder and prior.
        x: Data, one example per row.
        num_samples: Draws per example, at least 1; memory grows with it.

    Returns:
        One log-weight per draw and example, in nats.

    Raises:
        ValueError: If there is no example or ``num_samples`` is below 1.

    Reference: Burda, Grosse & Salakhutdinov (2016), arXiv:1509.00519, section 3. In the book: eq-elbo-is.
    """
    _require_usable(x, num_samples)
    q_z = model.encode(x)
    z = q_z.rsample(torch.Size((num_samples,)))
    return model.prior.log_prob(z) + model.decode(z).log_prob(x) - q_z.log_prob(z)


def rate_distortion(
    model: LatentVariableModel, x: Float[Tensor, "batch *event"], num_samples: int = 1
) -> RateDistortion:
    r"""Split the negative ELBO into what the code costs and what the picture still costs given the code.

    .. math:: \text{rate} = \mathrm{KL}\big(q(z \mid x) \,\|\, p(z)\big), \qquad
              \text{distortion} = -\mathbb E_{q(z \mid x)} \log p(x \mid z)

    Args:
        model: Encoder, decoder and prior.
        x: Data, one example per row.
        num_samples: Draws per example for the distortion, at least 1.

    Returns:
        Both terms, in nats per example; rate + distortion = −ELBO.

    Raises:
        ValueError: If there is no example or ``num_samples`` is below 1.

    Reference: Alemi et al. (2018), arXiv:1711.00464. In the book: eq-vae-rate-distortion.
    """
    _require_usable(x, num_samples)
    q_z = model.encode(x)
    z = q_z.rsample(torch.Size((num_samples,)))
    return RateDistortion(
        rate=kl(q_z, model.prior, num_samples), distortion=-model.decode(z).log_prob(x).mean(0)
    )


def elbo(
    model: LatentVariableModel, x: Float[Tensor, "batch *event"], num_samples: int = 1
) -> Float[Tensor, " batch"]:
    r"""Evidence lower bound on log p(x), in nats per example.

    .. math:: \mathcal L(x) = \mathbb E_{q(z \mid x)} \log p(x \mid z)
              - \mathrm{KL}\big(q(z \mid x) \,\|\, p(z)\big) \;\le\; \log p(x)

    The expectation is a mean over ``num_samples`` draws; the divergence is exact where it has a closed form.

    Args:
        model: Encoder, decoder and prior.
        x: Data, one example per row.
        num_samples: Draws per example, at least 1.

    Returns:
        One unbiased, stochastic bound per example.

    Raises:
        ValueError: If there is no example or ``num_samples`` is below 1.

    Reference: Kingma & Welling (2014), arXiv:1312.6114, eq. 3. In the book: eq-vae-elbo.
    """
    return beta_elbo(model, x, 1.0, num_samples)


def beta_elbo(
    model: LatentVariableModel, x: Float[Tensor, "batch *event"], beta: float, num_samples: int = 1
) -> Float[Tensor, " batch"]:
    r"""The ELBO with its rate weighted by β, in nats per example.

    .. math:: \mathcal L_\beta(x) = -\,\text{distortion} - \beta \cdot \text{rate}

    A lower bound on log p(x) for β ≥ 1; for β < 1 it can exceed it.

    Args:
        model: Encoder, decoder and prior.
        x: Data, one example per row.
        beta: Weight of the rate, not negative; 1 is the ELBO.
        num_samples: Draws per example, at least 1.

    Returns:
        One stochastic value per example.

    Raises:
        ValueError: If ``beta`` is negative or not finite, there is no example, or ``num_samples`` is below 1.

    Reference: Higgins et al. (2017), eq. 4. In the book: eq-beta-elbo.
    """
    if not (beta >= 0 and math.isfinite(beta)):
        raise ValueError(f"beta weighs the rate and must be a finite number of at least 0, not {beta}")
    rate, distortion = rate_distortion(model, x, num_samples)
    return -distortion - beta * rate


def iwae_bound(
    model: LatentVariableModel, x: Float[Tensor, "batch *event"], num_samples: int
) -> Float[Tensor, " batch"]:
    r"""Importance-weighted lower bound on log p(x), in nats per example.

    .. math:: \mathcal L_K(x) = \log \tfrac1K \sum_{k=1}^{K} w_k, \qquad
              w_k = \frac{p(x, z_k)}{q(z_k \mid x)}, \quad z_k \sim q(z \mid x)

    Equals the ELBO in expectation at ``num_samples=1``, and never falls, in expectation, as K grows.

    Args:
        model: Encoder, decoder and prior.
        x: Data, one example per row.
        num_samples: K, at least 1; memory grows as K times the batch.

    Returns:
        One stochastic bound per example.

    Raises:
        ValueError: If there is no example or ``num_samples`` is below 1.

    Reference: Burda, Grosse & Salakhutdinov (2016), arXiv:1509.00519, eq. 8. In the book: eq-iwae-bound.
    """
    return log_weights(model, x, num_samples).logsumexp(0) - math.log(num_samples)


def reconstruction(model: Autoencoder, x: Float[Tensor, "batch *event"]) -> Float[Tensor, " batch"]:
    r"""Log-likelihood of each image given its own code, log p(x | z = e(x)), in nats per example.

    What a plain autoencoder maximises. No bound on log p(x): it pays nothing for the code.

    Args:
        model: An autoencoder whose decoder returns a distribution.
        x: Data, one example per row.

    Returns:
        One value per example; with a Gaussian of σ = 1, half the squared error and a constant, negated.

    Raises:
        ValueError: If there is no example.

    In the book: eq-vae-autoencoder.
    """
    _require_usable(x)
    return model.decode(model.encode(x)).log_prob(x)


def _require_usable(x: Tensor, num_samples: int = 1) -> None:
    """Raise unless there is at least one example and one draw."""
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"x needs at least one example, one per row, got shape {list(x.shape)}")
    if num_samples < 1:
        raise ValueError(f"num_samples counts draws per example and must be at least 1, not {num_samples}")
