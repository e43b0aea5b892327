"""Tests of exact/quadrature.py: the grid against models with a formula."""

import numpy as np
import pytest
import scipy.stats
import torch

from vae_src.exact import Grid, LinearGaussian, quadrature
from vae_src.models import LatentVariableModel
from vae_src.randomness import seeded


def linear(latent: int, scale: float) -> tuple[LinearGaussian, torch.Tensor]:
    """Return a model whose evidence is known, and four examples of it."""
    with seeded(5):
        model = LinearGaussian(torch.randn(4, latent).double(), torch.randn(4).double(), scale)
        return model, model.marginal().sample((4,))


@pytest.mark.parametrize("latent", [1, 2])
@pytest.mark.parametrize("scale", [1.0, 0.1, 0.02])
def test_the_grid_finds_the_exact_evidence(latent, scale):
    model, x = linear(latent, scale)
    found = Grid(model).log_marginal(x)
    torch.testing.assert_close(found, model.log_marginal(x), atol=1e-4, rtol=0)


@pytest.mark.parametrize("latent", [1, 2])
def test_the_grid_finds_the_exact_posterior(latent):
    model, x = linear(latent, 0.1)
    truth, found = model.posterior(x[:1]), Grid(model).posterior(x[:1])
    torch.testing.assert_close(found.log_density, truth.log_prob(found.z), atol=1e-4, rtol=0)
    assert found.probability.sum().item() == pytest.approx(1, abs=1e-9)
    mean = found.probability @ found.z
    centred = found.z - mean
    np.testing.assert_allclose(mean, truth.mean[0], atol=1e-4)
    covariance = (found.probability[:, None] * centred).T @ centred
    np.testing.assert_allclose(covariance, truth.covariance_matrix[0], rtol=2e-3, atol=1e-6)


def bumps(places: list[float], width: float) -> LatentVariableModel:
    """Return a model of one latent whose likelihood is a sum of narrow bumps: p(x) has a closed form."""

    class Bumps(LinearGaussian):
        def decode(self, z):
            parts = [torch.distributions.Normal(place, width).log_prob(z) for place in places]
            value = torch.stack(parts).logsumexp(0)[..., 0]
            return type("Likelihood", (), {"log_prob": lambda self, x: value})()

    return Bumps(torch.ones(1, 1).double(), torch.zeros(1).double(), 1.0)


def test_the_grid_sees_every_mode():
    places, width = [-2.0, 0.31, 1.7], 0.05
    total = scipy.stats.norm(0, (1 + width**2) ** 0.5).pdf(places).sum()
    found = Grid(bumps(places, width)).posterior(torch.zeros(1, 1).double())
    assert found.log_marginal == pytest.approx(np.log(total), abs=1e-4)
    near = [found.probability[(found.z[:, 0] - place).abs() < 0.3].sum() for place in places]
    expected = scipy.stats.norm(0, (1 + width**2) ** 0.5).pdf(places) / total
    np.testing.assert_allclose(near, expected, atol=1e-4)


@pytest.mark.parametrize("tolerance", [1e-1, 1e-3, 1e-5])
def test_its_error_is_what_it_says(tolerance):
    model, x = linear(2, 0.1)
    found = Grid(model).posterior(x[:1], tolerance)
    assert found.error < tolerance
    assert abs(found.log_marginal - model.log_marginal(x[:1]).item()) <= max(found.error, 1e-6)


def test_a_tolerance_out_of_reach_is_refused():
    with pytest.raises(ValueError, match="after ten halvings log p\\(x\\) still moves by"):
        Grid(bumps([0.3], 0.05)).log_marginal(torch.zeros(1, 1).double(), tolerance=0.0)


def test_a_grid_that_would_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(quadrature, "LARGEST_GRID", 10_000)
    model, x = linear(2, 1.0)
    with pytest.raises(ValueError, match="a tolerance of 0 nats takes too many cells here: allow more"):
        Grid(model).log_marginal(x, tolerance=0.0)


def test_a_posterior_at_the_border_is_refused():
    model, x = linear(1, 0.1)
    with pytest.raises(ValueError, match=r"beyond half_width=0\.5: give a larger one"):
        Grid(model, half_width=0.5).log_marginal(x)


def test_three_dimensions_are_refused():
    with pytest.raises(ValueError, match="a grid over 3 dimensions has too many cells"):
        Grid(linear(3, 1.0)[0])


@pytest.mark.parametrize("spacing", [0.0, -1.0, 9.0])
def test_a_spacing_that_does_not_suit_is_refused(spacing):
    with pytest.raises(ValueError, match=f"between 0 and half_width=8, not {spacing:g}"):
        Grid(linear(2, 1.0)[0], spacing=spacing)
