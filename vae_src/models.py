"""The two kinds of model in this book, and the architectures that its chapters share.

A model is three things that return distributions: ``encode(x)``, ``decode(z)`` and ``prior``. Anything with
those three, such as `vae_src.exact.LinearGaussian`, can be handed to every function in `objectives` and
`evaluation`.
"""

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_src.distributions import BernoulliLikelihood, NormalHead, StandardNormal
from vae_src.networks import IMAGE_SHAPE, Flatten, Unflatten, conv_decoder, conv_encoder, mlp


@runtime_checkable
class LatentVariableModel(Protocol):
    """What the objectives ask of a model: a prior, a likelihood and an approximate posterior."""

    @property
    def prior(self) -> Distribution:
        """p(z)."""
        ...

    def encode(self, x: Tensor) -> Distribution:
        """Return q(z|x), one per example."""
        ...

    def decode(self, z: Tensor) -> Distribution:
        """Return p(x|z)."""
        ...


class Autoencoder(nn.Module):
    r"""Encoder to a code, decoder back: x → z = e(x) → p(x | z).

    Args:
        encoder: From ``[batch, *event]`` to codes ``[batch, latent]``.
        decoder: From codes to a distribution over images; its mean is the reconstruction.

    Reference: Hinton & Salakhutdinov (2006), doi:10.1126/science.1127647. In the book: eq-ae-loss.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def encode(self, x: Float[Tensor, "*batch_event"]) -> Float[Tensor, "*batch latent"]:
        """Return the code of each image: a point, not a distribution."""
        _require_same_dtype(self.encoder, x)
        return self.encoder(x)

    def decode(self, z: Float[Tensor, "*batch latent"]) -> Distribution:
        """Return p(x|z)."""
        _require_same_dtype(self.decoder, z)
        return self.decoder(z)


class VAE(nn.Module):
    r"""Variational autoencoder: prior p(z), decoder p(x | z), and encoder q(z | x) for inference.

    Args:
        encoder: From ``[batch, *event]`` to a distribution over z, one per example.
        decoder: From z to a distribution over x.
        prior: A module without inputs that returns p(z).

    Reference: Kingma & Welling (2014), arXiv:1312.6114; Rezende, Mohamed & Wierstra (2014),
    arXiv:1401.4082. In the book: eq-vae-joint.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, prior: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.prior_head = prior

    @property
    def prior(self) -> Distribution:
        """p(z)."""
        return self.prior_head()

    def encode(self, x: Float[Tensor, "*batch_event"]) -> Distribution:
        """Return the approximate posterior q(z|x)."""
        _require_same_dtype(self.encoder, x)
        return self.encoder(x)

    def decode(self, z: Float[Tensor, "*batch latent"]) -> Distribution:
        """Return the likelihood p(x|z)."""
        _require_same_dtype(self.decoder, z)
        return self.decoder(z)

    @torch.no_grad()
    def sample(self, num_samples: int) -> Float[Tensor, "samples *event"]:
        """Draw images from the model: z from the prior, then x from p(x|z), noise included."""
        return self.decode(self.prior.sample(torch.Size((num_samples,)))).sample()


def mlp_vae(
    latent_dim: int = 20,
    hidden_dims: Sequence[int] = (400,),
    likelihood: nn.Module | None = None,
    activation: type[nn.Module] = nn.ReLU,
    event_shape: Sequence[int] = IMAGE_SHAPE,
) -> VAE:
    """Build the fully connected VAE of the book, encoder and decoder mirrored.

    Args:
        latent_dim: Length of z.
        hidden_dims: Widths of the encoder's hidden layers, in order.
        likelihood: Turns the decoder's output into p(x|z); `BernoulliLikelihood` unless given.
        activation: Class of the non-linearity.
        event_shape: Shape of one image, channels first.

    Returns:
        An untrained model, its weights drawn from torch's global generator.

    Raises:
        ValueError: If a size is not positive.
    """
    _require_sizes(latent_dim, event_shape)
    pixels = math.prod(event_shape)
    encoder = nn.Sequential(
        Flatten(event_shape),
        mlp([pixels, *hidden_dims], activation),
        NormalHead(hidden_dims[-1], latent_dim),
    )
    decoder = _mlp_decoder(latent_dim, hidden_dims, likelihood, activation, event_shape)
    return VAE(encoder, decoder, StandardNormal(latent_dim))


def mlp_autoencoder(
    latent_dim: int = 20,
    hidden_dims: Sequence[int] = (400,),
    likelihood: nn.Module | None = None,
    activation: type[nn.Module] = nn.ReLU,
    event_shape: Sequence[int] = IMAGE_SHAPE,
) -> Autoencoder:
    """Build the autoencoder with the layers of `mlp_vae`: its encoder emits a point instead of q(z|x)."""
    _require_sizes(latent_dim, event_shape)
    pixels = math.prod(event_shape)
    encoder = nn.Sequential(
        Flatten(event_shape),
        mlp([pixels, *hidden_dims], activation),
        nn.Linear(hidden_dims[-1], latent_dim),
    )
    return Autoencoder(encoder, _mlp_decoder(latent_dim, hidden_dims, likelihood, activation, event_shape))


def conv_vae(
    latent_dim: int = 20,
    channels: Sequence[int] = (16, 32),
    hidden_dim: int = 128,
    likelihood: nn.Module | None = None,
    event_shape: Sequence[int] = IMAGE_SHAPE,
) -> VAE:
    """Build the convolutional VAE of the book: max-pooling on the way in, up-sampling on the way out.

    Args:
        latent_dim: Length of z.
        channels: Filters of the encoder's stages; the decoder takes them in reverse.
        hidden_dim: Width of the encoder's last layer.
        likelihood: Turns the decoder's output into p(x|z); `BernoulliLikelihood` unless given.
        event_shape: Shape of one image, channels first; sides divisible by 2 per stage.

    Returns:
        An untrained model, its weights drawn from torch's global generator.

    Raises:
        ValueError: If a size is not positive, or the sides cannot be halved once a stage.
    """
    _require_sizes(latent_dim, event_shape)
    encoder = nn.Sequential(
        conv_encoder(hidden_dim, channels, event_shape), NormalHead(hidden_dim, latent_dim)
    )
    decoder = _conv_decoder(latent_dim, channels, likelihood, event_shape)
    return VAE(encoder, decoder, StandardNormal(latent_dim))


def conv_autoencoder(
    latent_dim: int = 20,
    channels: Sequence[int] = (16, 32),
    hidden_dim: int = 128,
    likelihood: nn.Module | None = None,
    event_shape: Sequence[int] = IMAGE_SHAPE,
) -> Autoencoder:
    """Build the autoencoder with the layers of `conv_vae`: its encoder emits a point instead of q(z|x)."""
    _require_sizes(latent_dim, event_shape)
    encoder = nn.Sequential(
        conv_encoder(hidden_dim, channels, event_shape), nn.Linear(hidden_dim, latent_dim)
    )
    return Autoencoder(encoder, _conv_decoder(latent_dim, channels, likelihood, event_shape))


def _conv_decoder(
    latent_dim: int, channels: Sequence[int], likelihood: nn.Module | None, event_shape: Sequence[int]
) -> nn.Sequential:
    """Mirror the encoder's stages, and read what comes out as a distribution."""
    return nn.Sequential(
        conv_decoder(latent_dim, tuple(reversed(channels)), event_shape),
        likelihood or BernoulliLikelihood(),
    )


def _mlp_decoder(
    latent_dim: int,
    hidden_dims: Sequence[int],
    likelihood: nn.Module | None,
    activation: type[nn.Module],
    event_shape: Sequence[int],
) -> nn.Sequential:
    """Mirror the hidden layers, end in one number per pixel, and read it as a distribution."""
    return nn.Sequential(
        mlp([latent_dim, *reversed(hidden_dims)], activation),
        nn.Linear(hidden_dims[0], math.prod(event_shape)),
        Unflatten(event_shape),
        likelihood or BernoulliLikelihood(len(event_shape)),
    )


def _require_sizes(latent_dim: int, event_shape: Sequence[int]) -> None:
    """Raise unless codes and images have a size."""
    if latent_dim < 1 or min(event_shape, default=0) < 1:
        raise ValueError(
            f"latent_dim and event_shape must be positive, such as 20 and (1, 28, 28), not {latent_dim} and "
            f"{tuple(event_shape)}"
        )


def _require_same_dtype(network: nn.Module, x: Tensor) -> None:
    """Raise if images or codes are numbers of another kind than the weights."""
    wanted = next((p.dtype for p in network.parameters()), x.dtype)
    if x.dtype != wanted and not torch.is_autocast_enabled(x.device.type):
        way = (
            "binarize or rescale them first" if x.dtype == torch.uint8 else f"convert them with .to({wanted})"
        )
        raise ValueError(f"the model's weights are {wanted} but it was given {x.dtype} values: {way}")
