"""Judging samples and codes: how many look like data, how much of the data they reach, where codes lie."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class PrecisionRecall(NamedTuple):
    """Shares between 0 and 1."""

    precision: float  # of the samples, how many lie among the real examples
    recall: float  # of the real examples, how many lie among the samples


def precision_recall(
    real: Float[Tensor, "real features"], fake: Float[Tensor, "fake features"], num_neighbors: int = 3
) -> PrecisionRecall:
    r"""How many samples lie where data lie, and the reverse, in a feature space.

    A point lies *among* a set if it is closer to some member than that member's k-th nearest neighbour in
    the set. Two sets from the same source do not score 1: compare with a second set of real examples.

    Args:
        real: Features of real examples, such as the hidden layer of a classifier.
        fake: Features of samples.
        num_neighbors: k; larger is more lenient.

    Returns:
        Both shares. Memory grows as the product of the two counts; a few thousand of each are plenty.

    Raises:
        ValueError: If k is below 1, a set has no more than k members, or the features do not fit each other.

    Reference: Kynkäänniemi et al. (2019), arXiv:1904.06991, eqs. 1 and 2.
    """
    _require_features(real, fake)
    if not 1 <= num_neighbors < min(len(real), len(fake)):
        raise ValueError(
            f"num_neighbors={num_neighbors} must be at least 1 and below the number of points in each set, "
            f"here {len(real)} and {len(fake)}"
        )
    precision = _among(fake, real, num_neighbors).float().mean().item()
    recall = _among(real, fake, num_neighbors).float().mean().item()
    return PrecisionRecall(precision, recall)


def _among(
    points: Float[Tensor, "points features"], members: Float[Tensor, "members features"], num_neighbors: int
) -> Bool[Tensor, " points"]:
    """Whether each point falls into the ball of some member that reaches to its k-th neighbour."""
    # the nearest "neighbour" of a member is itself, at distance 0
    # float64, and seen from their middle: cdist multiplies, which loses small distances far from 0
    middle = members.double().mean(0)
    points, members = points.double() - middle, members.double() - middle
    radius = torch.cdist(members, members).kthvalue(num_neighbors + 1, dim=1).values
    return (torch.cdist(points, members) <= radius).any(dim=1)


def frechet_distance(real: Float[Tensor, "real features"], fake: Float[Tensor, "fake features"]) -> float:
    r"""Squared Fréchet distance between two sets of features, each summarised by a Gaussian.

    .. math:: \lVert m_r - m_f \rVert^2
              + \operatorname{tr}\big(C_r + C_f - 2\,(C_r^{1/2} C_f\, C_r^{1/2})^{1/2}\big)

    Sensitive to the mixture as a whole, such as the share of each digit, which no single sample shows. Only
    values from the same feature space and similar counts can be compared.

    Args:
        real: Features of real examples, such as the hidden layer of a classifier.
        fake: Features of samples.

    Returns:
        The distance, at least 0, in squared units of the features.

    Raises:
        ValueError: If a set has fewer than two members, or the features do not fit each other.

    Reference: Heusel et al. (2017), arXiv:1706.08500, eq. 6.
    """
    _require_features(real, fake)
    if min(len(real), len(fake)) < 2:
        raise ValueError(f"a covariance needs at least two points, got {len(real)} and {len(fake)}")
    real, fake = real.double(), fake.double()
    cov_real, cov_fake = (torch.atleast_2d(points.T.cov()) for points in (real, fake))
    root = _matrix_root(cov_real)
    cross = torch.linalg.eigvalsh(root @ cov_fake @ root).clamp(min=0).sqrt().sum()
    shift = (real.mean(0) - fake.mean(0)).square().sum()
    return (shift + cov_real.trace() + cov_fake.trace() - 2 * cross).clamp(min=0).item()


def _require_features(real: Tensor, fake: Tensor) -> None:
    """Raise unless both sets hold finite features of the same kind, one point per row."""
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(
            "real and fake need one point per row and the same features, "
            f"got shapes {list(real.shape)} and {list(fake.shape)}"
        )
    if not (real.isfinite().all() and fake.isfinite().all()):
        raise ValueError("real or fake holds NaN or infinite features: look at the network that made them")


def _matrix_root(covariance: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Symmetric square root of a positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def principal_angles(
    a: Float[Tensor, "features first"], b: Float[Tensor, "features second"]
) -> Float[Tensor, " angles"]:
    r"""Principal angles between the spaces that the columns of two matrices span, in radians.

    .. math:: \cos\vartheta_j = \text{the singular values of } Q_a^\top Q_b

    with orthonormal bases :math:`Q_a` and :math:`Q_b`. All angles are 0 where one space holds the other.

    Args:
        a: One vector per column, linearly independent.
        b: The same, in as many dimensions.

    Returns:
        Angles between 0 and π/2, ascending, as many as the smaller space has dimensions.

    Raises:
        ValueError: If the rows do not agree, or the columns of one matrix are not independent.

    Reference: Björck & Golub (1973), doi:10.1090/S0025-5718-1973-0348991-3. In the book: eq-ae-angles.
    """
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b):
        raise ValueError(
            "a and b need one vector per column, in the same number of dimensions, "
            f"got shapes {list(a.shape)} and {list(b.shape)}"
        )
    large, small = (_orthonormal(m.double()) for m in ((a, b) if a.shape[1] >= b.shape[1] else (b, a)))
    overlap = large.T @ small
    cosines = torch.linalg.svdvals(overlap)
    sines = torch.linalg.svdvals(small - large @ overlap).flip(0)
    return torch.atan2(sines, cosines)  # the sine is exact for small angles, the cosine for large ones


def _orthonormal(columns: Float[Tensor, "features count"]) -> Float[Tensor, "features count"]:
    """Orthonormal basis of the columns' span."""
    features, count = columns.shape
    if not columns.isfinite().all():
        raise ValueError("a or b holds NaN or infinite numbers")
    if not 1 <= torch.linalg.matrix_rank(columns) == count:
        raise ValueError(f"the {count} columns in {features} dimensions are not linearly independent")
    return torch.linalg.qr(columns).Q


def is_unsure(logits: Float[Tensor, "batch classes"], threshold: float = 0.9) -> Float[Tensor, " batch"]:
    r"""Whether a classifier finds no class as probable as a threshold, 1 or 0 for each picture.

    .. math:: \big[\max_y p(y \mid x) < \tau\big]

    Its mean is a share: of random draws, how many decode to something between the classes. One-sided: of
    pictures that belong to no class at all the classifier may be sure, too.

    Args:
        logits: The classifier's, one picture per row.
        threshold: τ, a probability.

    Returns:
        1 for each picture that the classifier is unsure of, else 0.

    Raises:
        ValueError: If there is not one row of finite logits per picture, or τ is not between 0 and 1.

    In the book: eq-ae-unsure.
    """
    if logits.ndim != 2 or not logits.isfinite().all():
        raise ValueError(f"logits must be finite, one picture per row, got shape {list(logits.shape)}")
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is a probability, above 0 and at most 1, not {threshold}")
    return (logits.softmax(1).amax(1) < threshold).to(logits.dtype)


def bits_per_dim(bound: Float[Tensor, "*batch"], num_dims: int) -> Float[Tensor, "*batch"]:
    r"""Change the unit of a log-likelihood, or of a bound on one, to bits per dimension; lower is better.

    .. math:: -\frac{\mathcal L(x)}{D \log 2}

    Args:
        bound: In nats per example.
        num_dims: D, the numbers in one example: pixels times channels.

    Returns:
        Bits per dimension, one value per example.

    Raises:
        ValueError: If ``num_dims`` is below 1.

    In the book: eq-elbo-bits.
    """
    if num_dims < 1:
        raise ValueError(f"num_dims counts the numbers in one example and must be at least 1, not {num_dims}")
    return -bound / (num_dims * math.log(2))
