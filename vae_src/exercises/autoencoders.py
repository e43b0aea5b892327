"""Graders of the chapter "Autoencoders": each assertion's message is a hint."""

from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal


def grade_ae_pca(answer: Callable) -> None:
    """Compare with the singular value decomposition, on data far from the origin."""
    train = torch.randn(60, 5).double() @ torch.diag(torch.tensor([5.0, 3.0, 1.0, 0.5, 0.1])).double() + 10
    train = train @ torch.linalg.qr(torch.randn(5, 5).double()).Q
    x, mean = train[:7] + 0.3 * torch.randn(7, 5).double(), train.mean(0)
    right = torch.linalg.svd(train - mean, full_matrices=False).Vh[:2]
    expected = mean + (x - mean) @ right.T @ right
    found = answer(train, x, 2)
    shape = list(found.shape)
    assert shape == [7, 5], f"rebuild every row of x, shape [7, 5], not {shape}: turn the codes back, too."
    raw = torch.linalg.svd(train, full_matrices=False).Vh[:2]
    assert not torch.allclose(found, x @ raw.T @ raw, atol=1e-6), (
        "these are the directions as seen from the origin: subtract the mean before you look for them."
    )
    assert not torch.allclose(found, expected - mean, atol=1e-6), (
        "the directions are right, but everything is shifted: add the mean again at the end."
    )
    small = torch.linalg.svd(train - mean, full_matrices=False).Vh[-2:]
    assert not torch.allclose(found, mean + (x - mean) @ small.T @ small, atol=1e-6), (
        "you kept the directions of least variance: eigh sorts its eigenvalues in ascending order."
    )
    own = x - x.mean(0)
    other = torch.linalg.svd(own, full_matrices=False).Vh[:2]
    assert not torch.allclose(found, x.mean(0) + own @ other.T @ other, atol=1e-6), (
        "mean and directions belong to the training data: you took those of x."
    )
    error, least = ((x - y).square().sum(1).mean() for y in (found, expected))
    assert torch.allclose(found, expected, atol=1e-6), (
        f"the error per row should be {least:.3f}, yours is {error:.3f}. Take the d eigenvectors (columns) "
        "of the largest eigenvalues, project the centred x on them, and come back."
    )


def grade_ae_conv_stage(answer: Callable) -> None:
    """Build each stage and count."""
    for inputs, outputs, height, width in [(1, 16, 28, 28), (16, 32, 14, 14), (3, 5, 12, 8)]:
        conv = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)
        shape = tuple(nn.MaxPool2d(2)(conv(torch.zeros(1, inputs, height, width))).shape[1:])
        count = sum(p.numel() for p in conv.parameters())
        found = answer(inputs, outputs, height, width)
        two = isinstance(found, tuple) and len(found) == 2
        assert two, "return two things: how many numbers to learn, and the shape (channels, height, width)."
        weights, after = found[0], tuple(found[1])
        stage = f"from {inputs} × {height} × {width} to {outputs} filters"
        assert weights != count - outputs, f"{stage}: each filter also has an offset (bias), one number more."
        assert weights != 9 * outputs + outputs or inputs == 1, (
            f"{stage}: a filter looks at all {inputs} maps that come in, with 9 weights for each of them."
        )
        assert weights < 10 * count, (
            f"{stage}: {weights:,} numbers are too many. The same filter is used at every place, so height "
            "and width do not matter."
        )
        assert weights == count, f"{stage} there are {count:,} numbers to learn, not {weights:,}."
        assert after != (outputs, height, width), f"{stage}: pooling halves height and width."
        assert after != (outputs, height // 2 - 1, width // 2 - 1), (
            f"{stage}: with padding 1 the convolution keeps height and width; only pooling halves them."
        )
        assert after == shape, f"{stage} the shape is {shape}, not {after}: channels first."


def grade_ae_denoise(answer: Callable) -> None:
    """Use a model that halves, so that every way to confuse the two pictures has a value of its own."""
    x, noise = torch.rand(4, 1, 2, 3), 0.5 * torch.randn(4, 1, 2, 3)
    found = answer(_halving_model(), x, noise)
    target = {
        "right": (x - 0.5 * (x + noise)).square(),
        "corrupted": (x + noise - 0.5 * (x + noise)).square(),
        "clean": (x - 0.5 * x).square(),
    }
    sums = {name: square.sum((1, 2, 3)) for name, square in target.items()}
    shape = list(torch.as_tensor(found).shape)
    assert shape == [4], f"return one loss per picture, shape [4], not {shape}: sum over its pixels only."
    assert not torch.allclose(found, sums["corrupted"], rtol=1e-4), (
        "your target is the corrupted picture, which teaches the network to copy noise: compare with x."
    )
    assert not torch.allclose(found, sums["clean"], rtol=1e-4), (
        "the encoder has seen the clean picture, so there is nothing to repair: encode x + noise."
    )
    assert not torch.allclose(found * 6, sums["right"], rtol=1e-4), (
        "this is a mean over the 6 pixels: the loss of a picture is a sum."
    )
    assert torch.allclose(found, sums["right"], rtol=1e-4), (
        f"for the first picture the loss is {sums['right'][0]:.4f}, not {found[0]:.4f}: encode x + noise, "
        "decode, take the mean of the distribution, and compare it with x."
    )


def grade_ae_walk(answer: Callable) -> None:
    """Give a decoder whose pictures leave one digit at a known place on the way, far from the middle."""
    model, judge = _turning_model()
    start, end = torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1, 2)
    found = answer(model, judge, start, end, 21)
    assert isinstance(found, float | int) or torch.as_tensor(found).numel() == 1, (
        "return one number, the place t on the way, between 0 and 1."
    )
    found = float(found)
    assert 0 <= found <= 1, f"t is a share of the way, from 0 to 1, not {found:g}: divide by num_steps − 1."
    assert abs(found - 0.5) > 1e-4, (
        "at t = ½ the judge is unsure of a cross-fade of the pictures: walk in the code space, and decode."
    )
    assert 0 < found < 1 - 1e-4, (
        "there the judge is surer than anywhere else: look for the lowest of the largest probabilities."
    )
    # On a grid of 21 steps the judge is least sure at t = 0.75, where the picture turns.
    assert abs(found - 0.75) < 1e-4, (
        f"with 21 equal steps, both ends included, the judge is least sure at t = 0.75, not {found:.3f}. "
        "For each step take the largest probability, then find the step where it is smallest."
    )


def grade_ae_draw(answer: Callable) -> None:
    """Look at the statistics of many draws around two codes far apart."""
    codes = torch.tensor([[-10.0, 0.0], [10.0, 5.0]])
    n = 4000
    z = answer(codes, n, 0.5)
    shape = list(z.shape)
    assert shape == [n, 2], f"expected {n} codes of 2 numbers, shape [{n}, 2], not {shape}."
    right = z[:, 0] > 0
    share = right.double().mean().item()
    assert abs(share - 0.5) < 0.05, (
        f"{share:.0%} of your draws lie near the second of two codes: pick one at random for every draw, "
        "each as likely as any other."
    )
    off = z - codes[right.long()]
    assert off.abs().max() > 1e-6, "these are the old codes themselves: add noise, or nothing new is drawn."
    assert not torch.allclose(off, off[:1].expand_as(off), atol=1e-6), (
        "all draws have the same noise: draw it anew for each."
    )
    assert not torch.allclose(off[:, 0], off[:, 1], atol=1e-6), (
        "both numbers of a code get the same noise, so your draws lie on diagonals: draw it for each number."
    )
    spread = off.std(0)
    assert not torch.allclose(spread, torch.tensor([0.25, 0.25]), atol=0.03), (
        "the noise has standard deviation width², not width."
    )
    assert off.abs().max() > 1.2, (
        "your noise never goes far: take normal noise (randn), not uniform noise (rand)."
    )
    assert torch.allclose(spread, torch.tensor([0.5, 0.5]), atol=0.05), (
        f"for width 0.5 the noise should have a standard deviation of 0.5, not {spread[0]:.2f}."
    )
    assert off.mean(0).abs().max() < 0.05, "your noise does not average to zero."


def _point(mean: Tensor, event_dims: int = 3) -> Distribution:
    """Return a distribution whose mean is the picture."""
    return Independent(Normal(mean, torch.ones_like(mean)), event_dims)


def _halving_model() -> SimpleNamespace:
    """Build an autoencoder that copies a picture into its code, and rebuilds half of it."""
    return SimpleNamespace(
        encode=lambda x: x.flatten(1), decode=lambda z: _point(0.5 * z.reshape(-1, 1, 2, 3))
    )


def _turning_model() -> tuple[SimpleNamespace, Callable]:
    """Build a walk whose picture turns from one class into the other at three quarters of the way."""

    def decode(z: Tensor) -> Distribution:
        ink = torch.sigmoid(20 * (z - 0.75))
        return _point(torch.stack([1 - ink, ink], -1).reshape(-1, 1, 1, 2))

    def judge(x: Tensor) -> Tensor:
        # a fade of the two *rebuilt* pictures is undecided at one half; a walk in the code at three quarters
        return 8 * (x.flatten(1) - 0.5) * torch.tensor([1.0, 1.3])

    model = SimpleNamespace(encode=lambda x: x.flatten(1).mean(1, keepdim=True), decode=decode)
    return model, judge
