"""Tests of checkpoints.py: whole files or none, the right file or a clear sentence, never code."""

import builtins
import errno
import json
import math
import os
import pickle
import re
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
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


State = tuple[dict[str, torch.Tensor], dict[int, dict[str, torch.Tensor]], torch.Tensor]


def everything(model: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """All that loading a checkpoint can change."""
    state = {i: {k: v.clone() for k, v in s.items()} for i, s in optimizer.state_dict()["state"].items()}
    return weights(model), state, torch.get_rng_state()


def identical(one: State, other: State) -> bool:
    return (
        same(one[0], other[0])
        and one[1].keys() == other[1].keys()
        and all(same(one[1][i], other[1][i]) for i in one[1])
        and torch.equal(one[2], other[2])
    )


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "file.safetensors"


def assert_one_clear_sentence(error: BaseException, path: Path) -> None:
    assert "\n" not in str(error)
    assert str(error).count(str(path)) == 1


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


def test_the_same_weights_make_the_same_bytes(tmp_path):
    model, optimizer = make(), adam(make(), 1)  # records of long runs hold a checksum of the weights' file
    names = [f"key {i}" for i in range(8)]  # safetensors itself would write them in any order
    with seeded(0):
        for target in ("a", "b"):
            save_weights(model, tmp_path / f"{target}.weights", dict.fromkeys(names, "x"))
            save_checkpoint(tmp_path / f"{target}.run", model, optimizer, "run", {"a": 1})
    for ending in ("weights", "run"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_a_module_without_weights_and_tied_weights_are_stored(path):
    save_weights(nn.ReLU(), path)
    assert load_weights(nn.ReLU(), path) == {}
    one = nn.Linear(2, 2)
    tied = nn.Sequential(one, one)
    save_weights(tied, path)
    before = weights(tied)
    nn.init.zeros_(one.weight)
    load_weights(tied, path)
    assert same(weights(tied), before)


def test_files_of_other_programs_and_of_earlier_versions_have_no_checksum_and_are_read(path):
    model = make()
    save_file(weights(model), path, {"by": "another"})
    other = make(1)
    assert load_weights(other, path) == {"by": "another"}
    assert same(weights(other), weights(model))


def test_the_metadata_that_another_reader_saw_can_be_stored_again(path):
    save_weights(make(), path, {"a": "b"})
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert metadata.keys() == {"a", "crc32"}
    save_weights(make(1), path, metadata | {"a": "c"})
    assert load_weights(make(), path) == {"a": "c"}


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
    optimizer = adam(other, 1)
    before = everything(other, optimizer)
    for load in (lambda: load_weights(other, path), lambda: load_checkpoint(path, other, optimizer, "run")):
        with pytest.raises(
            ValueError, match=r"is damaged or not a safetensors file .*: make it anew"
        ) as caught:
            load()
        assert_one_clear_sentence(caught.value, path)
    assert identical(everything(other, optimizer), before)
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
        (make(hidden=4), r"encoder.1.0.weight is float32 \(4, 6\) there and float32 \(3, 6\) in the model"),
        (make().encoder, r"encoder.1.0.weight is missing there and float32 \(3, 6\) in the model"),
        (
            MORE,
            r"extra.weight is float32 \(2, 1\) there and missing in the model",
        ),
        (
            make().double(),
            r"encoder.1.0.weight is float64 \(3, 6\) there and float32 \(3, 6\) in the model",
        ),
    ],
    ids=["wider", "part", "more", "precision"],
)
def test_another_architecture_is_refused_by_the_first_tensor_that_differs(path, stored, message):
    save_weights(stored, path)
    model = make()
    before = weights(model)
    with pytest.raises(ValueError, match=f"holds weights of another architecture: {message}") as caught:
        load_weights(model, path)
    assert_one_clear_sentence(caught.value, path)
    assert same(weights(model), before)


def write_header(path: Path, header: object, body: bytes = b"") -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


@pytest.mark.parametrize("dtype", ["F4", "F8_E8M0", "C64", "no such"])
def test_numbers_that_torch_or_the_model_lacks_are_refused(path, dtype):
    sizes = {"F4": 2, "F8_E8M0": 4, "C64": 32, "no such": 4}
    layout = {"dtype": dtype, "shape": [2, 2], "data_offsets": [0, sizes[dtype]]}
    write_header(path, {"weight": layout}, bytes(sizes[dtype]))
    with pytest.raises(ValueError, match=r"damaged or not a safetensors|another architecture") as caught:
        load_weights(nn.Linear(2, 2, bias=False), path)
    assert_one_clear_sentence(caught.value, path)


@pytest.mark.parametrize("header", [[], 3, {"__metadata__": {"a": 1}}, {"__metadata__": None}, {}])
def test_odd_headers_are_refused(path, header):
    write_header(path, header)
    with pytest.raises(ValueError, match=r"damaged or not a safetensors|another architecture") as caught:
        load_weights(make(), path)
    assert_one_clear_sentence(caught.value, path)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> tuple[Path, nn.Module, torch.optim.Optimizer]:
    """A folder with a small file of either kind, and what they were made from."""
    folder = tmp_path_factory.mktemp("small")
    with seeded(0):
        model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        optimizer = adam(model, 2)
        save_weights(model, folder / "weights", {"name": "ü"})
        save_checkpoint(folder / "run", model, optimizer, "run", {"objective": [1.0]})
    return folder, model, optimizer


def load_either(kind: str, path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict:
    if kind == "weights":
        return load_weights(model, path)
    return load_checkpoint(path, model, optimizer, "run")


def assert_refused(kind: str, content: bytes, small: tuple, may_load: bool = False) -> None:
    """Loading the content says so in one sentence and changes nothing, or (if it may) loads it all."""
    folder, model, optimizer = small
    path = folder / "damaged"
    path.write_bytes(content)
    before = everything(model, optimizer)
    try:
        load_either(kind, path, model, optimizer)
        assert may_load, "the damage was not seen"
    except ValueError as error:
        assert_one_clear_sentence(error, path)
    assert identical(everything(model, optimizer), before)


@pytest.mark.parametrize("kind", ["weights", "run"])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_refused(small, kind, share):
    content = (small[0] / kind).read_bytes()
    assert_refused(kind, content[: math.floor(share * len(content))], small)


@pytest.mark.parametrize("kind", ["weights", "run"])
def test_a_file_cut_at_every_boundary_is_refused(small, kind):
    content = (small[0] / kind).read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for length in {0, 1, 7, 8, 9, header - 1, header, header + 1, len(content) - 4, len(content) - 1}:
        assert_refused(kind, content[:length], small)
    assert_refused(kind, content + b"\0", small)


@pytest.mark.parametrize("kind", ["weights", "run"])
@settings(max_examples=150, deadline=None, derandomize=True)
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_is_noticed(small, kind, share, bit):
    # The file has no other protection: safetensors itself takes any values for the tensors.
    content = bytearray((small[0] / kind).read_bytes())
    at = math.floor(share * len(content))
    content[at] ^= 1 << bit
    # If the name of the checksum is hit, the weights are whole and there is nothing to compare with.
    name = content.find(b"crc32", 0) < 0
    assert_refused(kind, bytes(content), small, may_load=kind == "weights" and name)


@pytest.mark.parametrize("kind", ["weights", "run"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(share=st.floats(0, 1, exclude_max=True), values=st.binary(min_size=1, max_size=60))
def test_an_overwritten_stretch_is_noticed(small, kind, share, values):
    content = bytearray((small[0] / kind).read_bytes())
    start = math.floor(share * len(content))
    changed = content[:start] + values[: len(content) - start] + content[start + len(values) :]
    if changed != content:
        assert_refused(kind, bytes(changed), small, may_load=b"crc32" not in changed)


@pytest.mark.parametrize("kind", ["weights", "run"])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(content=st.binary(max_size=300))
def test_any_other_bytes_are_refused(small, kind, content):
    assert_refused(kind, content, small)


def edited(path: Path, edit: Callable[[dict, dict], None]) -> None:
    """Change a checkpoint's tensors or metadata as an older version or another program might have."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del metadata["crc32"]
    edit(tensors, metadata)
    path.write_bytes(save(tensors, metadata))


def drop(prefix: str) -> Callable[[dict, dict], None]:
    def edit(tensors: dict, metadata: dict) -> None:
        for name in [name for name in tensors if name.startswith(prefix)]:
            del tensors[name]

    return edit


def put(name: str, tensor: torch.Tensor) -> Callable[[dict, dict], None]:
    return lambda tensors, metadata: tensors.update({name: tensor})


def tell(**values: str) -> Callable[[dict, dict], None]:
    return lambda tensors, metadata: metadata.update(values)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop("model/decoder"), r"another architecture: decoder.* is missing there and float32"),
        (drop("model/"), "another architecture: encoder.1.0.weight is missing there"),
        (put("model/more", torch.ones(2)), r"more is float32 \(2,\) there and missing in the model"),
        (put("optimizer/0/exp_avg", torch.ones(2)), r"exp_avg of parameter 0 is float32 \(2,\) there and "),
        (put("optimizer/99/step", torch.ones(())), "parameter 99 is .* there and that parameter is missing"),
        (put("optimizer/x", torch.ones(())), "parameter x is .* there and that parameter is missing here"),
        (put("optimizer/-1/step", torch.ones(())), "parameter -1 is .* and that parameter is missing here"),
        (drop("optimizer/3/exp_avg_sq"), "holds only part of an optimiser's state: start anew"),
        (drop("generator/"), "no usable state of the random generators: start anew"),
        (put("generator/cpu", torch.ones(4)), "no usable state of the random generators"),
        (put("generator/cpu", torch.ones(5056, dtype=torch.uint8)), "no usable state of the random gen"),
        (tell(history="{"), "a history that cannot be read .*: start anew"),
        (tell(history="[]"), "a history that cannot be read .*: start anew"),
        (tell(history="[[1, 2]]"), "a history that cannot be read .*: start anew"),
        (tell(run="num_epochs=4"), "was written by a run with num_epochs=4, not run: use the same"),
        (tell(crc33="0"), "it is not a checkpoint of fit"),
        (lambda t, m: m.pop("run"), "it is not a checkpoint of fit"),
        (lambda t, m: m.pop("history"), "it is not a checkpoint of fit"),
        (tell(crc32="00000000"), "its checksum is wrong"),
    ],
)
def test_a_checkpoint_with_a_part_that_does_not_fit_changes_nothing(path, edit, message):
    save_checkpoint(path, make(), adam(make(), 1), "run", {"objective": []})
    edited(path, edit)
    model = make(1)
    optimizer = adam(model, 2)
    before = everything(model, optimizer)
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint(path, model, optimizer, "run")
    assert_one_clear_sentence(caught.value, path)
    assert identical(everything(model, optimizer), before)


def test_an_edit_that_changes_nothing_is_accepted(path):
    model = make()
    save_checkpoint(path, model, adam(model, 1), "run", {"objective": []})
    edited(path, lambda tensors, metadata: None)  # as written before there were checksums
    other = make(1)
    assert load_checkpoint(path, other, adam(other), "run") == {"objective": []}
    assert same(weights(other), weights(model))


def test_the_state_of_more_than_ten_parameters_keeps_its_order(path):
    with seeded(0):
        model = nn.ParameterList([nn.Parameter(torch.randn(2)) for _ in range(12)])
    optimizer = adam(model, 2)
    save_checkpoint(path, model, optimizer, "run", {})
    restored = adam(model)
    with seeded(0):
        load_checkpoint(path, model, restored, "run")
    assert list(restored.state_dict()["state"]) == list(range(12))
    assert identical(everything(model, restored), everything(model, optimizer))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine with a GPU would restore its generator")
def test_the_generator_of_a_gpu_is_left_aside_on_a_machine_without(path):
    model = make()
    save_checkpoint(path, model, adam(model, 1), "run", {"a": 1})
    edited(path, put("generator/cuda/0", torch.zeros(16, dtype=torch.uint8)))
    with seeded(0):
        assert load_checkpoint(path, model, adam(model), "run") == {"a": 1}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_generator_of_a_gpu_comes_back_and_a_wrong_one_is_refused(path):
    model = make().cuda()
    optimizer = adam(model, 2)
    with seeded(0):
        save_checkpoint(path, model, optimizer, "run", {})
        expected = torch.rand(3, device="cuda")
    with seeded(1):
        other = make(1).cuda()
        load_checkpoint(path, other, adam(other), "run")
        assert torch.equal(torch.rand(3, device="cuda"), expected)
    assert same(weights(model), weights(other))
    edited(path, put("generator/cuda/0", torch.zeros(3, dtype=torch.uint8)))
    with pytest.raises(ValueError, match="no usable state of the random generators"):
        load_checkpoint(path, model, optimizer, "run")


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_an_optimiser_with_no_or_other_state_comes_back(path, momentum):
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum)
    sum(p.square().sum() for p in model.parameters()).backward()
    optimizer.step()
    save_checkpoint(path, model, optimizer, "run", {})
    other = make(1)
    restored = torch.optim.SGD(other.parameters(), lr=0.1, momentum=momentum)
    with seeded(0):
        load_checkpoint(path, other, restored, "run")
    for m, o in ((model, optimizer), (other, restored)):
        o.zero_grad()
        sum(p.square().sum() for p in m.parameters()).backward()
        o.step()
    assert same(weights(model), weights(other))


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


# ---------------------------------------------------------------- models that cannot be stored


class Odd(nn.Module):
    def get_extra_state(self) -> dict:
        return {"a": 1}

    def set_extra_state(self, state: dict) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("model", "message"),
    [(nn.Linear(2, 2, device="meta"), "weight has no values"), (Odd(), "_extra_state is a dict")],
)
def test_a_model_without_values_is_refused_both_ways(path, model, message):
    with pytest.raises(ValueError, match=message):
        save_weights(model, path)
    assert os.listdir(path.parent) == []
    save_weights(nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match=message):
        load_weights(model, path)  # torch would copy nothing, and say so in a warning only


def test_what_the_file_cannot_hold_is_refused_before_anything_is_written(path, without_type_checks):
    model = make()
    save_weights(model, path)
    before = path.read_bytes()
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_checkpoint(path, model, adam(model), "run", {"loss": torch.ones(())})
    with pytest.raises(TypeError):
        without_type_checks(checkpoints).save_weights(model, path, {"epochs": 3})
    assert path.read_bytes() == before


# ---------------------------------------------------------------- places that cannot be written

saves = pytest.mark.parametrize(
    "save",
    [save_weights, lambda model, path: save_checkpoint(path, model, adam(make(), 1), "run", {})],
    ids=["weights", "checkpoint"],
)


def assert_says_what_to_do(error: OSError, path: Path, number: int) -> None:
    assert error.errno == number
    assert_one_clear_sentence(error, path)
    assert re.search(r"could not be written \(.+\): free some space or choose another folder$", str(error))


@saves
def test_a_file_in_the_place_of_the_folder(tmp_path, save):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="could not be written") as caught:
        save(make(), tmp_path / "file" / "weights")
    assert_says_what_to_do(caught.value, tmp_path / "file" / "weights", errno.EEXIST)
    with pytest.raises(OSError, match="could not be written") as caught:
        save(make(), tmp_path / "file" / "folder" / "weights")
    assert_says_what_to_do(caught.value, tmp_path / "file" / "folder" / "weights", errno.ENOTDIR)
    assert (tmp_path / "file").read_text() == "mine"
    assert os.listdir(tmp_path) == ["file"]


@saves
def test_a_folder_in_the_place_of_the_file(path, save):
    path.mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        save(make(), path)
    assert_says_what_to_do(caught.value, path, errno.EISDIR)
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(os.name == "nt" or getattr(os, "geteuid", lambda: 0)() == 0, reason="may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError) as caught:
            save_weights(make(), tmp_path / "weights")
        assert_says_what_to_do(caught.value, tmp_path / "weights", errno.EACCES)
    finally:
        tmp_path.chmod(0o700)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system with room for 64 KiB."""
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True, check=False
    ) if sys.platform == "linux" and os.geteuid() == 0 else None  # fmt: skip
    if made is None or made.returncode:
        pytest.skip("needs the right to mount a file system")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


@saves
@pytest.mark.parametrize("old", [True, False], ids=["over an old file", "anew"])
def test_a_full_disk_keeps_the_old_file_and_nothing_else(small_disk, old, save):
    path = small_disk / "file"
    if old:
        save_weights(make(), path)
    before = path.read_bytes() if old else None
    with pytest.raises(OSError, match="No space left on device") as caught:
        save(make(hidden=3000), path)
    assert_says_what_to_do(caught.value, path, errno.ENOSPC)
    assert os.listdir(small_disk) == (["file"] if old else [])
    if old:
        assert path.read_bytes() == before
    save(make(), path)  # what was half written is gone: there is room again


@saves
def test_a_disk_that_only_reads(small_disk, save):
    path = small_disk / "file"
    save_weights(make(), path)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(OSError, match="Read-only") as caught:
        save(make(1), path)
    assert_says_what_to_do(caught.value, path, errno.EROFS)
    other = make(1)
    load_weights(other, path)
    assert same(weights(other), weights(make()))


LIMITED = """
import os, resource, sys
from torch import nn
from vae_src.checkpoints import save_weights
path = sys.argv[1]
save_weights(nn.Linear(10, 10), path)
before = open(path, "rb").read()
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
try:
    save_weights(nn.Linear(100, 100), path)
except OSError as error:
    assert open(path, "rb").read() == before
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
    print(error.errno, error)
"""


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="needs a limit on the size of files")
def test_a_quota_keeps_the_old_file_and_nothing_else(path):
    program = [sys.executable, "-c", textwrap.dedent(LIMITED), path]
    found = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    assert found.startswith(f"{errno.EFBIG} [Errno {errno.EFBIG}] {path} could not be written (")


class Half:
    """A file that takes half of what it is given."""

    def __init__(self, file: object):
        self.file = file

    def __enter__(self) -> "Half":
        return self

    def __exit__(self, *reason: object) -> None:
        self.file.close()

    def write(self, content: bytes) -> None:
        self.file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")


def opens_half(*arguments: object) -> Half:
    return Half(builtins.open(*arguments))


def fails(*arguments: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


def interrupted(*arguments: object) -> None:
    raise KeyboardInterrupt


@saves
@pytest.mark.parametrize("old", [True, False], ids=["over an old file", "anew"])
@pytest.mark.parametrize(
    ("owner", "name", "failure", "error"),
    [
        (checkpoints, "open", opens_half, OSError),
        (checkpoints, "open", interrupted, KeyboardInterrupt),
        (os, "fsync", fails, OSError),
        (os, "fsync", interrupted, KeyboardInterrupt),
        (os, "replace", fails, OSError),
        (os, "replace", interrupted, KeyboardInterrupt),
    ],
    ids=["full", "Ctrl-C in the write", "no flush", "Ctrl-C in the flush", "no move", "Ctrl-C in the move"],
)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    path, monkeypatch, owner, name, failure, error, old, save
):
    first, second = make(0), make(1)
    if old:
        save_weights(first, path)
    before = path.read_bytes() if old else None
    model = weights(second)
    monkeypatch.setattr(owner, name, failure, raising=False)
    with pytest.raises(error) as caught:
        save(second, path)
    monkeypatch.undo()
    if error is OSError:
        number = errno.ENOSPC if failure is opens_half else errno.EIO
        assert_says_what_to_do(caught.value, path, number)
    assert same(weights(second), model)
    assert os.listdir(path.parent) == ([path.name] if old else [])
    if old:
        assert path.read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="a folder cannot be opened")
def test_file_and_folder_reach_the_disk_in_this_order(path, monkeypatch):
    save_weights(make(0), path)
    before, seen = path.read_bytes(), []
    fsync, replace = os.fsync, os.replace

    def flushed(number: int) -> None:
        folder = stat.S_ISDIR(os.fstat(number).st_mode)
        if not folder:
            assert path.read_bytes() == before  # the old file stands until the new one is whole
            assert os.fstat(number).st_size > 0.9 * len(before)
        seen.append("folder" if folder else "file")
        fsync(number)

    def moved(source: Path, target: Path) -> None:
        assert Path(source).parent == Path(target).parent  # else the move would be a copy
        seen.append("move")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", moved)
    save_weights(make(1), path)
    assert seen == ["file", "move", "folder"]
    assert path.read_bytes() != before


def test_a_folder_that_cannot_be_flushed_is_no_failure(path, monkeypatch):
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda n: fails() if stat.S_ISDIR(os.fstat(n).st_mode) else fsync(n))
    save_weights(make(), path)  # the file is in place: some network drives cannot do more
    load_weights(make(1), path)


def test_what_a_killed_process_left_is_removed_after_an_hour(tmp_path):
    now = time.time()
    ages = {".a.1234.part": 3700, ".a.0f3c.part": 3500, ".b.1234.part": 3700, "a.part": 3700, ".a.c": 3700}
    for name, age in ages.items():
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (now - age, now - age))
    save_weights(make(), tmp_path / "a")  # a younger one may belong to a process that is writing now
    assert sorted(os.listdir(tmp_path)) == [".a.0f3c.part", ".a.c", ".b.1234.part", "a", "a.part"]
    (tmp_path / ".[b].1234.part").write_text("half")
    os.utime(tmp_path / ".[b].1234.part", (0, 0))
    save_weights(make(), tmp_path / "[b]")  # a name is no pattern
    assert sorted(os.listdir(tmp_path)) == [".a.0f3c.part", ".a.c", ".b.1234.part", "[b]", "a", "a.part"]


def test_two_writers_at_the_same_time_do_not_mix(path, monkeypatch):
    models, fsync = [make(i) for i in range(3)], os.fsync
    waiting = models[1:]

    def meanwhile(number: int) -> None:
        if waiting:  # the second writes while the first is not done, the third while the second is not
            save_weights(waiting.pop(), path)
            assert any(same(load_file(path), weights(model)) for model in models)
        fsync(number)

    monkeypatch.setattr(os, "fsync", meanwhile)
    save_weights(models[0], path)
    assert same(load_file(path), weights(models[0]))  # the last move wins, whole
    assert os.listdir(path.parent) == [path.name]
