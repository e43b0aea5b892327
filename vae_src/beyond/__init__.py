"""Models beside and beyond the VAE, one per file; each stands on the core alone."""
