"""Tests of distributions.py: heads against other people's densities, the divergence, gradients."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch.distributions import Independent, Laplace, MultivariateNormal, Normal

from vae_src.distributions import BernoulliLikelihood, NormalHead, NormalLikelihood, StandardNormal, kl
from vae_src.randomness import seeded

F64 = torch.float64


def assert_mean(draws: torch.Tensor, expected: torch.Tensor) -> None:
    """The mean over axis 0 is within 4 standard errors of what is expected, everywhere."""
    error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - expected).abs() <= 4 * error + 1e-12).all()


# ---------------------------------------------------------------- NormalHead


def test_the_head_reads_mean_and_log_scale_from_one_linear_layer():
    with seeded(0):
        head, features = NormalHead(3, 2).double(), torch.randn(4, 3, dtype=F64)
    out = features @ head.linear.weight.T + head.linear.bias
    q = head(features)
    assert (q.batch_shape, q.event_shape) == ((4,), (2,))
    torch.testing.assert_close(q.mean, out[:, :2])
    torch.testing.assert_close(q.stddev, out[:, 2:].exp())  # not exp of half: log σ, no log-variance
    z = q.sample()
    density = scipy.stats.norm(q.mean.detach(), q.stddev.detach()).logpdf(z).sum(-1)
    np.testing.assert_allclose(q.log_prob(z).detach(), density, atol=1e-12)


def test_a_draw_is_mean_plus_scale_times_noise_and_carries_gradients():
    head = NormalHead(1, 2).double()
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.bias.copy_(torch.tensor([1.0, -2.0, math.log(0.5), math.log(3.0)]))
    n = 20_000  # seed 0
    q = head(torch.zeros(1, dtype=F64))
    with seeded(0):
        noise = torch.randn(n, 2, dtype=F64)
    with seeded(0):
        z = q.rsample((n,))
    torch.testing.assert_close(z, torch.tensor([1.0, -2.0], dtype=F64) + torch.tensor([0.5, 3.0]) * noise)
    assert_mean(z, torch.tensor([1.0, -2.0], dtype=F64))
    assert_mean((z - q.mean) ** 2, torch.tensor([0.25, 9.0], dtype=F64))
    (gradient,) = torch.autograd.grad(z.sum(), head.linear.bias)
    # dz/dμ = 1 and dz/d log σ = σε
    expected = torch.cat([torch.full((2,), float(n), dtype=F64), (z - q.mean).detach().sum(0)])
    torch.testing.assert_close(gradient, expected)


# ---------------------------------------------------------------- likelihoods


@pytest.mark.parametrize("event_shape", [(5,), (2, 3), (1, 4, 4)])
@pytest.mark.parametrize("batch_shape", [(), (3,), (2, 3)])
def test_bernoulli_sums_the_pixels_of_one_image(batch_shape, event_shape):
    with seeded(0):
        logits = 3 * torch.randn(*batch_shape, *event_shape, dtype=F64)
        x = torch.rand(*batch_shape, *event_shape, dtype=F64).round()
    p = BernoulliLikelihood(len(event_shape))(logits)
    assert (p.batch_shape, p.event_shape) == (batch_shape, event_shape)
    pixels = scipy.stats.bernoulli(torch.sigmoid(logits)).logpmf(x)
    expected = pixels.reshape(*batch_shape, -1).sum(-1)
    np.testing.assert_allclose(p.log_prob(x), expected, atol=1e-12)
    torch.testing.assert_close(p.mean, torch.sigmoid(logits))


def test_bernoulli_stays_finite_where_a_probability_would_round_to_one():
    logits = torch.tensor([200.0, -200.0], requires_grad=True)
    wrong = BernoulliLikelihood(1)(logits).log_prob(torch.tensor([0.0, 1.0]))
    assert wrong.item() == -400
    wrong.backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [-1, 1]


def test_bernoulli_gradient_is_pixel_minus_probability():
    with seeded(1):
        logits, x = torch.randn(4, 6, dtype=F64, requires_grad=True), torch.rand(4, 6, dtype=F64).round()
    (gradient,) = torch.autograd.grad(BernoulliLikelihood(1)(logits).log_prob(x).sum(), logits)
    torch.testing.assert_close(gradient, x - torch.sigmoid(logits.detach()))


@pytest.mark.parametrize("scale", [0.1, 1.0, 2.5])
@pytest.mark.parametrize("event_shape", [(5,), (1, 4, 4)])
def test_gaussian_has_its_constants(scale, event_shape):
    with seeded(0):
        loc, x = torch.randn(2, 3, *event_shape, dtype=F64)
    p = NormalLikelihood(scale, event_dims=len(event_shape)).double()(loc)
    assert (p.batch_shape, p.event_shape) == ((3,), event_shape)
    # σ is kept as a float32 log until .double(), hence 1e-6
    density = scipy.stats.norm(loc, scale).logpdf(x).reshape(3, -1).sum(-1)
    np.testing.assert_allclose(p.log_prob(x), density, rtol=1e-6)
    pixels = math.prod(event_shape)
    at_mean = p.log_prob(loc)
    np.testing.assert_allclose(at_mean, -pixels / 2 * math.log(2 * math.pi * scale**2), rtol=1e-6)


def test_the_best_scale_is_the_root_of_the_mean_squared_error():
    # Then the reconstruction term is (D/2) log(2πe·MSE)
    with seeded(0):
        loc, x = torch.randn(2, 50, 8, dtype=F64)
    likelihood = NormalLikelihood(1.0, learn_scale=True, event_dims=1).double()
    optimizer = torch.optim.LBFGS(
        likelihood.parameters(), tolerance_grad=1e-12, tolerance_change=1e-18, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = -likelihood(loc).log_prob(x).mean()
        value.backward()
        return value

    for _ in range(3):
        optimizer.step(loss)
    mse = (x - loc).square().mean()
    torch.testing.assert_close(likelihood.log_scale.exp(), mse.sqrt(), atol=1e-8, rtol=0)
    torch.testing.assert_close(loss(), 4 * torch.log(2 * math.pi * math.e * mse), atol=1e-8, rtol=0)


def test_the_scale_learns_only_when_told():
    assert not NormalLikelihood(0.5).log_scale.requires_grad
    learned = NormalLikelihood(0.5, learn_scale=True).log_scale
    assert learned.requires_grad
    assert learned.item() == pytest.approx(math.log(0.5))


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(ValueError, match=f"standard deviation and must be positive, not {scale}"):
        NormalLikelihood(scale)


# ---------------------------------------------------------------- prior


def test_the_prior_is_a_standard_normal():
    p = StandardNormal(3).double()()
    assert (p.batch_shape, p.event_shape) == ((), (3,))
    with seeded(0):
        z = torch.randn(5, 4, 3, dtype=F64)
    np.testing.assert_allclose(p.log_prob(z), scipy.stats.norm.logpdf(z).sum(-1), atol=1e-12)


def test_the_prior_follows_the_model_and_leaves_no_trace_in_its_weights():
    prior = StandardNormal(3)
    assert prior().sample().dtype == torch.float32
    assert prior.to(F64)().sample().dtype == F64
    assert prior.to("meta")().sample().device.type == "meta"
    assert list(prior.parameters()) == []
    assert prior.state_dict() == {}


# ---------------------------------------------------------------- kl


def gaussians(seed: int) -> tuple[Independent, torch.Tensor, torch.Tensor]:
    """Ten random diagonal Gaussians over three latents, their means and scales."""
    with seeded(seed):
        loc, scale = torch.randn(10, 3, dtype=F64), torch.randn(10, 3, dtype=F64).exp()
    return Independent(Normal(loc, scale), 1), loc, scale


def test_divergence_from_the_prior_is_the_formula():
    q, loc, scale = gaussians(0)
    found = kl(q, StandardNormal(3).double()())
    expected = -0.5 * (1 + (scale**2).log() - loc**2 - scale**2).sum(-1)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    assert (found > 0).all()
    assert torch.equal(kl(q, q), torch.zeros(10, dtype=F64))


def test_divergence_of_full_covariances_is_the_formula():
    with seeded(1):
        a, b = torch.randn(2, 3, 3, dtype=F64)
        m = torch.randn(2, 3, dtype=F64)
    s, t = a @ a.T + torch.eye(3), b @ b.T + torch.eye(3)
    found = kl(MultivariateNormal(m[0], s), MultivariateNormal(m[1], t))
    solve, d = torch.linalg.inv(t), m[1] - m[0]
    expected = 0.5 * ((solve @ s).trace() + d @ solve @ d - 3 + t.logdet() - s.logdet())
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_divergence_is_not_symmetric():
    p, q = Normal(0.0, 1.0), Normal(1.0, 2.0)
    assert kl(p, q).item() == pytest.approx(0.4431, abs=1e-4)
    assert kl(q, p).item() == pytest.approx(1.3069, abs=1e-4)


def test_divergence_is_the_mean_log_ratio():
    q, _, _ = gaussians(2)
    p = StandardNormal(3).double()()
    with seeded(0):
        z = q.sample((20_000,))
    assert_mean(q.log_prob(z) - p.log_prob(z), kl(q, p))


def test_without_a_closed_form_the_estimate_is_unbiased_and_differentiable():
    # A Laplace prior over three latents, wrapped so that torch knows no formula for the pair.
    loc = torch.tensor([[0.3, -1.0, 2.0]], dtype=F64, requires_grad=True)
    scale = torch.tensor([[0.5, 1.0, 0.8]], dtype=F64, requires_grad=True)
    p = Independent(Laplace(torch.zeros(3, dtype=F64), torch.ones(3, dtype=F64)), 1)
    covariance = torch.diag_embed(scale**2)
    exact = torch.distributions.kl_divergence(Normal(loc, scale), Laplace(p.mean, 1.0)).sum(-1)
    gradients = torch.autograd.grad(exact.sum(), (loc, scale))

    n = 20_000  # draws, seed 0, one estimate each
    rows = [t.detach().expand(n, 3).clone().requires_grad_() for t in (loc, scale)]
    q = MultivariateNormal(rows[0], scale_tril=torch.diag_embed(rows[1]))
    with seeded(0):
        draws = kl(q, p)
    assert draws.shape == (n,)
    assert draws.min() < 0  # unlike the divergence
    assert_mean(draws.detach()[:, None], exact.detach())
    found = torch.autograd.grad(draws.sum(), rows)
    for per_draw, expected in zip(found, gradients, strict=True):
        assert_mean(per_draw, expected[0])

    one = MultivariateNormal(loc.detach(), covariance.detach())
    with seeded(1):
        spread_one = torch.stack([kl(one, p, 1) for _ in range(300)]).var()
        spread_100 = torch.stack([kl(one, p, 100) for _ in range(300)]).var()
    # the variance falls as 1/100; an F ratio of 300 draws each is within 1.6 of that
    assert 100 / 1.6 < spread_one / spread_100 < 100 * 1.6


@pytest.mark.parametrize("grey", [0.5, 128 / 255, 255.0, -1.0, float("nan")])
def test_a_bernoulli_refuses_what_is_no_black_or_white_pixel(grey):
    x = torch.zeros(2, 1, 2, 2)
    p_x = BernoulliLikelihood()(torch.zeros_like(x))
    assert p_x.log_prob(x).shape == (2,)
    x[1, 0, 1, 0] = grey
    with pytest.raises(ValueError, match=rf"0 or 1, and here one is {grey:.3g}: toss the grey"):
        p_x.log_prob(x)
