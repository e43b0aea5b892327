"""The evidence bar: log p(x) is the ELBO plus KL(q‖p(z|x)); dragging q moves the border between the two."""

import traitlets

from vae_src.widgets.explorer import Explorer, Number, script, styles


class EvidenceBar(Explorer):
    r"""One datum, one latent: a Gaussian q is dragged over the exact posterior.

    .. math:: \log p(x) = \mathrm{ELBO} + \mathrm{KL}(q \,\|\, p(z \mid x)), \qquad
              p(z) = \mathcal N(0, 1), \quad p(x \mid z) = \mathcal N(f(z), 1)

    The linear decoder is f(z) = z: the posterior is Gaussian, and q can reach it. The square decoder is
    f(z) = z²: for x above ½ the posterior has two bumps, and q cannot.

    Args:
        traits: Starting values, such as ``decoder="square"`` or ``q_mean=-1``.

    In the book: fig-explorer-evidence.
    """

    _esm = script("evidence")
    _css = styles("evidence")

    decoder = traitlets.Enum(["linear", "square"], "linear", help="f(z), z or z²").tag(sync=True)
    x = Number(3.0, min=-2, max=4, help="the datum").tag(sync=True)
    q_mean = Number(0.5, min=-3, max=3, help="mean of q(z|x)").tag(sync=True)
    q_scale = Number(0.6, min=0.25, max=2, help="standard deviation of q(z|x)").tag(sync=True)

    def __repr__(self) -> str:
        """Say which posterior q is held against, and where q is."""
        return (
            f"EvidenceBar(decoder={self.decoder!r}, x={self.x:.2f}, "
            f"q_mean={self.q_mean:.2f}, q_scale={self.q_scale:.2f})"
        )
