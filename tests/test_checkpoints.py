"""Tests of checkpoints.py: whole files or none, the right file or a clear sentence, never code."""

import os
import pickle
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from vae_src import checkpoints
from vae_src.checkpoints import load_checkpoint, load_weights, save_checkpoint, save_weights
from vae_src.distributions import NormalLikelihood
from vae_src.models import mlp_vae
from vae_src.randomness import seeded


def make(seed: int = 0, hidden: int = 3) -> nn.Module:
    with seeded(seed):
        return mlp_vae(2, (hidden,), NormalLikelihood(0.5, learn_scale=True), event_shape=(1, 2, 3))


def adam(model: nn.Module, steps: int = 0) -> torch.optim.Optimizer:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    for _ in range(steps):
        sum(p.square().sum() for p in model.parameters()).backward()
        optimizer.step()
    return optimizer


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "file.safetensors"


def assert_one_clear_sentence(error: BaseException, path: Path) -> None:
    assert "\n" not in str(error)
    assert str(path) in str(error)


# ---------------------------------------------------------------- round trips


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_come_back_to_the_bit(path, dtype):
    model = make().to(dtype)
    save_weights(model, path, {"experiment": "none", "µ": "ü"})
    other = make(1).to(dtype)
    assert not same(weights(model), weights(other))
    assert load_weights(other, path) == {"experiment": "none", "µ": "ü"}
    assert same(weights(model), weights(other))


def test_folders_are_made_and_text_paths_taken(tmp_path):
    path = tmp_path / "a" / "b" / "file.safetensors"
    save_weights(make(), str(path))
    assert load_weights(make(1), str(path)) == {}
    assert os.listdir(path.parent) == [path.name]


def test_the_file_is_plain_safetensors(path):
    model = make()
    save_weights(model, path)
    assert same(load_file(path), weights(model))


def test_a_checkpoint_restores_weights_optimiser_generator_and_history(path):
    model = make()
    optimizer = adam(model, steps=3)
    history = {"objective": [-1.5, 0.1 + 0.2], "train": {"rate": [1e-300]}, "interrupted": False}
    with seeded(5):
        torch.rand(7)
        save_checkpoint(path, model, optimizer, "run", history)
        expected = torch.rand(3)
    other = make(1)
    restored = adam(other)
    with seeded(6):
        assert load_checkpoint(path, other, restored, "run") == history
        assert torch.equal(torch.rand(3), expected)
    assert same(weights(model), weights(other))
    for one, two in zip(optimizer.state.values(), restored.state.values(), strict=True):
        assert same(one, two)
    for m, o in ((model, optimizer), (other, restored)):  # and the next step is the same
        o.zero_grad()
        sum(p.square().sum() for p in m.parameters()).backward()
        o.step()
    assert same(weights(model), weights(other))


# ---------------------------------------------------------------- files that will not do


def foreign(path: Path) -> None:
    path.write_text("<html>404</html>" * 100)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def headless(path: Path) -> None:
    path.write_bytes(path.read_bytes()[20:])


class Bomb:
    """Unpickled, it writes a file: the proof that code ran."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.target,))


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(Bomb(path.with_name("exploded"))))


def torch_pickled(path: Path) -> None:
    torch.save({"weight": Bomb(path.with_name("exploded"))}, path)


@pytest.mark.parametrize("damage", [foreign, empty, truncated, headless, pickled, torch_pickled])
def test_a_damaged_or_foreign_file_is_refused_and_not_run(path, damage):
    model = make()
    save_weights(model, path)
    damage(path)
    other = make(1)
    before = weights(other)
    with pytest.raises(ValueError, match=r"is damaged or not a safetensors file .*: make it anew") as caught:
        load_weights(other, path)
    assert_one_clear_sentence(caught.value, path)
    assert same(weights(other), before)
    with pytest.raises(ValueError, match="is damaged or not a safetensors file"):
        load_checkpoint(path, other, adam(other), "run")
    assert not path.with_name("exploded").exists()


def test_the_bomb_of_the_test_above_works(path):
    pickled(path)
    pickle.loads(path.read_bytes())
    assert path.with_name("exploded").exists()


def test_no_file_and_a_folder_are_named(path):
    for missing in (path, path.parent):
        with pytest.raises(FileNotFoundError, match=re.escape(f"there is no file {missing}")):
            load_weights(make(), missing)
        with pytest.raises(FileNotFoundError, match="there is no file"):
            load_checkpoint(missing, make(), adam(make()), "run")


MORE = nn.ModuleDict({**dict(make().named_children()), "extra": nn.Linear(1, 2, bias=False)})


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (make(hidden=4), r"encoder.1.0.weight is \(4, 6\) there and \(3, 6\) in the model"),
        (make().encoder, r"encoder.1.0.weight is missing there and \(3, 6\) in the model"),
        (
            MORE,
            r"extra.weight is \(2, 1\) there and missing in the model",
        ),
    ],
    ids=["wider", "part", "more"],
)
def test_another_architecture_is_refused_by_the_first_tensor_that_differs(path, stored, message):
    save_weights(stored, path)
    model = make()
    before = weights(model)
    with pytest.raises(ValueError, match=f"holds weights of another architecture: {message}") as caught:
        load_weights(model, path)
    assert_one_clear_sentence(caught.value, path)
    assert same(weights(model), before)


def test_a_checkpoint_of_another_architecture_changes_nothing(path):
    save_checkpoint(path, make(hidden=4), adam(make(hidden=4), 1), "run", {})
    model = make()
    optimizer, before, state = adam(model, 1), weights(model), torch.get_rng_state()
    with pytest.raises(ValueError, match="another architecture"):
        load_checkpoint(path, model, optimizer, "run")
    assert same(weights(model), before)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_checkpoint_of_another_run_is_refused(path):
    model = make()
    save_checkpoint(path, model, adam(model), "num_epochs=3", {})
    message = "was written by a run with num_epochs=3, not num_epochs=4: use the same configuration"
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint(path, model, adam(model), "num_epochs=4")
    assert_one_clear_sentence(caught.value, path)


def test_mere_weights_are_no_checkpoint(path):
    save_weights(make(), path)
    with pytest.raises(ValueError, match="no training state: it is not a checkpoint of fit") as caught:
        load_checkpoint(path, make(), adam(make()), "run")
    assert_one_clear_sentence(caught.value, path)


# ---------------------------------------------------------------- places that cannot be written


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "file"))):
        save_weights(make(), tmp_path / "file" / "weights")
    assert (tmp_path / "file").read_text() == "mine"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_in_the_place_of_the_file(path):
    path.mkdir()
    with pytest.raises(OSError, match=re.escape(str(path))):
        save_weights(make(), path)
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(os.name == "nt" or getattr(os, "geteuid", lambda: 0)() == 0, reason="may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            save_weights(make(), tmp_path / "weights")
    finally:
        tmp_path.chmod(0o700)


def half_written(tensors: dict, target: str, metadata: dict) -> None:
    Path(target).write_bytes(b"half")
    raise OSError(28, "No space left on device")


def interrupted(*arguments: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "save",
    [save_weights, lambda model, path: save_checkpoint(path, model, adam(model, 1), "run", {})],
    ids=["weights", "checkpoint"],
)
@pytest.mark.parametrize("old", [True, False], ids=["over an old file", "anew"])
@pytest.mark.parametrize(
    ("owner", "name", "failure", "error"),
    [
        (checkpoints, "save_file", half_written, OSError),
        (checkpoints, "save_file", interrupted, KeyboardInterrupt),
        (os, "fsync", interrupted, KeyboardInterrupt),
        (os, "replace", interrupted, KeyboardInterrupt),
    ],
    ids=["disk full", "Ctrl-C in the write", "Ctrl-C in the flush", "Ctrl-C in the move"],
)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    path, monkeypatch, owner, name, failure, error, old, save
):
    first, second = make(0), make(1)
    if old:
        save_weights(first, path)
    before = path.read_bytes() if old else None
    monkeypatch.setattr(owner, name, failure)
    with pytest.raises(error):
        save(second, path)
    monkeypatch.undo()
    assert os.listdir(path.parent) == ([path.name] if old else [])
    if old:
        assert path.read_bytes() == before


def test_the_old_file_stands_until_the_new_one_is_whole(path, monkeypatch):
    save_weights(make(0), path)
    before = path.read_bytes()

    def watched(tensors: dict, target: str, metadata: dict) -> None:
        save_file(tensors, target, metadata)
        assert path.read_bytes() == before
        assert Path(target).parent == path.parent  # else the move would be a copy

    monkeypatch.setattr(checkpoints, "save_file", watched)
    save_weights(make(1), path)
    assert path.read_bytes() != before
