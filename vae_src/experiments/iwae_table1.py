"""Burda, Grosse & Salakhutdinov (2016), table 1, one stochastic layer: VAE (k = 1) and IWAE (k = 5, 50).

Their protocol: 784-200-200-50 with tanh, mirrored; all 60,000 training images, binarised anew at each visit;
Adam with ε = 1e-4; eight stages, stage i of 3^i epochs at learning rate 0.001·10^(−i/7); the estimate of
log p(x) with 5,000 samples on the 10,000 test images. Ours differs in the batch, 100 unless asked for the
paper's 20, and then in the learning rate, which grows as the root of the batch; Adam's moments start anew
with each stage. A run that was stopped goes on from its last checkpoint, also with more ``--stages`` later.
"""

import math
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vae_src.checkpoints import load_weights, save_weights
from vae_src.data import ImageData, Split, binarize
from vae_src.distributed import rank, world_size
from vae_src.evaluation import active_units, estimate, log_marginal
from vae_src.experiments.records import checkpoint_path, write_record
from vae_src.models import VAE, mlp_vae
from vae_src.objectives import iwae_bound, rate_distortion
from vae_src.randomness import seeded
from vae_src.trained import WEIGHTS
from vae_src.training import TrainConfig, evaluate, fit

STAGES, PAPER_BATCH = 8, 20


@dataclass(frozen=True)
class Cell:
    """One number of the table: which bound is trained, from which seed, for how long."""

    k: int
    seed: int = 0
    stages: int = STAGES
    batch_size: int = 100

    def __post_init__(self) -> None:
        if not (self.k >= 1 and self.batch_size >= 1 and 1 <= self.stages <= STAGES):
            raise ValueError(
                f"a cell needs k and batch_size of at least 1 and 1 to {STAGES} stages, "
                f"not {self.k}, {self.batch_size} and {self.stages}"
            )

    @property
    def name(self) -> str:
        """Name of the weights and of the record."""
        batch = "" if self.batch_size == Cell.batch_size else f"-batch{self.batch_size}"
        return f"iwae-table1-k{self.k}{batch}-seed{self.seed}"

    def config(self, stage: int) -> TrainConfig:
        """How stage i trains: 3^i epochs at 0.001·10^(−i/7), times the root of batch / 20."""
        return TrainConfig(
            num_epochs=3**stage,
            batch_size=self.batch_size,
            learning_rate=1e-3 * 10 ** (-stage / 7) * math.sqrt(self.batch_size / PAPER_BATCH),
            adam_epsilon=1e-4,
            seed=STAGES * self.seed + stage,
        )


def build(images: Tensor) -> VAE:
    """Build the paper's network: Glorot weights, no biases but the output's, which start at the mean image.

    Args:
        images: Training images, uint8; their mean's log-odds, clipped to [0.001, 0.999], are what the
            decoder says before it has learned anything, as in the authors' code.
    """
    model = mlp_vae(50, (200, 200), activation=nn.Tanh)
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    mean = (images.double().mean(0) / 255).clamp(0.001, 0.999).flatten()
    with torch.no_grad():
        layers[-1].bias.copy_(mean.logit())
    return model.to(images.device)


def run(cell: Cell, data: ImageData) -> None:
    """Train one cell of the table, save its weights, measure what was saved, and write the record."""
    both = [torch.cat(parts) for parts in zip(data.train, data.validation, strict=True)]
    data = data._replace(train=Split(*both))
    with seeded(cell.seed):
        model = build(data.train.images)
    x = binarized(data.test.images)
    seconds, progress = 0.0, []
    for stage in range(cell.stages):
        seconds += train_stage(cell, stage, model, data.train.images)
        after = estimate(log_p(model, x[:1000], 1000))._asdict() if rank() == 0 else None
        progress.append({"epochs": sum(3**i for i in range(stage + 1)), "log_marginal_1000": after})
    if rank() > 0:
        return
    save_weights(model, WEIGHTS / f"{cell.name}.safetensors", {"experiment": cell.name})
    load_weights(model, WEIGHTS / f"{cell.name}.safetensors")
    started = time.perf_counter()
    metrics = test_metrics(model, data.test.images, x)
    result = {
        "question": "How near does the book's code come to the published table?",
        "row": {**asdict(cell), "epochs": sum(3**i for i in range(cell.stages))},
        "config": cell.config(cell.stages - 1).describe(),
        "seed": cell.seed,
        "prepare": "binarize",
        "parameters": sum(p.numel() for p in model.parameters()),
        "minutes": round((seconds + time.perf_counter() - started) / 60, 2),
        "metrics": metrics,
        "stages": progress,  # the estimates are of the first 1,000 test images
    }
    options = f"--rows {cell.k} --seeds {cell.seed} --stages {cell.stages} --batch-size {cell.batch_size}"
    write_record(cell.name, result, data, f"iwae-table1 {options}")


def train_stage(cell: Cell, stage: int, model: VAE, images: Tensor) -> float:
    """Train one stage, or load it if its checkpoint says that it is done; return the seconds it took."""
    print(f"{cell.name}: stage {stage + 1} of {cell.stages}, {3**stage} epochs", flush=True)
    history = fit(
        model,
        images,
        partial(iwae_bound, num_samples=cell.k),
        cell.config(stage),
        prepare=binarize,
        checkpoint=checkpoint_path(f"{cell.name}-stage{stage}"),
        cuda_graph=images.is_cuda and world_size() == 1,
    )
    if history.interrupted:
        sys.exit("Interrupted: the same command goes on from the last checkpoint.")
    return history.seconds[-1]


def binarized(images: Tensor) -> Tensor:
    """Toss the test images once, on the CPU: the same pixels on every device."""
    with seeded(0):
        return binarize(images.cpu()).to(images.device)


def log_p(model: VAE, x: Tensor, num_samples: int) -> Tensor:
    """Estimate log p(x), as much at once as suits the device."""
    sizes = {"chunk_size": 500, "batch_size": 500} if x.is_cuda else {}
    return log_marginal(model, x, num_samples, **sizes)


def test_metrics(model: VAE, images: Tensor, x: Tensor) -> dict[str, Any]:
    """Test-set metrics in nats per image, with standard errors over images.

    The first 200 images have an estimate of their own, which a test can repeat within seconds.
    """
    rate, distortion = evaluate(rate_distortion, model, images, prepare=binarize)
    log_p_5000 = log_p(model, x, 5000)
    values = {
        "log_marginal_5000": log_p_5000,
        "log_marginal_5000_first": log_p_5000[:200],
        "elbo": -rate - distortion,
        "rate": rate,
        "distortion": distortion,
    }
    counts = {"active_units": active_units(model, x).count}
    return counts | {
        name: estimate(value)._asdict() | {"images": len(value)} for name, value in values.items()
    }
