"""Records of long runs, installed as `vae_src.results`; `vae_src.trained.record` reads them."""
