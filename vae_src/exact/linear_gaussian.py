r"""Probabilistic PCA: a latent variable model in which every integral has a formula."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import MultivariateNormal


class LinearGaussian:
    r"""Probabilistic PCA: a VAE with a linear decoder, where nothing needs to be approximated.

    .. math:: p(z) = \mathcal N(0, I), \qquad p(x \mid z) = \mathcal N(W z + m,\ \sigma^2 I)

    Its ``encode`` returns the *exact* posterior, so that every log-weight equals log p(x).

    Args:
        weight: W, shape ``[features, latent]``.
        offset: m, shape ``[features]``.
        scale: σ, the standard deviation of the noise, positive.

    Raises:
        ValueError: If the shapes disagree or ``scale`` is not positive.

    Reference: Tipping & Bishop (1999), doi:10.1111/1467-9868.00196, eqs. 4 to 7.
    In the book: eq-ppca-posterior.
    """

    def __init__(
        self,
        weight: Float[Tensor, "features latent"],
        offset: Float[Tensor, " features"],
        scale: float,
    ):
        if weight.shape[0] != offset.shape[0]:
            raise ValueError(
                f"weight has {weight.shape[0]} rows but offset has {offset.shape[0]} entries: "
                "both count the features"
            )
        if not scale > 0:
            raise ValueError(f"scale is a standard deviation and must be positive, not {scale}")
        self.weight = weight
        self.offset = offset
        self.scale = scale

    @classmethod
    def fit(cls, x: Float[Tensor, "batch features"], latent_dim: int) -> "LinearGaussian":
        r"""Find the maximum-likelihood model of some data, in closed form.

        .. math:: \sigma^2 = \frac{1}{D - d} \sum_{j > d} \lambda_j, \qquad
                  W = U_d\, (\Lambda_d - \sigma^2 I)^{1/2}

        The λ are the eigenvalues of the data's covariance, largest first, and U their eigenvectors: W spans
        the principal subspace, and σ² is the mean variance outside it.

        Args:
            x: Data, one example per row.
            latent_dim: d, at least 1 and below the number of features.

        Raises:
            ValueError: If the data are unusable, ``latent_dim`` is out of range, or the data have no variance
                outside d dimensions, so that the likelihood grows without limit as σ falls to 0.

        Reference: Tipping & Bishop (1999), doi:10.1111/1467-9868.00196, section 3.
        In the book: eq-lvm-ppca-fit.
        """
        _require_fittable(x, latent_dim)
        values, vectors = torch.linalg.eigh(x.T.cov(correction=0))
        variance = values[:-latent_dim].mean()
        if not variance > 1e-10 * values[-1]:
            raise ValueError(
                f"the data have no variance outside {latent_dim} dimensions, so σ would be 0: take a smaller "
                "latent_dim, more data, or add a little noise"
            )
        principal, above = vectors[:, -latent_dim:].flip(1), values[-latent_dim:].flip(0) - variance
        return cls(principal * above.clamp(min=0).sqrt(), x.mean(0), variance.sqrt().item())

    @property
    def prior(self) -> MultivariateNormal:
        """p(z) = N(0, I)."""
        eye = torch.eye(self.weight.shape[1], dtype=self.weight.dtype)
        return MultivariateNormal(torch.zeros_like(eye[0]), covariance_matrix=eye)

    def decode(self, z: Float[Tensor, "*batch latent"]) -> MultivariateNormal:
        """Return p(x|z)."""
        eye = torch.eye(len(self.offset), dtype=self.weight.dtype)
        return MultivariateNormal(z @ self.weight.T + self.offset, scale_tril=self.scale * eye)

    def marginal(self) -> MultivariateNormal:
        """Return p(x) = N(m, W Wᵀ + σ² I)."""
        eye = torch.eye(len(self.offset), dtype=self.weight.dtype)
        covariance = self.weight @ self.weight.T + self.scale**2 * eye
        return MultivariateNormal(self.offset, covariance_matrix=covariance)

    def log_marginal(self, x: Float[Tensor, "batch features"]) -> Float[Tensor, " batch"]:
        """Return log p(x), exactly, in nats per example."""
        return self.marginal().log_prob(x)

    def posterior(self, x: Float[Tensor, "batch features"]) -> MultivariateNormal:
        r"""Return the exact posterior.

        .. math:: p(z \mid x) = \mathcal N\big(M^{-1} W^\top (x - m),\ \sigma^2 M^{-1}\big),
                  \qquad M = W^\top W + \sigma^2 I
        """
        eye = torch.eye(self.weight.shape[1], dtype=self.weight.dtype)
        precision = (self.weight.T @ self.weight + self.scale**2 * eye) / self.scale**2
        loc = (x - self.offset) @ self.weight @ torch.linalg.inv(precision) / self.scale**2
        return MultivariateNormal(loc, precision_matrix=precision)

    def encode(self, x: Float[Tensor, "batch features"]) -> MultivariateNormal:
        """Return the exact posterior, in the place where a VAE has its encoder."""
        return self.posterior(x)


def _require_fittable(x: Tensor, latent_dim: int) -> None:
    """Raise unless the data are finite and d leaves a direction for the noise."""
    if len(x) < 2 or not x.isfinite().all():
        raise ValueError(f"x needs at least two examples, all finite, one per row; got shape {list(x.shape)}")
    if not 1 <= latent_dim < x.shape[1]:
        raise ValueError(
            f"latent_dim must lie between 1 and {x.shape[1] - 1}, below the number of features, "
            f"not {latent_dim}"
        )
