"""Files that survive a crash: safetensors with a checksum, written aside and moved into place in one step."""

import contextlib
import glob
import json
import os
import secrets
import time
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

STALE_SECONDS = 3600  # a half-written file this old was left by a killed process: no write takes an hour


def save_weights(model: nn.Module, path: str | Path, metadata: dict[str, str] | None = None) -> None:
    """Write the model's weights as safetensors, atomically; the same weights make the same bytes.

    Args:
        model: Its ``state_dict`` is written.
        path: Target file; its folder is made if needed.
        metadata: Strings to store beside the weights; a checksum is added.

    Raises:
        OSError: If the file cannot be written; an existing one is left as it was.
        ValueError: If some of the model's state is no tensor, or has no values (the meta device).
    """
    _write(Path(path), _weights(model), metadata or {})


def load_weights(model: nn.Module, path: str | Path) -> dict[str, str]:
    """Load weights written by `save_weights`, or by another program, into a model of the same architecture.

    Args:
        model: Receives the weights on its own device.
        path: A safetensors file.

    Returns:
        The metadata stored beside the weights.

    Raises:
        OSError: If the file cannot be read; FileNotFoundError if there is none.
        ValueError: If the file is damaged or holds another architecture or precision; the model is left as
            it was.
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
        optimizer: Its state is written: scalars, and tensors of its parameters' shapes, as Adam has.
        run: The configuration in one line; `load_checkpoint` refuses another.
        history: What JSON can hold.

    Raises:
        OSError: If the file cannot be written; an existing one is left as it was.
        ValueError: If some of the model's state is no tensor, or has no values (the meta device).
    """
    tensors = {f"model/{k}": v for k, v in _weights(model).items()}
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{i}/{k}": torch.as_tensor(v) for k, v in state.items()}
    tensors["generator/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors |= {f"generator/cuda/{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    _write(Path(path), tensors, {"run": run, "history": json.dumps(history)})


def load_checkpoint(path: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer, run: str) -> dict:
    """Restore what `save_checkpoint` wrote, after checking that all of it belongs to this run.

    Returns:
        The history that was saved.

    Raises:
        OSError: If the file cannot be read; FileNotFoundError if there is none.
        ValueError: If the file is damaged, is no checkpoint, or belongs to another run, architecture or
            optimiser; model, optimiser and generators are left as they were.
    """
    tensors, metadata = _read(Path(path))
    history = _history(metadata, run, path)
    weights = _part(tensors, "model/")
    _require_same_architecture(model, weights, path)
    state = _optimizer_state(_part(tensors, "optimizer/"), optimizer, path)
    generators = _generators(_part(tensors, "generator/"), path)
    # Nothing was changed up to here, and nothing is left that could be refused.
    model.load_state_dict(weights)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(generators.pop("cpu"))
    for device, generator_state in generators.items():
        torch.cuda.set_rng_state(generator_state, device)
    return history


# ---------------------------------------------------------------- does the content belong here?


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors; raise if some of its state is none, or only a shape."""
    weights = model.state_dict()
    for name, value in weights.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} is a {type(value).__name__}, and the file can hold only tensors")
        if value.is_meta:
            raise ValueError(f"{name} has no values, only a shape: build the model on the CPU, not on meta")
    return weights


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _describe(tensor: Tensor | None) -> str:
    """Dtype and shape, such as ``float32 (3, 6)``."""
    return "missing" if tensor is None else f"{str(tensor.dtype)[6:]} {tuple(tensor.shape)}"


def _require_same_architecture(model: nn.Module, tensors: dict[str, Tensor], path: str | Path) -> None:
    """Raise unless the file holds exactly the tensors that the model has, of the same shapes and dtypes."""
    weights = _weights(model)
    for name in [*weights, *tensors]:
        ours, theirs = _describe(weights.get(name)), _describe(tensors.get(name))
        if ours != theirs:
            raise ValueError(
                f"{path} holds weights of another architecture: {name} is {theirs} there "
                f"and {ours} in the model"
            )


def _history(metadata: dict[str, str], run: str, path: str | Path) -> dict:
    """The saved history; raise unless this is a checkpoint of this very run."""
    if metadata.keys() != {"run", "history"}:
        raise ValueError(f"{path} holds weights but no training state: it is not a checkpoint of fit")
    if metadata["run"] != run:
        raise ValueError(
            f"{path} was written by a run with {metadata['run']}, not {run}: "
            "use the same configuration to resume, or another file to start anew"
        )
    try:
        return dict(**json.loads(metadata["history"]))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} holds a history that cannot be read ({error}): start anew") from error


def _optimizer_state(
    tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer, path: str | Path
) -> dict[int, dict[str, Tensor]]:
    """The state by parameter, as torch numbers them; raise if it belongs to other parameters."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    numbers = {str(i): i for i in range(len(parameters))}
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition("/")
        ours = parameters[numbers[index]] if index in numbers else None
        if ours is None or value.shape not in (ours.shape, torch.Size()):
            raise ValueError(
                f"{path} holds the state of another optimiser: {key} of parameter {index} is "
                f"{_describe(value)} there and that parameter is {_describe(ours)} here"
            )
        state.setdefault(numbers[index], {})[key] = value
    if any(entry.keys() != next(iter(state.values())).keys() for entry in state.values()):
        raise ValueError(f"{path} holds only part of an optimiser's state: start anew")
    return dict(sorted(state.items()))


def _generators(states: dict[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    """The generator states to restore, by device; raise unless each is one."""
    states = {name.replace("/", ":"): state for name, state in states.items()}
    if not torch.cuda.is_available() or len(states) != 1 + torch.cuda.device_count():
        states = {name: state for name, state in states.items() if name == "cpu"}
    try:
        for device in {"cpu", *states}:
            torch.Generator(device).set_state(states[device])  # a trial, on a generator that nobody uses
    except (KeyError, RuntimeError, TypeError) as error:
        raise ValueError(f"{path} holds no usable state of the random generators: start anew") from error
    return states


# ---------------------------------------------------------------- files


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write the file in one step, or say why it could not be and leave everything as it was."""
    content = _encode({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, metadata)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, content)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{path} could not be written ({error.strerror}): free some space or choose another folder",
        ) from error


def _replace(path: Path, content: bytes) -> None:
    """Write aside in the same folder, flush to disk, then move into place."""
    _remove_stale(path)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")  # no two writers share it
    try:
        with open(aside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the move itself must survive a power cut; Windows cannot open a folder
        with contextlib.suppress(OSError):
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _remove_stale(path: Path) -> None:
    """Remove what killed processes left of this file; a process that is writing now has a younger one."""
    for old in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > STALE_SECONDS:
                old.unlink()


def _encode(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """A safetensors file with its checksum; metadata in the order given, which `save` would shuffle."""
    metadata = {key: value for key, value in metadata.items() if key != "crc32"}
    header, body = _split(save(tensors, metadata or None))  # {} with no tensor makes a broken file
    header.pop("__metadata__", None)
    header = {"__metadata__": metadata | {"crc32": _crc32(header, metadata, body)}, **header}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the values are aligned
    return len(text).to_bytes(8, "little") + text + body


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors and the metadata of a safetensors file; loading never executes code."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    content = path.read_bytes()
    try:
        tensors = load(content)
        header, body = _split(content)
        metadata = header.pop("__metadata__", None) or {}
        recorded = metadata.pop("crc32", None)  # other programs write none
        if recorded not in (None, _crc32(header, metadata, body)):
            raise ValueError("its checksum is wrong")
    except (SafetensorError, ValueError, KeyError) as error:  # KeyError: a dtype that torch lacks
        raise ValueError(f"{path} is damaged or not a safetensors file ({error}): make it anew") from error
    return {name: tensors[name] for name in header}, metadata


def _split(content: bytes) -> tuple[dict[str, Any], memoryview]:
    """Header and tensor bytes of a safetensors file: 8 bytes of length, JSON, then the values."""
    start = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:start]), memoryview(content)[start:]


def _crc32(header: dict[str, Any], metadata: dict[str, str], body: memoryview) -> str:
    """Checksum over names, shapes, metadata and values."""
    names = json.dumps([header, metadata], sort_keys=True).encode()
    return f"{zlib.crc32(body, zlib.crc32(names)):08x}"
