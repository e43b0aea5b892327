"""The KL playground: one Gaussian q over two bumps, and where either divergence between them is paid."""

import traitlets

from vae_src.widgets.explorer import Explorer, Number, script, styles


class DivergenceExplorer(Explorer):
    r"""A Gaussian q is dragged over a target p of two bumps, which is known up to a constant Z only.

    .. math:: \mathrm{KL}(q \,\|\, p) = \int q \log \frac q p, \qquad
              \mathrm{KL}(p \,\|\, q) = \int p \log \frac p q, \qquad
              \mathrm{ELBO} = \mathbb E_q[\log Z p - \log q] = \log Z - \mathrm{KL}(q \,\|\, p)

    Below the two densities stands the integrand of the chosen divergence, whose area is the number, and a
    map of that divergence over q's mean and width, down which q can slide.

    Args:
        traits: Starting values, such as ``divergence="forward"`` or ``left_weight=0.3``.

    In the book: fig-explorer-divergence.
    """

    _esm = script("divergence")
    _css = styles("divergence")

    divergence = traitlets.Enum(
        ["reverse", "forward"], "reverse", help="the one that is drawn: KL(q‖p) or KL(p‖q)"
    ).tag(sync=True)
    mean = Number(0.4, min=-5, max=5, help="mean of q").tag(sync=True)
    scale = Number(0.5, min=0.2, max=4, help="standard deviation of q").tag(sync=True)
    distance = Number(4.0, min=0, max=6, help="between p's bumps, which lie around 0").tag(sync=True)
    left_weight = Number(0.5, min=0, max=1, help="share of p in its left bump").tag(sync=True)
    left_scale = Number(0.6, min=0.3, max=1.5, help="standard deviation of the left bump").tag(sync=True)
    right_scale = Number(0.6, min=0.3, max=1.5, help="standard deviation of the right bump").tag(sync=True)
    log_normaliser = Number(1.0, min=-3, max=3, help="log Z, which q does not know").tag(sync=True)

    def __repr__(self) -> str:
        """Say which divergence is drawn, and where q is."""
        place = f"mean={self.mean:.2f}, scale={self.scale:.2f}"
        return f"DivergenceExplorer(divergence={self.divergence!r}, {place})"
