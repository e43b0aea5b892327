"""Tests of networks.py: shapes over any leading axes, layers against their formulas, refusals."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from vae_src.networks import Flatten, OverImages, Unflatten, conv_decoder, conv_encoder, mlp
from vae_src.randomness import seeded

leading = st.lists(st.integers(0, 3), max_size=3).map(tuple)
widths = st.lists(st.integers(1, 6), min_size=2, max_size=4)
channel_lists = st.lists(st.integers(1, 4), min_size=1, max_size=2)


def num_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


# ---------------------------------------------------------------- mlp


@settings(max_examples=40, deadline=None)
@given(sizes=widths, batch_shape=leading)
def test_an_mlp_keeps_the_leading_axes(sizes, batch_shape):
    network = mlp(sizes)
    assert network(torch.zeros(*batch_shape, sizes[0])).shape == (*batch_shape, sizes[-1])
    assert num_parameters(network) == sum((i + 1) * o for i, o in itertools.pairwise(sizes))


@pytest.mark.parametrize(
    ("activation", "function"), [(nn.ReLU, lambda a: np.maximum(a, 0)), (nn.Tanh, np.tanh)]
)
def test_an_mlp_is_matrices_and_non_linearities(activation, function):
    with seeded(0):
        network, x = mlp([3, 5, 2], activation).double(), torch.randn(4, 3, dtype=torch.float64)
    h = x.numpy()
    parameters = [p.detach().numpy() for p in network.parameters()]
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        h = function(h @ weight.T + bias)
    np.testing.assert_allclose(network(x).detach().numpy(), h, atol=1e-14)


@pytest.mark.parametrize("sizes", [[], [784], [784, 0], [0, 5], [3, -1]])
def test_sizes_that_make_no_network_are_refused(sizes):
    with pytest.raises(ValueError, match=r"two positive widths, such as \[784, 400\], not \["):
        mlp(sizes)


# ---------------------------------------------------------------- Flatten, Unflatten, OverImages


@settings(max_examples=40, deadline=None)
@given(batch_shape=leading, event_shape=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple))
def test_flatten_and_unflatten_undo_each_other(batch_shape, event_shape):
    size = math.prod(batch_shape) * math.prod(event_shape)
    x = torch.arange(size, dtype=torch.float32).reshape(*batch_shape, *event_shape)
    flat = Flatten(event_shape)(x)
    assert flat.shape == (*batch_shape, math.prod(event_shape))
    assert flat.flatten().tolist() == list(range(size))  # pixels stay in reading order
    assert torch.equal(Unflatten(event_shape)(flat), x)


@settings(max_examples=40, deadline=None)
@given(batch_shape=leading)
def test_a_network_of_one_batch_axis_gets_any_number(batch_shape):
    class Sums(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.ndim == 3
            return x.sum(-1)

    x = torch.arange(float(math.prod(batch_shape) * 6)).reshape(*batch_shape, 2, 3)
    assert torch.equal(OverImages(Sums(), (2, 3))(x), x.sum(-1))


@pytest.mark.parametrize("make", [Flatten, lambda shape: OverImages(nn.Identity(), shape)])
@pytest.mark.parametrize("shape", [(5, 784), (5, 28, 28), (5, 1, 32, 32), (28,), ()])
def test_what_is_no_image_is_refused_with_its_shape(make, shape):
    message = rf"shape \[batch, 1, 28, 28\], got \[{', '.join(map(str, shape))}\]: reshape with"
    with pytest.raises(ValueError, match=message):
        make((1, 28, 28))(torch.zeros(shape))


def test_a_wrong_code_is_refused_by_the_convolutional_decoder():
    with pytest.raises(ValueError, match=r"expected inputs of shape \[batch, 3\], got \[7, 4\]"):
        conv_decoder(3, (2,), (1, 4, 4))(torch.zeros(7, 4))


# ---------------------------------------------------------------- convolutions


@settings(max_examples=25, deadline=None)
@given(
    batch_shape=leading,
    channels=channel_lists,
    colours=st.integers(1, 3),
    sides=st.tuples(*[st.integers(1, 3)] * 2),
)
def test_convolutions_in_and_out_mirror_each_other(batch_shape, channels, colours, sides):
    factor = 2 ** len(channels)
    event_shape = (colours, sides[0] * factor, sides[1] * factor)
    encoder = conv_encoder(5, channels, event_shape)
    decoder = conv_decoder(4, channels[::-1], event_shape)
    assert encoder(torch.zeros(*batch_shape, *event_shape)).shape == (*batch_shape, 5)
    assert decoder(torch.zeros(*batch_shape, 4)).shape == (*batch_shape, *event_shape)
    filters = sum((9 * i + 1) * o for i, o in zip([colours, *channels[:-1]], channels, strict=True))
    coarse = channels[-1] * sides[0] * sides[1]
    assert num_parameters(encoder) == filters + (coarse + 1) * 5
    # the mirrored filters have as many weights, and a bias per channel that they emit
    emitted = [*channels[-2::-1], colours]
    assert num_parameters(decoder) == filters - sum(channels) + sum(emitted) + (4 + 1) * coarse


def test_every_code_is_decoded_on_its_own():
    with seeded(0):
        network, z = conv_decoder(3, (4, 2), (1, 8, 8)).double(), torch.randn(5, 6, 3, dtype=torch.float64)
    looped = torch.stack([torch.stack([network(code) for code in row]) for row in z])
    torch.testing.assert_close(network(z), looped, atol=1e-12, rtol=0)


def test_an_encoder_stage_is_a_convolution_and_the_largest_of_four():
    with seeded(0):
        network, x = conv_encoder(3, (2,), (1, 6, 4)).double(), torch.rand(5, 1, 6, 4, dtype=torch.float64)
    weight, bias, dense, offset = network.parameters()
    maps = functional.conv2d(x, weight, bias, padding=1).clamp(min=0)
    largest = torch.stack([maps[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]).amax(0)
    expected = (largest.flatten(1) @ dense.T + offset).clamp(min=0)
    torch.testing.assert_close(network(x), expected, atol=1e-12, rtol=0)


def test_a_decoder_stage_repeats_each_position_four_times_and_convolves():
    with seeded(0):
        network, z = conv_decoder(3, (2,), (1, 6, 4)).double(), torch.randn(5, 3, dtype=torch.float64)
    dense, offset, weight, bias = network.parameters()
    coarse = (z @ dense.T + offset).reshape(5, 2, 3, 2).clamp(min=0)
    fine = torch.from_numpy(np.kron(coarse.detach().numpy(), np.ones((2, 2))))
    expected = functional.conv2d(fine, weight, bias, padding=1)
    torch.testing.assert_close(network(z), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("make", [conv_encoder, conv_decoder])
def test_sides_that_cannot_be_halved_are_refused(make):
    with pytest.raises(ValueError, match="3 stages need sides divisible by 8, not 28 by 28"):
        make(8, (4, 4, 4))
    with pytest.raises(ValueError, match="1 stages need sides divisible by 2, not 4 by 5"):
        make(8, (4,), (1, 4, 5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: conv_encoder(0), "hidden_dim must be at least 1, not 0"),
        (lambda: conv_decoder(-1), "latent_dim must be at least 1, not -1"),
        (lambda: conv_encoder(8, (4, 0)), "channels must be at least 1, not 4, 0"),
        (lambda: conv_decoder(8, (4,), (1, 0, 4)), "event_shape must be at least 1, not 1, 0, 4"),
        (lambda: conv_encoder(8, (4,), (28, 28)), r"such as \(1, 28, 28\), not \(28, 28\)"),
    ],
)
def test_sizes_that_make_no_convolution_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_features_that_are_no_image_are_refused():
    message = r"shape \[batch, 6\] to fold into images of shape \[1, 2, 3\], got \[5, 7\]"
    with pytest.raises(ValueError, match=message):
        Unflatten((1, 2, 3))(torch.zeros(5, 7))


@pytest.mark.parametrize("make", [conv_encoder, conv_decoder])
def test_no_stage_at_all_is_refused(make):
    with pytest.raises(ValueError, match=r"channels needs at least one stage, such as \(16, 32\)"):
        make(8, ())
