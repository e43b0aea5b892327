"""Models whose evidence and posterior are known: the oracles of the book."""

from vae_src.exact.linear_gaussian import LinearGaussian
from vae_src.exact.mixture import GaussianMixture, em
from vae_src.exact.normal_gamma import NormalGamma
from vae_src.exact.quadrature import Grid, GridPosterior

__all__ = ["GaussianMixture", "Grid", "GridPosterior", "LinearGaussian", "NormalGamma", "em"]
