"""Tests of inference.py: one q per datum, against posteriors that are known."""

import inspect
import itertools
import math

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

import vae_src as vs
from vae_src.exact import Grid, LinearGaussian
from vae_src.inference import (
    GivenPosterior,
    InferenceGaps,
    elbo_of,
    inference_gaps,
    log_marginal_with,
    optimize_posterior,
)
from vae_src.models import mlp_vae
from vae_src.trained import load_trained


@pytest.fixture
def linear() -> LinearGaussian:
    """Three features, two latents that its data tie together."""
    weight = torch.tensor([[1.0, 0.8], [0.2, 1.1], [0.7, 0.7]], dtype=torch.float64)
    return LinearGaussian(weight, torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64), 0.6)


@pytest.fixture
def x(linear) -> torch.Tensor:
    with vs.seeded(3):
        return linear.marginal().sample((4,))


@pytest.fixture(scope="module")
def digits() -> tuple[vs.VAE, torch.Tensor]:
    """The trained VAE with two latents, and the first test digits."""
    model = mlp_vae(2, (256, 128))
    load_trained(model, "mnist-2d-vae")
    with vs.seeded(0):
        return model, vs.binarize(vs.sample("mnist").test.images[:12])


class Biased(LinearGaussian):
    """A model whose encoder is a given distance away from the best diagonal q."""

    def encode(self, x: torch.Tensor) -> Independent:
        best = best_diagonal(self, x)
        return Independent(Normal(best.mean + 0.3, 1.5 * best.stddev), 1)


def best_diagonal(model: LinearGaussian, x: torch.Tensor) -> Independent:
    """The diagonal q that is nearest to a Gaussian posterior: its mean, and 1/Λ_ii."""
    posterior = model.posterior(x)
    variance = 1 / posterior.precision_matrix.diagonal(dim1=-2, dim2=-1)
    return Independent(Normal(posterior.mean, variance.expand_as(posterior.mean).sqrt()), 1)


def tensors(q: Independent | MultivariateNormal) -> list[torch.Tensor]:
    return [q.mean, q.stddev if isinstance(q, Independent) else q.covariance_matrix]


def test_the_best_gaussian_is_the_posterior_when_that_is_gaussian(linear, x):
    fit = optimize_posterior(linear, x, "full", num_steps=1500)
    posterior = linear.posterior(x)
    torch.testing.assert_close(fit.q.mean, posterior.mean, atol=1e-3, rtol=0)
    expected = posterior.covariance_matrix.expand_as(fit.q.covariance_matrix)
    torch.testing.assert_close(fit.q.covariance_matrix, expected, atol=1e-3, rtol=0)
    # the last gradients vanish with their noise: each value is log p(x) itself
    torch.testing.assert_close(fit.values[-1], linear.log_marginal(x), atol=1e-5, rtol=0)


def test_the_best_diagonal_gaussian_has_the_variances_of_mean_field(linear, x):
    fit = optimize_posterior(linear, x, "diagonal", num_steps=2000, num_samples=32)
    for found, expected in zip(tensors(fit.q), tensors(best_diagonal(linear, x)), strict=True):
        torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


def test_each_example_is_optimised_as_if_it_were_alone(linear, x):
    together = optimize_posterior(linear, x, "full", num_steps=400)
    for i in range(len(x)):
        alone = optimize_posterior(linear, x[i : i + 1], "full", num_steps=400, seed=7)
        torch.testing.assert_close(alone.q.mean[0], together.q.mean[i], atol=5e-3, rtol=0)


def test_a_fit_starts_where_it_is_told_and_counts_its_cost(linear, x):
    start = best_diagonal(linear, x)
    fit = optimize_posterior(linear, x, "full", start, num_steps=3, num_samples=5, learning_rate=1e-9)
    torch.testing.assert_close(fit.q.mean, start.mean, atol=1e-6, rtol=0)
    torch.testing.assert_close(fit.q.stddev, start.stddev, atol=1e-6, rtol=0)
    assert (fit.num_decodes, fit.values.shape) == (15, (3, 4))
    prior = optimize_posterior(linear, x, num_steps=1, learning_rate=1e-9).q
    torch.testing.assert_close(prior.stddev, torch.ones_like(prior.stddev), atol=1e-6, rtol=0)
    torch.testing.assert_close(prior.mean, torch.zeros_like(prior.mean), atol=1e-6, rtol=0)


def test_a_full_fit_goes_on_from_the_tilt_of_its_start(linear, x):
    scale_tril = torch.tensor([[0.5, 0.0], [0.9, 0.4]], dtype=torch.float64).expand(4, 2, 2)
    start = MultivariateNormal(linear.posterior(x).mean, scale_tril=scale_tril)
    still = {"num_steps": 1, "learning_rate": 1e-9}
    found = optimize_posterior(linear, x, "full", start, **still).q
    torch.testing.assert_close(found.scale_tril, scale_tril, atol=1e-6, rtol=0)
    upright = optimize_posterior(linear, x, "diagonal", start, **still).q
    torch.testing.assert_close(upright.stddev, start.stddev, atol=1e-6, rtol=0)


def test_a_fit_repeats_and_leaves_no_trace(digits):
    model, x = digits
    before = torch.random.get_rng_state()
    first, second = (optimize_posterior(model, x[:2], num_steps=5, seed=1) for _ in range(2))
    assert torch.equal(first.values, second.values)
    assert not torch.equal(first.values, optimize_posterior(model, x[:2], num_steps=5, seed=2).values)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(p.grad is None for p in model.parameters())
    assert not first.q.mean.requires_grad


def test_the_elbo_of_a_q_is_log_p_less_its_divergence(linear, x):
    for q in (best_diagonal(linear, x), Biased(linear.weight, linear.offset, 0.6).encode(x)):
        as_full = MultivariateNormal(q.mean, scale_tril=torch.diag_embed(q.stddev))
        exact = linear.log_marginal(x) - kl_divergence(as_full, linear.posterior(x))
        num_samples = 40_000
        with vs.seeded(5):
            log_w = vs.log_weights(GivenPosterior(linear, q), x, num_samples)
        error = log_w.std(0) / math.sqrt(num_samples)
        assert ((elbo_of(linear, x, q, num_samples, seed=6) - exact).abs() < 4.5 * error).all()


def test_a_good_proposal_gives_log_p_exactly(linear, x):
    posterior = MultivariateNormal(
        linear.posterior(x).mean, linear.posterior(x).covariance_matrix.expand(4, 2, 2)
    )
    for num_samples in (1, 1003):
        found = log_marginal_with(linear, x, posterior, num_samples)
        torch.testing.assert_close(found, linear.log_marginal(x))


def test_the_ladder_of_a_linear_model_is_known_rung_by_rung(linear, x):
    model = Biased(linear.weight, linear.offset, linear.scale)
    gaps = inference_gaps(model, x, num_steps=600, num_samples=16, num_evaluations=20_000, batch_size=3)
    log_p, posterior = linear.log_marginal(x), linear.posterior(x)

    def divergence(q: Independent) -> torch.Tensor:
        full = MultivariateNormal(q.mean, scale_tril=torch.diag_embed(q.stddev))
        return kl_divergence(full, posterior)

    close = {"atol": 0.02, "rtol": 0}
    torch.testing.assert_close(gaps.log_marginal, log_p, atol=1e-4, rtol=0)
    torch.testing.assert_close(gaps.full, log_p, atol=1e-3, rtol=0)
    torch.testing.assert_close(gaps.approximation, divergence(best_diagonal(model, x)), **close)
    torch.testing.assert_close(gaps.inference, divergence(model.encode(x)), atol=0.08, rtol=0)
    torch.testing.assert_close(gaps.amortization + gaps.approximation, gaps.inference)
    assert gaps.approximation_full.abs().max() < 1e-3


def test_the_ladder_of_real_digits_ends_at_the_evidence(digits):
    model, x = digits
    gaps = inference_gaps(model, x, num_steps=300, num_evaluations=2000)
    exact = Grid(model).log_marginal(x)
    # a Gaussian that fits has few draws in a posterior's tails, so it is a little short now and then
    assert (gaps.log_marginal - exact).abs().max() < 0.1
    for lower, upper in itertools.pairwise(gaps):
        assert (upper - lower).min() > -0.06  # noise of 2,000 draws
    assert gaps.amortization.mean() > 1  # the encoder is 12 nats short of one of these


def test_a_q_for_other_examples_is_refused(linear, x):
    q = best_diagonal(linear, x)
    with pytest.raises(ValueError, match=r"q holds \[4\] distributions for 3 examples"):
        elbo_of(linear, x[:3], q)
    with pytest.raises(ValueError, match="one for each"):
        log_marginal_with(linear, x[:3], q)
    with pytest.raises(ValueError, match="start has batch shape"):
        optimize_posterior(linear, x[:3], start=q)
    wrong = Independent(Normal(torch.zeros(4, 3), torch.ones(4, 3)), 1)
    with pytest.raises(ValueError, match="a latent of shape"):
        optimize_posterior(linear, x, start=wrong)


@pytest.mark.parametrize("bad", [{"num_steps": 0}, {"num_samples": 0}])
def test_counts_must_count(linear, x, bad):
    with pytest.raises(ValueError, match="must be at least 1"):
        optimize_posterior(linear, x, **bad)
    with pytest.raises(ValueError, match="must be at least 1, not 0"):
        elbo_of(linear, x, best_diagonal(linear, x), 0)


def test_integers_and_nothing_are_not_judged(linear, x):
    none = Independent(Normal(torch.zeros(0, 2), torch.ones(0, 2)), 1)
    with pytest.raises(ValueError, match="at least one example of floats"):
        inference_gaps(linear, x[:0])
    for judge in (elbo_of, log_marginal_with):
        with pytest.raises(ValueError, match="at least one example of floats"):
            judge(linear, x[:0], none)
        # undo jaxtyping's check, which only tests have: without it nats came out as integers
        with pytest.raises(ValueError, match=r"got \[4, 3\] of torch.int64"):
            inspect.unwrap(judge)(linear, x.long(), best_diagonal(linear, x))


def test_what_cannot_be_optimised_is_named(linear, x):
    with pytest.raises(ValueError, match="family is 'diagonal' or 'full', not 'flow'"):
        optimize_posterior(linear, x, "flow")
    with pytest.raises(ValueError, match="at least one example"):
        optimize_posterior(linear, x[:0])
    grey = mlp_vae(2, (3,), likelihood=vs.NormalLikelihood(event_dims=1), event_shape=(4,))
    holed = torch.zeros(4, 4).index_fill(0, torch.tensor([2]), math.nan)
    with pytest.raises(ValueError, match="the ELBO of example 2 is nan at step 0: look at x"):
        optimize_posterior(grey, holed)


def test_gaps_add_up():
    gaps = InferenceGaps(*torch.tensor([[-95.0], [-93.0], [-92.5], [-92.25]]))
    assert [gaps.inference.item(), gaps.amortization.item()] == [2.75, 2.0]
    assert [gaps.approximation.item(), gaps.approximation_full.item()] == [0.75, 0.25]
