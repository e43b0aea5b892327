"""Tests of exact/linear_gaussian.py: probabilistic PCA against conditioning by hand and scikit-learn."""

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.decomposition import PCA

from vae_src.exact import LinearGaussian, linear_gaussian
from vae_src.models import LatentVariableModel
from vae_src.randomness import seeded

D, L, SIGMA = 5, 2, 0.7


@pytest.fixture
def model() -> LinearGaussian:
    with seeded(0):
        return LinearGaussian(torch.randn(D, L).double(), torch.randn(D).double(), SIGMA)


@pytest.fixture
def x() -> torch.Tensor:
    with seeded(1):
        return torch.randn(8, D).double()


def joint(model: LinearGaussian) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of (z, x), from the moments of z and of x = W z + m + σ ε."""
    w, m = model.weight.numpy(), model.offset.numpy()
    through = np.vstack([np.eye(L), w])  # d(z, x) / dz
    noise = np.diag([0.0] * L + [SIGMA**2] * D)
    return np.concatenate([np.zeros(L), m]), through @ through.T + noise


def test_the_marginal_is_the_lower_block_of_the_joint(model, x):
    mean, covariance = joint(model)
    expected = scipy.stats.multivariate_normal(mean[L:], covariance[L:, L:]).logpdf(x)
    np.testing.assert_allclose(model.log_marginal(x), expected, atol=1e-12)
    np.testing.assert_allclose(model.marginal().covariance_matrix, covariance[L:, L:], atol=1e-12)


def test_the_posterior_is_the_joint_conditioned_on_x(model, x):
    mean, covariance = joint(model)
    gain = covariance[:L, L:] @ np.linalg.inv(covariance[L:, L:])
    posterior = model.posterior(x)
    np.testing.assert_allclose(posterior.mean, mean[:L] + (x.numpy() - mean[L:]) @ gain.T, atol=1e-12)
    remaining = covariance[:L, :L] - gain @ covariance[L:, :L]
    np.testing.assert_allclose(posterior.covariance_matrix, np.tile(remaining, (8, 1, 1)), atol=1e-12)


def test_bayes_rule_holds_at_every_code(model, x):
    with seeded(2):
        z = torch.randn(20, 8, L).double()
    left = model.prior.log_prob(z) + model.decode(z).log_prob(x)
    right = model.encode(x).log_prob(z) + model.log_marginal(x)
    torch.testing.assert_close(left, right, atol=1e-11, rtol=0)


def test_the_likelihood_is_independent_pixels(model, x):
    with seeded(3):
        z = torch.randn(8, L).double()
    loc = z.numpy() @ model.weight.numpy().T + model.offset.numpy()
    np.testing.assert_allclose(model.decode(z).mean, loc, atol=1e-12)
    pixels = scipy.stats.norm(loc, SIGMA).logpdf(x)
    np.testing.assert_allclose(model.decode(z).log_prob(x), pixels.sum(-1), atol=1e-12)


def test_the_prior_is_standard(model):
    z = torch.tensor([[0.0, 0.0], [1.0, -2.0]], dtype=torch.float64)
    np.testing.assert_allclose(model.prior.log_prob(z), scipy.stats.norm.logpdf(z).sum(-1), atol=1e-12)


def test_at_its_maximum_it_is_scikit_learns_pca():
    with seeded(4):
        data = (torch.randn(400, D) @ torch.randn(D, D)).double().numpy()
    pca = PCA(n_components=L, svd_solver="full").fit(data)
    # W = U (Λ − σ² I)^½, σ² = mean of the discarded eigenvalues
    weight = pca.components_.T * np.sqrt(pca.explained_variance_ - pca.noise_variance_)
    model = LinearGaussian(
        torch.from_numpy(weight), torch.from_numpy(pca.mean_), float(pca.noise_variance_**0.5)
    )
    found = model.log_marginal(torch.from_numpy(data))
    np.testing.assert_allclose(found, pca.score_samples(data), atol=1e-9)


@pytest.mark.parametrize("latent_dim", [1, 2, 4])
def test_the_fit_is_scikit_learns(latent_dim):
    with seeded(5):
        data = (torch.randn(300, D) @ torch.randn(D, D)).double()
    fitted = LinearGaussian.fit(data, latent_dim)
    pca = PCA(n_components=latent_dim, svd_solver="full").fit(data.numpy())
    scale = 299 / 300  # scikit-learn divides by N - 1, which is not where the likelihood is largest
    np.testing.assert_allclose(fitted.scale**2, pca.noise_variance_ * scale, rtol=1e-10)
    covariance = fitted.marginal().covariance_matrix
    np.testing.assert_allclose(covariance, pca.get_covariance() * scale, atol=1e-10)
    np.testing.assert_allclose(fitted.offset, pca.mean_, atol=1e-12)


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_the_fit_is_a_maximum(latent_dim):
    with seeded(6):
        data = (torch.randn(200, D) @ torch.randn(D, D)).double()
    best = LinearGaussian.fit(data, latent_dim)
    parameters = [best.weight, best.offset, torch.tensor(best.scale, dtype=torch.float64)]
    leaves = [p.clone().requires_grad_() for p in parameters]
    covariance = leaves[0] @ leaves[0].T + leaves[2] ** 2 * torch.eye(D).double()
    marginal = torch.distributions.MultivariateNormal(leaves[1], covariance)
    marginal.log_prob(data).mean().backward()
    for leaf in leaves:
        assert leaf.grad is not None
        assert leaf.grad.abs().max() < 1e-10
    top = best.log_marginal(data).mean()
    for seed in range(20):
        with seeded(seed):
            weight, offset = (p + 0.05 * torch.randn(p.shape).double() for p in parameters[:2])
            scale = best.scale * (1 + 0.1 * torch.randn(()).item())
        assert LinearGaussian(weight, offset, scale).log_marginal(data).mean() < top


def test_a_fit_that_cannot_be_is_refused(x):
    with pytest.raises(ValueError, match="latent_dim must lie between 1 and 4, below the number of features"):
        LinearGaussian.fit(x, D)
    with pytest.raises(ValueError, match="no variance outside 3 dimensions, so σ would be 0"):
        LinearGaussian.fit(x[:3], 3)
    with pytest.raises(ValueError, match="at least two examples, all finite"):
        LinearGaussian.fit(torch.full((3, D), float("nan")), 1)


def test_it_can_be_handed_to_the_objectives(model):
    assert isinstance(model, LatentVariableModel)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(ValueError, match=f"scale is a standard deviation and must be positive, not {scale}"):
        LinearGaussian(torch.ones(3, 1), torch.zeros(3), scale)


def test_shapes_that_disagree_are_refused(without_type_checks):
    plain = without_type_checks(linear_gaussian)
    with pytest.raises(
        ValueError, match="weight has 3 rows but offset has 2 entries: both count the features"
    ):
        plain.LinearGaussian(torch.ones(3, 1), torch.zeros(2), 1.0)
