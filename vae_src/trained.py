"""Models that ship with the book, each with the record of the run that made it."""

import hashlib
import importlib.resources
import json
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from torch import nn

from vae_src.checkpoints import load_weights

WEIGHTS = Path(__file__).with_name("weights")


def record(name: str) -> dict[str, Any]:
    """Read the record of a long run: configuration, provenance and metrics.

    Args:
        name: As in ``python -m vae_src.experiments NAME``.

    Raises:
        ValueError: If there is no such record; the message lists those that exist.
    """
    names = _record_names()
    if name not in names:
        raise ValueError(f"there is no record named {name!r}; there are: {', '.join(names) or 'none yet'}")
    return json.loads((_results() / f"{name}.json").read_text("utf8"))


def records(prefix: str) -> list[dict[str, Any]]:
    """All records whose name begins with a prefix, in the order of their names; maybe none."""
    return [record(name) for name in _record_names() if name.startswith(prefix)]


def _results() -> Traversable:
    """The folder book/results, which is installed with the package."""
    return importlib.resources.files("vae_src.results")


def _record_names() -> list[str]:
    """Names of all records, sorted."""
    return sorted(f.name.removesuffix(".json") for f in _results().iterdir() if f.name.endswith(".json"))


def load_trained(model: nn.Module, name: str) -> dict[str, Any]:
    """Load shipped weights into a model, after checking that they are the ones its record describes.

    Args:
        model: Freshly built, of the architecture that the record names.
        name: As in ``python -m vae_src.experiments NAME``.

    Returns:
        The record.

    Raises:
        ValueError: If there is no such record, or the weights are not those that were recorded.
    """
    run = record(name)
    path = WEIGHTS / f"{name}.safetensors"
    found, recorded = sha256(path) if path.exists() else "missing", run["weights_sha256"]
    if found != recorded:
        raise ValueError(
            f"{path.name} has checksum {found[:12]} but its record says {recorded[:12]}: restore the file, "
            f"or make both anew with python -m vae_src.experiments {name}"
        )
    load_weights(model, path)
    return run


def sha256(path: Path) -> str:
    """Checksum of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
