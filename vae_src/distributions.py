"""Heads that turn a network's features into a distribution, and the divergence between two of them.

A *head* is the last layer of an encoder or a decoder: it returns a `torch.distributions.Distribution`, so
that everything after it (`log_prob`, `rsample`, `mean`) reads like the mathematics. All log-densities are in
nats. The heads switch torch's argument validation off, because it would run at every training step; `fit` and
`validate_images` look at the data once instead.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, Normal, kl_divergence


class NormalHead(nn.Module):
    r"""Map features to a diagonal Gaussian, one per example.

    .. math:: q(z \mid x) = \mathcal N\big(z;\ \mu(x),\ \operatorname{diag} \sigma(x)^2\big)

    One linear layer emits :math:`\mu` and :math:`\log\sigma` (``log_scale``: half a log-variance), so that
    :math:`\sigma > 0` needs no constraint.

    Args:
        in_features: Length of the feature vector.
        latent_dim: Length of z.

    Raises:
        ValueError: If ``latent_dim`` is below 1.

    Reference: Kingma & Welling (2014), arXiv:1312.6114, appendix C.2. In the book: eq-vae-encoder.
    """

    def __init__(self, in_features: int, latent_dim: int):
        super().__init__()
        _require_latents(latent_dim)
        self.linear = nn.Linear(in_features, 2 * latent_dim)

    def forward(self, features: Float[Tensor, "*batch features"]) -> Independent:
        """Return q(z|x) with batch shape ``[*batch]`` and event shape ``[latent]``."""
        loc, log_scale = self.linear(features).chunk(2, dim=-1)
        return Independent(Normal(loc, log_scale.exp(), validate_args=False), 1)


class BinaryPixels(Bernoulli):
    r"""A Bernoulli that is quick on a CPU and says what to do when it is asked about a grey pixel.

    .. math:: \log p(x) = (x - \tfrac12)\, l - \tfrac12 |l| + \log \operatorname{sigmoid}(|l|), \qquad
              l = \log \frac{\pi}{1 - \pi}

    The same as PyTorch's formula for x in {0, 1}, without its log1p, which costs ten times a logarithm.
    """

    def log_prob(self, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*batch_event"]:
        """Return each pixel's log-probability in nats; raise ValueError unless all are 0 or 1.

        On a GPU the values are not looked at: that would make every training step wait.
        """
        if not value.is_cuda and value.numel() and (value - value * value).abs().max() != 0:
            grey = value[(value != 0) & (value != 1)][0]
            raise ValueError(
                f"a Bernoulli is for pixels that are 0 or 1, and here one is {grey:.3g}: "
                "toss the grey levels with binarize, or take NormalLikelihood"
            )
        size = self.logits.abs()
        return (value - 0.5) * self.logits - 0.5 * size + size.sigmoid().log()


class BernoulliLikelihood(nn.Module):
    r"""Read pixel logits as independent coin flips, for binary images.

    .. math:: \log p(x \mid z) = \sum_i x_i \log \pi_i(z) + (1 - x_i) \log(1 - \pi_i(z))

    Args:
        event_dims: How many trailing axes make one image; their log-probabilities are summed.

    Reference: Kingma & Welling (2014), arXiv:1312.6114, appendix C.1. In the book: eq-vae-likelihood.
    """

    def __init__(self, event_dims: int = 3):
        super().__init__()
        self.event_dims = event_dims

    def forward(self, logits: Float[Tensor, "*batch_event"]) -> Independent:
        """Return p(x|z); its ``mean`` holds each pixel's probability of being 1."""
        return Independent(BinaryPixels(logits=logits, validate_args=False), self.event_dims)


class NormalLikelihood(nn.Module):
    r"""Read pixel means as independent Gaussians that share one standard deviation, for grey images.

    .. math:: -\log p(x \mid z)
              = \frac{\lVert x - \mu(z) \rVert^2}{2\sigma^2} + \frac D2 \log(2\pi\sigma^2)

    Args:
        scale: σ, in units of pixel intensity (the whole range is 1); where it starts if it is learned.
        learn_scale: Whether σ is a parameter; its optimum is the root of the mean squared error.
        event_dims: How many trailing axes make one image.

    Raises:
        ValueError: If ``scale`` is not a positive finite number.

    Reference: Rybkin, Daniilidis & Levine (2021), arXiv:2006.13202. In the book: eq-vae-gaussian.
    """

    def __init__(self, scale: float = 1.0, learn_scale: bool = False, event_dims: int = 3):
        super().__init__()
        if not (scale > 0 and math.isfinite(scale)):
            raise ValueError(f"scale is a standard deviation and must be positive, not {scale}")
        self.event_dims = event_dims
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)), requires_grad=learn_scale)

    def forward(self, loc: Float[Tensor, "*batch_event"]) -> Independent:
        """Return p(x|z) with mean ``loc`` and the shared σ."""
        scale = self.log_scale.exp().expand_as(loc)
        return Independent(Normal(loc, scale, validate_args=False), self.event_dims)


class StandardNormal(nn.Module):
    """The prior p(z) = N(0, I): a module without parameters, so that it follows the model to its device.

    Args:
        latent_dim: Length of z.

    Raises:
        ValueError: If ``latent_dim`` is below 1.

    In the book: eq-vae-prior.
    """

    loc: Tensor

    def __init__(self, latent_dim: int):
        super().__init__()
        _require_latents(latent_dim)
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)

    def forward(self) -> Independent:
        """Return p(z), with event shape ``[latent]``."""
        return Independent(Normal(self.loc, torch.ones_like(self.loc), validate_args=False), 1)


def kl(q: Distribution, p: Distribution, num_samples: int = 1) -> Float[Tensor, " *batch"]:
    r"""Kullback–Leibler divergence KL(q‖p), in nats per example.

    .. math:: \mathrm{KL}(q \,\|\, p) = \mathbb E_{z \sim q}\big[\log q(z) - \log p(z)\big]

    In closed form where PyTorch has one; otherwise an unbiased Monte Carlo estimate with gradients through
    the samples, which, unlike the divergence, can be negative.

    Args:
        q: Where the expectation is taken; needs ``rsample`` if there is no closed form.
        p: The other distribution, over the same space.
        num_samples: Draws for the estimate; unused in closed form.

    Returns:
        One divergence per example, with the batch shape of ``q`` and ``p``.

    In the book: eq-kl, eq-vae-rate.
    """
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        z = q.rsample(torch.Size((num_samples,)))
        return (q.log_prob(z) - p.log_prob(z)).mean(0)


def _require_latents(latent_dim: int) -> None:
    """Raise unless z has at least one entry."""
    if latent_dim < 1:
        raise ValueError(f"latent_dim is the length of z and must be at least 1, not {latent_dim}")
