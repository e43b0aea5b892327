"""Plain networks: tensors in, features out. What the features *mean* is the business of `distributions`.

Every network takes any number of leading axes (``samples batch …``), so that one decoder serves one code per
image or fifty.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

IMAGE_SHAPE = (1, 28, 28)


def mlp(sizes: Sequence[int], activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Stack linear layers, each followed by the activation.

    Args:
        sizes: Width of the input and of every layer, so ``[784, 400]`` is one layer.
        activation: Class of the non-linearity.

    Returns:
        A network from ``[*batch, sizes[0]]`` to ``[*batch, sizes[-1]]``.

    Raises:
        ValueError: If there are fewer than two sizes or one is not positive.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes needs at least two positive widths, such as [784, 400], not {list(sizes)}")
    return nn.Sequential(*(layer for i, o in pairwise(sizes) for layer in (nn.Linear(i, o), activation())))


class Flatten(nn.Module):
    """Lay each image out as a vector, and say so clearly when it is not the expected image.

    Args:
        event_shape: Shape of one image, channels first.
    """

    def __init__(self, event_shape: Sequence[int] = IMAGE_SHAPE):
        super().__init__()
        self.event_shape = tuple(event_shape)

    def forward(self, x: Float[Tensor, "*batch_event"]) -> Float[Tensor, "*batch pixels"]:
        """Return ``[*batch, pixels]``; raise ValueError if the trailing axes are not one image."""
        _require_image(x, self.event_shape)
        return x.flatten(-len(self.event_shape))


class Unflatten(nn.Module):
    """Fold each vector into an image: the inverse of `Flatten`, for the end of a decoder."""

    def __init__(self, event_shape: Sequence[int] = IMAGE_SHAPE):
        super().__init__()
        self.event_shape = tuple(event_shape)

    def forward(self, features: Float[Tensor, "*batch pixels"]) -> Float[Tensor, "*batch_event"]:
        """Return ``[*batch, *event_shape]``; raise ValueError if the features are not as many as pixels."""
        pixels = math.prod(self.event_shape)
        if features.shape[-1:] != (pixels,):
            raise ValueError(
                f"expected features of shape [batch, {pixels}] to fold into images of shape "
                f"{list(self.event_shape)}, got {list(features.shape)}"
            )
        return features.unflatten(-1, self.event_shape)


class OverImages(nn.Module):
    """Let a network that accepts one batch axis accept any number of leading axes.

    Args:
        network: Takes ``[batch, *event]``.
        event_shape: Shape of one input, for example ``(1, 28, 28)``, or ``(latent_dim,)``.
    """

    def __init__(self, network: nn.Module, event_shape: Sequence[int]):
        super().__init__()
        self.network = network
        self.event_shape = tuple(event_shape)

    def forward(self, x: Float[Tensor, "*batch_event"]) -> Float[Tensor, "*batch_features"]:
        """Fold the leading axes into one, apply the network, unfold them."""
        _require_image(x, self.event_shape)
        batch_shape = x.shape[: x.ndim - len(self.event_shape)]
        features = self.network(x.reshape(-1, *self.event_shape))
        return features.reshape(*batch_shape, *features.shape[1:])


def conv_encoder(
    hidden_dim: int = 128,
    channels: Sequence[int] = (16, 32),
    event_shape: Sequence[int] = IMAGE_SHAPE,
) -> nn.Module:
    """Convolutions with max-pooling: each stage sees twice as far and keeps a quarter of the positions.

    Args:
        hidden_dim: Width of the features that come out.
        channels: Filters of each stage; a stage halves height and width.
        event_shape: Shape of one image, channels first; sides divisible by 2 per stage.

    Returns:
        A network from ``[*batch, *event_shape]`` to ``[*batch, hidden_dim]``.

    Raises:
        ValueError: If there is no stage, the sides cannot be halved that often, or a size is not positive.
    """
    _require_positive("hidden_dim", hidden_dim)
    height, width = _coarse_size(event_shape, channels)
    layers: list[nn.Module] = []
    for i, o in zip([event_shape[0], *channels[:-1]], channels, strict=True):
        layers += [nn.Conv2d(i, o, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(channels[-1] * height * width, hidden_dim), nn.ReLU()]
    return OverImages(nn.Sequential(*layers), event_shape)


def conv_decoder(
    latent_dim: int, channels: Sequence[int] = (32, 16), event_shape: Sequence[int] = IMAGE_SHAPE
) -> nn.Module:
    """Nearest-neighbour up-sampling followed by convolutions: no checkerboards, unlike strided transposes.

    Args:
        latent_dim: Length of z.
        channels: Filters of each stage, coarsest first; a stage doubles height and width.
        event_shape: Shape of the image that comes out, channels first.

    Returns:
        A network from ``[*batch, latent_dim]`` to ``[*batch, *event_shape]``, unbounded (logits or means).

    Raises:
        ValueError: If there is no stage, the sides cannot be doubled up from whole numbers, or a size is
            not positive.

    Reference: Odena, Dumoulin & Olah (2016), doi:10.23915/distill.00003.
    """
    _require_positive("latent_dim", latent_dim)
    height, width = _coarse_size(event_shape, channels)
    coarse = (channels[0], height, width)
    layers: list[nn.Module] = [nn.Linear(latent_dim, math.prod(coarse)), nn.Unflatten(-1, coarse)]
    for i, o in zip(channels, [*channels[1:], event_shape[0]], strict=True):
        layers += [
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(i, o, kernel_size=3, padding=1),
        ]
    return OverImages(nn.Sequential(*layers), (latent_dim,))


def _coarse_size(event_shape: Sequence[int], channels: Sequence[int]) -> tuple[int, int]:
    """Height and width after halving them once for each stage."""
    if not channels:
        raise ValueError("channels needs at least one stage, such as (16, 32)")
    _require_positive("channels", *channels)
    if len(event_shape) != 3:
        raise ValueError(
            f"event_shape needs channels, height and width, such as (1, 28, 28), not {event_shape}"
        )
    _require_positive("event_shape", *event_shape)
    _, height, width = event_shape
    factor = 2 ** len(channels)
    if height % factor or width % factor:
        raise ValueError(f"{len(channels)} stages need sides divisible by {factor}, not {height} by {width}")
    return height // factor, width // factor


def _require_positive(name: str, *sizes: int) -> None:
    """Raise unless every size is at least 1."""
    if min(sizes) < 1:
        raise ValueError(f"{name} must be at least 1, not {', '.join(map(str, sizes))}")


def _require_image(x: Tensor, event_shape: tuple[int, ...]) -> None:
    """Raise unless the trailing axes of x are `event_shape`."""
    if tuple(x.shape[-len(event_shape) :]) != event_shape:
        wanted = ", ".join(map(str, event_shape))
        raise ValueError(
            f"expected inputs of shape [batch, {wanted}], got {list(x.shape)}: "
            f"reshape with x.reshape(-1, {wanted}) if the number of values agrees"
        )
