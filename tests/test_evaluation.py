"""Tests of evaluation.py: estimates against the exact evidence and numpy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import MultivariateNormal

from vae_src import evaluation
from vae_src.evaluation import (
    Estimate,
    active_units,
    ais,
    effective_sample_size,
    estimate,
    log_marginal,
)
from vae_src.exact import LinearGaussian
from vae_src.models import mlp_vae
from vae_src.objectives import log_weights
from vae_src.randomness import seeded

F64 = torch.float64


class Wide(LinearGaussian):
    """The exact posterior, moved and stretched: a proposal whose weights have a finite variance."""

    def encode(self, x: Tensor) -> MultivariateNormal:
        q = self.posterior(x)
        return MultivariateNormal(q.mean + 0.2, scale_tril=1.3 * q.scale_tril)


@pytest.fixture(params=[LinearGaussian, Wide])
def model(request) -> LinearGaussian:
    with seeded(0):
        return request.param(torch.randn(4, 2, dtype=F64), torch.randn(4, dtype=F64), 0.8)


def data(n: int) -> Tensor:
    with seeded(1):
        return torch.randn(n, 4, dtype=F64)


# ---------------------------------------------------------------- log_marginal


@pytest.mark.parametrize("chunk_size", [1, 7, 100])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_with_the_exact_posterior_it_is_exact(chunk_size, batch_size):
    with seeded(0):
        model = LinearGaussian(torch.randn(4, 2, dtype=F64), torch.randn(4, dtype=F64), 0.8)
    found = log_marginal(model, data(5), 20, chunk_size=chunk_size, batch_size=batch_size)
    torch.testing.assert_close(found, model.log_marginal(data(5)), atol=1e-11, rtol=0)


@pytest.mark.parametrize(("chunk_size", "batch_size"), [(100, 10_000), (7, 10_000), (3, 1000)])
def test_its_exponential_is_unbiased_however_the_work_is_cut(model, chunk_size, batch_size):
    n, x = 2000, data(3)  # estimates of K = 10 draws each, seed 0
    copies = x.repeat_interleave(n, 0)
    log_p = log_marginal(model, copies, 10, chunk_size=chunk_size, batch_size=batch_size)
    draws = log_p.exp().reshape(3, n)
    exact = model.log_marginal(x)
    error = draws.std(1) / math.sqrt(n)
    assert ((draws.mean(1) - exact.exp()).abs() <= 4 * error + 1e-12).all()
    # and in nats it lies below, by (variance of a weight) / 2K to first order
    below = log_p.reshape(3, n)
    assert (below.mean(1) <= exact + 4 * below.std(1) / math.sqrt(n) + 1e-10).all()


def test_it_is_the_log_of_the_mean_weight(model):
    x = data(3)
    with seeded(5):
        weights = torch.stack([log_weights(model, x, 4), log_weights(model, x, 4)]).reshape(8, 3)
    found = log_marginal(model, x, 8, chunk_size=4, seed=5)
    np.testing.assert_allclose(found, np.log(np.exp(weights.numpy()).mean(0)), atol=1e-12)


def test_draws_that_do_not_fill_the_last_chunk_count_once():
    drawn = []

    class Counting(Wide):
        def decode(self, z: Tensor) -> MultivariateNormal:
            drawn.append(z.shape[0])
            return super().decode(z)

    log_marginal(
        Counting(torch.ones(4, 2, dtype=F64), torch.zeros(4, dtype=F64), 1.0), data(2), 10, chunk_size=4
    )
    assert drawn == [4, 4, 2]


def test_a_seed_repeats_it_and_nothing_outside_changes(model):
    x, before = data(3), torch.get_rng_state()
    first, second = (log_marginal(model, x, 10, seed=3) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    if isinstance(model, Wide):
        assert not torch.equal(first, log_marginal(model, x, 10, seed=4))


def test_it_survives_weights_that_underflow(model):
    found = log_marginal(model, data(3) + 200, 10, chunk_size=3)
    assert found.isfinite().all()
    assert (found < -1000).all()


def test_it_keeps_no_graph_and_the_dtype():
    vae = mlp_vae(2, (3,), event_shape=(4,))
    found = log_marginal(vae, torch.rand(5, 4).round(), 3)
    assert not found.requires_grad
    assert found.dtype == torch.float32


@pytest.mark.parametrize("counts", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-5, 1, 1)])
def test_counts_below_one_are_refused(model, counts):
    with pytest.raises(ValueError, match="at least 1, not {}, {} and {}".format(*counts)):
        log_marginal(model, data(2), counts[0], chunk_size=counts[1], batch_size=counts[2])


# ---------------------------------------------------------------- effective_sample_size


@settings(max_examples=60, deadline=None)
@given(k=st.integers(1, 20), batch=st.integers(1, 4), spread=st.floats(0, 30), seed=st.integers(0, 2**31))
def test_effective_sample_size_by_brute_force(k, batch, spread, seed):
    with seeded(seed):
        log_w = spread * torch.randn(k, batch, dtype=F64)
    w = np.exp(log_w.numpy())
    found = effective_sample_size(log_w)
    np.testing.assert_allclose(found, w.sum(0) ** 2 / (w**2).sum(0), rtol=1e-10)
    assert (found >= 1 - 1e-9).all()
    assert (found <= k * (1 + 1e-9)).all()
    # scaling every weight changes nothing, even beyond the range of floats
    torch.testing.assert_close(effective_sample_size(log_w - 5000), found, rtol=1e-6, atol=0)


def test_effective_sample_size_at_its_ends():
    log_w = torch.full((10, 2), -3000.0, dtype=F64)
    log_w[4, 1] = 0
    np.testing.assert_allclose(effective_sample_size(log_w), [10, 1], rtol=1e-9)


def test_with_the_exact_posterior_no_draw_is_wasted():
    with seeded(0):
        model = LinearGaussian(torch.randn(4, 2, dtype=F64), torch.randn(4, dtype=F64), 0.8)
        found = effective_sample_size(log_weights(model, data(3), 25))
    torch.testing.assert_close(found, torch.full((3,), 25.0, dtype=F64))


# ---------------------------------------------------------------- estimate


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=50))
def test_estimate_is_numpys_mean_and_standard_error(values):
    found = estimate(torch.tensor(values))
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert found.standard_error == pytest.approx(np.std(values, ddof=1) / len(values) ** 0.5, abs=1e-9)


def test_estimate_adds_up_in_double_precision():
    values = torch.cat([torch.full((4096,), 4096.0), torch.full((4096,), 0.1)])
    assert estimate(values).mean == pytest.approx((4096 + float(np.float32(0.1))) / 2, abs=1e-12)


def test_estimate_prints_two_decimals():
    assert str(Estimate(-86.764, 0.305)) == "-86.76 ± 0.30"


def test_estimate_refuses_values_that_are_not_finite():
    with pytest.raises(ValueError, match="2 of 3 values are not finite"):
        estimate(torch.tensor([1.0, math.nan, math.inf]))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 2)])
def test_estimate_refuses_what_has_no_standard_error(shape, without_type_checks):
    plain = without_type_checks(evaluation)
    with pytest.raises(
        ValueError, match=rf"at least two values on one axis, got \[{str(list(shape))[1:-1]}\]"
    ):
        plain.estimate(torch.zeros(shape))


# ---------------------------------------------------------------- active_units


def test_active_units_are_those_whose_mean_moves():
    model = mlp_vae(3, (4,), event_shape=(4,)).double()
    with torch.no_grad():
        model.encoder[-1].linear.weight[1].zero_()  # the mean of the second latent stands still
        model.encoder[-1].linear.weight[3:].mul_(10)  # scales move: they do not count
        model.encoder[-1].linear.weight[[0, 2]] = torch.randn(2, 4, dtype=F64) * 3
    x = data(50)
    found = active_units(model, x)
    with torch.no_grad():
        mean = model.encode(x).mean.numpy()
    np.testing.assert_allclose(found.variance, mean.var(0, ddof=1), atol=1e-12)
    assert found.active.tolist() == [True, False, True]
    assert found.count == 2
    assert isinstance(found.count, int)
    assert not found.variance.requires_grad
    assert active_units(model, x, threshold=1e9).count == 0


def test_in_a_linear_model_a_column_of_zeros_is_inactive():
    # Var of the posterior mean is 1 − w/λ for a column of squared length λ − σ², and 0 without one.
    weight = torch.diag(torch.tensor([2.0, 1.0, 0.0], dtype=F64))
    model, n = LinearGaussian(weight, torch.zeros(3, dtype=F64), 1.0), 20_000  # seed 0
    with seeded(0):
        found = active_units(model, model.marginal().sample((n,)))
    expected = torch.tensor([4 / 5, 1 / 2, 0.0], dtype=F64)
    assert ((found.variance - expected).abs() <= 4 * expected * math.sqrt(2 / n)).all()
    assert found.count == 2


def test_the_variance_of_one_example_is_refused(model):
    with pytest.raises(ValueError, match="needs at least two examples, got 1"):
        active_units(model, data(1))


# ---------------------------------------------------------------- ais


def test_ais_agrees_with_the_exact_evidence(model):
    x, exact = data(3), model.log_marginal(data(3))
    runs = torch.stack([ais(model, x, 64, 20, seed=seed) for seed in range(8)])  # 8 seeds of 64 chains
    error = runs.std(0) / math.sqrt(8)
    assert ((runs.mean(0) - exact).abs() <= 4 * error + 0.02).all()
    assert (error < 0.1).all()


@pytest.mark.parametrize("num_steps", [1, 3, 10])
def test_its_exponential_is_unbiased_at_any_length(num_steps):
    # one feature, one latent, and a posterior far from the prior: short chains are poor, not biased
    model, x = LinearGaussian(torch.tensor([[1.5]]), torch.tensor([0.0]), 0.5), torch.tensor([[2.0]])
    ratio = (ais(model, x.expand(20_000, 1), 1, num_steps) - model.log_marginal(x)).exp()  # seed 0
    assert abs(ratio.mean() - 1) <= 4 * ratio.std() / math.sqrt(20_000)
    assert ratio.log().mean() < -0.01, "and in nats it lies below"


def test_more_temperatures_raise_it():
    with seeded(3):
        model = LinearGaussian(torch.randn(12, 3, dtype=F64), torch.zeros(12, dtype=F64), 0.2)
        x = model.marginal().sample((20,))
    short, longer = (ais(model, x, 2, steps).mean() for steps in (5, 100))
    assert short + 1 < longer < model.log_marginal(x).mean() + 0.2


def test_with_one_temperature_it_is_importance_sampling_from_the_prior():
    class Prior(LinearGaussian):
        def encode(self, x: Tensor) -> MultivariateNormal:
            return self.prior.expand(torch.Size((len(x),)))

    model, x, n = Prior(torch.ones(2, 1), torch.zeros(2), 1.0), torch.tensor([[0.3, -1.0]]), 4000
    both = [ais(model, x, n, 1), log_marginal(model, x, n)]
    error = math.sqrt(2 * (1 / 12**0.5) / n)  # a weight's variance here is below 0.3 of its squared mean
    assert abs(both[0] - both[1]) <= 4 * error


def test_ais_leaves_the_model_and_the_random_numbers_alone():
    vae, x = mlp_vae(2, (3,), event_shape=(4,)), torch.rand(5, 4).round()
    before = torch.get_rng_state()
    first, second = (ais(vae, x, 2, 3, seed=1) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, ais(vae, x, 2, 3, seed=2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.grad is None for p in vae.parameters())
    assert (first.dtype, first.requires_grad) == (torch.float32, False)


@pytest.mark.parametrize("counts", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_ais_refuses_counts_below_one(model, counts):
    with pytest.raises(ValueError, match="at least 1, not {}, {} and {}".format(*counts)):
        ais(model, data(2), counts[0], counts[1], num_leapfrog=counts[2])
