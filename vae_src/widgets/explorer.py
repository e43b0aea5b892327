"""What all explorers have in common: how their scripts are put together, and how they are shown."""

import math
import re
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

FOLDER = Path(__file__).parent
# Between the parts of a script or a style sheet: the site stores a part that several explorers have once.
SCRIPT_BREAK, STYLE_BREAK = "\n// --- 8< ---\n", "\n/* --- 8< --- */\n"


def _bare(text: str) -> str:
    """Leave out what only a reader of the source wants: lines of comment, and indentation."""
    return re.sub(r"^[ \t]+", "", re.sub(r"^[ \t]*(//.*|/\*[\s\S]*?\*/)\n", "", text, flags=re.M), flags=re.M)


def script(name: str) -> str:
    """Return an explorer's module as the one self-contained text that a notebook's front end wants.

    The modules that it imports are put in front of it.
    """
    own = (FOLDER / f"{name}.js").read_text("utf8")
    imported = re.compile(r'^import [^;]+ from "\./([^"]+)";\n', re.M)
    parts = [(FOLDER / part).read_text("utf8") for part in imported.findall(own)]
    return SCRIPT_BREAK.join(map(_bare, [*parts, imported.sub("", own)]))


def styles(name: str) -> str:
    """Return an explorer's style sheet, after the one that all share.

    Both speak of this explorer alone. On a page with several, the shared part of one would come after, and
    so overrule, what another says of itself.
    """
    parts = (_bare((FOLDER / f"{part}.css").read_text("utf8")) for part in ("shared", name))
    return re.sub(
        rf"\.vae-(?:explorer|{name})(?![\w-])", f".vae-explorer.vae-{name}", STYLE_BREAK.join(parts)
    )


def array(values: Any) -> np.ndarray:
    """Return an array or a tensor, on any device and with or without a gradient, as an array."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def floats(values: Any) -> bytes:
    """Return numbers as the page reads them: 32-bit floats, row by row."""
    return array(values).astype("<f4").tobytes()


def digits_of(labels: Any, count: int) -> np.ndarray:
    """Return one digit for each of some images, as bytes.

    Raises:
        ValueError: If there is not one label from 0 to 9 for each.
    """
    classes = array(labels).ravel()
    if count != len(classes) or not np.isin(classes, range(10)).all():
        raise ValueError(
            f"labels must name a digit from 0 to 9 for each of the {count} images; "
            f"here are {len(classes)}: {np.unique(classes).tolist()}"
        )
    return classes.astype(np.uint8)


def encoded(model: Any, images: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Encode labelled digits with a VAE of two latents.

    Returns:
        Rows μ₁, μ₂, σ₁, σ₂ of q(z|x), ``[n, 4]``, and classes, ``[n]``.

    Raises:
        ValueError: If there is not one label from 0 to 9 for each image, or there are other than two latents.
    """
    classes = digits_of(labels, len(images))
    q_z = model.encode(images)
    mean, scale = array(q_z.mean), array(q_z.stddev)
    if mean.shape[-1] != 2:
        raise ValueError(f"the map is a plane: the VAE must have 2 latents, not {mean.shape[-1]}")
    return np.concatenate([mean, scale], axis=1), classes


class Number(traitlets.CFloat):  # without [float, Any], which traitlets 5.7 does not know
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
