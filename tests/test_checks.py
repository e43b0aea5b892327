"""Tests of checks.py: what passes, what fails, and what the reader is told."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from vae_src.checks import CheckFailed, check, check_at_most, glue

numbers = st.floats(-1e6, 1e6)

# ---------------------------------------------------------------- check


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, 1.0),
        (True, 1),
        (0.1 + 0.2, 0.3),
        ([1.0, 2.0], torch.tensor([1.0, 2.0])),
        (torch.ones(2, 3), 1),
        (torch.ones(3, requires_grad=True), torch.ones(2, 1, 3)),
        (torch.tensor([1, 2]), torch.tensor([1.0, 2.0])),
    ],
)
def test_what_agrees_passes_in_either_order(left, right):
    check("equal", left, right)
    check("equal", right, left)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1.0, 1.1),
        (math.nan, math.nan),
        (math.inf, math.inf),
        (1.0, math.nan),
        (math.inf, 0.0),
        (torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0])),  # the means agree
        (torch.ones(3), torch.tensor([1.0, 1.0, 1.1])),
        (torch.zeros(1000).index_fill(0, torch.tensor(3), 1e-5), 0.0),  # small on average
    ],
)
def test_what_differs_anywhere_fails_in_either_order(left, right, capsys):
    for sides in ((left, right), (right, left)):
        with pytest.raises(CheckFailed, match="equal does not hold"):
            check("equal", *sides)
    assert capsys.readouterr().out == ""


def test_infinity_is_not_within_an_infinite_tolerance():
    with pytest.raises(CheckFailed):
        check("equal", math.inf, 0.0, atol=math.inf)


@settings(max_examples=100, deadline=None)
@given(right=numbers, off=numbers, atol=st.floats(0, 1e6), rtol=st.floats(0, 2))
def test_the_tolerance_is_absolute_plus_a_share_of_the_right_side(right, off, atol, rtol):
    left = right + off
    edge = atol + rtol * abs(right)
    assume(abs(abs(left - right) - edge) > 1e-9 * (1 + edge))
    if abs(left - right) < edge:
        check("near", left, right, atol=atol, rtol=rtol)
    else:
        with pytest.raises(CheckFailed):
            check("near", left, right, atol=atol, rtol=rtol)


def test_the_edge_itself_is_allowed():
    check("edge", 1.5, 1.0, atol=0.5)
    check("edge", 1.5, 1.0, atol=0.0, rtol=0.5)
    check("edge", 2.0, 2.0, atol=0.0)
    with pytest.raises(CheckFailed):
        check("edge", 1.0, 1.5, atol=0.0, rtol=0.25)


def test_numbers_are_compared_in_double_precision():
    with pytest.raises(CheckFailed):
        check("near", 1.0, 1.0 + 1e-9, atol=1e-12)
    with pytest.raises(CheckFailed):
        check("near", [0.5, 1.0 + 1e-9], torch.tensor([0.5, 1.0], dtype=torch.float64), atol=1e-12)
    with pytest.raises(CheckFailed):
        check_at_most("below", 1.0 + 1e-9, 1.0)
    check("near", 0.1, torch.tensor(0.1, dtype=torch.float64), atol=0.0)


def test_the_reader_sees_claim_sides_tolerance_and_label(capsys):
    check("ELBO + gap = log p(x)", -86.7649, -86.7651, atol=1e-3, label="eq-gap")
    assert capsys.readouterr().out == (
        "✓ ELBO + gap = log p(x)  [eq-gap]\n    -86.765 = -86.765, within 0.001\n"
    )
    check("digits", 111.0402, 111.0404, atol=1e-3)  # as many as the tolerance asks for, and four at least
    assert "    111.04 = 111.04, within 0.001\n" in capsys.readouterr().out
    check("digits", 1.0 / 3, 1.0 / 3, atol=0.5)
    assert "    0.3333 = 0.3333, within 0.5\n" in capsys.readouterr().out
    check("digits", 1.0 / 3, 1.0 / 3, atol=1e-9)
    assert "    0.3333333 = 0.3333333, within 1e-09\n" in capsys.readouterr().out
    check("many", torch.ones(2000), 1.0, atol=0.0, rtol=0.1)
    assert capsys.readouterr().out == (
        "✓ many\n    1 = 1, within 0 + 0.1 of the right side  (means of 2,000 values; each pair holds)\n"
    )


def test_a_failure_names_the_worst_entry():
    left = torch.tensor([[1.0, 2.0], [3.5, 4.0]])
    right = torch.tensor([[1.1, 2.0], [3.0, 4.0]])
    message = r"bad  \[eq-x\] does not hold: .*; worst at entry 2 of 4, where left is 3\.5, off by 0\.5"
    with pytest.raises(CheckFailed, match=message):
        check("bad", left, right, label="eq-x")
    # the first entry differs more, but is allowed to
    with pytest.raises(CheckFailed, match=r"worst at entry 1 of 2, where left is 1, off by 0\.1"):
        check("bad", [100.5, 1.0], [100.0, 0.9], atol=0.0, rtol=0.01)
    with pytest.raises(CheckFailed, match="worst at entry 1 of 3, where left is nan"):
        check("bad", [9.0, math.nan, 2.0], [1.0, 2.0, 2.0])


# ---------------------------------------------------------------- check_at_most


@settings(max_examples=100, deadline=None)
@given(left=numbers, right=numbers, slack=st.floats(0, 1e6))
def test_at_most_is_at_most(left, right, slack):
    assume(abs(left - right - slack) > 1e-9 * (1 + abs(slack)))
    if left - right < slack:
        check_at_most("below", left, right, slack)
    else:
        with pytest.raises(CheckFailed):
            check_at_most("below", left, right, slack)


def test_at_most_allows_equality_and_broadcasts():
    check_at_most("below", 1.0, 1.0)
    check_at_most("below", torch.zeros(3, 1), torch.ones(2))
    check_at_most("below", 1.5, 1.0, slack=0.5)
    with pytest.raises(CheckFailed, match="worst at entry 2 of 3, where left is 2, off by 1"):
        check_at_most("below", [0.0, 1.0, 2.0], 1.0)


@pytest.mark.parametrize(
    ("left", "right"), [(math.nan, 1.0), (0.0, math.nan), (-math.inf, 0.0), (0.0, math.inf)]
)
def test_at_most_wants_numbers(left, right):
    with pytest.raises(CheckFailed, match="worst at entry 1 of 2"):
        check_at_most("below", [0.0, left], [0.0, right])


def test_at_most_prints_its_sides(capsys):
    check_at_most("ELBO ≤ log p(x)", -3.0, -2.0, slack=0.25, label="eq-bound")
    assert capsys.readouterr().out == "✓ ELBO ≤ log p(x)  [eq-bound]\n    -3 ≤ -2, allowing 0.25\n"


# ---------------------------------------------------------------- both


@pytest.mark.parametrize("function", [check, check_at_most])
@pytest.mark.parametrize(("left", "right"), [([], 1.0), (1.0, []), (torch.zeros(0, 3), torch.zeros(1, 3))])
def test_nothing_proves_nothing(function, left, right):
    with pytest.raises(ValueError, match="at least one number on each side, got an empty tensor"):
        function("empty", left, right)


@pytest.mark.parametrize("function", [check, check_at_most])
def test_sides_of_other_shapes_do_not_pass(function):
    with pytest.raises(RuntimeError, match=r"size of tensor a \(2\) must match the size of tensor b \(3\)"):
        function("shapes", [1.0, 1.0], [1.0, 1.0, 1.0])


def test_a_failed_check_is_an_assertion():
    assert issubclass(CheckFailed, AssertionError)


# ---------------------------------------------------------------- glue


@pytest.mark.parametrize("value", [-86.76, 3, "text", [1.5, 2]])
def test_glue_writes_the_record_that_myst_nb_reads(value):
    InteractiveShell.instance()
    try:
        with capture_output() as captured:
            glue("test-elbo", value)
    finally:
        InteractiveShell.clear_instance()
    (output,) = captured.outputs
    prefix = "application/papermill.record/"
    assert output.data == {f"{prefix}text/plain": repr(value)}
    assert output.metadata == {"scrapbook": {"name": "test-elbo", "mime_prefix": prefix}}
