"""Tests of metrics.py: shares against loops and overlaps that are known, angles against SciPy's."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles

from vae_src.metrics import bits_per_dim, frechet_distance, is_unsure, precision_recall, principal_angles
from vae_src.randomness import seeded


def share_among(points: np.ndarray, members: np.ndarray, k: int) -> float:
    """How many points lie in the ball of some member that reaches to its k-th neighbour, by loops."""
    inside = 0
    for point in points:
        for i, member in enumerate(members):
            others = [math.dist(member, other) for j, other in enumerate(members) if j != i]
            if math.dist(point, member) <= sorted(others)[k - 1]:
                inside += 1
                break
    return inside / len(points)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.tuples(st.integers(5, 40), st.integers(5, 40)),
    features=st.integers(1, 3),
    k=st.integers(1, 4),
    offset=st.sampled_from([0.0, 3.0, 1000.0]),
    seed=st.integers(0, 2**31),
)
def test_both_shares_by_brute_force(counts, features, k, offset, seed):
    with seeded(seed):
        real = torch.rand(counts[0], features).double() + offset
        fake = torch.rand(counts[1], features).double() * 1.5 + offset
    found = precision_recall(real, fake, k)
    assert found.precision == pytest.approx(share_among(fake.numpy(), real.numpy(), k), abs=1e-6)
    assert found.recall == pytest.approx(share_among(real.numpy(), fake.numpy(), k), abs=1e-6)


@pytest.mark.parametrize("n", [5, 200])
@pytest.mark.parametrize("offset", [0, 1000])
def test_a_set_agrees_with_itself(n, offset):
    with seeded(0):
        x = torch.rand(n, 5) + offset
    assert precision_recall(x, x.clone()) == (1, 1)


def test_single_precision_suffices_far_from_the_origin():
    with seeded(0):
        real, fake = torch.rand(40, 5) + 1000, 1.2 * torch.rand(40, 5) + 1000
    found = precision_recall(real, fake)
    pair = real.double().numpy(), fake.double().numpy()
    assert found.precision == pytest.approx(share_among(pair[1], pair[0], 3))
    assert found.recall == pytest.approx(share_among(*pair, 3))
    assert 0 < found.recall < 1


def test_sets_far_apart_share_nothing():
    with seeded(0):
        x = torch.rand(50, 4)
    assert precision_recall(x, x + 100) == (0, 0)


def test_many_copies_of_one_example_are_precise_and_reach_little():
    with seeded(0):
        real = torch.rand(100, 4)
    precision, recall = precision_recall(real, real[:1].expand(50, 4).clone())
    assert precision == 1
    assert recall == pytest.approx(0.01)


def test_half_overlapping_intervals():
    # Uniform on [0, 1] and on [1/2, 3/2]: half of each lies in the other's support. Balls of the third
    # neighbour reach about 1/n beyond an end, so n = 2000 (seed 0) leaves the binomial error: 4 s.e.
    n = 2000
    with seeded(0):
        real, fake = torch.rand(n, 1), torch.rand(n, 1) + 0.5
    tolerance = 4 * math.sqrt(0.25 / n) + 4 / n
    found = precision_recall(real, fake)
    assert abs(found.precision - 0.5) <= tolerance
    assert abs(found.recall - 0.5) <= tolerance


def test_an_interval_inside_another_is_precise_and_reaches_its_share():
    n = 2000  # seed 0
    with seeded(0):
        real, fake = torch.rand(n, 1), 0.25 * torch.rand(n, 1)
    precision, recall = precision_recall(real, fake)
    # among n points on a line a gap of three to both sides is rare: about one point in a thousand
    assert precision > 0.98
    assert abs(recall - 0.25) <= 4 * math.sqrt(0.25 * 0.75 / n) + 0.01


def test_more_neighbours_are_more_lenient():
    with seeded(0):
        real, fake = torch.rand(60, 6), torch.rand(60, 6) * 1.3
    found = [precision_recall(real, fake, k) for k in (1, 3, 10)]
    for few, many in itertools.pairwise(found):
        assert few.precision <= many.precision
        assert few.recall <= many.recall
    assert found[0] < found[-1]


@pytest.mark.parametrize(
    ("real", "fake", "k"), [(3, 10, 3), (10, 3, 3), (10, 10, 0), (10, 10, -1), (0, 10, 3)]
)
def test_neighbours_that_do_not_exist_are_refused(real, fake, k):
    message = f"num_neighbors={k} must be at least 1 and below .* here {real} and {fake}"
    with pytest.raises(ValueError, match=message):
        precision_recall(torch.rand(real, 2), torch.rand(fake, 2), k)


def test_one_feature_is_enough():
    real, fake = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [5.0]])
    # Gaussians N(1, 2) and N(3, 8): (1 − 3)² + (√2 − √8)² = 6
    assert frechet_distance(real, fake) == pytest.approx(6.0)


@settings(max_examples=60, deadline=None)
@given(
    features=st.integers(2, 12),
    counts=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    size=st.sampled_from([1e-9, 1e-4, 0.1, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_principal_angles_are_scipys(features, counts, size, seed):
    first, second = (min(count, features) for count in counts)
    with seeded(seed):
        a, noise = torch.randn(features, first).double(), torch.randn(features, second).double()
    b = noise if first != second else a @ torch.randn(first, first).double() + size * noise
    if min(torch.linalg.svdvals(m).min() for m in (a, b)) < 1e-3:
        return
    found, expected = principal_angles(a, b), subspace_angles(a.numpy(), b.numpy())[::-1]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-7)  # SciPy's own error where spaces meet


def test_principal_angles_of_tilted_planes():
    # The plane of the first two axes of four, and itself tilted by 0.3 and by 1e-8 towards the other two.
    flat = torch.eye(4).double()[:, :2]
    tilted = torch.tensor([[math.cos(0.3), 0], [0, math.cos(1e-8)], [math.sin(0.3), 0], [0, math.sin(1e-8)]])
    angles = principal_angles(flat, tilted.double())
    assert angles.tolist() == pytest.approx([1e-8, 0.3], rel=1e-6)
    assert principal_angles(tilted.double(), flat).tolist() == pytest.approx(angles.tolist())
    assert principal_angles(flat, flat[:, :1] + flat[:, 1:]).tolist() == pytest.approx([0.0], abs=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.ones(3, 2), torch.eye(3), "the 2 columns in 3 dimensions are not"),
        (torch.rand(2, 3), torch.eye(2), "the 3 columns in 2 dimensions are not"),
        (torch.zeros(3, 0), torch.eye(3), "the 0 columns in 3 dimensions are not"),
        (torch.full((3, 1), math.nan), torch.eye(3), "a or b holds NaN"),
    ],
)
def test_principal_angles_refuse_what_spans_nothing(a, b, message):
    with pytest.raises(ValueError, match=message):
        principal_angles(a, b)


def test_is_unsure_around_the_threshold():
    shares = torch.tensor([[0.91, 0.09], [0.89, 0.11], [0.5, 0.5], [0.05, 0.95]]).double()
    assert is_unsure(shares.log()).tolist() == [0, 1, 1, 0]
    assert is_unsure(shares.log() - 800).tolist() == [0, 1, 1, 0]
    assert is_unsure(shares.log(), threshold=0.93).tolist() == [1, 1, 1, 0]
    assert is_unsure(shares.log(), threshold=0.5).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("logits", "threshold", "message"),
    [
        (torch.tensor([[0.0, math.nan]]), 0.9, "must be finite"),
        (torch.zeros(4, 2), 90.0, "threshold is a probability, .* not 90"),
        (torch.zeros(4, 2), 0.0, "threshold is a probability"),
    ],
)
def test_is_unsure_refuses_what_is_no_opinion(logits, threshold, message):
    with pytest.raises(ValueError, match=message):
        is_unsure(logits, threshold)


@pytest.mark.parametrize("num_dims", [1, 16, 784])
def test_a_fair_coin_for_every_dimension_is_one_bit_each(num_dims):
    coins = torch.distributions.Bernoulli(torch.full((3, num_dims), 0.5))
    log_prob = coins.log_prob(coins.sample()).sum(1)
    assert torch.allclose(bits_per_dim(log_prob, num_dims), torch.ones(3))


def test_a_uniform_level_of_256_is_eight_bits():
    assert bits_per_dim(torch.tensor(-10 * math.log(256.0)), 10).item() == pytest.approx(8)


def test_bits_per_dim_asks_for_a_dimension():
    with pytest.raises(ValueError, match="at least 1, not 0"):
        bits_per_dim(torch.tensor(-1.0), 0)
