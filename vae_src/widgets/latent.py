"""The latent space as a map: drag a point, see what decodes there, and how probable it is."""

from typing import Any

import traitlets

from vae_src.widgets.explorer import Explorer, Number, Point, array, encoded, floats, script, styles
from vae_src.widgets.packing import pack


class LatentExplorer(Explorer):
    """Two models with two latents, and the codes that they give to the same test digits.

    A point is dragged over the map; the page decodes it and computes its log-density under the prior and
    under the aggregate posterior, the average of q(z|x) over these digits. Two more points make a path. The
    autoencoder's codes have no density of their own; for them the page fits a Gaussian.

    Args:
        vae: With two latents, its networks as in `vae_src.mlp_vae`.
        autoencoder: The same layers without noise and rate, as in `vae_src.mlp_autoencoder`.
        images: ``[n, 1, 28, 28]``, pixels 0 or 1; some 1,500 are enough for a map.
        labels: ``[n]``, the digits that they show.
        traits: Starting values, such as ``z1=0.5``.

    Raises:
        ValueError: If a model has other than two latents, or there is not one label from 0 to 9 per image.
        TypeError: If a decoder has a layer that the page cannot compute.

    In the book: fig-explorer-latent.
    """

    _esm = script("latent")
    _css = styles("latent")

    space = traitlets.Enum(["vae", "autoencoder"], "vae", help="whose map is shown").tag(sync=True)
    z1 = Number(0.0, help="the point's first coordinate").tag(sync=True)
    z2 = Number(0.0, help="the point's second coordinate").tag(sync=True)
    path_from = Point([-1.0, 0.0], help="where the path begins").tag(sync=True)
    path_to = Point([1.0, 0.0], help="where the path ends").tag(sync=True)
    walked = Number(0.0, min=0, max=1, help="how far along the path the last walk came").tag(sync=True)
    highlight = traitlets.Int(-1, min=-1, max=9, help="the digit that stands out; −1: all").tag(sync=True)

    decoder = traitlets.Bytes(help="the VAE's decoder, packed").tag(sync=True)
    decoder_layers = traitlets.List().tag(sync=True)
    autoencoder = traitlets.Bytes(help="the autoencoder's decoder, packed").tag(sync=True)
    autoencoder_layers = traitlets.List().tag(sync=True)
    clouds = traitlets.Bytes(help="μ₁, μ₂, σ₁, σ₂ of each digit, 32-bit").tag(sync=True)
    codes = traitlets.Bytes(help="the autoencoder's two numbers for each digit").tag(sync=True)
    labels = traitlets.Bytes(help="each digit's class").tag(sync=True)

    def __init__(self, vae: Any, autoencoder: Any, images: Any, labels: Any, **traits: Any) -> None:
        clouds, classes = encoded(vae, images, labels)
        codes = array(autoencoder.encode(images))
        if codes.shape[-1] != 2:
            raise ValueError(
                f"the map is a plane: the autoencoder must have 2 latents, not {codes.shape[-1]}"
            )
        decoder, decoder_layers = pack(vae.decoder)
        plain, plain_layers = pack(autoencoder.decoder)
        super().__init__(
            decoder=decoder,
            decoder_layers=decoder_layers,
            autoencoder=plain,
            autoencoder_layers=plain_layers,
            clouds=floats(clouds),
            codes=floats(codes),
            labels=classes.tobytes(),
            **traits,
        )

    def __repr__(self) -> str:
        """Say whose map is shown, and where the point is."""
        return f"LatentExplorer(space={self.space!r}, z1={self.z1:.2f}, z2={self.z2:.2f})"
