r"""MADE: an autoregressive model. Its likelihood is a product of D conditional probabilities, hence exact."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.distributions import Independent
from torch.nn import functional as F

from vae_src.distributions import BernoulliLikelihood
from vae_src.networks import IMAGE_SHAPE, Flatten, Unflatten


class MaskedLinear(nn.Linear):
    """A linear layer some of whose connections are cut.

    Args:
        mask: ``[out, in]``, true where a connection stays.
    """

    mask: Tensor

    def __init__(self, mask: Bool[Tensor, "out in"]):
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.to(self.weight.dtype), persistent=False)

    def forward(self, input: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """Apply the layer with the connections that are left."""
        return F.linear(input, self.weight * self.mask, self.bias)


class MADE(nn.Module):
    r"""Masked autoencoder for distribution estimation: every pixel predicted from those before it.

    .. math:: \log p(x) = \sum_{i=1}^{D} \log p(x_i \mid x_1, \dots, x_{i-1})

    The pixels are binary, in reading order. All D conditionals come out of one pass through the network;
    drawing an image takes D passes, since each pixel has to wait for those before it.

    Args:
        hidden_dims: Widths of the hidden layers.
        event_shape: Shape of one image, channels first.

    Raises:
        ValueError: If there is no hidden layer, a width is not positive, or an image has fewer than two
            pixels.

    Reference: Germain, Gregor, Murray & Larochelle (2015), arXiv:1502.03509, sections 3 and 4.
    In the book: eq-lvm-chain.
    """

    def __init__(self, hidden_dims: Sequence[int] = (500,), event_shape: Sequence[int] = IMAGE_SHAPE):
        super().__init__()
        if min(hidden_dims, default=0) < 1 or math.prod(event_shape) < 2:
            raise ValueError(
                "hidden_dims needs at least one positive width, such as (500,), and an image two pixels, "
                f"not {tuple(hidden_dims)} and {tuple(event_shape)}"
            )
        self.event_shape = tuple(event_shape)
        *hidden, last = (MaskedLinear(mask) for mask in masks(math.prod(event_shape), hidden_dims))
        layers = [part for layer in hidden for part in (layer, nn.ReLU())]
        self.network = nn.Sequential(Flatten(event_shape), *layers, last, Unflatten(event_shape))
        self.likelihood = BernoulliLikelihood(len(event_shape))

    def conditionals(self, x: Float[Tensor, "*batch_event"]) -> Independent:
        """Return the coin of each pixel, given the pixels before it in the same image."""
        return self.likelihood(self.network(x))

    def log_prob(self, x: Float[Tensor, "*batch_event"]) -> Float[Tensor, " *batch"]:
        """Return log p(x), exactly, in nats per example, for binary images."""
        return self.conditionals(x).log_prob(x)

    @torch.no_grad()
    def sample(self, num_samples: int) -> Float[Tensor, "samples *event"]:
        """Draw images pixel by pixel: as many passes as an image has pixels."""
        weight = next(self.parameters())
        pixels = weight.new_zeros(num_samples, math.prod(self.event_shape))
        for i in range(pixels.shape[1]):
            coins = self.conditionals(pixels.unflatten(1, self.event_shape)).mean.flatten(1)
            pixels[:, i] = coins[:, i].bernoulli()
        return pixels.unflatten(1, self.event_shape)


def masks(num_pixels: int, hidden_dims: Sequence[int]) -> list[Bool[Tensor, "out in"]]:
    r"""Say which connections of each layer may stay, so that no pixel can see itself or a later one.

    Each unit has a degree, the number of leading pixels that it may know of. Input i has degree i, counted
    from 1; the degrees of a hidden layer spread evenly over 1 to D − 1. A hidden unit hears units of its own
    degree or less, an output only units of a lesser degree.

    Args:
        num_pixels: D, at least 2.
        hidden_dims: Widths of the hidden layers.

    Returns:
        One mask per layer, true where a connection stays.
    """
    pixels = torch.arange(1, num_pixels + 1)
    degrees = [pixels, *(_spread(num_pixels, width) for width in hidden_dims)]
    between = [after[:, None] >= before[None, :] for before, after in pairwise(degrees)]
    return [*between, pixels[:, None] > degrees[-1][None, :]]


def _spread(num_pixels: int, width: int) -> Int[Tensor, " width"]:
    """Degrees of a hidden layer: evenly from 1 to D − 1."""
    return torch.linspace(1, num_pixels - 1, width).round().long()
