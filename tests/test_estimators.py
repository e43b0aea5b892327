"""Tests of estimators.py: means against closed forms within 4 standard errors, variances against formulas."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Gamma,
    Independent,
    MultivariateNormal,
    Normal,
    Uniform,
    kl_divergence,
)

from vae_src import estimators
from vae_src.estimators import pathwise, score_function, stl
from vae_src.exact import LinearGaussian
from vae_src.models import mlp_vae
from vae_src.objectives import log_weights
from vae_src.randomness import seeded

F64 = torch.float64
FACES = torch.arange(1, 7, dtype=F64)


def estimates(surrogate, phi: Tensor, n: int) -> Tensor:
    """Return n independent gradients by phi, [n, *phi]: each has a copy of phi of its own. Seed 0."""
    copies = phi.detach().expand(n, *phi.shape).clone().requires_grad_()
    with seeded(0):
        value = surrogate(copies)
    assert value.shape == (n,)
    return torch.autograd.grad(value.sum(), copies)[0]


def assert_mean(draws: Tensor, expected: Tensor) -> None:
    error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - expected).abs() <= 4 * error + 1e-12).all()


def normal(phi: Tensor) -> Normal:
    return Normal(phi[..., 0], phi[..., 1])


def die(theta: Tensor) -> Categorical:
    return Categorical(logits=theta[..., None] * FACES)


EVERY = [
    lambda f, q: pathwise(f, q),
    lambda f, q: pathwise(f, q, 3),
    lambda f, q: score_function(f, q),
    lambda f, q: score_function(f, q, 3),
    lambda f, q: score_function(f, q, 3, baseline=2.5),
    lambda f, q: score_function(f, q, 3, baseline="leave-one-out"),
]


# ---------------------------------------------------------------- unbiased


@pytest.mark.parametrize("estimator", EVERY)
def test_the_gradient_of_a_second_moment(estimator):
    phi = torch.tensor([0.8, 0.6], dtype=F64)  # E z² = μ² + σ²
    assert_mean(estimates(lambda p: estimator(torch.square, normal(p)), phi, 50_000), 2 * phi)


@pytest.mark.parametrize("estimator", EVERY[2:])
def test_the_gradient_of_a_die_by_enumeration(estimator):
    theta = torch.tensor(0.3, dtype=F64)
    probs = die(theta).probs
    variance = probs @ FACES**2 - (probs @ FACES) ** 2  # dE[k]/dθ
    assert_mean(estimates(lambda t: estimator(lambda z: FACES[z], die(t)), theta, 50_000), variance)


def test_a_gamma_moves_by_its_implicit_gradient():
    alpha = torch.tensor(2.5, dtype=F64)  # E z² = α(α + 1) for rate 1
    found = estimates(lambda a: pathwise(torch.square, Gamma(a, torch.ones((), dtype=F64))), alpha, 50_000)
    assert_mean(found, 2 * alpha + 1)


@pytest.mark.parametrize("estimator", EVERY)
def test_parameters_of_the_payoff_get_their_gradient_too(estimator):
    phi = torch.tensor([0.8, 0.6, 1.7], dtype=F64)  # E[a z²]: by a it is μ² + σ²
    found = estimates(lambda p: estimator(lambda z: p[:, 2] * z**2, normal(p)), phi, 50_000)
    mu, sigma, a = phi
    assert_mean(found, torch.stack([2 * a * mu, 2 * a * sigma, mu**2 + sigma**2]))


@pytest.mark.parametrize("estimator", EVERY)
def test_the_value_is_the_mean_payoff(estimator):
    phi = torch.tensor([0.8, 0.6], dtype=F64)
    with seeded(0):
        values = estimator(torch.square, normal(phi.expand(50_000, 2)))
    assert_mean(values, 0.64 + torch.tensor(0.36, dtype=F64))


def test_a_moving_support_is_seen_by_the_path_alone():
    phi = torch.tensor(1.5, dtype=F64)  # E z² = φ²/3; the score, −1/φ, knows nothing of the moving edge
    assert_mean(estimates(lambda p: pathwise(torch.square, Uniform(0 * p, p)), phi, 50_000), 2 * phi / 3)
    found = estimates(lambda p: score_function(torch.square, Uniform(0 * p, p)), phi, 50_000)
    assert_mean(found, -phi / 3)


# ---------------------------------------------------------------- draw by draw


def test_pathwise_is_the_chain_rule():
    mu, sigma = torch.tensor(0.5, dtype=F64).requires_grad_(), torch.tensor(2.0, dtype=F64).requires_grad_()
    with seeded(3):
        grads = torch.autograd.grad(pathwise(torch.sin, Normal(mu, sigma), 7), (mu, sigma))
    with seeded(3):
        eps = torch.randn(7, dtype=F64)
    slope = torch.cos(0.5 + 2 * eps)
    torch.testing.assert_close(torch.stack(grads), torch.stack([slope.mean(), (slope * eps).mean()]))


@pytest.mark.parametrize("baseline", [0.0, 1.3, "leave-one-out"])
def test_the_score_function_weighs_the_score(baseline):
    mu = torch.tensor(0.5, dtype=F64).requires_grad_()
    with seeded(3):
        (found,) = torch.autograd.grad(score_function(torch.exp, Normal(mu, 2.0), 7, baseline), mu)
    with seeded(3):
        z = Normal(mu, 2.0).sample((7,))
    f, score = z.exp(), (z - 0.5).detach() / 4
    if baseline == "leave-one-out":
        expected = torch.cov(torch.stack([f, score]))[0, 1]
    else:
        expected = ((f - baseline) * score).mean()
    torch.testing.assert_close(found, expected)


def test_two_steps_of_a_payoff_do_not_move_it():
    # a step has no slope: the pathwise estimate is 0, and the score function's is the density at 0
    phi = torch.tensor([0.3, 1.0], dtype=F64)
    step = lambda z: (z > 0) + 0 * z  # noqa: E731
    assert (estimates(lambda p: pathwise(step, normal(p)), phi, 100) == 0).all()
    found = estimates(lambda p: score_function(step, normal(p)), phi, 50_000)
    assert_mean(found[:, 0], Normal(phi[0], phi[1]).log_prob(torch.zeros((), dtype=F64)).exp())


@pytest.mark.parametrize("baseline", [0.0, "leave-one-out"])
@pytest.mark.parametrize("whole", [lambda z: z > 0, lambda z: (z > 0).long()])
def test_payoffs_may_be_whole_or_true_and_false(baseline, whole):
    def slope(f: estimators.Payoff) -> Tensor:
        return estimates(lambda p: score_function(f, normal(p), 3, baseline), torch.ones(2, dtype=F64), 20)

    torch.testing.assert_close(slope(whole), slope(lambda z: whole(z).double()))


@pytest.mark.parametrize("d", [1, 4, 12])
def test_variances_of_a_sum_of_squares(d):
    # by μ₁ at μ = 1, σ = 1: pathwise 4; score 4d² + 14d + 12; K draws, leave one out: a sample covariance
    ones, n, k = torch.ones(d, dtype=F64), 40_000, 3
    cases = {
        4.0: pathwise,
        4.0 * d**2 + 14 * d + 12: score_function,
        6.0 * d + 8: lambda f, q: score_function(f, q, 1, 2.0 * d + 2),
        (6 * d + 12 + (6 * d + 4) / (k - 1)) / k: lambda f, q: score_function(f, q, k, "leave-one-out"),
    }
    for variance, estimator in cases.items():
        around = lambda mu: Independent(Normal(mu, 1.0), 1)  # noqa: E731
        found = estimates(lambda mu: estimator(lambda z: (z**2).sum(-1), around(mu)), ones, n)[:, 0]  # noqa: B023
        assert_mean((found - 2) ** 2, torch.tensor(variance, dtype=F64))


def test_draws_of_a_batch_do_not_see_each_other():
    mu = torch.zeros(3, dtype=F64).requires_grad_()
    with seeded(0):
        value = score_function(lambda z: z**2, Normal(mu, 1.0), 4, "leave-one-out")
    (found,) = torch.autograd.grad(value[1], mu)
    assert found[1] != 0
    assert found[0] == found[2] == 0


# ---------------------------------------------------------------- sticking the landing


class Guess:
    """A linear decoder with a Gaussian of our own in the place of the posterior: columns μ and L."""

    def __init__(self, exact: LinearGaussian, phi: Tensor):
        self.prior, self.decode = exact.prior, exact.decode
        self.q = MultivariateNormal(phi[..., 0], scale_tril=phi[..., 1:].tril())

    def encode(self, x: Tensor) -> Distribution:
        return self.q


@pytest.fixture
def linear() -> tuple[LinearGaussian, Tensor, Tensor]:
    """A model, one example, and its posterior's parameters."""
    with seeded(0):
        exact = LinearGaussian(torch.randn(4, 2, dtype=F64), torch.randn(4, dtype=F64), 0.7)
        x = exact.marginal().sample((1,))
    posterior = exact.posterior(x)
    return exact, x, torch.cat([posterior.mean[0][:, None], posterior.scale_tril[0]], -1)


def of_elbo(estimator, linear, phi: Tensor, n: int) -> Tensor:
    exact, x, _ = linear
    return estimates(lambda p: estimator(Guess(exact, p), x.expand(n, -1)), phi, n)


@pytest.mark.parametrize("num_samples", [1, 3])
def test_there_is_no_noise_at_the_posterior(linear, num_samples):
    noise = of_elbo(lambda m, x: stl(m, x, num_samples), linear, linear[2], 200)
    full = of_elbo(lambda m, x: log_weights(m, x, num_samples).mean(0), linear, linear[2], 200)
    assert noise.abs().max() < 1e-10
    assert full.var(0).sum() > 1


def test_it_is_unbiased_off_the_posterior(linear):
    exact, x, phi = linear
    off = phi + torch.tensor([0.3, 0.2, 0.0], dtype=F64)
    gap = lambda p: -kl_divergence(Guess(exact, p).q, exact.posterior(x)).sum()  # noqa: E731
    assert_mean(of_elbo(stl, linear, off, 20_000), torch.autograd.functional.jacobian(gap, off))


def test_what_it_leaves_out_is_the_score(linear):
    exact, _, phi = linear
    off, n = phi + 0.2, 50
    copies = off.expand(n, *off.shape).clone().requires_grad_()
    with seeded(0):
        q = Guess(exact, copies).q
        z = q.sample(torch.Size((1,)))
    (score,) = torch.autograd.grad(q.log_prob(z).sum(), copies)
    full = of_elbo(lambda m, x: log_weights(m, x).mean(0), linear, off, n)
    torch.testing.assert_close(of_elbo(stl, linear, off, n) - score, full)


def test_a_diagonal_encoder_sticks_too_and_the_decoder_learns_as_ever():
    with seeded(0):
        model, x = mlp_vae(3, (5,), event_shape=(1, 2, 3)).double(), torch.rand(4, 1, 2, 3).double().round()
    with seeded(1):
        value = stl(model, x, 6)
    with seeded(1):
        log_w = log_weights(model, x, 6).mean(0)
    torch.testing.assert_close(value, log_w)
    ours = torch.autograd.grad(value.sum(), list(model.parameters()), retain_graph=True)
    theirs = torch.autograd.grad(log_w.sum(), list(model.parameters()))
    inside = {id(p) for p in model.decoder.parameters()}
    for parameter, one, other in zip(model.parameters(), ours, theirs, strict=True):
        assert torch.allclose(one, other) == (id(parameter) in inside)
    with seeded(1):  # the same as with q's parameters detached inside log q
        q = model.encode(x)
        z = q.rsample(torch.Size((6,)))
    frozen = Independent(Normal(q.base_dist.loc.detach(), q.base_dist.scale.detach()), 1)  # pyright: ignore
    by_hand = model.prior.log_prob(z) + model.decode(z).log_prob(x) - frozen.log_prob(z)
    expected = torch.autograd.grad(by_hand.mean(0).sum(), list(model.parameters()))
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_it_can_be_evaluated_without_gradients():
    with seeded(0), torch.no_grad():
        model = mlp_vae(3, (5,), event_shape=(1, 2, 3))
        assert not stl(model, torch.zeros(4, 1, 2, 3)).requires_grad


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("estimator", [pathwise, score_function])
def test_no_draws_are_refused(estimator):
    with pytest.raises(ValueError, match="counts draws and must be at least 1 here, not 0"):
        estimator(torch.square, Normal(0.0, 1.0), 0)


def test_nobody_is_left_out_of_one():
    with pytest.raises(ValueError, match="must be at least 2 here, not 1"):
        score_function(torch.square, Normal(0.0, 1.0), 1, "leave-one-out")


def test_no_draws_for_stl_are_refused(linear):
    exact, x, phi = linear
    with pytest.raises(ValueError, match="at least 1 here, not 0"):
        stl(Guess(exact, phi), x, 0)


@pytest.mark.parametrize("q", [Categorical(torch.ones(3)), Bernoulli(0.5)])
def test_draws_that_do_not_move_are_refused(q):
    with pytest.raises(ValueError, match=f"draws of a {type(q).__name__} do not move"):
        pathwise(torch.square, q)


@pytest.mark.parametrize("estimator", [pathwise, score_function])
def test_a_payoff_of_another_shape_is_refused(estimator):
    q = Independent(Normal(torch.zeros(2), 1.0), 1)
    with pytest.raises(ValueError, match=r"one payoff per draw, shape \[3\], got \[3, 2\]"):
        estimator(torch.square, q, 3)


def test_an_unknown_baseline_is_refused(without_type_checks):
    with pytest.raises(ValueError, match='baseline is a number or "leave-one-out", not "mean"'):
        without_type_checks(estimators).score_function(torch.square, Normal(0.0, 1.0), 2, "mean")
