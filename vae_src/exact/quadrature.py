r"""Quadrature: the evidence and the posterior of any decoder, where the latent has one or two dimensions."""

import itertools
import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vae_src.models import LatentVariableModel

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
