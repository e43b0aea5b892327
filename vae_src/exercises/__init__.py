"""Exercises: a grader for each, and `attempt`, which a chapter calls on the reader's answer.

One module per chapter, named like it, holds `grade_<name>(answer)` for the exercise labelled
``ex-<name>``. A grader calls the answer and asserts; each message is a hint for the reader.
"""

import traceback
from collections.abc import Callable

import torch

__all__ = ["attempt"]


def attempt(grader: Callable[[Callable], None], answer: Callable) -> None:
    """Grade the reader's answer to an exercise and print one line: not attempted, right, or a hint.

    A wrong answer prints its hint and raises nothing, so that the notebook runs on; any other
    error of the answer is raised, with its traceback. The notebook's random numbers are left alone.

    Args:
        grader: The exercise's ``grade_<name>``.
        answer: The reader's function; the stub raises NotImplementedError.
    """
    label = grader.__name__.replace("grade_", "ex-", 1).replace("_", "-")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            grader(answer)
    except NotImplementedError as error:
        if not _raised_by(answer, error):
            raise
        print(f"○ {label}: not attempted yet\n    Write the function's body, then run this cell again.")
    except AssertionError as error:
        if _raised_by(answer, error):
            raise
        print(f"✗ {label}: {error}")
    else:
        print(f"✓ {label}: right.")


def _raised_by(function: Callable, error: Exception) -> bool:
    """Tell whether the error was raised in the function itself, not in something it called."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return frames[-1].f_code is getattr(function, "__code__", None)
