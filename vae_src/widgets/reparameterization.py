"""Explorer of chapter 5: frozen noise, moving samples, and two estimators of one gradient."""

import traitlets

from vae_src.widgets.explorer import Explorer, Number, script, styles


class ReparameterizationExplorer(Explorer):
    """Samples z = μ + σ ε of q(z) = N(μ, σ²) slide when μ and σ are dragged, because ε is frozen.

    Below, 1,000 estimates of the gradient of E_q[f(z)] by each of two estimators, pathwise
    f′(z) ∂z/∂θ and score function f(z) ∂ log q(z)/∂θ, stand beside the exact gradient.

    Attributes:
        mean: μ, from −2 to 2.
        scale: σ, from 0.2 to 1.5.
        objective: The function f that is averaged: ``"square"`` z², ``"wave"`` cos 2z, or ``"step"``,
            which is 1 where z > 0 and 0 elsewhere.
        parameter: θ, by which the gradient is taken: ``"mean"`` or ``"scale"``.
        num_samples: K, the draws that one estimate averages: 1, 2, 4, and so on to 64.
        seed: Of the frozen ε.

    In the book: fig-explorer-reparameterization.
    """

    _esm = script("reparameterization")
    _css = styles("reparameterization")

    mean = Number(1.0, min=-2.0, max=2.0).tag(sync=True)
    scale = Number(1.0, min=0.2, max=1.5).tag(sync=True)
    objective = traitlets.Enum(["square", "wave", "step"], "square").tag(sync=True)
    parameter = traitlets.Enum(["mean", "scale"], "mean").tag(sync=True)
    num_samples = traitlets.Enum([1, 2, 4, 8, 16, 32, 64], 1).tag(sync=True)
    seed = traitlets.Int(0, min=0, max=2**32 - 1).tag(sync=True)
