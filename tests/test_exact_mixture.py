"""Tests of exact/mixture.py: mixtures and EM against torch.distributions, scipy and scikit-learn."""

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture as Sklearn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from vae_src.exact import GaussianMixture, em, mixture
from vae_src.exact.mixture import m_step, random_start
from vae_src.randomness import seeded

few = settings(max_examples=12, deadline=None, derandomize=True)


def some_mixture(seed: int, components: int = 3, features: int = 2) -> GaussianMixture:
    with seeded(seed):
        root = torch.randn(components, features, features).double() + torch.eye(features)
        weights = torch.rand(components).double() + 0.2
        means = 3 * torch.randn(components, features).double()
    covariances = root @ root.mT + 0.1 * torch.eye(features)
    return GaussianMixture(weights / weights.sum(), means, covariances)


@pytest.fixture
def model() -> GaussianMixture:
    return some_mixture(0)


@pytest.fixture
def x(model) -> torch.Tensor:
    with seeded(1):
        return model.sample(300).x


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 3))
@few
def test_the_density_is_that_of_torch(seed, components, features):
    model = some_mixture(seed, components, features)
    with seeded(seed):
        x = 3 * torch.randn(20, features).double()
    parts = MultivariateNormal(model.means, model.covariances)
    expected = MixtureSameFamily(Categorical(model.weights), parts).log_prob(x)
    torch.testing.assert_close(model.log_prob(x), expected, atol=1e-10, rtol=1e-10)


@given(st.integers(0, 1000))
@few
def test_responsibilities_are_bayes_rule(seed):
    model = some_mixture(seed)
    x = model.means + 0.3
    means, covariances = model.means.numpy(), model.covariances.numpy()
    normals = [scipy.stats.multivariate_normal(means[k], covariances[k]) for k in range(3)]
    joint = model.weights.numpy() * np.stack([normal.pdf(x.numpy()) for normal in normals], 1)
    expected = torch.from_numpy(joint / joint.sum(1, keepdims=True))
    torch.testing.assert_close(model.responsibilities(x), expected, atol=1e-10, rtol=0)


def test_far_away_they_are_still_probabilities(model):
    r = model.responsibilities(torch.tensor([[1e4, -1e4], [0.0, 1e4]], dtype=torch.float64))
    torch.testing.assert_close(r.sum(1), torch.ones(2).double())


def test_it_integrates_to_one(model):
    axis = torch.linspace(-25, 25, 801).double()
    p = model.log_prob(torch.cartesian_prod(axis, axis)).exp()
    assert (p.sum() * (axis[1] - axis[0]) ** 2).item() == pytest.approx(1, abs=1e-6)


def test_draws_have_its_moments(model):
    n = 100_000
    with seeded(2):
        x, z = model.sample(n)
    share = torch.bincount(z, minlength=3) / n
    assert ((share - model.weights).abs() < 4 * (model.weights * (1 - model.weights) / n).sqrt()).all()
    for k in range(3):
        mine = x[z == k]
        error = (model.covariances[k].diagonal() / len(mine)).sqrt()
        assert ((mine.mean(0) - model.means[k]).abs() < 4 * error).all()
        torch.testing.assert_close(mine.T.cov(), model.covariances[k], atol=0.15, rtol=0.05)


@given(st.integers(0, 1000), st.integers(1, 4))
@few
def test_the_log_likelihood_never_falls(seed, components):
    with seeded(seed):
        x = some_mixture(seed).sample(200).x
    rise = em(x, random_start(x, components, seed), 20).log_likelihood.diff()
    assert (rise >= -1e-12).all()


@pytest.mark.parametrize("floor", [0.0, 0.05])
def test_it_walks_the_same_way_as_scikit_learn(x, floor):
    start = random_start(x, 3, seed=3)
    found = em(x, start, 15, floor=floor)
    other = Sklearn(
        3,
        weights_init=start.weights.numpy(),
        means_init=start.means.numpy(),
        precisions_init=np.linalg.inv(start.covariances.numpy()),
        max_iter=15,
        tol=0,
        reg_covar=floor,
    )
    with pytest.warns(match="did not converge"):
        other.fit(x.numpy())
    np.testing.assert_allclose(found.model.weights, other.weights_, atol=1e-9)
    np.testing.assert_allclose(found.model.means, other.means_, atol=1e-9)
    np.testing.assert_allclose(found.model.covariances, other.covariances_, atol=1e-9)
    assert found.log_likelihood[-1].item() == pytest.approx(other.score(x.numpy()), abs=1e-10)


def test_one_component_is_one_gaussian(x):
    found = em(x, random_start(x, 1, 0), 1).model
    torch.testing.assert_close(found.means[0], x.mean(0))
    torch.testing.assert_close(found.covariances[0], x.T.cov(correction=0))


def test_the_m_step_is_a_maximum(x):
    """No small change of any parameter raises the expected log-joint."""
    r = some_mixture(5).responsibilities(x)
    best = m_step(x, r)

    def expected(weights, means, covariances) -> float:
        return (r * GaussianMixture(weights, means, covariances).log_joint(x)).sum().item()

    top = expected(best.weights, best.means, best.covariances)
    for seed in range(20):
        with seeded(seed):
            logits = best.weights.log() + 0.02 * torch.randn(3)
            means = best.means + 0.02 * torch.randn(3, 2)
            root = torch.eye(2) + 0.02 * torch.randn(3, 2, 2).double()
        assert expected(logits.softmax(0), best.means, best.covariances) < top
        assert expected(best.weights, means, best.covariances) < top
        assert expected(best.weights, best.means, root @ best.covariances @ root.mT) < top


def test_a_component_that_collapses_is_reported(x):
    narrow = torch.stack([torch.eye(2), 1e-9 * torch.eye(2)]).double()
    start = GaussianMixture(torch.tensor([0.5, 0.5]).double(), torch.stack([x.mean(0), x[0]]), narrow)
    with pytest.raises(ValueError, match="component 1 is not positive definite: it has collapsed"):
        em(x, start, 5)
    guarded = em(x, start, 5, floor=0.01).model
    assert torch.linalg.eigvalsh(guarded.covariances).min() >= 0.01 - 1e-12


def test_the_same_seed_starts_at_the_same_points(x):
    first, second = random_start(x, 3, seed=1), random_start(x, 3, seed=1)
    assert torch.equal(first.means, second.means)
    assert not torch.equal(first.means, random_start(x, 3, seed=2).means)
    assert all((mean == x).all(1).any() for mean in first.means)


@pytest.mark.parametrize("weights", [[0.5, 0.6], [1.5, -0.5], [0.2, 0.2]])
def test_weights_that_are_no_probabilities_are_refused(weights):
    eye = torch.eye(2).expand(2, 2, 2)
    with pytest.raises(ValueError, match="weights must be probabilities with sum 1, not"):
        GaussianMixture(torch.tensor(weights), torch.zeros(2, 2), eye)


def test_bad_input_is_named(x, without_type_checks):
    plain = without_type_checks(mixture)
    with pytest.raises(ValueError, match=r"2 means in 2 dimensions need weights \[2\]"):
        plain.GaussianMixture(torch.ones(3) / 3, torch.zeros(2, 2), torch.eye(2).expand(2, 2, 2))
    start = random_start(x, 2, 0)
    with pytest.raises(ValueError, match="num_steps must be at least 1, not 0"):
        em(x, start, 0)
    with pytest.raises(ValueError, match=r"floor is added to variances and must not be negative, not -1\.0"):
        em(x, start, 1, floor=-1.0)
    with pytest.raises(ValueError, match="num_components must lie between 1 and the 300 points, not 301"):
        random_start(x, 301, 0)
    with pytest.raises(ValueError, match="got 3, of which 1 hold NaN or infinity"):
        em(torch.tensor([[0.0, 1.0], [float("nan"), 0.0], [1.0, 1.0]]), start, 1)
    with pytest.raises(ValueError, match="component 1 has no points left"):
        m_step(x, torch.tensor([[1.0, 0.0]]).double().expand(300, 2))
