"""Tests of objectives.py: every bound against closed forms, quadrature and enumeration.

The oracle is a linear decoder with a deliberately wrong Gaussian encoder: log p(x), the gap, the rate and
the distortion are then known exactly. Monte Carlo means must lie within 4 standard errors.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal
from torch.nn import functional

from vae_src.evaluation import log_marginal
from vae_src.exact import LinearGaussian
from vae_src.models import VAE, mlp_autoencoder, mlp_vae
from vae_src.objectives import beta_elbo, elbo, iwae_bound, log_weights, rate_distortion, reconstruction
from vae_src.randomness import seeded

F64 = torch.float64
D, L, SIGMA = 4, 2, 0.8


def linear(latent: int = L) -> LinearGaussian:
    with seeded(0):
        return LinearGaussian(torch.randn(D, latent, dtype=F64), torch.randn(D, dtype=F64), SIGMA)


class Wrong:
    """A linear decoder whose encoder is the exact posterior, moved and stretched.

    With ``diagonal`` it also drops the correlations, and torch has no formula for its divergence from the
    prior, so that the rate is estimated.
    """

    def __init__(
        self,
        exact: LinearGaussian,
        shift: float | Tensor = 0.3,
        stretch: float | Tensor = 1.4,
        diagonal: bool = False,
    ):
        self.exact, self.shift, self.stretch, self.diagonal = exact, shift, stretch, diagonal
        self.prior, self.decode = exact.prior, exact.decode

    def full(self, x: Tensor) -> MultivariateNormal:
        """The encoder with torch's full covariance, in either case."""
        q = self.exact.posterior(x)
        factor = torch.diag_embed(q.stddev) if self.diagonal else q.scale_tril
        return MultivariateNormal(q.mean + self.shift, scale_tril=self.stretch * factor)

    def encode(self, x: Tensor) -> Distribution:
        q = self.full(x)
        return Independent(Normal(q.mean, q.stddev), 1) if self.diagonal else q


def data(n: int = 6) -> Tensor:
    with seeded(1):
        return linear().marginal().sample((n,))


def repeated(x: Tensor, n: int) -> Tensor:
    """Repeat each example n times, in one batch: n independent draws of anything per-example."""
    return x.repeat_interleave(n, 0)


def assert_mean(draws: Tensor, expected: Tensor) -> None:
    """The mean over the last axis is within 4 standard errors of what is expected, everywhere."""
    error = draws.std(-1) / math.sqrt(draws.shape[-1])
    assert ((draws.mean(-1) - expected).abs() <= 4 * error + 1e-10).all()


wrong = pytest.mark.parametrize(
    "model", [Wrong(linear()), Wrong(linear(), diagonal=True)], ids=["full", "diag"]
)


# ---------------------------------------------------------------- log_weights


def test_with_the_exact_posterior_every_weight_is_the_evidence():
    model, x = linear(), data()
    with seeded(0):
        log_w = log_weights(model, x, 50)
    assert log_w.shape == (50, 6)
    expected = model.log_marginal(x).expand(50, 6)
    torch.testing.assert_close(log_w, expected, atol=1e-11, rtol=0)


@wrong
def test_a_weight_is_the_joint_over_the_proposal(model):
    x = data()
    with seeded(3):
        z = model.encode(x).rsample((20,))
    with seeded(3):
        log_w = log_weights(model, x, 20)
    w, m = model.exact.weight, model.exact.offset
    prior = -0.5 * (z**2).sum(-1) - L / 2 * math.log(2 * math.pi)
    squares = ((x - z @ w.T - m) ** 2).sum(-1)
    likelihood = -squares / (2 * SIGMA**2) - D / 2 * math.log(2 * math.pi * SIGMA**2)
    torch.testing.assert_close(log_w, prior + likelihood - model.full(x).log_prob(z), atol=1e-11, rtol=0)


@wrong
def test_weights_are_unbiased_for_the_evidence(model):
    n, x = 20_000, data()  # seed 0
    with seeded(0):
        weights = log_weights(model, x, n).exp().T
    assert_mean(weights, model.exact.log_marginal(x).exp())


# ---------------------------------------------------------------- the ELBO, rate and distortion


@wrong
def test_the_gap_of_the_elbo_is_the_divergence_from_the_posterior(model):
    n, x = 20_000, data()  # seeds 0 and 1: both forms of the ELBO
    exact, posterior = model.exact.log_marginal(x), model.exact.posterior(x)
    gap = torch.distributions.kl_divergence(model.full(x), posterior)
    assert (gap > 0.1).all()
    with seeded(0):
        assert_mean(log_weights(model, x, n).T, exact - gap)
    with seeded(1):
        draws = elbo(model, repeated(x, n)).reshape(6, n)
    assert_mean(draws, exact - gap)
    assert (draws.mean(-1) < exact).all()


def test_the_gap_holds_for_any_proposal():
    exact, x = linear(), data(3)
    with seeded(5):
        for _ in range(50):
            factor = torch.randn(L, L, dtype=F64)
            q = MultivariateNormal(torch.randn(3, L, dtype=F64), factor @ factor.T + 0.05 * torch.eye(L))
            # E_q log w in closed form: prior and likelihood are quadratic in z
            second = q.covariance_matrix + q.mean[:, :, None] * q.mean[:, None]
            prior = -0.5 * second.diagonal(dim1=1, dim2=2).sum(-1) - L / 2 * math.log(2 * math.pi)
            expected = prior - expected_distortion(exact, q, x) + q.entropy()
            gap = torch.distributions.kl_divergence(q, exact.posterior(x))
            torch.testing.assert_close(exact.log_marginal(x) - gap, expected, atol=1e-9, rtol=0)


def expected_distortion(exact: LinearGaussian, q: MultivariateNormal, x: Tensor) -> Tensor:
    """−E_q log p(x|z): the squared error at the mean, plus what the spread of q adds."""
    w = exact.weight
    at_mean = (x - q.mean @ w.T - exact.offset).square().sum(-1)
    spread = torch.einsum("di,bij,dj->b", w, q.covariance_matrix, w)
    return (at_mean + spread) / (2 * SIGMA**2) + D / 2 * math.log(2 * math.pi * SIGMA**2)


@wrong
@pytest.mark.parametrize("num_samples", [1, 4])
def test_rate_and_distortion_are_their_closed_forms(model, num_samples):
    n, x = 10_000, data()  # seed 0
    q = model.full(x)
    rate = 0.5 * (
        q.covariance_matrix.diagonal(dim1=1, dim2=2).sum(-1) + q.mean.square().sum(-1) - L
        - torch.logdet(q.covariance_matrix)
    )  # fmt: skip
    with seeded(0):
        found = rate_distortion(model, repeated(x, n), num_samples)
    assert_mean(found.distortion.reshape(6, n), expected_distortion(model.exact, q, x))
    assert_mean(found.rate.reshape(6, n), rate)
    if not model.diagonal:  # exact, not estimated
        torch.testing.assert_close(found.rate.reshape(6, n), rate[:, None].expand(6, n), atol=1e-11, rtol=0)


@pytest.mark.parametrize("bound", [elbo, lambda m, x: log_weights(m, x)[0], lambda m, x: iwae_bound(m, x, 1)])
@pytest.mark.parametrize("name", ["shift", "stretch"])
@pytest.mark.parametrize("diagonal", [False, True], ids=["full", "diag"])
def test_gradients_flow_through_the_draws(bound, name, diagonal):
    # The gradient of the closed-form gap, against one pathwise gradient per row; n rows, seed 0.
    n, x = 20_000, data(1)
    settings = {"shift": torch.tensor([0.3], dtype=F64), "stretch": torch.tensor([1.4], dtype=F64)}
    settings[name].requires_grad_()
    wrong = Wrong(linear(), settings["shift"], settings["stretch"], diagonal)
    gap = torch.distributions.kl_divergence(wrong.full(x), linear().posterior(x))
    (expected,) = torch.autograd.grad(-gap.sum(), settings[name])

    axes = {"shift": (n, 1), "stretch": (n, 1, 1)}
    rows = {key: value.detach().expand(axes[key]).clone().requires_grad_() for key, value in settings.items()}
    with seeded(0):
        value = bound(Wrong(linear(), rows["shift"], rows["stretch"], diagonal), repeated(x, n))
    (found,) = torch.autograd.grad(value.sum(), rows[name])
    assert_mean(found.reshape(1, n), expected)
    assert expected.abs() > 0.1


def test_more_draws_mean_less_noise():
    model, x, n = Wrong(linear()), repeated(data(1), 4000), 4000  # seed 0
    with seeded(0):
        one, sixteen = elbo(model, x, 1), elbo(model, x, 16)
    # the variance falls as 1/16; an F ratio of 4,000 draws each is within 1.2 of that
    assert 16 / 1.2 < one.var() / sixteen.var() < 16 * 1.2
    error = math.sqrt((one.var() + sixteen.var()) / n)
    assert abs(one.mean() - sixteen.mean()) <= 4 * error


@wrong
def test_beta_weighs_the_rate(model):
    x = data()

    def same_noise(function: Callable[..., Tensor], *arguments: float) -> Tensor:
        with seeded(0):
            return function(model, x, *arguments)

    rate, distortion = same_noise(rate_distortion, 3)
    for beta in (0.0, 0.5, 1.0, 4.0):
        found = same_noise(beta_elbo, beta, 3)
        torch.testing.assert_close(found, -distortion - beta * rate, atol=1e-12, rtol=0)
    assert torch.equal(same_noise(beta_elbo, 1.0, 3), same_noise(elbo, 3))


def test_deterministic_codes_would_overstate_the_bound():
    # Decoding the mean instead of a draw adds tr(W S Wᵀ)/2σ²: the ELBO must not do it.
    model, n, x = linear(), 20_000, data(1)  # seed 0
    q = model.posterior(x)
    at_mean = model.decode(q.mean).log_prob(x) - torch.distributions.kl_divergence(q, model.prior)
    bonus = torch.einsum("di,bij,dj->b", model.weight, q.covariance_matrix, model.weight) / (2 * SIGMA**2)
    torch.testing.assert_close(at_mean, model.log_marginal(x) + bonus, atol=1e-10, rtol=0)
    with seeded(0):
        assert_mean(elbo(model, repeated(x, n)).reshape(1, n), model.log_marginal(x))


# ---------------------------------------------------------------- the importance-weighted bound


def test_one_draw_is_the_weight_itself():
    model, x = Wrong(linear()), data()
    with seeded(0):
        expected = log_weights(model, x, 1)[0]
    with seeded(0):
        assert torch.equal(iwae_bound(model, x, 1), expected)


def test_the_bound_is_the_log_of_the_mean_weight():
    model, x = Wrong(linear()), data()
    with seeded(0):
        expected = np.log(log_weights(model, x, 7).exp().numpy().mean(0))
    with seeded(0):
        np.testing.assert_allclose(iwae_bound(model, x, 7), expected, atol=1e-12)


def test_it_stays_finite_where_weights_underflow():
    model, x = Wrong(linear()), data() + 100
    with seeded(0):
        bound = iwae_bound(model, x, 5)
    assert (bound < -1000).all()  # exp of it is 0
    assert bound.isfinite().all()


@wrong
def test_the_bound_rises_with_draws_and_never_passes_the_evidence(model):
    n, x = 8000, data(2)  # seed 0, a fresh n for every K
    exact = model.exact.log_marginal(x)
    means, errors = [], []
    with seeded(0):
        for k in (1, 2, 4, 8, 16):
            draws = iwae_bound(model, repeated(x, n), k).reshape(2, n)
            means.append(draws.mean(-1))
            errors.append(draws.std(-1) / math.sqrt(n))
        first = elbo(model, repeated(x, n)).reshape(2, n)
    assert ((means[0] - first.mean(-1)).abs() <= 4 * (errors[0] ** 2 + first.var(-1) / n).sqrt()).all()
    for low, high, e, f in zip(means[:-1], means[1:], errors[:-1], errors[1:], strict=True):
        assert (high - low >= -4 * (e**2 + f**2).sqrt()).all()
    assert (means[-1] <= exact + 4 * errors[-1]).all()
    assert (means[-1] - means[0] > 4 * (errors[-1] ** 2 + errors[0] ** 2).sqrt()).all()  # and it does rise


@pytest.mark.parametrize("num_samples", [1, 2])
def test_the_bound_is_its_integral(num_samples):
    # One latent: E log mean w over K draws is an integral over K standard normals.
    model, n = Wrong(linear(1)), 40_000  # seed 0
    x = data(1)
    q = model.full(x)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    z = q.mean + q.stddev * torch.from_numpy(nodes)[:, None]  # [nodes, latent]
    joint = model.prior.log_prob(z) + model.decode(z).log_prob(x) - q.log_prob(z[:, None])[:, 0]
    grid = joint if num_samples == 1 else torch.logaddexp(joint[:, None], joint[None]) - math.log(2)
    mass = weights if num_samples == 1 else np.outer(weights, weights)
    expected = torch.tensor([(grid.numpy() * mass).sum()])
    with seeded(0):
        assert_mean(iwae_bound(model, repeated(x, n), num_samples).reshape(1, n), expected)
    assert expected < model.exact.log_marginal(x) - 0.01


def test_its_gradient_weighs_each_draw_by_its_normalised_weight():
    with seeded(0):
        model, x = mlp_vae(2, (5,), event_shape=(6,)).double(), torch.rand(3, 6, dtype=F64).round()
        for parameter in model.parameters():
            parameter.data.mul_(2)
    parameters = list(model.parameters())

    def gradient(value: Callable[[], Tensor]) -> Tensor:
        with seeded(1):
            grads = torch.autograd.grad(value().sum(), parameters)
        return torch.cat([g.flatten() for g in grads])

    def weighted(detach: bool) -> Tensor:
        log_w = log_weights(model, x, 8)
        share = log_w.softmax(0)
        return ((share.detach() if detach else share) * log_w).sum(0)

    found = gradient(lambda: iwae_bound(model, x, 8))
    torch.testing.assert_close(found, gradient(lambda: weighted(True)), atol=1e-12, rtol=0)
    live = gradient(lambda: weighted(False))  # a mistake often made
    assert (live - found).norm() > 0.1 * found.norm()


# ---------------------------------------------------------------- a non-linear model by quadrature

SHAPE = (1, 2, 3)
ALL_IMAGES = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)), dtype=F64).reshape(64, *SHAPE)


@pytest.fixture(scope="module")
def small() -> tuple[VAE, Tensor]:
    """An untrained VAE with two latents, and log p(x) of all its 64 images on a fine grid."""
    with seeded(0):
        model = mlp_vae(2, (5,), event_shape=SHAPE, activation=torch.nn.Tanh).double()
        for parameter in model.decoder.parameters():
            parameter.data.mul_(3)
    with torch.no_grad():  # a proposal wider than the prior: the weights are bounded, 4 s.e. mean something
        model.encoder[-1].linear.weight[2:].zero_()
        model.encoder[-1].linear.bias[2:].fill_(math.log(1.3))
    axis = torch.linspace(-7, 7, 281, dtype=F64)
    z = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        log_p = functional.logsigmoid(model.decoder[:-1](z).flatten(1))
        log_not = functional.logsigmoid(-model.decoder[:-1](z).flatten(1))
    pixels = ALL_IMAGES.flatten(1)
    likelihood = (log_p @ pixels.T + log_not @ (1 - pixels).T).exp()  # [grid, 64]
    prior = (-0.5 * z.square().sum(-1)).exp() / (2 * math.pi)
    evidence = prior @ likelihood * (axis[1] - axis[0]) ** 2
    assert evidence.sum().item() == pytest.approx(1, abs=1e-9)
    assert evidence.max() > 4 * evidence.min()  # a model with something to say
    return model, evidence


def test_the_estimate_of_the_evidence_is_that_of_the_grid(small):
    model, evidence = small
    repeats, k = 200, 100  # seed 0: p̂ is unbiased for every K, its log is not
    draws = log_marginal(model, repeated(ALL_IMAGES, repeats), k, batch_size=6400, seed=0).exp()
    assert_mean(draws.reshape(64, repeats), evidence)
    total = draws.reshape(64, repeats).sum(0)  # the estimates of all images sum to 1 on average
    assert_mean(total[None], torch.ones(1, dtype=F64))


def test_the_bounds_stay_below_the_grid(small):
    model, evidence = small
    n = 2000  # seed 0
    with seeded(0), torch.no_grad():
        x = repeated(ALL_IMAGES, n)
        one = elbo(model, x).reshape(64, n)
        ten = iwae_bound(model, x, 10).reshape(64, n)
    for draws in (one, ten):
        assert (draws.mean(-1) <= evidence.log() + 4 * draws.std(-1) / math.sqrt(n)).all()
    assert (ten.mean(-1) > one.mean(-1)).all()
    assert (evidence.log() - ten.mean(-1) < evidence.log() - one.mean(-1)).all()


# ---------------------------------------------------------------- reconstruction


def test_reconstruction_is_the_cross_entropy_of_the_decoded_code():
    with seeded(0):
        model = mlp_autoencoder(2, (5,), event_shape=SHAPE).double()
        x = torch.rand(4, *SHAPE, dtype=F64).round()
    logits = model.decoder[:-1](model.encoder(x))
    expected = -functional.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)
    torch.testing.assert_close(reconstruction(model, x), expected, atol=1e-12, rtol=0)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("num_samples", [0, -3])
@pytest.mark.parametrize(
    "function", [log_weights, rate_distortion, elbo, iwae_bound, lambda m, x, k: beta_elbo(m, x, 2.0, k)]
)
def test_no_draws_are_refused(function, num_samples):
    with pytest.raises(ValueError, match=f"draws per example and must be at least 1, not {num_samples}"):
        function(linear(), data(), num_samples)


@pytest.mark.parametrize("function", [log_weights, rate_distortion, elbo, lambda m, x: iwae_bound(m, x, 2)])
def test_no_examples_are_refused(function):
    with pytest.raises(ValueError, match=r"at least one example, one per row, got shape \[0, 4\]"):
        function(linear(), data()[:0])


def test_no_examples_to_reconstruct_are_refused():
    with pytest.raises(ValueError, match=r"at least one example, one per row, got shape \[0, 1, 2, 3\]"):
        reconstruction(mlp_autoencoder(2, (3,), event_shape=SHAPE), torch.zeros(0, *SHAPE))


@pytest.mark.parametrize("beta", [-0.1, math.inf, math.nan])
def test_a_beta_that_weighs_nothing_is_refused(beta):
    with pytest.raises(ValueError, match=f"finite number of at least 0, not {beta}"):
        beta_elbo(linear(), data(), beta)
