"""One loop that trains any model on any objective, keeps a history, and never loses work.

The data live on the training device and batches are drawn by index: no loader, no per-sample Python.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vae_src.checkpoints import load_checkpoint, save_checkpoint
from vae_src.distributed import mean_over_processes, rank, same_as_first, world_size
from vae_src.randomness import seeded

Objective = Callable[..., Tensor]  # (model, x) -> [batch], higher is better
Prepare = Callable[[Tensor], Tensor]  # stored images -> what the model sees, anew at each visit
Monitor = Callable[..., NamedTuple]  # (model, x) -> record of [batch] tensors

FINITE_EVERY = 50  # steps between looks at the loss on a CPU; a GPU, which would wait, is asked once an epoch
CHECKPOINT_SECONDS = 5.0  # between checkpoints at least: epochs of a small model are quicker than a disk


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
            if not (isinstance(getattr(self, name), int) and getattr(self, name) >= 1):
                raise ValueError(f"{name} must be a whole number of at least 1, not {getattr(self, name)}")
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
    cuda_graph: bool = False,
) -> History:
    """Maximise the mean of an objective over the training data with Adam, in place.

    Deterministic given the weights, the data and ``config``: torch's own generators are left untouched. Data
    move to the model's device once. The last, incomplete batch of each epoch is left out.

    Under ``torchrun``, inside `distributed.process_group`, each process takes its share of every batch, and
    all step by the mean gradient; the process of rank 0 draws the order, reports and writes the checkpoint.

    Args:
        model: Anything that ``objective`` accepts; its parameters are trained where they are.
        train: Training data, one example per row; uint8 images need ``prepare``.
        objective: ``objective(model, x) -> [batch]``, higher is better; only `fit` negates and averages.
        config: Epochs, batch size, learning rate, seed.
        validation: Held-out data for the monitor.
        prepare: Applied to each batch, for example `binarize` for a new binarisation at each visit.
        monitor: ``monitor(model, x)`` returns a record of ``[batch]`` tensors, for example `rate_distortion`.
        checkpoint: File to resume from if it exists; written before the first epoch, after the last, and
            after each epoch that ends at least `CHECKPOINT_SECONDS` after the last write.
        cuda_graph: Record one step on the GPU and replay it: spares small models the cost of launching each
            kernel. Objective and ``prepare`` must not look at values (no ``.item()``, no branch on data).

    Returns:
        The history; after Ctrl-C the history so far, with the model as it was at that moment.

    Raises:
        TypeError: If the data are no tensors.
        ValueError: If the data are unusable, the model has nothing to train, the checkpoint belongs to
            another run, a batch cannot be shared evenly by the processes, or ``cuda_graph`` is asked for
            off the GPU or on several.
        FloatingPointError: If the loss stops being finite; the checkpoint keeps the last good epoch.
    """
    device = _parameters(model)[0].device
    train = _usable(train, "train", prepare).to(device)
    splits = {"train": train[: config.monitor_size]}
    if validation is not None:
        splits["validation"] = _usable(validation, "validation", prepare)[: config.monitor_size].to(device)
    optimizer = _adam(model, config, cuda_graph)
    with seeded(config.seed):
        file = _CheckpointFile(checkpoint, model, optimizer, config)
        history = file.resume()
        _start_alike(model, history)
        step = _make_step(model, train, objective, optimizer, prepare, cuda_graph)
        started = time.perf_counter() - (history.seconds[-1] if history.seconds else 0.0)
        bar = _progress_bar(len(history.objective), len(train), config)
        try:
            for epoch in range(len(history.objective), config.num_epochs):
                history.objective.append(_train_epoch(model, len(train), step, optimizer, config, epoch, bar))
                history.seconds.append(time.perf_counter() - started)
                if monitor is not None and (epoch + 1) % config.monitor_every == 0:
                    _read_monitor(model, splits, monitor, prepare, epoch, history)
                bar.set_postfix_str(_summary(history, len(train)), refresh=False)
                file.save(history)
        except KeyboardInterrupt:
            history.interrupted = True
        finally:
            bar.close()
    return history


def _parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that are to be trained; raise if there are none."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(
            "the model has no parameters to train: is all of it frozen by requires_grad_(False)?"
        )
    return parameters


def _adam(model: nn.Module, config: TrainConfig, cuda_graph: bool) -> torch.optim.Adam:
    """Build the optimiser of all parameters that are to be trained."""
    parameters = _parameters(model)
    rate: float | Tensor = config.learning_rate
    if cuda_graph:
        if parameters[0].device.type != "cuda" or world_size() > 1:
            raise ValueError("cuda_graph needs the model on one GPU and one process: leave it off elsewhere")
        rate = torch.tensor(rate, device=parameters[0].device)  # a number would be frozen into the graph
    return torch.optim.Adam(parameters, lr=rate, eps=config.adam_epsilon, fused=True, capturable=cuda_graph)


def _start_alike(model: nn.Module, history: History) -> None:
    """Give all processes the weights of the first; raise if they do not go on from the same epoch."""
    epoch = torch.tensor(len(history.objective), device=_parameters(model)[0].device)
    first = epoch.clone()
    same_as_first([first, *model.state_dict().values()])
    if first != epoch:
        raise ValueError(
            f"process {rank()} goes on from epoch {int(epoch)}, the first process from epoch {int(first)}: "
            "keep the checkpoint where all processes can read it"
        )


def _progress_bar(epochs_done: int, num_examples: int, config: TrainConfig) -> tqdm:
    """One bar over all steps, on the process of rank 0."""
    steps = max(1, num_examples // config.batch_size)
    total, done = config.num_epochs * steps, epochs_done * steps
    if rank() > 0:
        return tqdm(total=total, initial=done, disable=True)
    return tqdm(total=total, initial=done, unit="step", mininterval=0.5)


def _make_step(
    model: nn.Module,
    train: Tensor,
    objective: Objective,
    optimizer: torch.optim.Adam,
    prepare: Prepare | None,
    cuda_graph: bool,
) -> Callable[[Tensor], Tensor]:
    """Build the function that takes one optimisation step on the examples of the given numbers."""
    parameters = optimizer.param_groups[0]["params"]

    def step(index: Tensor) -> Tensor:
        x = train[index] if prepare is None else prepare(train[index])
        bounds = objective(model, x)
        _require_per_example(bounds, x)
        loss = -bounds.mean()
        optimizer.zero_grad()
        loss.backward()
        mean_over_processes(p.grad for p in parameters if p.grad is not None)
        optimizer.step()
        return loss.detach()

    return _Replayed(step) if cuda_graph else step


class _Replayed:
    """A step that runs as usual three times, as PyTorch asks, is then recorded, and from then on replayed."""

    def __init__(self, step: Callable[[Tensor], Tensor]):
        self.step, self.calls = step, 0
        self.stream, self.graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()

    def __call__(self, index: Tensor) -> Tensor:
        self.calls += 1
        if self.calls <= 3:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                loss = self.step(index)
            torch.cuda.current_stream().wait_stream(self.stream)
            return loss
        if self.calls == 4:
            self.index = index.clone()
            with torch.cuda.graph(self.graph):
                self.loss = self.step(self.index)
        self.index.copy_(index)
        self.graph.replay()
        return self.loss


def _train_epoch(
    model: nn.Module,
    num_examples: int,
    step: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Adam,
    config: TrainConfig,
    epoch: int,
    bar: tqdm,
) -> float:
    """Visit every training example once, in random order; return the mean objective."""
    model.train()
    device = optimizer.param_groups[0]["params"][0].device
    batch_size = _shared_batch_size(config, num_examples)
    order = torch.randperm(num_examples, device=device)
    same_as_first([order])
    if rank() > 0:  # its own noise, the same again after an interruption
        torch.manual_seed(hash((config.seed, rank(), epoch)))
    batches = order[: num_examples // batch_size * batch_size].split(batch_size)
    losses = torch.zeros(len(batches), device=device)
    for i, batch in enumerate(batches):
        progress = (epoch + i / len(batches)) / config.num_epochs
        _set_learning_rate(optimizer, config.learning_rate * config.schedule(progress))
        losses[i] = step(batch[rank() :: world_size()])
        if i % FINITE_EVERY == 0 and device.type == "cpu" and world_size() == 1:
            _require_finite(losses[: i + 1], epoch)
        bar.update()
    mean_over_processes([losses])
    _require_finite(losses, epoch)
    _require_finite_weights(model, epoch)
    return -losses.mean().item()


def _shared_batch_size(config: TrainConfig, num_examples: int) -> int:
    """The batch, or all examples if there are fewer, in a size that the processes can share."""
    if config.batch_size % world_size():
        raise ValueError(
            f"batch_size={config.batch_size} cannot be shared evenly by {world_size()} processes: "
            "take a multiple of their number"
        )
    return min(config.batch_size, num_examples // world_size() * world_size())


def _set_learning_rate(optimizer: torch.optim.Adam, rate: float) -> None:
    """Change the learning rate where it is: a number, or on the GPU what the recorded step reads."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


class _CheckpointFile:
    """The file that a run resumes from and saves to, or nothing if it has none."""

    def __init__(
        self, path: str | Path | None, model: nn.Module, optimizer: torch.optim.Adam, config: TrainConfig
    ):
        self.path = None if path is None else Path(path)
        self.model, self.optimizer, self.config = model, optimizer, config
        self.written = -math.inf

    def resume(self) -> History:
        """Load what the file holds; without a file, write it now: a folder that refuses costs no epoch."""
        if self.path is not None and self.path.exists():
            saved = load_checkpoint(self.path, self.model, self.optimizer, self.config.describe())
            return History(**saved)
        self.save(History())
        return History()

    def save(self, history: History) -> None:
        """Write the file, unless that was done a moment ago and there will be another occasion."""
        last = len(history.objective) == self.config.num_epochs
        soon = time.perf_counter() - self.written < CHECKPOINT_SECONDS
        if self.path is not None and rank() == 0 and (last or not soon):
            run = self.config.describe()
            save_checkpoint(self.path, self.model, self.optimizer, run, asdict(history))
            self.written = time.perf_counter()


def evaluate(
    function: Callable[..., Any],
    model: Any,
    data: Tensor,
    *,
    prepare: Prepare | None = None,
    batch_size: int = 1000,
    seed: int | None = 0,
) -> Any:
    """Apply an objective or monitor to a whole data set in batches, without gradients.

    Args:
        function: ``function(model, x)`` returns a ``[batch]`` tensor or a record of them.
        model: A module, whose weights stay as they are, or any other model that ``function`` accepts.
        data: One example per row, on any device.
        prepare: Applied to each batch, as in `fit`.
        batch_size: Examples per call.
        seed: Of the binarisation and the draws; ``None`` continues the global generator.

    Returns:
        What ``function`` returns, for all examples.

    Raises:
        ValueError: If the data are unusable or ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size counts examples and must be at least 1, not {batch_size}")
    data = _usable(data, "data", prepare)
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    device = parameters[0].device if parameters else data.device
    with torch.no_grad(), seeded(seed), _at_rest(model):
        parts = []
        for x in data.split(batch_size):
            x = x.to(device)
            parts.append(function(model, x if prepare is None else prepare(x)))
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    return type(parts[0])(*(torch.cat(column) for column in zip(*parts, strict=True)))


@contextmanager
def _at_rest(model: Any) -> Iterator[None]:
    """Put a module into evaluation mode, and back into the mode it was in."""
    was_training = getattr(model, "training", False)
    if was_training:
        model.eval()
    try:
        yield
    finally:
        if was_training:
            model.train()


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
    if not isinstance(data, Tensor):
        raise TypeError(
            f"{name} must be one tensor of all examples, not a {type(data).__name__}: "
            "join a loader's batches once, with torch.cat"
        )
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
    names, parameters = zip(*model.named_parameters(), strict=True)
    fine = torch.stack([parameter.isfinite().all() for parameter in parameters]).tolist()  # one look
    if not all(fine):
        raise FloatingPointError(
            f"{names[fine.index(False)]} holds NaN or infinite values after epoch {epoch + 1}: "
            "lower the learning rate"
        )
