"""The book's explorers: pictures that answer when they are dragged, in the page and in a notebook."""

from vae_src.widgets.latent import LatentExplorer

__all__ = ["LatentExplorer"]
