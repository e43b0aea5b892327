"""What all explorers have in common: how their scripts are put together, and how they are shown."""

import math
import re
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

FOLDER = Path(__file__).parent


def script(name: str) -> str:
    """Return an explorer's module as the one self-contained text that a notebook's front end wants.

    ``maths.js`` and ``stage.js``, which it imports, are put in front of it.
    """
    parts = [(FOLDER / f"{part}.js").read_text("utf8") for part in ("maths", "stage", name)]
    return "\n".join(re.sub(r"^import [^;]+;\n", "", part, flags=re.M) for part in parts)


def styles(name: str) -> str:
    """Return an explorer's style sheet, after the one that all share."""
    return "\n".join((FOLDER / f"{part}.css").read_text("utf8") for part in ("shared", name))


def array(values: Any) -> np.ndarray:
    """Return an array or a tensor, on any device and with or without a gradient, as an array."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def floats(values: Any) -> bytes:
    """Return numbers as the page reads them: 32-bit floats, row by row."""
    return array(values).astype("<f4").tobytes()


class Number(traitlets.CFloat[float, Any]):
    """A trait for a finite number: NaN and infinity are refused in a sentence."""

    def validate(self, obj: Any, value: Any) -> float:
        """Return the number; raise TraitError unless it is finite and inside the trait's bounds."""
        number = super().validate(obj, value)
        if not math.isfinite(number):
            raise traitlets.TraitError(f"{self.name} must be a finite number, not {number}")
        return number


class Point(traitlets.List):
    """A trait for two finite numbers, a place on a map."""

    def validate(self, obj: Any, value: Any) -> list[float]:
        """Return the place as two floats; raise TraitError unless it is one."""
        try:
            place = [float(number) for number in value]
        except (TypeError, ValueError):
            place = []
        if len(place) != 2 or not all(map(math.isfinite, place)):
            raise traitlets.TraitError(f"{self.name} must be two finite numbers, not {value!r}")
        return place


class Explorer(anywidget.AnyWidget):
    """A picture that answers when it is dragged, in the static page as in a notebook.

    Its state lives in traits, and all of its arithmetic in the page. It takes no messages, so that the
    state alone can bring it to life without Python.
    """

    def __repr__(self) -> str:
        """Name the explorer, without the address in memory that no two runs share."""
        return f"{type(self).__name__}()"
