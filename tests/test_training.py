"""Tests of training.py: the loop repeats to the bit, survives interruptions, and finds a known optimum."""

import itertools
import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor, nn

from vae_src import data, training
from vae_src.checkpoints import load_checkpoint, load_weights, save_weights
from vae_src.distributions import NormalHead, NormalLikelihood, StandardNormal
from vae_src.exact import LinearGaussian
from vae_src.models import VAE, mlp_autoencoder, mlp_vae
from vae_src.objectives import elbo, rate_distortion, reconstruction
from vae_src.randomness import seeded
from vae_src.training import History, TrainConfig, constant, cosine, evaluate, fit

SHAPE = (1, 2, 3)
CONFIG = TrainConfig(num_epochs=4, batch_size=8, learning_rate=0.01, seed=3, monitor_size=20)


@pytest.fixture(autouse=True)
def _a_checkpoint_after_each_epoch(monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0)


def make(seed: int = 0) -> VAE:
    with seeded(seed):
        return mlp_vae(2, (3,), event_shape=SHAPE)


def images(n: int = 30) -> Tensor:
    with seeded(9):
        return torch.randint(0, 256, (n, *SHAPE), dtype=torch.uint8)


def weights(model: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def reproducible(history: History) -> dict:
    return {k: v for k, v in asdict(history).items() if k != "seconds"}


class Scored(NamedTuple):
    """A record of one number per example, without randomness."""

    score: Tensor


def run(model: nn.Module, config: TrainConfig = CONFIG, **kwargs) -> History:
    """Train with all options on: fresh binary images, a monitor, a validation set."""
    arguments = {"validation": images(10), "prepare": data.binarize, "monitor": rate_distortion} | kwargs
    return fit(model, images(), arguments.pop("objective", elbo), config, **arguments)


# ---------------------------------------------------------------- the loop


def test_two_steps_are_two_steps_of_adam():
    # One epoch of two batches without randomness but the order, against torch.optim.Adam by hand.
    class Line(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.slope = nn.Parameter(torch.tensor([0.5, -0.25]))

    def objective(model: Line, x: Tensor) -> Tensor:
        return -((x @ model.slope - 1) ** 2)

    x = torch.arange(12.0).reshape(6, 2) / 10
    model, by_hand = Line(), Line()
    config = TrainConfig(num_epochs=1, batch_size=3, learning_rate=0.1, adam_epsilon=0.3, seed=4)
    history = fit(model, x, objective, config)
    with seeded(4):
        order = torch.randperm(6)
    m = v = torch.zeros(2)
    slope, values = by_hand.slope.detach().clone(), []
    for step, index in enumerate(order.split(3), 1):
        residual = x[index] @ slope - 1
        values.append(-(residual**2).mean().item())
        gradient = (2 * residual[:, None] * x[index]).mean(0)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        slope = slope - 0.1 * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 0.3)
    torch.testing.assert_close(model.slope.detach(), slope, atol=1e-6, rtol=0)
    assert history.objective == [pytest.approx(np.mean(values), abs=1e-6)]


def test_a_run_repeats_to_the_bit_and_follows_its_seed():
    first, second, other = make(), make(), make()
    histories = [run(first), run(second), run(other, replace(CONFIG, seed=4))]
    assert torch.equal(weights(first), weights(second))
    assert reproducible(histories[0]) == reproducible(histories[1])
    assert not torch.equal(weights(first), weights(other))


def test_the_generator_outside_does_not_notice():
    before = torch.get_rng_state()
    run(make())
    assert torch.equal(torch.get_rng_state(), before)
    first = make()
    torch.rand(5)  # nor does it notice the generator outside
    second = make()
    run(first)
    with seeded(77):
        run(second)
    assert torch.equal(weights(first), weights(second))


def test_looking_does_not_disturb():
    plain, watched = make(), make()
    one = run(plain, monitor=None, validation=None)
    two = run(watched)
    assert torch.equal(weights(plain), weights(watched))
    assert one.objective == two.objective


def test_every_example_is_seen_once_an_epoch_in_a_new_order():
    seen = []

    def objective(model: nn.Module, x: Tensor) -> Tensor:
        seen.append(x[:, 0].tolist())
        return (x * model.weight).sum(1)

    x = torch.arange(22.0)[:, None]
    fit(nn.Linear(1, 1), x, objective, TrainConfig(num_epochs=3, batch_size=5))
    assert [len(batch) for batch in seen] == [5] * 12  # the incomplete batch of 2 is left out
    epochs = [list(itertools.chain(*seen[i : i + 4])) for i in (0, 4, 8)]
    for epoch in epochs:
        assert len(set(epoch)) == 20
        assert set(epoch) <= set(range(22))
    assert epochs[0] != epochs[1] != epochs[2]
    assert set(epochs[0]) != set(epochs[1])  # others are left out


def test_fewer_examples_than_a_batch_make_one_batch():
    history = run(make(), replace(CONFIG, batch_size=1000))
    assert len(history.objective) == 4
    assert all(map(math.isfinite, history.objective))


def test_binarisation_is_new_at_each_visit_and_the_same_for_the_monitor():
    drawn = []

    def prepare(x: Tensor) -> Tensor:
        drawn.append(data.binarize(x))
        return drawn[-1]

    config = TrainConfig(num_epochs=2, batch_size=30, learning_rate=1e-30)
    history = run(make(), config, prepare=prepare)
    visits, looks = drawn[::3], drawn[1::3]  # one batch, then the monitor on both splits
    assert not torch.equal(visits[0].sum(0), visits[1].sum(0))
    assert torch.equal(looks[0], looks[1])
    assert history.train["distortion"][0] == history.train["distortion"][1]  # and the same noise in z


def test_fixed_parameters_stay():
    with seeded(0):
        model = mlp_vae(2, (3,), NormalLikelihood(0.5), event_shape=SHAPE)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    run(model, prepare=data.rescale)
    stayed = [name for name, p in model.named_parameters() if torch.equal(p, before[name])]
    assert stayed == ["decoder.3.log_scale"]


def test_it_finds_the_optimum_of_probabilistic_pca():
    # A linear VAE: the best ELBO is the maximum of the likelihood (Lucas et al. 2019), which the
    # eigenvalues of the sample covariance give (Tipping & Bishop 1999).
    n, d, latent = 512, 5, 2
    with seeded(0):
        x = torch.randn(n, latent) @ torch.tensor([[2.0, 1, 0, -1, 0.5], [0, 1, -1.5, 0.5, 1]])
        x = x + 0.4 * torch.randn(n, d)
        model = VAE(
            NormalHead(d, latent),
            nn.Sequential(nn.Linear(latent, d), NormalLikelihood(1.0, learn_scale=True, event_dims=1)),
            StandardNormal(latent),
        )
    eigenvalues = np.linalg.eigvalsh(np.cov(x.double().numpy().T, bias=True))[::-1]
    noise = eigenvalues[latent:].mean()
    spectrum = np.log(eigenvalues[:latent]).sum() + (d - latent) * np.log(noise)
    best = -0.5 * (d * np.log(2 * np.pi) + spectrum + d)
    config = TrainConfig(num_epochs=120, batch_size=64, learning_rate=0.02, schedule=cosine)
    start = evaluate(elbo, model, x).mean().item()
    fit(model, x, elbo, config)
    reached = evaluate(lambda m, x: elbo(m, x, 200), model, x)
    error = 4 * reached.std().item() / math.sqrt(200 * n)
    assert start < best - 3
    assert best - 0.1 <= reached.mean().item() <= best + error
    assert model.decoder[-1].log_scale.exp().item() == pytest.approx(noise**0.5, rel=0.05)


def test_it_learns_from_real_digits():
    small = data.sample("mnist")
    with seeded(0):
        model = mlp_vae(5, (32,))
    config = TrainConfig(num_epochs=2, batch_size=64, learning_rate=3e-3)
    before = evaluate(elbo, model, small.test.images[:200], prepare=data.binarize).mean()
    history = fit(model, small.train.images[:2000], elbo, config, prepare=data.binarize)
    after = evaluate(elbo, model, small.test.images[:200], prepare=data.binarize).mean()
    # from 784 log 2 = 543 nats and more, to near the 207 of independent pixels with the right means
    assert before < -500
    assert after > -230
    assert history.objective[1] > history.objective[0]


# ---------------------------------------------------------------- schedule and configuration


def test_the_schedules():
    assert [constant(t) for t in (0.0, 0.5, 1.0)] == [1, 1, 1]
    assert [cosine(t) for t in (0.0, 0.5, 1.0)] == pytest.approx([1, 0.5, 0])
    steps = [cosine(t / 100) for t in range(101)]
    assert steps == sorted(steps, reverse=True)


def test_the_learning_rate_follows_the_schedule_at_every_step():
    asked = []

    def recorded(progress: float) -> float:
        asked.append(progress)
        return 0.0 if progress >= 0.5 else 1.0

    model, epochs = make(), []

    def objective(model: VAE, x: Tensor) -> Tensor:
        epochs.append(weights(model))
        return elbo(model, x)

    run(model, replace(CONFIG, schedule=recorded, num_epochs=2), objective=objective)
    assert asked == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])
    moved = [not torch.equal(a, b) for a, b in zip(epochs, [*epochs[1:], weights(model)], strict=True)]
    assert moved == [True, True, True, False, False, False]


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["num_epochs", "batch_size", "monitor_every", "monitor_size"]),
    value=st.integers(max_value=0),
)
def test_counts_below_one_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1, not {value}$"):
        TrainConfig(**{name: value})


@settings(max_examples=60, deadline=None)
@given(value=st.floats(max_value=0) | st.sampled_from([math.nan, math.inf]))
def test_learning_rates_that_are_none_are_refused(value):
    with pytest.raises(ValueError, match="learning_rate must be a positive number, not "):
        TrainConfig(learning_rate=value)


@settings(max_examples=40, deadline=None)
@given(counts=st.tuples(*[st.integers(1, 10**9)] * 4), rate=st.floats(1e-12, 1e3))
def test_good_configurations_pass_and_differ_in_words(counts, rate):
    config = TrainConfig(counts[0], counts[1], rate, monitor_every=counts[2], monitor_size=counts[3])
    assert config.describe() == replace(config).describe()
    for field, value in asdict(config).items():
        other = cosine if field == "schedule" else value + 1
        assert replace(config, **{field: other}).describe() != config.describe()


# ---------------------------------------------------------------- interruptions


class Stopping:
    """An objective or monitor that a Ctrl-C hits at its n-th call."""

    def __init__(self, function: Callable, call: int):
        self.function, self.left = function, call

    def __call__(self, model: nn.Module, x: Tensor) -> object:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return self.function(model, x)


@pytest.fixture(scope="module")
def whole() -> tuple[Tensor, dict]:
    """Weights and history of an uninterrupted run of four epochs of three steps."""
    model = make()
    return weights(model), reproducible(run(model)) | {"weights": weights(model)}


@pytest.mark.parametrize(
    ("part", "call", "done", "kept"),
    [
        ("objective", 1, 0, 0),  # before anything is saved
        ("objective", 3, 0, 0),
        ("objective", 4, 1, 1),  # first step of the second epoch
        ("objective", 8, 2, 2),  # amid the third
        ("objective", 12, 3, 3),
        ("monitor", 1, 1, 0),  # after the steps of the first epoch, before its checkpoint
        ("monitor", 6, 3, 2),  # between the two splits
    ],
)
def test_after_ctrl_c_a_run_goes_on_as_if_nothing_had_happened(whole, tmp_path, part, call, done, kept):
    path, model = tmp_path / "run.safetensors", make()
    function = {"objective": elbo, "monitor": rate_distortion}[part]
    history = run(model, checkpoint=path, **{part: Stopping(function, call)})
    assert history.interrupted
    assert len(history.objective) == done
    with safe_open(path, "pt") as file:  # written before the first epoch and after each whole one
        assert len(json.loads(file.metadata()["history"])["objective"]) == kept
    # no half entries: every list is as long as the looks that were finished
    looks = {len(v) for split in (history.train, history.validation) for v in split.values()}
    assert looks <= {len(history.epochs)}
    assert model.training or part == "objective"

    resumed = make() if kept == 0 else make(1)  # what the checkpoint holds replaces any weights
    second = run(resumed, checkpoint=path)
    expected = dict(whole[1])
    assert torch.equal(weights(resumed), expected.pop("weights"))
    assert reproducible(second) == expected
    assert len(second.seconds) == 4
    assert second.seconds == sorted(second.seconds)


def test_a_finished_run_is_not_repeated(whole, tmp_path):
    path = tmp_path / "run.safetensors"
    run(make(), checkpoint=path)
    model, calls = make(1), []
    history = run(model, checkpoint=path, objective=lambda m, x: calls.append(1))
    assert calls == []
    assert torch.equal(weights(model), whole[1]["weights"])
    assert reproducible(history) == {k: v for k, v in whole[1].items() if k != "weights"}


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    run(make(), checkpoint=path)
    with pytest.raises(
        ValueError, match=r"num_epochs=4, .*, not num_epochs=5, .*: use the same configuration"
    ):
        run(make(), replace(CONFIG, num_epochs=5), checkpoint=path)


def test_a_checkpoint_that_cannot_be_written_says_where(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        run(make(), checkpoint=tmp_path / "file" / "run.safetensors")


KILLED = """
import os, random, signal, sys, time
import torch
from vae_src import TrainConfig, binarize, elbo, fit, mlp_vae, rate_distortion, seeded, training
from vae_src.objectives import reconstruction

training.CHECKPOINT_SECONDS = 0

def images(n):
    with seeded(9):
        return torch.randint(0, 256, (n, 1, 2, 3), dtype=torch.uint8)

def train(path, objective=elbo):
    torch.set_num_threads(1)
    with seeded(0):
        model = mlp_vae(2, (3,), event_shape=(1, 2, 3))
    config = TrainConfig(num_epochs=EPOCHS, batch_size=8, learning_rate=0.01, seed=3, monitor_size=20)
    fit(model, images(30), objective, config, validation=images(10), prepare=binarize,
        monitor=rate_distortion, checkpoint=path)
"""

KILLED_WHILE_WRITING = (
    KILLED
    + """
calls = 0

def objective(model, x):
    global calls
    calls += 1
    if calls == 7:  # the third epoch has begun: its checkpoint will not be finished
        os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)
    return elbo(model, x)

train(PATH, objective)
"""
)

KILLED_AT_RANDOM = (
    KILLED
    + """
random.seed(0)
kills = 0
while True:
    child = os.fork()  # has torch imported already: most of its short life is training
    if child == 0:
        sys.stderr = open(os.devnull, "w")
        train(PATH)
        os._exit(0)
    time.sleep(random.uniform(0.0, 0.15))
    if kills < KILLS:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        kills += 1
    else:
        break
print(kills, os.WEXITSTATUS(status))
"""
)


def python(program: str, path: Path, **values: int) -> subprocess.CompletedProcess:
    for name, value in {"PATH": str(path), "EPOCHS": 4, **values}.items():
        program = program.replace(name, repr(value))
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def test_a_run_killed_while_it_writes_keeps_the_checkpoint_before(whole, tmp_path):
    path = tmp_path / "run.safetensors"
    result = python(KILLED_WHILE_WRITING, path)
    assert result.returncode == -signal.SIGKILL, result.stderr
    model = make(1)
    with seeded(0):
        optimizer = torch.optim.Adam(model.parameters(), lr=1.0)
        saved = load_checkpoint(path, model, optimizer, CONFIG.describe())
    assert len(saved["objective"]) == 2
    history = run(model, checkpoint=path)
    expected = dict(whole[1])
    assert torch.equal(weights(model), expected.pop("weights"))
    assert reproducible(history) == expected


@pytest.mark.slow
def test_a_run_killed_at_random_many_times_ends_as_if_nothing_had_happened(tmp_path):
    path = tmp_path / "run.safetensors"
    result = python(KILLED_AT_RANDOM, path, KILLS=40, EPOCHS=400)
    kills, status = map(int, result.stdout.split())
    assert status == 0, result.stderr
    assert kills >= 10, "too quick to be killed: give it more epochs"
    config = replace(CONFIG, num_epochs=400)
    expected, found = make(), make(1)
    with seeded(9):
        history = run(expected, config)
    resumed = run(found, config, checkpoint=path)  # finished: nothing is left to do
    assert torch.equal(weights(found), weights(expected))
    assert reproducible(resumed) == reproducible(history)
    assert list(tmp_path.glob("*.safetensors")) == [path]


def test_checkpoints_are_no_more_frequent_than_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 1e9)
    path, epochs = tmp_path / "run.safetensors", []
    save = training.save_checkpoint

    def counted(*arguments) -> None:
        epochs.append(len(arguments[-1]["objective"]))
        save(*arguments)

    monkeypatch.setattr(training, "save_checkpoint", counted)
    run(make(), checkpoint=path)
    assert epochs == [0, 4]  # before the first epoch and after the last


# ---------------------------------------------------------------- a recorded step


def test_a_recorded_step_needs_a_gpu():
    with pytest.raises(
        ValueError, match="cuda_graph needs the model on one GPU and one process: leave it off"
    ):
        run(make(), cuda_graph=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_recorded_step_is_the_step():
    # Without noise both must go the same way; the learning rate changes at every step.
    found = []
    for cuda_graph in (False, True):
        with seeded(0):
            model = mlp_autoencoder(2, (16,)).cuda()
        config = TrainConfig(num_epochs=3, batch_size=64, schedule=cosine)
        digits = data.binarize(data.sample("mnist").train.images[:1000])
        history = fit(model, digits, reconstruction, config, cuda_graph=cuda_graph)
        found.append((weights(model), torch.tensor(history.objective)))
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-3)


# ---------------------------------------------------------------- numbers that break


class Breaking:
    """An objective that is fine until its n-th call."""

    def __init__(self, call: int, value: float):
        self.call, self.value, self.calls = call, value, 0

    def __call__(self, model: VAE, x: Tensor) -> Tensor:
        self.calls += 1
        return elbo(model, x) * (self.value if self.calls == self.call else 1.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_breaks_is_named_by_step_and_epoch(tmp_path, value):
    path = tmp_path / "run.safetensors"
    named = "nan" if math.isnan(value) else "inf"
    with pytest.raises(FloatingPointError, match=f"the loss became {named} at step 2 of epoch 3: lower the"):
        run(make(), objective=Breaking(8, value), checkpoint=path)
    reference = make()  # the checkpoint keeps the last good epoch
    with pytest.raises(RuntimeError, match="stop"):
        run(reference, objective=stop_at(7))
    model = make(1)
    with seeded(0):
        saved = load_checkpoint(path, model, torch.optim.Adam(model.parameters()), CONFIG.describe())
    assert len(saved["objective"]) == 2
    assert all(map(math.isfinite, saved["objective"]))
    assert torch.equal(weights(model), weights(reference))


def stop_at(call: int) -> Callable:
    """Raise in a way that fit does not take for Ctrl-C and cannot swallow."""
    calls = [0]

    def objective(model: VAE, x: Tensor) -> Tensor:
        calls[0] += 1
        if calls[0] == call:
            raise RuntimeError("stop")
        return elbo(model, x)

    return objective


def test_a_step_that_breaks_the_weights_is_not_saved(tmp_path):
    # The loss of the epoch's last step is finite, its gradient is not.
    def objective(model: VAE, x: Tensor) -> Tensor:
        calls.append(1)
        bounds = elbo(model, x)
        if len(calls) == 6:
            zero = model.decoder[0][0].weight.sum() * 0
            bounds = bounds + zero.sqrt()
        return bounds

    calls, path = [], tmp_path / "run.safetensors"
    with pytest.raises(FloatingPointError, match=r"decoder\.0\.0\.weight holds NaN .* after epoch 2: lower"):
        run(make(), objective=objective, checkpoint=path)
    model = make(1)
    with seeded(0):
        saved = load_checkpoint(path, model, torch.optim.Adam(model.parameters()), CONFIG.describe())
    assert len(saved["objective"]) == 1
    assert weights(model).isfinite().all()


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("objective", "shape"),
    [
        (lambda m, x: elbo(m, x).mean(), r"\[\]"),
        (lambda m, x: elbo(m, x)[:, None], r"\[8, 1\]"),
        (lambda m, x: elbo(m, x)[:-1], r"\[7\]"),
    ],
)
def test_an_objective_must_keep_the_examples_apart(objective, shape):
    message = rf"one value per example, shape \[8\], got {shape}: do not average over the batch, fit does"
    with pytest.raises(ValueError, match=message):
        run(make(), objective=objective)


GOOD = torch.rand(20, *SHAPE).round()
BAD = [
    (images(), "holds torch.uint8 values: pass prepare=binarize"),
    (torch.rand(20), r"needs one example per row, such as \[50000, 1, 28, 28\], got \[20\]"),
    (torch.rand(0, *SHAPE), r"needs one example per row, .*, got \[0, 1, 2, 3\]"),
    (torch.tensor(1.0), r"got \[\]"),
    (torch.full((20, *SHAPE), math.nan), "holds NaN or infinite values: remove or replace them first"),
    (GOOD.index_fill(0, torch.tensor(3), -math.inf), "infinite values"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_unusable_data_are_named_before_the_first_step(bad, message):
    model = make()
    before = weights(model)
    with pytest.raises(ValueError, match=f"^train .*{message}"):
        fit(model, bad, elbo, CONFIG)
    with pytest.raises(ValueError, match=f"^validation .*{message}"):
        fit(model, GOOD, elbo, CONFIG, validation=bad)
    with pytest.raises(ValueError, match=f"^data .*{message}"):
        evaluate(elbo, model, bad)
    assert torch.equal(weights(model), before)


def test_a_loader_is_no_tensor_and_a_half_epoch_no_count():
    program = (
        "from vae_src import *\nimport torch\n"  # in a process of its own: here a type check comes first
        "try:\n    TrainConfig(num_epochs=1.5)\n"
        "except ValueError as error:\n    print(error)\n"
        "fit(mlp_vae(2), torch.utils.data.DataLoader(torch.rand(9, 1, 28, 28)), elbo)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "num_epochs must be a whole number of at least 1, not 1.5" in result.stdout
    assert "train must be one tensor of all examples, not a DataLoader: join a loader's" in result.stderr


def test_a_model_without_anything_to_train_is_refused():
    for model in (make().requires_grad_(False), nn.ReLU()):
        with pytest.raises(ValueError, match="the model has no parameters to train: is all of it frozen"):
            fit(model, GOOD, elbo, CONFIG)


def test_images_of_another_size_are_refused():
    with pytest.raises(
        ValueError, match=r"expected inputs of shape \[batch, 1, 2, 3\], got \[8, 1, 28, 28\]"
    ):
        fit(make(), torch.rand(20, 1, 28, 28), elbo, CONFIG)


# ---------------------------------------------------------------- history


def test_the_monitor_is_read_when_it_is_due():
    history = run(make(), replace(CONFIG, num_epochs=5, monitor_every=2))
    assert history.epochs == [2, 4]
    assert len(history.objective) == len(history.seconds) == 5
    assert {k: len(v) for k, v in history.train.items()} == {"rate": 2, "distortion": 2}
    assert history.validation.keys() == history.train.keys()
    assert not history.interrupted


def test_the_monitor_sees_the_first_images_of_each_split():
    def first_pixel(model: nn.Module, x: Tensor) -> Scored:
        assert not model.training
        assert not torch.is_grad_enabled()
        return Scored(x[:, 0, 0, 0])

    model = make()

    def threshold(pixels: Tensor) -> Tensor:
        return (pixels > 127).float()

    history = run(model, monitor=first_pixel, prepare=threshold)
    expected = threshold(images()[:20])[:, 0, 0, 0].mean().item()
    assert history.train == {"score": [pytest.approx(expected)] * 4}
    assert history.validation["score"][0] == pytest.approx(threshold(images(10))[:, 0, 0, 0].mean().item())
    assert model.training
    assert run(make(), validation=None).validation == {}


def test_the_last_entry_of_the_monitor_is_the_trained_model():
    model = make()
    history = run(model)
    found = evaluate(rate_distortion, model, images()[:20], prepare=data.binarize)
    assert history.train["rate"][-1] == pytest.approx(found.rate.mean().item())
    assert history.train["distortion"][-1] == pytest.approx(found.distortion.mean().item())


# ---------------------------------------------------------------- evaluate


def reversed_sum(model: nn.Module, x: Tensor) -> Tensor:
    """A deterministic value per example that passes through the model."""
    return model.encode(x).mean.sum(-1)


@settings(max_examples=20, deadline=None)
@given(batch_size=st.integers(1, 40))
def test_evaluate_is_the_direct_computation_for_every_batch_size(batch_size):
    model = make().double()
    expected = reversed_sum(model, GOOD.double()).detach()
    found = evaluate(reversed_sum, model, GOOD.double(), batch_size=batch_size)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    record = evaluate(lambda m, x: Scored(reversed_sum(m, x)), model, GOOD.double(), batch_size=batch_size)
    assert isinstance(record, Scored)
    torch.testing.assert_close(record.score, expected, atol=1e-12, rtol=0)


def test_evaluate_draws_by_its_seed_and_keeps_no_graph():
    model, before = make(), torch.get_rng_state()
    found = [evaluate(elbo, model, images(), prepare=data.binarize, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(0):
        expected = elbo(model, data.binarize(images()))
    torch.testing.assert_close(found[0], expected)
    assert not found[0].requires_grad
    with seeded(0):
        assert torch.equal(evaluate(elbo, model, images(), prepare=data.binarize, seed=None), found[0])


def test_evaluate_takes_models_that_are_no_modules():
    exact = LinearGaussian(torch.tensor([[1.0], [2.0]]), torch.zeros(2), 0.5)
    x = torch.rand(7, 2)
    torch.testing.assert_close(evaluate(LinearGaussian.log_marginal, exact, x), exact.log_marginal(x))
    with pytest.raises(ValueError, match="batch_size counts examples and must be at least 1, not 0"):
        evaluate(elbo, make(), GOOD, batch_size=0)


@pytest.mark.parametrize("training", [True, False])
def test_evaluate_leaves_the_mode_as_it_was(training):
    model = make().train(training)

    def asserts_evaluation(model: nn.Module, x: Tensor) -> Tensor:
        assert not model.training
        return reversed_sum(model, x)

    evaluate(asserts_evaluation, model, GOOD)
    assert model.training == training
    with pytest.raises(KeyboardInterrupt):
        evaluate(Stopping(elbo, 2), model, GOOD, batch_size=5)
    assert model.training == training


def test_loaded_weights_give_the_bounds_of_the_saved_ones(tmp_path):
    model, other = make(), make(1)
    run(model)
    save_weights(model, tmp_path / "weights")
    load_weights(other, tmp_path / "weights")
    saved, loaded = (evaluate(elbo, m, images(), prepare=data.binarize) for m in (model, other))
    assert torch.equal(saved, loaded)
