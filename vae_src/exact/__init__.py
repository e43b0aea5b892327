"""Models whose evidence and posterior are known: the oracles of the book."""

from vae_src.exact.linear_gaussian import LinearGaussian
from vae_src.exact.quadrature import Grid, GridPosterior

__all__ = ["Grid", "GridPosterior", "LinearGaussian"]
