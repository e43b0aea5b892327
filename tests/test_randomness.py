"""Tests of randomness.py: seeds stay inside their block."""

import pytest
import torch

from vae_src.randomness import seeded


def draw() -> torch.Tensor:
    return torch.rand(3)


def test_a_seed_repeats_the_draws_that_torch_makes_with_it():
    with seeded(7):
        first = torch.stack([draw(), draw()])
    with seeded(7):
        second = torch.stack([draw(), draw()])
    with seeded(8):
        other = torch.stack([draw(), draw()])
    expected = torch.rand(6, generator=torch.Generator().manual_seed(7)).reshape(2, 3)
    assert torch.equal(first, second)
    assert torch.equal(first, expected)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("seed", [0, -1, 2**40])
def test_the_generator_outside_does_not_notice(seed):
    before = torch.get_rng_state()
    with seeded(seed):
        draw()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_generator_is_put_back_after_an_error(error):
    before = torch.get_rng_state()

    def fails() -> None:
        draw()
        raise error

    with pytest.raises(error), seeded(0):
        fails()
    assert torch.equal(torch.get_rng_state(), before)


def test_blocks_nest():
    with seeded(1):
        expected = torch.stack([draw(), draw()])
    with seeded(1):
        first = draw()
        with seeded(2):
            draw()
        assert torch.equal(torch.stack([first, draw()]), expected)


def test_none_goes_on_with_the_global_generator():
    with seeded(3):
        expected = torch.stack([draw(), draw()])
    with seeded(3):
        first = draw()
        with seeded(None):
            second = draw()
    assert torch.equal(torch.stack([first, second]), expected)
