"""The book's explorers: pictures that answer when they are dragged, in the static page as in a notebook."""

from vae_src.widgets.codes import CodeExplorer
from vae_src.widgets.divergence import DivergenceExplorer
from vae_src.widgets.drawing import DrawADigit
from vae_src.widgets.evidence import EvidenceBar
from vae_src.widgets.latent import LatentExplorer
from vae_src.widgets.mixture import MixtureExplorer
from vae_src.widgets.posterior import PosteriorExplorer
from vae_src.widgets.reparameterization import ReparameterizationExplorer

__all__ = [
    "CodeExplorer",
    "DivergenceExplorer",
    "DrawADigit",
    "EvidenceBar",
    "LatentExplorer",
    "MixtureExplorer",
    "PosteriorExplorer",
    "ReparameterizationExplorer",
]
