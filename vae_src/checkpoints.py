"""Files that survive a crash: safetensors, written aside and moved into place in one step."""

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


def save_weights(model: nn.Module, path: str | Path, metadata: dict[str, str] | None = None) -> None:
    """Write the model's weights as safetensors, atomically.

    Args:
        model: Its ``state_dict`` is written.
        path: Target file; its folder is made if needed.
        metadata: Strings to store beside the weights.

    Raises:
        OSError: If the folder cannot be written; an existing file is left as it was.
    """
    _write(
        Path(path),
        {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()},
        metadata or {},
    )


def load_weights(model: nn.Module, path: str | Path) -> dict[str, str]:
    """Load weights written by `save_weights` into a model of the same architecture.

    Args:
        model: Receives the weights on its own device.
        path: A safetensors file.

    Returns:
        The metadata stored beside the weights.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or holds another architecture; the model is left as it was.
    """
    tensors, metadata = _read(Path(path))
    _require_same_architecture(model, tensors, path)
    model.load_state_dict(tensors)
    return metadata


def save_checkpoint(
    path: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer, run: str, history: dict
) -> None:
    """Write all that a run needs to go on to the bit: weights, optimiser, generators, history; atomically.

    Args:
        path: Target file; replaced in one step, so that it is always whole.
        model: Its ``state_dict`` is written.
        optimizer: Its state is written.
        run: The configuration in one line; `load_checkpoint` refuses another.
        history: What JSON can hold.

    Raises:
        OSError: If the file cannot be written; an existing one is left as it was.
    """
    tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{i}/{k}": torch.as_tensor(v) for k, v in state.items()}
    tensors["generator/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors |= {f"generator/cuda/{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    _write(Path(path), tensors, {"run": run, "history": json.dumps(history)})


def load_checkpoint(path: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer, run: str) -> dict:
    """Restore what `save_checkpoint` wrote, after checking that it belongs to this run.

    Returns:
        The history that was saved.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, is no checkpoint, or belongs to another run or architecture.
    """
    tensors, metadata = _read(Path(path))
    if "history" not in metadata:
        raise ValueError(f"{path} holds weights but no training state: it is not a checkpoint of fit")
    if metadata["run"] != run:
        raise ValueError(
            f"{path} was written by a run with {metadata['run']}, not {run}: "
            "use the same configuration to resume, or another file to start anew"
        )
    weights = {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
    _require_same_architecture(model, weights, path)
    model.load_state_dict(weights)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/")
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(tensors["generator/cpu"])
    cuda_states = [v for k, v in sorted(tensors.items()) if k.startswith("generator/cuda/")]
    if torch.cuda.is_available() and len(cuda_states) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(cuda_states)
    return json.loads(metadata["history"])


def _require_same_architecture(model: nn.Module, tensors: dict[str, Tensor], path: str | Path) -> None:
    """Raise unless the file holds exactly the tensors that the model has."""
    ours = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    theirs = {k: tuple(v.shape) for k, v in tensors.items()}
    if ours != theirs:
        name = next(k for k in [*ours, *theirs] if ours.get(k) != theirs.get(k))
        raise ValueError(
            f"{path} holds weights of another architecture: {name} is {theirs.get(name, 'missing')} there "
            f"and {ours.get(name, 'missing')} in the model"
        )


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write aside in the same folder, flush to disk, then move into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file(tensors, aside, metadata)
        with open(aside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors and the metadata of a safetensors file; loading never executes code."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or not a safetensors file ({error}): make it anew") from error
