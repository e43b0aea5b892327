"""Tests of distributed.py: two processes of ``torchrun`` train as one would, and alone nothing changes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vae_src import distributed
from vae_src.data import rescale, sample
from vae_src.distributions import NormalLikelihood
from vae_src.models import mlp_autoencoder
from vae_src.objectives import reconstruction
from vae_src.randomness import seeded
from vae_src.training import TrainConfig, fit

PROGRAM = """
import sys
from pathlib import Path
import torch
from vae_src import TrainConfig, binarize, elbo, fit, mlp_autoencoder, mlp_vae, rate_distortion, rescale
from vae_src import seeded, training
from vae_src.data import sample
from vae_src.distributed import process_group, rank, world_size
from vae_src.distributions import NormalLikelihood
from vae_src.objectives import reconstruction

training.CHECKPOINT_SECONDS = 0
folder, task = Path(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
images = sample("mnist").train.images[:96]
with process_group() as device, seeded(rank() + 5):  # each process starts from other weights
    assert (device.type, world_size()) == ("cpu", 2)
    if task == "plain":
        with seeded(7 if rank() == 0 else None):
            model = mlp_autoencoder(2, (8,), NormalLikelihood())
        config = TrainConfig(num_epochs=2, batch_size=32)
        history = fit(model, images, reconstruction, config, prepare=rescale)
        torch.save(([p.grad for p in model.parameters()], history.objective), folder / f"plain{rank()}.pt")
    if task in ("whole", "noisy"):
        model = mlp_vae(2, (8,))
        calls, tosses = [], []

        def objective(model, x):
            calls.append(1)
            tosses.append(torch.rand(()).item())
            if task == "noisy" and len(calls) == 8:
                raise KeyboardInterrupt
            return elbo(model, x)

        config = TrainConfig(num_epochs=4, batch_size=32, monitor_size=20)
        history = fit(model, images, objective, config, prepare=binarize, monitor=rate_distortion,
                      checkpoint=folder / f"{sys.argv[3]}.safetensors")
        weights = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
        found = (weights, history.objective, history.interrupted, tosses)
        torch.save(found, folder / f"{sys.argv[3]}{rank()}.pt")
    if task == "odd":
        fit(mlp_vae(2, (8,)), images, elbo, TrainConfig(batch_size=33), prepare=binarize)
    if task == "apart":  # as on two machines that share no disk: only the second one finds the file
        file = folder / ("whole.safetensors" if rank() == 1 else "apart.safetensors")
        config = TrainConfig(num_epochs=4, batch_size=32, monitor_size=20)
        fit(mlp_vae(2, (8,)), images, elbo, config, prepare=binarize, checkpoint=file)
"""


def torchrun(folder: Path, *task: str) -> subprocess.CompletedProcess:
    program = folder / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {key: value for key, value in os.environ.items() if key != "TQDM_DISABLE"}
    command += [str(program), str(folder), *task]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("torchrun")


def saved(folder: Path, name: str) -> list:
    return [torch.load(folder / f"{name}{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.slow
def test_two_processes_have_the_gradients_and_the_history_of_one(folder):
    result = torchrun(folder, "plain")
    assert result.returncode == 0, result.stderr
    with seeded(7):
        model = mlp_autoencoder(2, (8,), NormalLikelihood())
    images = sample("mnist").train.images[:96]
    history = fit(model, images, reconstruction, TrainConfig(num_epochs=2, batch_size=32), prepare=rescale)
    for gradients, objective in saved(folder, "plain"):
        for ours, theirs in zip(model.parameters(), gradients, strict=True):
            torch.testing.assert_close(theirs, ours.grad, rtol=1e-4, atol=1e-5)
        assert objective == pytest.approx(history.objective, rel=1e-6)
    assert result.stderr.count("6/6") == 1, "two bars, or none"


@pytest.mark.slow
def test_an_interrupted_run_of_two_processes_goes_on_to_the_same_end(folder):
    for task, name in (("whole", "whole"), ("noisy", "cut"), ("whole", "cut")):
        result = torchrun(folder, task, name)
        assert result.returncode == 0, result.stderr
        if task == "noisy":
            assert [(len(run[1]), run[2]) for run in saved(folder, "cut")] == [(2, True)] * 2
    whole, resumed = saved(folder, "whole"), saved(folder, "cut")
    assert torch.equal(whole[0][0], whole[1][0])  # both processes end with the same weights
    for expected, found in zip(whole, resumed, strict=True):
        assert torch.equal(expected[0], found[0])
        assert expected[1:3] == found[1:3]
    assert not set(whole[0][3]) & set(whole[1][3]), "the two processes draw the same noise"
    assert len(list(folder.glob("whole*.safetensors"))) == 1


@pytest.mark.slow
def test_what_two_processes_cannot_do_is_said(folder):
    result = torchrun(folder, "odd")
    assert "batch_size=33 cannot be shared evenly by 2 processes: take a multiple of" in result.stderr
    if not (folder / "whole.safetensors").exists():
        torchrun(folder, "whole", "whole")
    result = torchrun(folder, "apart")
    assert (
        "process 1 goes on from epoch 4, the first process from epoch 0: keep the checkpoint" in result.stderr
    )


def test_alone_nothing_happens(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    values = [torch.rand(2, 3), torch.rand(())]
    before = [value.clone() for value in values]
    with distributed.process_group() as device:
        assert (distributed.rank(), distributed.world_size()) == (0, 1)
        assert device.type == ("cuda" if torch.cuda.is_available() else "cpu")
        distributed.mean_over_processes(values)
        distributed.same_as_first(values)
    assert all(map(torch.equal, values, before))
