"""Results that take longer than a chapter may: ``python -m vae_src.experiments NAME``.

Each run trains one model, measures it on the untouched test set, and writes its weights to
``vae_src/weights/NAME.safetensors`` and its record to ``book/results/NAME.json``: configuration, seed, data,
commit, versions, device, time and metrics with standard errors.
Run it again after an interruption and it goes on from its last epoch.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vae_src.checkpoints import load_weights, save_weights
from vae_src.data import ImageData, binarize, mnist, rescale
from vae_src.distributions import NormalLikelihood
from vae_src.evaluation import active_units, estimate, log_marginal
from vae_src.models import VAE, conv_vae, mlp_autoencoder, mlp_vae
from vae_src.networks import Flatten, mlp
from vae_src.objectives import elbo, rate_distortion, reconstruction
from vae_src.randomness import seeded
from vae_src.trained import WEIGHTS, sha256
from vae_src.training import Monitor, Objective, Prepare, TrainConfig, cosine, evaluate, fit

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Run:
    """One model trained on the training images of MNIST and measured on its test images."""

    question: str  # what the run answers, for the record
    build: Callable[[], nn.Module]
    config: TrainConfig
    objective: Objective = elbo
    monitor: Monitor | None = rate_distortion
    prepare: Prepare = binarize


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
}


def main() -> None:
    """Run the experiments named on the command line."""
    names = [*RUNS, "digit-classifier"]
    parser = argparse.ArgumentParser(prog="python -m vae_src.experiments", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", choices=names, help=", ".join(names))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    data = mnist(device=arguments.device)
    if data.source == "sample":
        sys.exit("The whole of MNIST is needed for a recorded run: see book/running.md for ways to get it.")
    for name in arguments.names:
        started = time.perf_counter()
        result = train_classifier(data) if name == "digit-classifier" else train(name, data)
        result["minutes"] = round((time.perf_counter() - started) / 60, 2)
        write_record(name, result, data)


def train(name: str, data: ImageData) -> dict[str, Any]:
    """Train one of `RUNS`, save its weights, and measure what was saved."""
    run = RUNS[name]
    with seeded(run.config.seed):
        model = run.build().to(data.train.images.device)
    checkpoint = ROOT / ".checkpoints" / f"{name}.safetensors"
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
    weights = WEIGHTS / f"{name}.safetensors"
    save_weights(model, weights, {"experiment": name})
    load_weights(model, weights)
    checkpoint.unlink()
    return {
        "question": run.question,
        "config": run.config.describe(),
        "seed": run.config.seed,
        "prepare": run.prepare.__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "metrics": test_metrics(model, run, data.test.images),
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
    fit(model, numbers, log_likelihood, config, prepare=torch.clone)
    save_weights(model, WEIGHTS / "digit-classifier.safetensors")
    with torch.no_grad():
        right = (model(rescale(data.test.images)).argmax(1) == data.test.labels).double()
    return {
        "question": "Which digit is this? The judge of decoded images.",
        "config": config.describe(),
        "seed": config.seed,
        "prepare": "rescale",
        "metrics": {"accuracy": estimate(right)._asdict() | {"images": len(right)}},
    }


def write_record(name: str, result: dict[str, Any], data: ImageData) -> None:
    """Complete a result with its provenance and write it in one step."""
    device = data.train.images.device
    record = {
        "name": name,
        "command": f"python -m vae_src.experiments {name}",
        **result,
        "data": {"name": data.name, "source": data.source, "train": len(data.train.images)},
        "weights_sha256": sha256(WEIGHTS / f"{name}.safetensors"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "commit": commit(),
        "date": date.today().isoformat(),
    }
    path = ROOT / "book" / "results" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    os.replace(aside, path)
    print(f"{path.relative_to(ROOT)}: {json.dumps(result['metrics'])}")


def cpu_name() -> str:
    """Name of the processor, as well as the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or 'CPU'}, {os.cpu_count()} cores"


def commit() -> str:
    """The commit that the code stands at, marked when the package's code differs from it."""
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    changed = [
        line
        for line in status.stdout.splitlines()
        if line[3:].startswith("vae_src/") and line.endswith(".py")
    ]
    return head.stdout.strip() + (" with changes" if changed else "")


if __name__ == "__main__":
    main()
