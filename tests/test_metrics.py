"""Tests of metrics.py: precision and recall against loops and an overlap that is known."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_src.metrics import frechet_distance, precision_recall
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
