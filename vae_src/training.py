"""One loop that trains any model on any objective, keeps a history, and never loses work.

The data live on the training device and batches are drawn by index: no loader, no per-sample Python.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vae_src.checkpoints import load_checkpoint, save_checkpoint
from vae_src.randomness import seeded

Objective = Callable[..., Tensor]  # (model, x) -> [batch], higher is better
Prepare = Callable[[Tensor], Tensor]  # stored images -> what the model sees, anew at each visit
Monitor = Callable[..., NamedTuple]  # (model, x) -> record of [batch] tensors

FINITE_EVERY = 50  # steps between looks at the loss: each look makes a GPU wait


def constant(progress: float) -> float:
    """Keep the learning rate."""
    return 1.0


def cosine(progress: float) -> float:
    """Let the learning rate fall to zero along half a cosine (Loshchilov & Hutter 2017, arXiv:1608.03983)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class TrainConfig:
    """How to train; every default is what the chapters use unless they say otherwise."""

    num_epochs: int = 10  # one pass over the training images each
    batch_size: int = 128  # large enough to keep a CPU busy, small enough for many steps a minute
    learning_rate: float = 1e-3  # Adam's own default; above 3e-3 the MLPs of this book get unstable
    schedule: Callable[[float], float] = constant  # factor on the learning rate, given progress in [0, 1]
    adam_epsilon: float = 1e-8  # Adam's guard against division by zero; papers of 2015 often have 1e-4
    seed: int = 0  # of the shuffling, the binarisation and the noise in z
    monitor_every: int = 1  # epochs between looks at the monitor
    monitor_size: int = 5000  # images of each split that the monitor sees: s.e. about 0.4 nats on MNIST

    def __post_init__(self) -> None:
        for name in ("num_epochs", "batch_size", "monitor_every", "monitor_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("learning_rate", "adam_epsilon"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"{name} must be a positive number, not {getattr(self, name)}")

    def describe(self) -> str:
        """The configuration as one comparable line."""
        values = asdict(self) | {"schedule": getattr(self.schedule, "__name__", repr(self.schedule))}
        return ", ".join(f"{name}={value}" for name, value in values.items())


@dataclass
class History:
    """What `fit` saw: one entry per epoch, and one per look at the monitor.

    Attributes:
        objective: Mean of the objective over each epoch's batches, in its own unit, weights still moving.
        epochs: Epochs (counted from 1) after which the monitor was read.
        train: Monitor's means on the first training images, by field name, weights at rest.
        validation: The same on the validation images, or empty.
        seconds: Time spent so far at the end of each epoch; not reproducible.
        interrupted: Whether Ctrl-C ended the training early.
    """

    objective: list[float] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    train: dict[str, list[float]] = field(default_factory=dict)
    validation: dict[str, list[float]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    interrupted: bool = False


def fit(
    model: nn.Module,
    train: Tensor,
    objective: Objective,
    config: TrainConfig = TrainConfig(),
    *,
    validation: Tensor | None = None,
    prepare: Prepare | None = None,
    monitor: Monitor | None = None,
    checkpoint: str | Path | None = None,
) -> History:
    """Maximise the mean of an objective over the training data with Adam, in place.

    Deterministic given the weights, the data and ``config``: torch's own generators are left untouched. Data
    move to the model's device once. The last, incomplete batch of each epoch is left out.

    Args:
        model: Anything that ``objective`` accepts; its parameters are trained where they are.
        train: Training data, one example per row; uint8 images need ``prepare``.
        objective: ``objective(model, x) -> [batch]``, higher is better; only `fit` negates and averages.
        config: Epochs, batch size, learning rate, seed.
        validation: Held-out data for the monitor.
        prepare: Applied to each batch, for example `binarize` for a new binarisation at each visit.
        monitor: ``monitor(model, x)`` returns a record of ``[batch]`` tensors, for example `rate_distortion`.
        checkpoint: File to resume from if it exists; written before the first epoch and after each one.

    Returns:
        The history. After Ctrl-C: the history so far, with the model as it was at that moment.

    Raises:
        ValueError: If the data are unusable, or the checkpoint belongs to another run.
        FloatingPointError: If the loss stops being finite; the checkpoint keeps the last good epoch.
    """
    device = next(model.parameters()).device
    train = _usable(train, "train", prepare).to(device)
    splits = {"train": train[: config.monitor_size]}
    if validation is not None:
        splits["validation"] = _usable(validation, "validation", prepare)[: config.monitor_size].to(device)

    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=config.learning_rate, eps=config.adam_epsilon, fused=True)
    history, first_epoch, run = History(), 0, config.describe()
    with seeded(config.seed):
        if checkpoint is not None and Path(checkpoint).exists():
            history = History(**load_checkpoint(checkpoint, model, optimizer, run))
            first_epoch = len(history.objective)
        elif checkpoint is not None:  # now, so that a folder that cannot be written costs no epoch
            save_checkpoint(checkpoint, model, optimizer, run, asdict(history))
        started = time.perf_counter() - (history.seconds[-1] if history.seconds else 0.0)
        steps = max(1, len(train) // config.batch_size)
        bar = tqdm(
            total=config.num_epochs * steps,
            initial=first_epoch * steps,
            unit="step",
            mininterval=0.5,
        )
        try:
            for epoch in range(first_epoch, config.num_epochs):
                history.objective.append(
                    _train_epoch(model, train, objective, optimizer, config, epoch, prepare, bar)
                )
                history.seconds.append(time.perf_counter() - started)
                if monitor is not None and (epoch + 1) % config.monitor_every == 0:
                    _read_monitor(model, splits, monitor, prepare, epoch, history)
                bar.set_postfix_str(_summary(history, len(train)), refresh=False)
                if checkpoint is not None:
                    save_checkpoint(checkpoint, model, optimizer, run, asdict(history))
        except KeyboardInterrupt:
            history.interrupted = True
        finally:
            bar.close()
    return history


def _train_epoch(
    model: nn.Module,
    train: Tensor,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    epoch: int,
    prepare: Prepare | None,
    bar: tqdm,
) -> float:
    """Visit every training example once, in random order; return the mean objective."""
    model.train()
    batch_size = min(config.batch_size, len(train))
    batches = torch.randperm(len(train), device=train.device)[: len(train) // batch_size * batch_size]
    losses = torch.zeros(len(batches) // batch_size, device=train.device)
    for step, index in enumerate(batches.split(batch_size)):
        progress = (epoch + step / len(losses)) / config.num_epochs
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * config.schedule(progress)
        x = train[index] if prepare is None else prepare(train[index])
        bounds = objective(model, x)
        if step == 0:
            _require_per_example(bounds, x)
        loss = -bounds.mean()
        optimizer.zero_grad()
        loss.backward()
        losses[step] = loss.detach()
        if step % FINITE_EVERY == 0 or step == len(losses) - 1:
            _require_finite(losses[: step + 1], epoch)
        optimizer.step()
        bar.update()
    _require_finite_weights(model, epoch)
    return -losses.mean().item()


def evaluate(
    function: Callable[..., Any],
    model: nn.Module,
    data: Tensor,
    *,
    prepare: Prepare | None = None,
    batch_size: int = 1000,
    seed: int | None = 0,
) -> Any:
    """Apply an objective or monitor to a whole data set in batches, without gradients.

    Args:
        function: ``function(model, x)`` returns a ``[batch]`` tensor or a record of them.
        model: Its weights stay as they are.
        data: One example per row, on any device.
        prepare: Applied to each batch, as in `fit`.
        batch_size: Examples per call.
        seed: Of the binarisation and the draws; ``None`` continues the global generator.

    Returns:
        What ``function`` returns, for all examples.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), seeded(seed):
            parts = []
            for x in _usable(data, "data", prepare).split(batch_size):
                x = x.to(device)
                parts.append(function(model, x if prepare is None else prepare(x)))
    finally:
        model.train(was_training)
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    return type(parts[0])(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _read_monitor(
    model: nn.Module,
    splits: dict[str, Tensor],
    monitor: Monitor,
    prepare: Prepare | None,
    epoch: int,
    history: History,
) -> None:
    """Append the monitor's means on each split, always on the same images and the same noise."""
    records = {name: evaluate(monitor, model, data, prepare=prepare) for name, data in splits.items()}
    history.epochs.append(epoch + 1)  # after the evaluations: Ctrl-C in one leaves no half entry
    for name, record in records.items():
        for key, values in record._asdict().items():
            getattr(history, name).setdefault(key, []).append(values.mean().item())


def _summary(history: History, num_train: int) -> str:
    """The progress bar's right-hand side."""
    rate = num_train * len(history.objective) / history.seconds[-1]
    parts = [f"objective {history.objective[-1]:.2f}", f"{rate:,.0f} images/s"]
    for name in ("train", "validation"):
        parts += [f"{name} {key} {values[-1]:.2f}" for key, values in getattr(history, name).items()]
    return ", ".join(parts)


def _usable(data: Tensor, name: str, prepare: Prepare | None) -> Tensor:
    """Return the data, or say in one sentence why they cannot be trained on."""
    if data.ndim < 2 or len(data) == 0:
        raise ValueError(
            f"{name} needs one example per row, such as [50000, 1, 28, 28], got {list(data.shape)}"
        )
    if not data.is_floating_point() and prepare is None:
        raise ValueError(
            f"{name} holds {data.dtype} values: pass prepare=binarize (new binary images at each visit) "
            "or prepare=rescale (grey levels in [0, 1])"
        )
    if data.is_floating_point() and not data.isfinite().all():
        raise ValueError(f"{name} holds NaN or infinite values: remove or replace them first")
    return data


def _require_per_example(bounds: Tensor, x: Tensor) -> None:
    """Raise unless the objective returned one value per example."""
    if bounds.shape != x.shape[:1]:
        raise ValueError(
            f"the objective must return one value per example, shape [{len(x)}], got {list(bounds.shape)}: "
            "do not average over the batch, fit does"
        )


def _require_finite(losses: Tensor, epoch: int) -> None:
    """Raise if a loss so far is not a finite number."""
    bad = (~losses.isfinite()).nonzero()
    if len(bad):
        step = int(bad[0])
        raise FloatingPointError(
            f"the loss became {losses[step].item()} at step {step + 1} of epoch {epoch + 1}: "
            "lower the learning rate, and look at exp(log_scale) and at the data"
        )


def _require_finite_weights(model: nn.Module, epoch: int) -> None:
    """Raise if the last steps of an epoch broke the weights, before they are saved."""
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            raise FloatingPointError(
                f"{name} holds NaN or infinite values after epoch {epoch + 1}: lower the learning rate"
            )
