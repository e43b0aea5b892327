"""The models that the chapters load: one network each, trained on MNIST and measured on its test images."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vae_src.beyond.made import MADE
from vae_src.checkpoints import load_weights, save_weights
from vae_src.data import ImageData, binarize, rescale
from vae_src.distributed import rank
from vae_src.distributions import NormalLikelihood
from vae_src.evaluation import active_units, estimate, log_marginal
from vae_src.experiments.records import checkpoint_path
from vae_src.models import VAE, conv_autoencoder, conv_vae, mlp_autoencoder, mlp_vae
from vae_src.networks import Flatten, mlp
from vae_src.objectives import elbo, rate_distortion, reconstruction
from vae_src.randomness import seeded
from vae_src.trained import WEIGHTS
from vae_src.training import Monitor, Objective, Prepare, TrainConfig, cosine, evaluate, fit


@dataclass(frozen=True)
class Run:
    """One model trained on the training images of MNIST and measured on its test images."""

    question: str  # what the run answers, for the record
    build: Callable[[], nn.Module]
    config: TrainConfig
    objective: Objective = elbo
    monitor: Monitor | None = rate_distortion
    prepare: Prepare = binarize


def log_prob(model: MADE, x: Tensor) -> Tensor:
    """What a model without latents maximises: log p(x) itself."""
    return model.log_prob(x)


def _gaussian(learn_scale: bool) -> VAE:
    """Build the chapter's MLP for grey pixels."""
    return mlp_vae(20, (400,), likelihood=NormalLikelihood(scale=1.0, learn_scale=learn_scale))


RUNS = {
    "mnist-mlp": Run(
        "How good does the chapter's own MLP get with a hundred epochs instead of a minute?",
        lambda: mlp_vae(20, (400,)),
        TrainConfig(num_epochs=100, learning_rate=2e-3, schedule=cosine, monitor_every=5),
    ),
    "mnist-conv": Run(
        "What do convolutions buy?",
        lambda: conv_vae(20, channels=(16, 32), hidden_dim=128),
        TrainConfig(num_epochs=20, learning_rate=2e-3, schedule=cosine),
    ),
    "mnist-gaussian-fixed": Run(
        "Grey pixels under a Gaussian with σ = 1, the hidden choice of a plain squared error",
        lambda: _gaussian(learn_scale=False),
        TrainConfig(num_epochs=20, learning_rate=2e-3, schedule=cosine),
        prepare=rescale,
    ),
    "mnist-gaussian-learned": Run(
        "Grey pixels under a Gaussian whose σ is learned",
        lambda: _gaussian(learn_scale=True),
        TrainConfig(num_epochs=20, learning_rate=2e-3, schedule=cosine),
        prepare=rescale,
    ),
    "mnist-2d-vae": Run(
        "A latent space that fits on paper",
        lambda: mlp_vae(2, (256, 128)),
        TrainConfig(num_epochs=40, learning_rate=2e-3, schedule=cosine),
    ),
    "mnist-2d-autoencoder": Run(
        "The same layers without the noise and without the rate",
        lambda: mlp_autoencoder(2, (256, 128)),
        TrainConfig(num_epochs=40, learning_rate=2e-3, schedule=cosine),
        objective=reconstruction,
        monitor=None,
    ),
    "mnist-made": Run(
        "How probable are digits to a model without latents, which predicts pixel after pixel?",
        lambda: MADE((500,)),
        TrainConfig(num_epochs=80, learning_rate=2e-3, schedule=cosine),
        objective=log_prob,
        monitor=None,
    ),
}
# Chapter 1: grey pixels and a squared error (a Gaussian with σ = 1), for three sizes of the code.
for size in (2, 8, 32):
    RUNS[f"autoencoder-mlp-{size}d"] = Run(
        f"What does an MLP rebuild from {size} numbers?",
        partial(mlp_autoencoder, size, (256, 128), NormalLikelihood()),
        TrainConfig(num_epochs=40, learning_rate=2e-3, schedule=cosine),
        objective=reconstruction,
        monitor=None,
        prepare=rescale,
    )
    RUNS[f"autoencoder-conv-{size}d"] = Run(
        f"What do convolutions rebuild from {size} numbers?",
        partial(conv_autoencoder, size, (16, 32), 128, NormalLikelihood()),
        TrainConfig(num_epochs=12, learning_rate=2e-3, schedule=cosine),
        objective=reconstruction,
        monitor=None,
        prepare=rescale,
    )


def train(name: str, data: ImageData) -> dict[str, Any]:
    """Train one of `RUNS`, save its weights, and measure what was saved (on the process of rank 0)."""
    run = RUNS[name]
    with seeded(run.config.seed):
        model = run.build().to(data.train.images.device)
    checkpoint = checkpoint_path(name)
    history = fit(
        model,
        data.train.images,
        run.objective,
        run.config,
        validation=data.validation.images,
        prepare=run.prepare,
        monitor=run.monitor,
        checkpoint=checkpoint,
    )
    if history.interrupted:
        sys.exit(f"Interrupted after {len(history.objective)} epochs: the same command goes on from there.")
    if rank() > 0:
        return {}
    weights = WEIGHTS / f"{name}.safetensors"
    save_weights(model, weights, {"experiment": name})
    load_weights(model, weights)
    checkpoint.unlink()
    started = time.perf_counter()
    metrics = test_metrics(model, run, data.test.images)
    return {
        "question": run.question,
        "config": run.config.describe(),
        "seed": run.config.seed,
        "prepare": run.prepare.__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "minutes": round((history.seconds[-1] + time.perf_counter() - started) / 60, 2),
        "metrics": metrics,
        "history": {"epochs": history.epochs, "train": history.train, "validation": history.validation},
    }


def test_metrics(model: nn.Module, run: Run, images: Tensor) -> dict[str, Any]:
    """Test-set metrics in nats per image, with standard errors over images."""
    metrics = {run.objective.__name__: evaluate(run.objective, model, images, prepare=run.prepare)}
    if isinstance(model, VAE):
        metrics |= evaluate(rate_distortion, model, images, prepare=run.prepare)._asdict()
        with seeded(0):
            x = run.prepare(images)
        metrics["log_marginal_1000"] = log_marginal(model, x[:1000], num_samples=1000)
        counts = {"active_units": active_units(model, x).count}
    else:
        counts = {}
    return counts | {
        name: estimate(values)._asdict() | {"images": len(values)} for name, values in metrics.items()
    }


def digit_classifier() -> nn.Sequential:
    """Build the small judge of decoded digits: 784-128-10, logits out."""
    return nn.Sequential(Flatten(), mlp([784, 128]), nn.Linear(128, 10))


def train_classifier(data: ImageData) -> dict[str, Any]:
    """Train the judge on grey training images and record its accuracy on the test images."""
    config = TrainConfig(num_epochs=8, learning_rate=2e-3, schedule=cosine)
    images, labels = rescale(data.train.images), data.train.labels

    def log_likelihood(model: nn.Module, index: Tensor) -> Tensor:
        """Return log p(label | image), for examples given by number: `fit` carries one tensor only."""
        return -nn.functional.cross_entropy(model(images[index[:, 0]]), labels[index[:, 0]], reduction="none")

    with seeded(config.seed):
        model = digit_classifier().to(images.device)
    numbers = torch.arange(len(images), device=images.device)[:, None]
    history = fit(model, numbers, log_likelihood, config, prepare=torch.clone)
    if rank() > 0:
        return {}
    save_weights(model, WEIGHTS / "digit-classifier.safetensors")
    with torch.no_grad():
        right = (model(rescale(data.test.images)).argmax(1) == data.test.labels).double()
    return {
        "question": "Which digit is this? The judge of decoded images.",
        "config": config.describe(),
        "seed": config.seed,
        "prepare": "rescale",
        "minutes": round(history.seconds[-1] / 60, 2),
        "metrics": {"accuracy": estimate(right)._asdict() | {"images": len(right)}},
    }
