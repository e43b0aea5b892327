"""The plane of an autoencoder's codes: drag a point into the holes, and let a judge name what decodes."""

from typing import Any

import numpy as np
import traitlets

from vae_src.widgets.explorer import Explorer, Number, array, digits_of, floats, script, styles
from vae_src.widgets.packing import pack

SURE = 0.9  # the judge is sure of a picture if one digit is at least as probable, as in the chapter
GRID = 128  # points across the map at which the judge is asked beforehand
BATCH = 1024  # pictures at a time: what autograd keeps of more would fill the memory


class CodeExplorer(Explorer):
    """A map of two-number codes, the picture that decodes from a point on it, and a judge's opinion of it.

    The judge is sure of a picture if it gives 90 % or more to one digit. Fog marks where on the map it is
    unsure. Codes drawn at random, from N(0, I) or from the Gaussian fitted to the test digits' codes, are
    decoded, judged and counted.

    Args:
        autoencoder: With a code of two numbers, its networks as in `vae_src.mlp_autoencoder`. What its
            decoder takes for the mean is the picture, cut to the range of ink, 0 to 1.
        judge: From pictures to the logits of ten digits, as `vae_src.experiments.runs.digit_classifier`.
        images: ``[n, 1, 28, 28]``, pixels from 0 to 1; some 1,500 are enough for a map.
        labels: ``[n]``, the digits that they show.
        traits: Starting values, such as ``fog=True``.

    Raises:
        ValueError: If a code is not two numbers, the judge does not tell ten digits apart, or there is not
            one label from 0 to 9 for each image.
        TypeError: If the networks have layers that the page cannot compute.

    In the book: fig-explorer-codes.
    """

    _esm = script("codes")
    _css = styles("codes")

    z1 = Number(0.5, help="the point's first number").tag(sync=True)
    z2 = Number(-1.4, help="the point's second number").tag(sync=True)
    fog = traitlets.Bool(False, help="whether fog shows where the judge is unsure").tag(sync=True)
    source = traitlets.Enum(
        ["standard", "fitted"], "standard", help="what codes are drawn from: N(0, I), or the Gaussian fitted"
    ).tag(sync=True)
    draws = traitlets.Int(0, min=0, max=500, help="how many codes are drawn").tag(sync=True)
    seed = traitlets.Int(0, min=0, max=2**31 - 1, help="of the draws").tag(sync=True)

    decoder = traitlets.Bytes(help="the decoder up to the pixels' means, packed").tag(sync=True)
    decoder_layers = traitlets.List().tag(sync=True)
    judge = traitlets.Bytes(help="the judge, packed").tag(sync=True)
    judge_layers = traitlets.List().tag(sync=True)
    codes = traitlets.Bytes(help="the two numbers of each digit, 32-bit").tag(sync=True)
    labels = traitlets.Bytes(help="each digit's class").tag(sync=True)
    view = traitlets.List(help="the map: the two numbers in its middle, and half its side").tag(sync=True)
    certainty = traitlets.Bytes(
        help="the judge's highest probability, 255 for 1, at 128 × 128 points from edge to edge of the map, "
        "row by row from the top"
    ).tag(sync=True)
    unsure = traitlets.List(help="of how many test digits the judge is unsure: as they are, and rebuilt").tag(
        sync=True
    )

    def __init__(self, autoencoder: Any, judge: Any, images: Any, labels: Any, **traits: Any) -> None:
        classes = digits_of(labels, len(images))
        codes = autoencoder.encode(images)
        if codes.shape[-1] != 2:
            raise ValueError(f"the map is a plane: a code must be 2 numbers, not {codes.shape[-1]}")
        opinion = _certainty(judge, images)

        def decoded(places: Any) -> np.ndarray:
            """Return the judge's highest probability for what decodes from each of these codes."""
            batches = range(0, len(places), BATCH)
            pictures = (autoencoder.decode(places[i : i + BATCH]).mean.clamp(0, 1) for i in batches)
            return np.concatenate([_certainty(judge, batch) for batch in pictures])

        *middle, half = view = _view(array(codes).astype(float))
        across, up = (m + half * np.linspace(-1, 1, GRID) for m in middle)
        grid = np.stack(np.meshgrid(across, up[::-1]), axis=-1).reshape(-1, 2)
        certainty = decoded(codes.new_tensor(grid))
        decoder, decoder_layers = pack(autoencoder.decoder)
        packed_judge, judge_layers = pack(judge)
        super().__init__(
            decoder=decoder,
            decoder_layers=decoder_layers,
            judge=packed_judge,
            judge_layers=judge_layers,
            codes=floats(codes),
            labels=classes.tobytes(),
            view=view,
            certainty=np.rint(255 * certainty).astype(np.uint8).tobytes(),
            unsure=[int((each < SURE).sum()) for each in (opinion, decoded(codes))],
            **traits,
        )

    def __repr__(self) -> str:
        """Say where the point is."""
        return f"CodeExplorer(z1={self.z1:.2f}, z2={self.z2:.2f})"


def _certainty(judge: Any, pictures: Any) -> np.ndarray:
    """Return the probability of the digit that the judge finds most probable, for each picture."""
    logits = array(judge(pictures)).astype(float)
    if logits.shape[-1] != 10:
        raise ValueError(f"the judge must give logits of 10 digits, not {logits.shape[-1]}")
    logits = logits - logits.max(axis=-1, keepdims=True)
    return 1 / np.exp(logits).sum(axis=-1)


def _view(codes: np.ndarray) -> list[float]:
    """Return the middle and half the side of a square with room for nearly all codes, but for far ones."""
    low, high = np.quantile(codes, [0.02, 0.98], axis=0)
    reach = 2.2 * codes.std(axis=0)  # a Gaussian's ellipse of two standard deviations, and room for its name
    low, high = np.minimum(low, codes.mean(axis=0) - reach), np.maximum(high, codes.mean(axis=0) + reach)
    return [*((low + high) / 2).tolist(), float(0.53 * (high - low).max())]
