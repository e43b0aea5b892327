"""What stands beside every recorded number: where, when, by which code and from which data it came."""

import json
import os
import platform
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import torch

from vae_src.data import ImageData
from vae_src.trained import WEIGHTS, sha256

ROOT = Path(__file__).parents[2]


def checkpoint_path(name: str) -> Path:
    """Where a run that is not finished keeps its state."""
    return ROOT / ".checkpoints" / f"{name}.safetensors"


def write_record(
    name: str,
    result: dict[str, Any],
    data: ImageData,
    command: str | None = None,
    weights: str | None = None,
) -> None:
    """Complete a result with its provenance and write it in one step.

    Args:
        name: Of the record.
        result: What was asked, how, and what came out; its ``metrics`` are printed.
        data: What the model saw.
        command: What to type after ``python -m vae_src.experiments`` to get it; ``name`` unless given.
        weights: Name of the weights that were made or measured, which exist; ``name`` unless given.
    """
    device = data.train.images.device
    record = {
        "name": name,
        "command": f"python -m vae_src.experiments {command or name}",
        **result,
        "data": {"name": data.name, "source": data.source, "train": len(data.train.images)},
        "weights_sha256": sha256(WEIGHTS / f"{weights or name}.safetensors"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "commit": commit(),
        "date": date.today().isoformat(),
    }
    path = ROOT / "book" / "results" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    os.replace(aside, path)
    print(f"{path.relative_to(ROOT)}: {json.dumps(result['metrics'])}")


def cpu_name() -> str:
    """Name of the processor, as well as the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or 'CPU'}, {os.cpu_count()} cores"


def commit() -> str:
    """The commit that the code stands at, marked when the package's code differs from it."""
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    changed = [
        line
        for line in status.stdout.splitlines()
        if line[3:].startswith("vae_src/") and line.endswith(".py")
    ]
    return head.stdout.strip() + (" with changes" if changed else "")
