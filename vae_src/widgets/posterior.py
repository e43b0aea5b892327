"""One digit's true posterior in the plane, the encoder's answer to it, and an optimisation that leaves it."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import traitlets

from vae_src.widgets.explorer import (
    Explorer,
    Number,
    Point,
    array,
    encoded,
    floats,
    script,
    styles,
)
from vae_src.widgets.packing import pack, quantize

PIXELS = 28 * 28
SIDE = 80  # nodes of a posterior's grid along either axis
STEP = 0.02  # nats to one unit of its 16-bit integers, which so reach 1,310 nats down
REACH = 5.0  # the first grid covers the plane so far from 0; there, the prior leaves 1 draw of a million
DEPTH = 14.0  # nats below the highest log p(x, z) to which the last grid reaches


class PosteriorExplorer(Explorer):
    """The exact p(z|x) of a digit as contours, the encoder's q(z|x) as an ellipse, and a q that can leave it.

    The page optimises this q for the one digit by stochastic gradients through the decoder, or it is dragged.
    log p(x) is a sum over a grid that covers the posterior; it splits into the ELBO of q and the divergence
    that is left. Grids are computed here, with the decoder's weights rounded as they travel.

    Args:
        model: A VAE of binary 28×28 images with two latents, its networks as in `vae_src.mlp_vae`.
        images: ``[n, 1, 28, 28]``, pixels 0 or 1: the points of the map.
        labels: ``[n]``, the digits that they show.
        digits: Which of the images can be chosen, by their indices; the first is shown at the start.
        traits: Starting values, such as ``family="full"``. Unless ``mean``, ``scale1`` and ``scale2`` are
            given, q starts where the encoder has it.

    Raises:
        ValueError: If images, labels, indices or the model are not of that kind.
        TypeError: If the decoder has layers that the page cannot compute.

    In the book: fig-explorer-posterior.
    """

    _esm = script("posterior")
    _css = styles("posterior")

    digit = traitlets.Int(0, min=0, help="which of the choices is shown").tag(sync=True)
    family = traitlets.Enum(
        ["diagonal", "full"], "diagonal", help="covariances that q may have; diagonal ignores `correlation`"
    ).tag(sync=True)
    mean = Point([0.0, 0.0], help="the mean of q").tag(sync=True)
    scale1 = Number(1.0, min=0.003, max=3, help="standard deviation of z₁ under q").tag(sync=True)
    scale2 = Number(1.0, min=0.003, max=3, help="standard deviation of z₂ under q").tag(sync=True)
    correlation = Number(0.0, min=-0.999, max=0.999, help="of z₁ and z₂ under a full q").tag(sync=True)
    seed = traitlets.Int(0, min=0, max=2**31 - 1, help="of the noise that the optimisation draws").tag(
        sync=True
    )

    decoder = traitlets.Bytes(help="the decoder, packed").tag(sync=True)
    decoder_layers = traitlets.List().tag(sync=True)
    codes = traitlets.Bytes(help="the means of q(z|x) of all images, 32-bit").tag(sync=True)
    labels = traitlets.Bytes(help="each image's class").tag(sync=True)
    choices = traitlets.List(help="the indices of the images that can be chosen").tag(sync=True)
    pixels = traitlets.Bytes(help="the choices, eight pixels a byte").tag(sync=True)
    encoded = traitlets.Bytes(help="μ₁, μ₂, σ₁, σ₂ of each choice, 32-bit").tag(sync=True)
    boxes = traitlets.Bytes(
        help="of each choice's grid the lowest z₁ and z₂, and the highest; and the highest log p(x, z); "
        "32-bit"
    ).tag(sync=True)
    grids = traitlets.Bytes(
        help="of each choice log p(x, z) at 80 × 80 nodes, row by row from the lowest z₂, each row from "
        "the lowest z₁: 16 bits for how far it is below the highest, in steps of 0.02 nats"
    ).tag(sync=True)

    def __init__(
        self,
        model: Any,
        images: Any,
        labels: Any,
        digits: Sequence[int] = tuple(range(10)),
        **traits: Any,
    ) -> None:
        pictures = array(images)
        if pictures[:1].size != PIXELS or not np.isin(pictures, (0, 1)).all():
            raise ValueError(
                f"images must be 28 × 28 pixels, each 0 or 1: binarize them; "
                f"these have the shape {list(pictures.shape[1:])} and values from {pictures.min():g} to "
                f"{pictures.max():g}"
            )
        chosen = [int(index) for index in digits]
        if not chosen or min(chosen) < 0 or max(chosen) >= len(pictures):
            raise ValueError(
                f"digits must be indices of the {len(pictures)} images, at least one; they are {chosen}"
            )
        clouds, classes = encoded(model, images, labels)
        start = traits.get("digit", 0)
        if not 0 <= start < len(chosen):
            raise ValueError(
                f"digit must be one of the {len(chosen)} choices, 0 to {len(chosen) - 1}, not {start}"
            )
        packed, layers = pack(model.decoder)
        boxes, grids = _posteriors(model, images[chosen], clouds[chosen])
        mean1, mean2, scale1, scale2 = clouds[chosen[start]].tolist()
        super().__init__(
            decoder=packed,
            decoder_layers=layers,
            codes=floats(clouds[:, :2]),
            labels=classes.tobytes(),
            choices=chosen,
            pixels=np.packbits(pictures[chosen].reshape(-1, PIXELS).astype(np.uint8), axis=1).tobytes(),
            encoded=floats(clouds[chosen]),
            boxes=floats(boxes),
            grids=grids.astype("<u2").tobytes(),
            **({"mean": [mean1, mean2], "scale1": scale1, "scale2": scale2} | traits),
        )

    def __repr__(self) -> str:
        """Say which digit is shown, and where q is."""
        at = ", ".join(f"{z:.2f}" for z in self.mean)
        return f"PosteriorExplorer(image {self.choices[self.digit]}, family={self.family!r}, mean=[{at}])"

    @traitlets.validate("digit")
    def _one_of_the_choices(self, proposal: Any) -> int:
        """Return the index; raise TraitError if there is no such choice."""
        if self.choices and proposal["value"] >= len(self.choices):
            raise traitlets.TraitError(f"digit must be below {len(self.choices)}, not {proposal['value']}")
        return proposal["value"]


def _posteriors(model: Any, images: Any, clouds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes around the posteriors, ``[n, 5]``, and in each a grid of log p(x, z) below its highest.

    A box takes in the encoder's answer, too, unless that is so far that the grid would become coarse.
    """
    rounded = _rounded(model.decoder)

    def log_joints(nodes: np.ndarray, some: Any) -> np.ndarray:
        """Return log p(x, z) for some images at nodes, ``[nodes, images]``."""
        z = images.new_tensor(nodes)
        values = model.prior.log_prob(z)[:, None] + rounded(z).log_prob(some[:, None]).T
        return array(values).astype(float)

    plane = _nodes(np.array([-REACH, -REACH]), np.array([REACH, REACH]), 101)
    first = np.concatenate([log_joints(some, images) for some in np.array_split(plane, 101)])
    boxes, grids = [], []
    for image, (*middle, sd1, sd2), values in zip(images, clouds, first.T, strict=True):
        answer = np.array(middle) + 4.5 * np.array([[-sd1, -sd2], [sd1, sd2]])
        nodes, spacing = plane, np.full(2, 2 * REACH / 100)
        # The first nodes may miss a narrow summit by some nats, so a wider region is kept to look closer.
        for side, depth in ((41, 45.0), (61, DEPTH + 7), (SIDE, DEPTH)):
            inside = nodes[values >= values.max() - depth]
            low, high = inside.min(axis=0) - spacing, inside.max(axis=0) + spacing
            both = np.minimum(low, answer[0]), np.maximum(high, answer[1])
            if (both[1] - both[0] <= 2 * (high - low)).all():
                low, high = both
            nodes, spacing = _nodes(low, high, side), (high - low) / (side - 1)
            values = np.concatenate([log_joints(some, image[None]) for some in np.array_split(nodes, 8)])[
                :, 0
            ]
        boxes.append([*low, *high, values.max()])
        grids.append(np.minimum(np.rint((values.max() - values) / STEP), 2**16 - 1))
    return np.array(boxes), np.array(grids)


def _nodes(low: np.ndarray, high: np.ndarray, side: int) -> np.ndarray:
    """Return the nodes of a grid that begins and ends at these corners, row by row, ``[side², 2]``."""
    across, up = (np.linspace(*ends, side) for ends in zip(low, high, strict=True))
    return np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)


def _rounded(network: Any) -> Any:
    """Return the network with the weights that the page unpacks."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if type(module).__name__ == "Linear":
            integers, scales = quantize(array(module.weight))
            module.weight.data = module.weight.new_tensor(integers * scales[:, None])
    return network
