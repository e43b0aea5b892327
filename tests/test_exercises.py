"""`attempt`: what a reader sees for no answer, a right one, a wrong one and a broken one."""

import pytest
import torch

from vae_src.exercises import attempt


def grade_half(answer):
    """Hold an answer to 1/2."""
    assert answer(1.0) == 0.5, "half of 1 is ½"


def unregistered(x):
    return torch.distributions.kl_divergence(x, x)


def test_not_attempted(capsys):
    def stub(x):
        raise NotImplementedError

    attempt(grade_half, stub)
    assert capsys.readouterr().out.startswith("○ ex-half: not attempted yet\n")


def test_right(capsys):
    attempt(grade_half, lambda x: x / 2)
    assert capsys.readouterr().out == "✓ ex-half: right.\n"


def test_wrong_prints_the_hint(capsys):
    attempt(grade_half, lambda x: x)
    assert capsys.readouterr().out.startswith("✗ ex-half: half of 1 is ½")


def test_errors_of_the_answer_are_raised():
    def asserting(x):
        raise AssertionError("the reader's own")

    with pytest.raises(ZeroDivisionError):
        attempt(grade_half, lambda x: 1 / 0)
    with pytest.raises(AssertionError, match="the reader's own"):
        attempt(grade_half, asserting)
    with pytest.raises(NotImplementedError):  # torch's, not the stub's
        attempt(grade_half, unregistered)


def test_random_numbers_of_the_notebook_are_left_alone():
    def drawing(x):
        return torch.rand(()).item() * 0 + x / 2

    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    attempt(grade_half, drawing)
    assert torch.equal(torch.rand(3), expected)
