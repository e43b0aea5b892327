"""Tests of variational.py: against closed forms, Gaussians where every method is exact, and known chains."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import ExpTransform, Gamma, MultivariateNormal, Normal, TransformedDistribution

from vae_src import variational
from vae_src.exact import NormalGamma
from vae_src.randomness import seeded
from vae_src.variational import MeanField, bbvi, cavi, chain_ess, laplace, metropolis

F64 = torch.float64
X = torch.tensor([29.4, -9.0, -4.5, -3.0, 30.4], dtype=F64)
PRIOR = NormalGamma(loc=0.0, count=0.1, shape=1.0, rate=100.0)
EXACT = PRIOR.posterior(X)
TARGET = MultivariateNormal(
    torch.tensor([1.0, -2.0], dtype=F64), torch.tensor([[2.0, 0.9], [0.9, 1.0]], dtype=F64)
)


def lifted(z: torch.Tensor) -> torch.Tensor:
    """The target known up to a constant, e⁵: its evidence."""
    return TARGET.log_prob(z) + 5


def full_gaussian(phi: torch.Tensor) -> MultivariateNormal:
    root = torch.stack([torch.stack([phi[2].exp(), 0 * phi[2]]), torch.stack([phi[3], phi[4].exp()])])
    return MultivariateNormal(phi[:2], scale_tril=root)


# ---------------------------------------------------------------- MeanField


def test_a_product_has_the_factors_densities_and_their_draws():
    log_gamma = TransformedDistribution(
        Gamma(torch.tensor(4.0, dtype=F64), torch.tensor(2.0, dtype=F64)), [ExpTransform().inv]
    )
    q = MeanField(Normal(torch.tensor(1.0, dtype=F64), 2.0), log_gamma)
    n = 20_000  # seed 0
    with seeded(0):
        z = q.rsample(torch.Size((n,)))
    assert z.shape == (n, 2)
    tau = z[:, 1].exp()
    expected = (
        scipy.stats.norm(1, 2).logpdf(z[:, 0]) + scipy.stats.gamma(4, scale=0.5).logpdf(tau) + z[:, 1].numpy()
    )
    np.testing.assert_allclose(q.log_prob(z), expected, atol=1e-10)
    assert scipy.stats.kstest(z[:, 0], scipy.stats.norm(1, 2).cdf).pvalue > 0.01
    assert scipy.stats.kstest(tau, scipy.stats.gamma(4, scale=0.5).cdf).pvalue > 0.01
    assert abs(np.corrcoef(z.T)[0, 1]) < 4 / math.sqrt(n)


def test_draws_of_a_product_carry_gradients():
    loc = torch.tensor(1.0, requires_grad=True)
    MeanField(Normal(loc, 1.0), Normal(0.0, 1.0)).rsample(torch.Size((3,))).sum().backward()
    assert loc.grad == 3


# ---------------------------------------------------------------- coordinate ascent


def gaussian_updates(precision: torch.Tensor, centre: torch.Tensor):
    """The mean-field updates of a bivariate Gaussian, on the two means."""

    def update(i):
        j = 1 - i

        def step(means):
            means = list(means)
            means[i] = (centre[i] - precision[i, j] / precision[i, i] * (means[j] - centre[j])).item()
            return tuple(means)

        return step

    return [update(0), update(1)]


def gaussian_objective(means) -> float:
    precision = TARGET.precision_matrix
    q = MultivariateNormal(torch.tensor(means, dtype=F64), torch.diag(1 / precision.diag()))
    return -torch.distributions.kl_divergence(q, TARGET).item()


def test_coordinate_ascent_climbs_to_the_means_of_a_gaussian():
    updates = gaussian_updates(TARGET.precision_matrix, TARGET.mean)
    found = cavi((9.0, 9.0), updates, gaussian_objective, num_sweeps=40)
    np.testing.assert_allclose(found.state, TARGET.mean, atol=1e-8)
    assert len(found.values) == 81
    assert (found.values.diff() >= -1e-9).all()
    rho = (TARGET.covariance_matrix[0, 1] / TARGET.stddev.prod()).item()
    assert found.values[-1].item() == pytest.approx(0.5 * math.log(1 - rho**2), abs=1e-9)


def test_the_state_may_be_anything():
    assert cavi("", [lambda s: s + "a", lambda s: s + "b"], len, num_sweeps=2).state == "abab"


def test_an_update_that_lowers_the_objective_is_named():
    first, _ = gaussian_updates(TARGET.precision_matrix, TARGET.mean)
    wrong_sign = gaussian_updates(TARGET.precision_matrix * torch.tensor([[1, -1], [-1, 1]]), TARGET.mean)[1]
    with pytest.raises(ValueError, match=r"update 1 moved the objective .* cannot lower it"):
        cavi((9.0, 9.0), [first, wrong_sign], gaussian_objective)


def test_an_objective_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="to nan"):
        cavi(0.0, [lambda s: s + 1], lambda s: math.nan if s else 0.0)


# ---------------------------------------------------------------- black box


def test_a_gaussian_finds_a_gaussian_and_its_evidence():
    fit = bbvi(lifted, full_gaussian, torch.zeros(5, dtype=F64), num_steps=800, num_samples=20)
    q = full_gaussian(fit.parameters)
    assert torch.distributions.kl_divergence(q, TARGET) < 0.003
    assert fit.values[-50:].mean().item() == pytest.approx(5, abs=0.05)
    assert (fit.num_evaluations, fit.num_gradients) == (16_000, 16_000)
    assert fit.values.shape == (800,)


def test_mean_field_reaches_the_known_optimum():
    def independent(phi):
        return MeanField(Normal(phi[0], phi[1].exp()), Normal(phi[2], phi[3].exp()))

    fit = bbvi(lifted, independent, torch.zeros(4, dtype=F64), num_steps=1000, num_samples=50)
    torch.testing.assert_close(fit.parameters[[0, 2]], TARGET.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(
        (2 * fit.parameters[[1, 3]]).exp(), 1 / TARGET.precision_matrix.diag(), atol=0, rtol=0.05
    )


def test_the_start_is_left_alone_and_the_seed_decides():
    start = torch.zeros(5, dtype=F64)
    once, twice, other = (bbvi(lifted, full_gaussian, start, num_steps=5, seed=s) for s in (0, 0, 1))
    assert start.abs().sum() == 0
    assert torch.equal(once.parameters, twice.parameters)
    assert not torch.equal(once.parameters, other.parameters)


def test_the_global_generator_is_left_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    bbvi(lifted, full_gaussian, torch.zeros(5, dtype=F64), num_steps=3)
    metropolis(lifted, torch.zeros(1, 2, dtype=F64), 3, 1.0)
    assert torch.equal(torch.rand(3), expected)


def test_a_runaway_climb_says_where_and_what_to_do():
    with pytest.raises(ValueError, match="the objective is nan at step 0: try a smaller learning_rate"):
        bbvi(lambda z: z.sum(-1) * math.nan, full_gaussian, torch.zeros(5, dtype=F64), num_steps=3)


@pytest.mark.parametrize("counts", [{"num_steps": 0}, {"num_samples": 0}])
def test_nothing_to_do_is_refused(counts):
    with pytest.raises(ValueError, match="must be at least 1"):
        bbvi(lifted, full_gaussian, torch.zeros(5, dtype=F64), **counts)


# ---------------------------------------------------------------- Laplace


def test_on_a_gaussian_laplace_is_exact():
    found = laplace(lifted, torch.tensor([5.0, 5.0], dtype=F64))
    torch.testing.assert_close(found.q.mean, TARGET.mean, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.q.covariance_matrix, TARGET.covariance_matrix, atol=1e-9, rtol=0)
    assert found.log_evidence == pytest.approx(5, abs=1e-9)


def test_on_the_normal_gamma_it_has_a_closed_form():
    found = laplace(lambda z: PRIOR.log_joint(X, z), torch.tensor([-40.0, -2.0], dtype=F64))
    top = math.log((EXACT.shape + 0.5) / EXACT.rate)
    np.testing.assert_allclose(found.q.mean, [EXACT.loc, top], atol=1e-6)
    curvature = [EXACT.count * math.exp(top), EXACT.shape + 0.5]
    np.testing.assert_allclose(found.q.precision_matrix, np.diag(curvature), atol=1e-6)
    assert found.num_gradients % 3 == 0
    assert found.num_evaluations > 1


def test_it_climbs_out_of_a_valley_where_newton_would_descend():
    found = laplace(
        lambda z: -(((z**2).sum(-1) - 4) ** 2) - z.sum(-1) ** 2, torch.tensor([0.1, -0.05], dtype=F64)
    )
    np.testing.assert_allclose(found.q.mean.abs(), [math.sqrt(2)] * 2, atol=1e-5)


def test_a_density_without_a_peak_is_refused():
    with pytest.raises(ValueError, match=r"no mode after 20 Newton steps from \[0.0, 0.0\]"):
        laplace(lambda z: z.sum(-1) + 0 * z.square().sum(-1), torch.zeros(2, dtype=F64), num_steps=20)


# ---------------------------------------------------------------- Metropolis


def test_the_chain_has_the_targets_moments():
    walk = metropolis(lifted, torch.zeros(50, 2, dtype=F64), 2000, 1.7)
    draws = walk.draws[200:]
    for i in range(2):
        worth = chain_ess(draws[..., i])
        error = 4 * TARGET.stddev[i] / math.sqrt(worth)
        assert abs(draws[..., i].mean() - TARGET.mean[i]) < error
        assert draws[..., i].var().item() == pytest.approx(
            TARGET.variance[i].item(), rel=4 * math.sqrt(2 / worth)
        )
    assert np.corrcoef(draws.flatten(0, 1).T)[0, 1] == pytest.approx(0.9 / math.sqrt(2), abs=0.05)
    assert 0.1 < walk.acceptance < 0.6
    assert walk.num_evaluations == 50 * 2001


def test_a_constant_changes_nothing_and_rejections_repeat():
    start = torch.zeros(1, 2, dtype=F64)
    low = metropolis(lambda z: TARGET.log_prob(z) - 5000, start, 200, 2.0)
    high = metropolis(lifted, start, 200, 2.0)
    torch.testing.assert_close(low.draws, high.draws)
    moved = (high.draws.diff(dim=0) != 0).any(-1).double().sum() + (high.draws[0] != start).any()
    assert moved.item() == pytest.approx(200 * high.acceptance)


def test_places_with_density_zero_are_never_visited():
    def half_line(z):
        return torch.where(z[:, 0] > 0, -z[:, 0], torch.tensor(-math.inf, dtype=F64))

    walk = metropolis(half_line, torch.ones(20, 1, dtype=F64), 2000, 1.5)
    assert (walk.draws > 0).all()
    assert walk.draws.mean().item() == pytest.approx(1, abs=0.1)  # of an exponential
    with pytest.raises(ValueError, match="a start with positive density"):
        metropolis(half_line, -torch.ones(1, 1, dtype=F64), 5, 1.0)


def test_each_coordinate_may_have_its_own_step():
    walk = metropolis(
        lambda z: 0 * z[:, 0], torch.zeros(1, 2, dtype=F64), 4000, torch.tensor([1.0, 10.0], dtype=F64)
    )
    steps = walk.draws.diff(dim=0).std((0, 1))
    np.testing.assert_allclose(steps, [1, 10], rtol=0.05)


# ---------------------------------------------------------------- effective sample size


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.5, 0.9]), st.integers(1, 4))
def test_it_is_known_for_an_autoregression(seed, phi, chains):
    with seeded(seed):
        noise = torch.randn(8000, chains, dtype=F64)
    rows = [noise[0]]
    for e in noise[1:]:
        rows.append(phi * rows[-1] + math.sqrt(1 - phi**2) * e)
    expected = noise.numel() * (1 - phi) / (1 + phi)
    assert chain_ess(torch.stack(rows)) == pytest.approx(expected, rel=0.5)


def test_chains_stuck_in_different_places_are_worth_little():
    with seeded(0):
        noise = torch.randn(1000, 4, dtype=F64)
    apart = noise + torch.tensor([0.0, 10.0, 20.0, 30.0], dtype=F64)
    assert chain_ess(apart) < 10 < 3000 < chain_ess(noise)


def test_chains_that_never_moved_are_refused(without_type_checks):
    plain = without_type_checks(variational)
    with pytest.raises(ValueError, match="at least 4 steps of chains that move"):
        plain.chain_ess(torch.ones(100, 2, dtype=F64))
    with pytest.raises(ValueError, match="got 3"):
        plain.chain_ess(torch.randn(3, 2, dtype=F64))
