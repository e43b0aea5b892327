"""The book's visible assertions: `check` prints a claim with both of its sides, and raises when it fails."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Value = float | int | bool | Tensor | Sequence[float]


class CheckFailed(AssertionError):
    """A claim of the book that does not hold."""


def check(
    claim: str,
    left: Value,
    right: Value,
    atol: float = 1e-6,
    rtol: float = 0.0,
    label: str | None = None,
) -> None:
    """Print the claim, its two sides and the tolerance; raise unless they agree everywhere.

    Args:
        claim: The statement, in words or symbols.
        left: Number or tensor.
        right: Number or tensor that broadcasts against ``left``.
        atol: Largest absolute difference allowed, in the unit of the sides.
        rtol: The same as a share of ``right``.
        label: The equation that is checked, for example ``"eq-vae-elbo"``.

    Raises:
        CheckFailed: If any entry differs by more than the tolerance, or is not a finite number.
    """
    left_t, right_t = _as_pair(left, right)
    difference = (left_t - right_t).abs()
    allowed = atol + rtol * right_t.abs()
    ok = bool((difference <= allowed).all()) and _finite(left_t, right_t)
    tolerance = f"within {atol:g}" + (f" + {rtol:.2g} of the right side" if rtol else "")
    sides = f"{_show(left_t, atol)} = {_show(right_t, atol)}, {tolerance}"
    _report(ok, claim, sides, difference, difference - allowed, left_t, label)


def check_at_most(
    claim: str, left: Value, right: Value, slack: float = 0.0, label: str | None = None
) -> None:
    """Print the claim and its two sides; raise unless left ≤ right + slack everywhere.

    Args:
        claim: The statement, in words or symbols.
        left: Number or tensor that should be the smaller.
        right: Number or tensor that broadcasts against ``left``.
        slack: How far ``left`` may exceed ``right``, in the unit of the sides.
        label: The equation that is checked.

    Raises:
        CheckFailed: If any entry violates the inequality, or is not a finite number.
    """
    left_t, right_t = _as_pair(left, right)
    excess = left_t - right_t
    ok = bool((excess <= slack).all()) and _finite(left_t, right_t)
    allowed = f", allowing {slack:g}" if slack else ""
    sides = f"{_show(left_t)} ≤ {_show(right_t)}{allowed}"
    _report(ok, claim, sides, excess, excess, left_t, label)


def glue(name: str, value: object) -> None:
    """Store a value in the notebook under a name, for ``{glue:text}`` in its prose.

    Writes the record that MyST-NB reads, so that a notebook never needs MyST-NB itself (Colab has none).

    Args:
        name: Unique in the notebook, for example ``"test-elbo"``.
        value: Best a number: prose then chooses its format.
    """
    from IPython.display import display

    prefix = "application/papermill.record/"
    display(
        {f"{prefix}text/plain": repr(value)},
        raw=True,
        metadata={"scrapbook": {"name": name, "mime_prefix": prefix}},
    )


def _as_pair(left: Value, right: Value) -> tuple[Tensor, Tensor]:
    """Both sides in float64, broadcast against each other."""
    # a bare number must not pass through float32, where 1 and 1 + 1e-9 are one
    tensors = (x if isinstance(x, Tensor) else torch.as_tensor(x, dtype=torch.float64) for x in (left, right))
    left_t, right_t = torch.broadcast_tensors(*(x.detach().cpu().double() for x in tensors))
    if left_t.numel() == 0:
        raise ValueError("a check needs at least one number on each side, got an empty tensor")
    return left_t, right_t


def _finite(*sides: Tensor) -> bool:
    return all(bool(side.isfinite().all()) for side in sides)


def _show(side: Tensor, atol: float = 0.0) -> str:
    """One number, or the mean of many, with as many digits as the tolerance asks for: four to seven."""
    value, digits = side.mean().item(), 4
    if atol > 0 and math.isfinite(value) and value != 0:
        digits += max(0, min(3, math.floor(math.log10(abs(value))) - math.floor(math.log10(atol)) - 3))
    return f"{value:.{digits}g}"


def _report(
    ok: bool, claim: str, sides: str, off: Tensor, excess: Tensor, left: Tensor, label: str | None
) -> None:
    """Print the line that the reader sees, or raise with the offending entry."""
    where = f"  [{label}]" if label else ""
    many = f"  (means of {left.numel():,} values; each pair holds)" if left.numel() > 1 else ""
    if ok:
        print(f"✓ {claim}{where}\n    {sides}{many}")
        return
    index = int(excess.where(excess.isfinite(), torch.inf).reshape(-1).argmax())
    raise CheckFailed(
        f"{claim}{where} does not hold: {sides}; worst at entry {index} of {left.numel()}, "
        f"where left is {left.reshape(-1)[index].item():.6g}, off by {off.reshape(-1)[index].item():.3g}"
    )
