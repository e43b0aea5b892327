"""Draw a digit: the encoder reads it in the page, and the decoder paints it back."""

from typing import Any

import numpy as np
import traitlets

from vae_src.widgets.explorer import Explorer, array, encoded, floats, script, styles
from vae_src.widgets.packing import pack

PIXELS = 28 * 28


class DrawADigit(Explorer):
    """A pad to draw a digit on, the encoder's q(z|x) on a map of codes, and what the decoder makes of it.

    Args:
        model: A VAE of binary 28×28 images with two latents, its networks as in `vae_src.mlp_vae`.
        images: ``[n, 1, 28, 28]``, pixels 0 or 1: the points of the map. Of each class, the one whose code is
            nearest to the middle of its class can be put on the pad; the class 3 begins there.
        labels: ``[n]``, the digits that they show, each of 0 to 9 at least once.
        traits: Starting values, such as ``pixels=""`` for an empty pad.

    Raises:
        ValueError: If images, labels or the model are not of that kind.
        TypeError: If the networks have layers that the page cannot compute.

    In the book: fig-explorer-draw.
    """

    _esm = script("drawing")
    _css = styles("drawing")

    encoder = traitlets.Bytes(help="the encoder, packed").tag(sync=True)
    encoder_layers = traitlets.List().tag(sync=True)
    decoder = traitlets.Bytes(help="the decoder, packed").tag(sync=True)
    decoder_layers = traitlets.List().tag(sync=True)
    clouds = traitlets.Bytes(help="μ₁, μ₂, σ₁, σ₂ of each digit, 32-bit").tag(sync=True)
    labels = traitlets.Bytes(help="each digit's class").tag(sync=True)
    examples = traitlets.Bytes(help="ten images, eight pixels a byte").tag(sync=True)
    pixels = traitlets.Unicode(
        help="what the encoder reads: 784 characters 0 or 1 (ink), row by row. Drawing sets it; set from "
        "outside, it is put on the pad as it is"
    ).tag(sync=True)
    centred = traitlets.Bool(
        True, help="whether a drawing is scaled and shifted as MNIST's digits were before it is read"
    ).tag(sync=True)
    seed = traitlets.Int(0, min=0, max=2**31 - 1, help="of the draws from q").tag(sync=True)

    def __init__(self, model: Any, images: Any, labels: Any, **traits: Any) -> None:
        pictures = array(images)
        if pictures[:1].size != PIXELS:
            raise ValueError(
                f"the pad has 28 × 28 pixels; images of shape {list(pictures.shape[1:])} do not fit it"
            )
        if not np.isin(pictures, (0, 1)).all():
            raise ValueError(
                "the pad knows ink and paper only: binarize the images, so that pixels are 0 or 1"
            )
        encoder, encoder_layers = pack(model.encoder)
        decoder, decoder_layers = pack(model.decoder)
        clouds, classes = encoded(model, images, labels)
        examples = pictures.reshape(-1, PIXELS)[_typical(clouds, classes)].astype(np.uint8)
        super().__init__(
            encoder=encoder,
            encoder_layers=encoder_layers,
            decoder=decoder,
            decoder_layers=decoder_layers,
            clouds=floats(clouds),
            labels=classes.tobytes(),
            examples=np.packbits(examples, axis=1).tobytes(),
            **({"pixels": "".join(map(str, examples[3]))} | traits),
        )

    def __repr__(self) -> str:
        """Say how much ink is on the pad."""
        return f"DrawADigit({self.pixels.count('1')} pixels of ink)"

    @traitlets.validate("pixels")
    def _binary(self, proposal: Any) -> str:
        """Return 784 characters 0 or 1; raise TraitError for another string."""
        value = proposal["value"] or "0" * PIXELS
        if len(value) != PIXELS or set(value) - {"0", "1"}:
            odd = "".join(sorted(set(value) - {"0", "1"}))[:8]
            raise traitlets.TraitError(
                f"pixels must be 784 characters 0 or 1, row by row, not {len(value)} characters"
                + (f" with {odd!r} among them" if odd else "")
            )
        return value


def _typical(clouds: np.ndarray, classes: np.ndarray) -> list[int]:
    """Return, for each digit, the index of the image whose code is nearest to the middle of its class."""
    if missing := sorted({*range(10)} - {*classes.tolist()}):
        raise ValueError(f"the pad offers an example of each digit, and the labels lack {missing}")
    chosen = []
    for digit in range(10):
        own = np.flatnonzero(classes == digit)
        middle = np.median(clouds[own, :2], axis=0)
        chosen.append(int(own[np.linalg.norm(clouds[own, :2] - middle, axis=1).argmin()]))
    return chosen
