r"""Models whose evidence and posterior are known in closed form: the oracles of the book."""

import itertools
import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import MultivariateNormal

from vae_src.models import LatentVariableModel


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


LARGEST_GRID = 4_000_000  # cells: half a minute of a small decoder, and below a gigabyte


class GridPosterior(NamedTuple):
    """The exact posterior of one example, as a sum over small cells of latent space."""

    z: Float[Tensor, "cells latent"]  # the cells' middles
    log_density: Float[Tensor, " cells"]  # log p(z|x) there
    probability: Float[Tensor, " cells"]  # of each cell; they sum to 1
    log_marginal: float  # log p(x), in nats
    error: float  # by how much log p(x) moved when every cell was last halved, in nats


class Grid:
    r"""Quadrature over a latent of one or two dimensions: log p(x) and the posterior, for any decoder.

    .. math:: p(x) \approx \sum_c V_c\, p(z_c)\, p(x \mid z_c)

    The cells c start as squares that cover the prior's bulk. Those that matter for an example are halved
    along each axis, again and again, until log p(x) moves by less than the tolerance. (The midpoint rule's
    error falls by four with each halving, so what remains is about a third of the last move.)

    Args:
        model: Decoder and prior; the encoder is not used.
        half_width: The first cells cover −half_width to half_width on each axis.
        spacing: Their side. A posterior must not be so narrow that all of them miss it by 100 nats.

    Raises:
        ValueError: If the latent has more than two dimensions, or the spacing does not suit the width.

    In the book: eq-quadrature.
    """

    def __init__(self, model: LatentVariableModel, half_width: float = 8.0, spacing: float = 0.2):
        (latent_dim,) = model.prior.event_shape
        if latent_dim > 2:
            raise ValueError(f"a grid over {latent_dim} dimensions has too many cells: use at most 2")
        if not 0 < spacing <= half_width:
            raise ValueError(f"spacing must lie between 0 and half_width={half_width:g}, not {spacing:g}")
        self.model = model
        self.half_width = half_width
        self.per_axis = math.ceil(2 * half_width / spacing)

    def log_marginal(
        self, x: Float[Tensor, "batch *event"], tolerance: float = 1e-3
    ) -> Float[Tensor, " batch"]:
        """Return log p(x) in nats per example; see `posterior`, which does the work."""
        values = [self.posterior(one, tolerance).log_marginal for one in x.split(1)]
        return torch.tensor(values, dtype=torch.float64)

    @torch.no_grad()
    def posterior(self, x: Float[Tensor, "1 *event"], tolerance: float = 1e-3) -> GridPosterior:
        """Return the exact posterior of one example, and its log p(x).

        Args:
            x: One example, as a batch of one.
            tolerance: Cells are halved until log p(x) moves by less than this, in nats.

        Raises:
            ValueError: If the posterior reaches the border, or ten halvings or four million cells are not
                enough.
        """
        z, side = self._first_cells()
        log_joint = self._log_joint(x, z)
        keep = log_joint >= log_joint.max() - 100
        log_p = math.nan
        for _ in range(10):
            if keep.sum() > LARGEST_GRID // 4:
                raise ValueError(f"a tolerance of {tolerance:g} nats takes too many cells here: allow more")
            parents, (z, side) = log_joint[keep], _halved(z[keep], side)
            log_joint = self._log_joint(x, z)
            volume = z.shape[1] * math.log(side)
            before, log_p = log_p, (log_joint.logsumexp(0) + volume).item()
            # how much the joint may rise inside a cell: as much as from its parent's middle to its own
            siblings = log_joint.reshape(len(parents), -1)
            rise = (siblings - parents[:, None]).abs().amax(1, keepdim=True).expand_as(siblings)
            keep = log_joint + rise.reshape(-1) >= log_joint.max() - 15
            if abs(log_p - before) < tolerance:
                break
        else:
            raise ValueError(f"after ten halvings log p(x) still moves by {abs(log_p - before):.2g} nats")
        if z[keep].abs().max() > self.half_width - 2 * side:
            raise ValueError(
                f"the posterior reaches beyond half_width={self.half_width:g}: give a larger one"
            )
        density = (log_joint - log_p).to(z)
        return GridPosterior(z, density, (density + volume).exp(), log_p, abs(log_p - before))

    def _first_cells(self) -> tuple[Float[Tensor, "cells latent"], float]:
        """Middles of the cells that cover everything, and their side."""
        side = 2 * self.half_width / self.per_axis
        sample = self.model.prior.sample()
        axis = (torch.arange(self.per_axis).to(sample) + 0.5) * side - self.half_width
        return torch.cartesian_prod(*[axis] * len(sample)).reshape(-1, len(sample)), side

    def _log_joint(
        self, x: Float[Tensor, "1 *event"], z: Float[Tensor, "cells latent"]
    ) -> Float[Tensor, " cells"]:
        """Log p(x, z) at every cell, a thousand at a time, in double precision."""
        parts = [self.model.prior.log_prob(c) + self.model.decode(c).log_prob(x) for c in z.split(1024)]
        return torch.cat(parts).double()


def _halved(z: Float[Tensor, "cells latent"], side: float) -> tuple[Float[Tensor, "more latent"], float]:
    """Split each cell along each axis; a cell's parts stay next to each other."""
    corners = list(itertools.product((-side / 4, side / 4), repeat=z.shape[1]))
    return (z[:, None] + z.new_tensor(corners)).flatten(0, 1), side / 2
