"""Tests of beyond/made.py: every image of a small model is enumerated."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from vae_src import data
from vae_src.beyond import made
from vae_src.randomness import seeded

EVENT = (1, 2, 3)
ALL = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6))).reshape(64, *EVENT)


@pytest.fixture(params=[(5,), (7, 4), (1,)], ids=str)
def model(request) -> made.MADE:
    """Six pixels, in double precision, with weights that are not small."""
    with seeded(0):
        model = made.MADE(request.param, EVENT).double()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter)
    return model


def test_the_probabilities_of_all_images_sum_to_one(model):
    assert model.log_prob(ALL.double()).exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_no_pixel_sees_itself_or_a_later_one(model):
    for x in ALL[[0, 21, 63]].double():
        jacobian = torch.autograd.functional.jacobian(
            lambda flat: model.conditionals(flat.reshape(EVENT)).base_dist.logits.flatten(), x.flatten()
        )
        assert torch.equal(jacobian, jacobian.tril(-1))


def test_every_pixel_may_see_all_before_it():
    with seeded(0):
        wide = made.MADE((50,), EVENT)
    for layer in wide.modules():
        if isinstance(layer, made.MaskedLinear):
            torch.nn.init.ones_(layer.weight)
            torch.nn.init.ones_(layer.bias)
    jacobian = torch.autograd.functional.jacobian(
        lambda flat: wide.conditionals(flat.reshape(EVENT)).base_dist.logits.flatten(), torch.ones(6)
    )
    assert torch.equal(jacobian > 0, torch.ones(6, 6).tril(-1) > 0)


def test_the_log_probability_is_the_sum_of_conditionals(model):
    """A conditional, by its definition: the share of images that begin alike and go on with a 1."""
    p = model.log_prob(ALL.double()).exp()
    flat = ALL.flatten(1)
    x = flat[37]
    terms = []
    for i in range(6):
        before = (flat[:, :i] == x[:i]).all(1)
        after = before & (flat[:, i] == x[i])
        terms.append((p[after].sum() / p[before].sum()).log())
    found = model.conditionals(ALL[37].double()).base_dist.log_prob(ALL[37].double())
    torch.testing.assert_close(found.flatten(), torch.stack(terms).double(), atol=1e-10, rtol=0)


def test_samples_have_the_frequencies_of_the_model(model):
    n = 20_000
    with seeded(1):
        drawn = model.sample(n)
    assert drawn.shape == (n, *EVENT)
    index = (drawn.flatten(1) * 2 ** torch.arange(5, -1, -1)).sum(1).long()
    share = torch.bincount(index, minlength=64) / n
    p = model.log_prob(ALL.double()).exp()
    error = (p * (1 - p) / n).sqrt()
    assert ((share - p).abs() <= 4.5 * error + 1 / n).all()  # 64 comparisons


def test_a_sample_takes_one_pass_per_pixel(model):
    passes = []
    model.network.register_forward_hook(lambda *_: passes.append(1))
    model.sample(3)
    assert len(passes) == 6


def test_a_small_model_learns():
    x = (data.sample("mnist").train.images[:500] > 127).float()
    with seeded(0):
        model = made.MADE((50,))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(150):
        optimizer.zero_grad()
        (-model.log_prob(x).mean()).backward()
        optimizer.step()
    independent = F.binary_cross_entropy(x.mean(0).expand_as(x), x, reduction="sum") / len(x)
    assert -model.log_prob(x).mean() < independent - 20  # nats


def test_the_published_masks_are_found():
    """Three pixels and hidden degrees 1 and 2: few enough to be written out."""
    first, last = made.masks(3, [2])
    assert first.tolist() == [[True, False, False], [True, True, False]]
    assert last.tolist() == [[False, False], [True, False], [True, True]]


def test_the_masks_are_no_weights():
    assert set(made.MADE((5,), EVENT).state_dict()) == {
        *("network.1.weight", "network.1.bias", "network.3.weight", "network.3.bias"),
    }


@pytest.mark.parametrize(("hidden_dims", "event_shape"), [((), EVENT), ((0,), EVENT), ((3,), (1, 1, 1))])
def test_sizes_that_make_no_model_are_refused(hidden_dims, event_shape):
    with pytest.raises(ValueError, match="hidden_dims needs at least one positive width"):
        made.MADE(hidden_dims, event_shape)


def test_grey_pixels_are_refused(model):
    with pytest.raises(ValueError, match="pixels that are 0 or 1"):
        model.log_prob(torch.full(EVENT, 0.5, dtype=torch.float64))
