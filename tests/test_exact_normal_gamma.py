"""Tests of exact/normal_gamma.py: against scipy, quadrature, and one observation at a time."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import dblquad

from vae_src.exact import NormalGamma, normal_gamma
from vae_src.randomness import seeded

X = torch.tensor([29.4, -9.0, -4.5, -3.0, 30.4], dtype=torch.float64)
PRIOR = NormalGamma(loc=1.0, count=0.3, shape=2.0, rate=100.0)


def test_the_density_is_scipys_product_of_normal_and_gamma():
    mu, log_tau = np.array([-3.0, 0.0, 5.0]), np.array([-6.0, -4.0, -3.0])
    tau = np.exp(log_tau)
    expected = scipy.stats.norm(1.0, (0.3 * tau) ** -0.5).logpdf(mu)
    expected += scipy.stats.gamma(2.0, scale=1 / 100.0).logpdf(tau) + log_tau
    z = torch.from_numpy(np.stack([mu, log_tau], -1))
    np.testing.assert_allclose(PRIOR.log_prob(z), expected, atol=1e-12)


def test_the_likelihood_is_a_sum_over_observations():
    z = torch.tensor([[[2.0, -5.0]], [[8.0, -6.0]]], dtype=torch.float64)
    each = torch.distributions.Normal(z[..., :1], (-0.5 * z[..., 1:]).exp()).log_prob(X)
    torch.testing.assert_close(PRIOR.log_likelihood(X, z), each.sum(-1), atol=1e-11, rtol=0)


def test_bayes_rule_holds_at_every_point():
    with seeded(0):
        z = torch.randn(50, 2).double() * torch.tensor([20.0, 2.0]) + torch.tensor([5.0, -5.0])
    left = PRIOR.log_joint(X, z) - PRIOR.posterior(X).log_prob(z)
    torch.testing.assert_close(
        left, torch.full((50,), PRIOR.log_marginal(X), dtype=torch.double), atol=1e-10, rtol=0
    )


def test_the_evidence_is_the_integral_of_the_joint():
    n, mean, scatter = len(X), X.mean().item(), ((X - X.mean()) ** 2).sum().item()

    def joint(mu, tau):
        prior = scipy.stats.norm.pdf(mu, 1.0, (0.3 * tau) ** -0.5) * scipy.stats.gamma.pdf(tau, 2, scale=0.01)
        squares = scatter + n * (mean - mu) ** 2
        return prior * (tau / (2 * math.pi)) ** (n / 2) * math.exp(-tau * squares / 2) * 1e10

    integral, _ = dblquad(joint, 1e-9, 0.05, -90, 110, epsabs=1e-9, epsrel=1e-7)
    assert math.log(integral) - 10 * math.log(10) == pytest.approx(PRIOR.log_marginal(X), abs=1e-4)


def test_data_may_come_one_by_one():
    step, evidence = PRIOR, 0.0
    for one in X.split(1):
        evidence += step.log_marginal(one)
        step = step.posterior(one)
    whole = PRIOR.posterior(X)
    for name in ("loc", "count", "shape", "rate"):
        assert getattr(step, name) == pytest.approx(getattr(whole, name), rel=1e-12)
    assert evidence == pytest.approx(PRIOR.log_marginal(X), abs=1e-10)


def test_one_observation_has_a_student_t_evidence():
    x = torch.tensor([4.0], dtype=torch.float64)
    scale = math.sqrt(100.0 / 2.0 * (1 + 1 / 0.3))
    expected = scipy.stats.t(2 * 2.0, 1.0, scale).logpdf(4.0)
    assert PRIOR.log_marginal(x) == pytest.approx(expected, abs=1e-12)


def test_marginals_are_those_of_draws():
    n = 200_000  # seed 0
    posterior = PRIOR.posterior(X)
    with seeded(0):
        z = posterior.sample(n)
    mu, tau = posterior.marginals()
    assert scipy.stats.kstest(z[:, 0], scipy.stats.t(mu.df, mu.loc, mu.scale).cdf).pvalue > 0.01
    gamma = scipy.stats.gamma(posterior.shape, scale=1 / posterior.rate)
    assert scipy.stats.kstest(z[:, 1].exp(), gamma.cdf).pvalue > 0.01
    precision = scipy.stats.norm.cdf((z[:, 0] - posterior.loc) * (posterior.count * z[:, 1].exp()).sqrt())
    assert scipy.stats.kstest(precision, "uniform").pvalue > 0.01  # μ given τ
    assert tau.mean.item() == pytest.approx(gamma.mean())


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 12), st.floats(-50, 50), st.floats(0.1, 30))
def test_moving_and_stretching_the_data_moves_and_stretches_the_answer(seed, n, shift, stretch):
    with seeded(seed):
        x = torch.randn(n).double()
    moved = NormalGamma(shift, 0.5, 1.5, 2.0 * stretch**2).posterior(shift + stretch * x)
    plain = NormalGamma(0.0, 0.5, 1.5, 2.0).posterior(x)
    assert moved.loc == pytest.approx(shift + stretch * plain.loc, abs=1e-8)
    assert moved.rate == pytest.approx(stretch**2 * plain.rate, rel=1e-9)


@pytest.mark.parametrize("name", ["count", "shape", "rate"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_impossible_parameters_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be positive and finite, not {value}"):
        NormalGamma(**{"loc": 0.0, "count": 1.0, "shape": 1.0, "rate": 1.0, name: value})


def test_a_centre_that_is_none_is_refused():
    with pytest.raises(ValueError, match="loc must be a finite number, not nan"):
        NormalGamma(math.nan, 1.0, 1.0, 1.0)


@pytest.mark.parametrize("x", [torch.empty(0), torch.tensor([1.0, math.nan]), torch.ones(2, 2)])
def test_impossible_data_are_refused(x, without_type_checks):
    plain = without_type_checks(normal_gamma).NormalGamma(0.0, 1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="x needs one finite number per observation"):
        plain.posterior(x)


def test_points_of_the_wrong_length_are_refused(without_type_checks):
    plain = without_type_checks(normal_gamma).NormalGamma(0.0, 1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match=r"μ and log τ on its last axis.*\[3\]"):
        plain.log_prob(torch.zeros(3))
