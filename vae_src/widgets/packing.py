"""Trained networks as few bytes: how weights cross from Python into the page.

A weight matrix becomes 12-bit integers and one 32-bit scale a row; biases stay 32-bit. Rounded like this,
the models of the book decode to pixel probabilities within 0.02 of their own. `maths.js` reads the bytes.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

LARGEST = 2**11 - 1  # of a 12-bit integer with a sign
# What each layer without weights does in the page. Pictures and codes are flat lists of numbers there.
OPERATIONS = {
    "Flatten": [],
    "Unflatten": [],
    "ReLU": ["relu"],
    "BernoulliLikelihood": ["sigmoid"],
    "NormalLikelihood": [],  # a Gaussian's mean is what the layer is given
}


def pack(network: Iterable[Any]) -> tuple[bytes, list[dict[str, Any]]]:
    """Pack a network into bytes, and a description of its layers that JSON can hold.

    Args:
        network: A `torch.nn.Sequential` of linear layers, ReLU, and the heads of `vae_src.distributions`.
            From a `NormalHead` the page computes the means, followed by the standard deviations; from a
            `BernoulliLikelihood`, each pixel's probability, and from a `NormalLikelihood` each pixel's mean.

    Returns:
        The bytes, and the layers in order: ``{"op": "linear", "rows", "columns", "at", "scale", "bias"}``,
        the last three being offsets in bytes, or an ``op`` without numbers.

    Raises:
        TypeError: If the network has a layer that the page cannot compute.
        ValueError: If a weight is not a finite number.
    """
    buffer = bytearray()
    layers = [layer for module in network for layer in _layers(module, buffer)]
    return bytes(buffer), layers


def quantize(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round each row to 12-bit integers: ``matrix ≈ integers * scales[:, None]``.

    Args:
        matrix: ``[rows, columns]``, finite.

    Returns:
        Integers from −2047 to 2047, ``[rows, columns]``, and scales ``[rows]`` in 32 bits.
    """
    scales = np.abs(matrix).max(axis=1).astype("<f4") / LARGEST
    scales[scales == 0] = 1
    return np.rint(matrix / scales[:, None]).astype(np.int32), scales


def _layers(module: Any, buffer: bytearray) -> list[dict[str, Any]]:
    """Describe one layer, or several within a Sequential, and append the weights to the buffer."""
    kind = type(module).__name__
    if kind == "Sequential":
        return [layer for inner in module for layer in _layers(inner, buffer)]
    if kind == "Linear":
        return [_linear(module, buffer)]
    if kind == "NormalHead":
        return [_linear(module.linear, buffer), {"op": "exp_second_half"}]
    if kind in OPERATIONS:
        return [{"op": operation} for operation in OPERATIONS[kind]]
    raise TypeError(
        f"an explorer cannot compute a layer of type {kind} in the page; it knows Sequential, Linear, "
        f"NormalHead, {', '.join(OPERATIONS)}"
    )


def _linear(module: Any, buffer: bytearray) -> dict[str, Any]:
    """Append a linear layer's numbers to the buffer, and say where they are."""
    matrix, bias = (np.asarray(p.detach().cpu(), np.float32) for p in (module.weight, module.bias))
    if not (np.isfinite(matrix).all() and np.isfinite(bias).all()):
        raise ValueError("a network's weights must be finite numbers; these are not, so training has failed")
    integers, scales = quantize(matrix)
    return {
        "op": "linear",
        "rows": matrix.shape[0],
        "columns": matrix.shape[1],
        "at": _append(buffer, _twelve_bits(integers)),
        "scale": _append(buffer, scales.astype("<f4").tobytes()),
        "bias": _append(buffer, bias.astype("<f4").tobytes()),
    }


def _twelve_bits(integers: np.ndarray) -> bytes:
    """Lay pairs of 12-bit integers into three bytes, the first one in the lower bits."""
    flat = integers.ravel() & 0xFFF
    first, second = np.pad(flat, (0, flat.size % 2)).reshape(-1, 2).T
    three = np.stack([first & 0xFF, first >> 8 | (second & 0xF) << 4, second >> 4], axis=1)
    return three.astype(np.uint8).tobytes()


def _append(buffer: bytearray, numbers: bytes) -> int:
    """Append at the next multiple of four bytes, which typed arrays ask for; return the offset."""
    buffer.extend(bytes(-len(buffer) % 4))
    offset = len(buffer)
    buffer.extend(numbers)
    return offset
