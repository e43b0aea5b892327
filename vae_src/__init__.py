"""Variational autoencoders, in the order in which a book would tell them.

Conventions, everywhere:

- **Axes** come in this order and by these names: ``samples batch latent`` for codes, ``samples batch *event``
  for data. Images are ``[batch, 1, 28, 28]`` with values in [0, 1]; stored images are uint8 grey levels.
- **Units**: every log-quantity is in nats, per example, shape ``[batch]``.
- **Sign**: objectives are bounds, higher is better, neither averaged nor negated. `fit` alone writes
  ``loss = -objective(model, x).mean()``.
- **Distributions**: ``encode`` and ``decode`` return `torch.distributions` objects.
- **Scale**: σ is called ``scale``; networks emit ``log_scale``.

Reading order: `data` (with `downloads`), `networks`, `distributions`, `models`, `objectives`, `estimators`,
`training` (with `checkpoints` and `distributed`), `evaluation`, and then `exact`, the oracles that the tests
hold them against. `variational` fits a q to any posterior, and `inference` one to each datum's, without an
encoder; `beyond` holds models of other kinds.
"""

from vae_src.checkpoints import load_weights, save_weights
from vae_src.data import (
    ImageData,
    SampleDataWarning,
    Split,
    binarize,
    fashion,
    load,
    mnist,
    rescale,
    sample,
    validate_images,
)
from vae_src.distributions import (
    BernoulliLikelihood,
    NormalHead,
    NormalLikelihood,
    StandardNormal,
    kl,
)
from vae_src.estimators import pathwise, score_function, stl
from vae_src.evaluation import active_units, ais, effective_sample_size, estimate, log_marginal
from vae_src.exact import Grid, LinearGaussian
from vae_src.metrics import frechet_distance, is_unsure, precision_recall, principal_angles
from vae_src.models import VAE, Autoencoder, conv_autoencoder, conv_vae, mlp_autoencoder, mlp_vae
from vae_src.networks import conv_decoder, conv_encoder, mlp
from vae_src.objectives import (
    beta_elbo,
    elbo,
    iwae_bound,
    log_weights,
    rate_distortion,
    reconstruction,
)
from vae_src.randomness import seeded
from vae_src.training import History, TrainConfig, cosine, evaluate, fit

__all__ = [
    "VAE",
    "Autoencoder",
    "BernoulliLikelihood",
    "Grid",
    "History",
    "ImageData",
    "LinearGaussian",
    "NormalHead",
    "NormalLikelihood",
    "SampleDataWarning",
    "Split",
    "StandardNormal",
    "TrainConfig",
    "active_units",
    "ais",
    "beta_elbo",
    "binarize",
    "conv_autoencoder",
    "conv_decoder",
    "conv_encoder",
    "conv_vae",
    "cosine",
    "effective_sample_size",
    "elbo",
    "estimate",
    "evaluate",
    "fashion",
    "fit",
    "frechet_distance",
    "is_unsure",
    "iwae_bound",
    "kl",
    "load",
    "load_weights",
    "log_marginal",
    "log_weights",
    "mlp",
    "mlp_autoencoder",
    "mlp_vae",
    "mnist",
    "pathwise",
    "precision_recall",
    "principal_angles",
    "rate_distortion",
    "reconstruction",
    "rescale",
    "sample",
    "save_weights",
    "score_function",
    "seeded",
    "stl",
    "validate_images",
]
