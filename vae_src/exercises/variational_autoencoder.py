"""Graders of the chapter "The variational autoencoder": each assertion's message is a hint."""

import math
from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent, Normal, kl_divergence

from vae_src.distributions import StandardNormal


def grade_vae_gaussian_kl(answer: Callable) -> None:
    """Compare with the closed form that PyTorch has, on Gaussians that no short cut survives."""
    mu, prior_mu = torch.randn(4, 3), torch.randn(3)
    sigma, prior_sigma = torch.rand(4, 3) + 0.3, torch.rand(3) + 0.5
    expected = kl_divergence(
        Independent(Normal(mu, sigma), 1), Independent(Normal(prior_mu, prior_sigma).expand((4, 3)), 1)
    )
    found = answer(mu, sigma, prior_mu, prior_sigma)
    shape = list(torch.as_tensor(found).shape)
    assert shape == [4], f"return one divergence per example, shape [4], not {shape}: sum over latents only."
    assert not torch.allclose(found * 3, expected, rtol=1e-4), (
        "this is a third of the right value for three latents: independent divergences add up, so sum, "
        "do not average."
    )
    assert not torch.allclose(found, 2 * expected, rtol=1e-4), (
        "this is twice the right value: where is the ½?"
    )
    assert not torch.allclose(found, -expected, rtol=1e-4), "right size, wrong sign: a KL is never negative."
    assert torch.allclose(found, expected, rtol=1e-4), (
        f"for the first example the divergence is {expected[0]:.4f} nats, not {found[0]:.4f}. Square the "
        "standard deviations where variances stand, and keep q and p in their places."
    )


def grade_vae_hidden_beta(answer: Callable) -> None:
    """Try the four ways to reduce the two terms, for two sizes."""
    for num_pixels, latent_dim in [(784, 20), (100, 5)]:
        cases = {
            ("sum", "sum"): 1.0,
            ("mean", "sum"): num_pixels,
            ("sum", "mean"): 1 / latent_dim,
            ("mean", "mean"): num_pixels / latent_dim,
        }
        for (pixels, latents), expected in cases.items():
            found = answer(num_pixels, latent_dim, pixels, latents)
            assert isinstance(found, float | int), f"return a number, not {type(found).__name__}."
            assert not (math.isclose(found * expected, 1, rel_tol=1e-6) and expected != 1), (
                f"for a {pixels} over pixels and a {latents} over latents you return {found:g}, the inverse "
                "of the right value: which term did the mean make smaller?"
            )
            assert math.isclose(found, expected, rel_tol=1e-6), (
                f"a {pixels} over {num_pixels} pixels and a {latents} over {latent_dim} latents make "
                f"β = {expected:g}, not {found:g}: multiply the loss by what makes its distortion a sum."
            )


def grade_vae_sample(answer: Callable) -> None:
    """Hand over a model whose two latents decide two pixels, and look at the statistics of the draws."""
    n = 4000
    images = answer(_two_pixel_model(), n)
    assert isinstance(images, Tensor), f"return the images as a tensor, not {type(images).__name__}."
    assert images.shape == (n, 1, 1, 2), f"expected shape [{n}, 1, 1, 2], not {list(images.shape)}."
    assert ((images == 0) | (images == 1)).all(), (
        "these are probabilities, the means of p(x|z): draw from p(x|z) to get images."
    )
    left, right = images.flatten(1).mean(0).tolist()
    # The left pixel is on with probability 0.3 whatever z is, the right one if z₂ > 0.
    assert abs(right - 0.5) < 0.05, (
        f"the right pixel is on in {right:.0%} of your images but should be in half of them: "
        "draw a new z from the prior for every image."
    )
    assert abs(left - 0.3) < 0.05, (
        f"the left pixel has probability 0.3 for every z but is on in {left:.0%} of your images: draw each "
        "pixel, do not round it."
    )


def grade_vae_log_evidence(answer: Callable) -> None:
    """Compare with exact sums, first with weights that float32 can hold, then with real ones."""
    log_w = torch.log(torch.tensor([[1.0, 2.0], [3.0, 2.0], [5.0, 8.0]]))
    found = answer(log_w)
    shape = list(found.shape)
    assert shape == [2], f"return one estimate per example, shape [2], not {shape}: draws are the first axis."
    assert not torch.allclose(found, log_w.mean(0)), (
        "this is the mean of the logs, the ELBO: take the log of the mean."
    )
    assert not torch.allclose(found, log_w.logsumexp(0)), "this is the log of the sum: where is 1/K?"
    assert torch.allclose(found, torch.tensor([3.0, 4.0]).log(), atol=1e-5), (
        f"three weights of 1, 3 and 5 have the mean 3, so expect log 3 = 1.0986, not {found[0]:.4f}."
    )
    far = answer(log_w - 500)
    assert far.isfinite().all(), (
        "with log-weights near −500, as larger images have them, this is −∞: exp(−500) is 0 to a computer. "
        "Subtract the maximum first, or use logsumexp."
    )
    assert torch.allclose(far, found - 500, atol=1e-3), (
        "shifting every log-weight by −500 must shift the result."
    )


def grade_vae_interpolate(answer: Callable) -> None:
    """Use a model in which a path through the latent space differs from a cross-fade of pixels."""
    model = _line_model()
    start, end = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    frames = answer(model, start, end, 5)
    assert frames.shape == (5, 1, 2, 2), f"five steps give shape [5, 1, 2, 2], not {list(frames.shape)}."
    first, last = (model.decode(model.encode(x).mean).mean[0] for x in (start, end))
    assert torch.allclose(frames[[0, -1]], torch.stack([first, last]), atol=1e-5), (
        "the first and the last frame must be the reconstructions of the two images, decoded from the means "
        "of their q(z|x)."
    )
    middle = model.decode(torch.full((1, 1), 0.5)).mean[0]
    fade = (first + last) / 2
    assert not torch.allclose(frames[2], fade, atol=1e-3), (
        "the middle frame is a cross-fade of two pictures: walk through z and decode each point on the way."
    )
    assert torch.allclose(frames[2], middle, atol=1e-5), (
        "the middle frame is not what the middle of the path decodes to: use equal steps, both ends included."
    )


def _two_pixel_model() -> SimpleNamespace:
    """Build a VAE without networks: the left pixel ignores z, the right one is the sign of z₂."""

    def decode(z: Tensor) -> Distribution:
        left = torch.full_like(z[..., 0], 0.3)
        right = torch.sigmoid(50 * z[..., 1])
        return Independent(Bernoulli(torch.stack([left, right], -1).unflatten(-1, (1, 1, 2))), 3)

    def encode(x: Tensor) -> Distribution:
        return Independent(Normal(torch.zeros(len(x), 2), torch.ones(len(x), 2)), 1)

    return SimpleNamespace(prior=StandardNormal(2)(), decode=decode, encode=encode)


def _line_model() -> SimpleNamespace:
    """Build a VAE with one latent, the mean grey of x, and a decoder that is far from linear in it."""

    def decode(z: Tensor) -> Distribution:
        grey = torch.sigmoid(12 * (z - 0.2)).unsqueeze(-1).unsqueeze(-1).expand(*z.shape[:-1], 1, 2, 2)
        return Independent(Bernoulli(grey), 3)

    def encode(x: Tensor) -> Distribution:
        mean = x.flatten(1).mean(1, keepdim=True)
        return Independent(Normal(mean, torch.full_like(mean, 0.2)), 1)

    return SimpleNamespace(prior=StandardNormal(1)(), decode=decode, encode=encode)
