"""Tests of experiments.py: a run from the command line to its record, small."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from vae_src import data, experiments, trained
from vae_src.evaluation import estimate
from vae_src.models import VAE, mlp_autoencoder, mlp_vae
from vae_src.objectives import elbo, reconstruction
from vae_src.randomness import seeded
from vae_src.training import TrainConfig, evaluate

CONFIG = TrainConfig(num_epochs=2, batch_size=32, learning_rate=0.01, monitor_size=20)
TINY = experiments.Run("Does it run?", lambda: mlp_vae(2, (3,)), CONFIG)


def few(split: data.Split, n: int) -> data.Split:
    return data.Split(split.images[:n], split.labels[:n])


@pytest.fixture
def images() -> data.ImageData:
    """A hundred images that claim to come from the whole set."""
    small = data.sample("mnist")
    splits = [few(split, n) for split, n in zip(small[:3], (100, 20, 40), strict=True)]
    return data.ImageData(*splits, "mnist", "cache")


@pytest.fixture
def home(tmp_path, monkeypatch, images):
    """An empty project in which ``tiny`` and ``coder`` are the runs."""
    coder = replace(TINY, build=lambda: mlp_autoencoder(2, (3,)), objective=reconstruction, monitor=None)
    monkeypatch.setattr(experiments, "RUNS", {"tiny": TINY, "coder": coder})
    monkeypatch.setattr(experiments, "ROOT", tmp_path)
    monkeypatch.setattr(experiments, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(experiments, "mnist", lambda device: images)
    return tmp_path


def main(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["experiments", *arguments, "--device", "cpu"])
    experiments.main()


def read(home, name: str) -> dict:
    return json.loads((home / "book" / "results" / f"{name}.json").read_text())


def test_a_run_leaves_weights_and_a_record_that_agree(home, monkeypatch, images):
    main(monkeypatch, "tiny")
    record, path = read(home, "tiny"), home / "weights" / "tiny.safetensors"
    assert record["weights_sha256"] == trained.sha256(path)
    with seeded(5):
        model = TINY.build()
    experiments.load_weights(model, path)
    metrics = record["metrics"]
    found = estimate(evaluate(elbo, model, images.test.images, prepare=data.binarize))
    assert metrics["elbo"] == pytest.approx(found._asdict() | {"images": 40})
    assert metrics["elbo"]["mean"] == pytest.approx(-metrics["rate"]["mean"] - metrics["distortion"]["mean"])
    assert metrics["log_marginal_1000"]["mean"] > metrics["elbo"]["mean"]
    assert metrics["active_units"] in (0, 1, 2)
    assert (record["name"], record["command"]) == ("tiny", "python -m vae_src.experiments tiny")
    assert (record["question"], record["config"]) == ("Does it run?", CONFIG.describe())
    assert (record["seed"], record["prepare"]) == (0, "binarize")
    assert record["parameters"] == 784 * 3 + 3 + 3 * 4 + 4 + 2 * 3 + 3 + 3 * 784 + 784
    assert record["data"] == {"name": "mnist", "source": "cache", "train": 100}
    assert record["history"]["epochs"] == [1, 2]
    assert {"device", "threads", "versions", "commit", "date", "minutes"} <= record.keys()
    left = sorted(p.relative_to(home).as_posix() for p in home.rglob("*") if p.is_file())
    assert left == ["book/results/tiny.json", "weights/tiny.safetensors"]  # no checkpoint, no aside


def test_a_run_repeats(home, monkeypatch):
    main(monkeypatch, "tiny")
    first = read(home, "tiny")
    main(monkeypatch, "tiny")
    second = read(home, "tiny")
    for key in ("weights_sha256", "metrics", "history"):
        assert first[key] == second[key], key


def test_an_interrupted_run_goes_on_to_the_same_end(home, monkeypatch):
    main(monkeypatch, "tiny")
    expected, calls = read(home, "tiny"), []
    (home / "book" / "results" / "tiny.json").unlink()

    def stopped(model: VAE, x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 5:  # three steps an epoch
            raise KeyboardInterrupt
        return elbo(model, x)

    monkeypatch.setitem(experiments.RUNS, "tiny", replace(TINY, objective=stopped))
    with pytest.raises(SystemExit, match="Interrupted after 1 epochs: the same command goes on from there"):
        main(monkeypatch, "tiny")
    assert not (home / "book" / "results" / "tiny.json").exists()
    monkeypatch.setitem(experiments.RUNS, "tiny", TINY)
    main(monkeypatch, "tiny")
    for key in ("weights_sha256", "metrics", "history"):
        assert read(home, "tiny")[key] == expected[key], key


def test_an_autoencoder_has_one_metric_and_no_bound(home, monkeypatch):
    main(monkeypatch, "coder")
    record = read(home, "coder")
    assert list(record["metrics"]) == ["reconstruction"]
    assert record["metrics"]["reconstruction"]["images"] == 40


def test_the_judge_of_digits_learns(home, monkeypatch):
    small = data.sample("mnist")
    full = data.ImageData(
        few(small.train, 2000), few(small.validation, 10), few(small.test, 300), "mnist", "cache"
    )
    monkeypatch.setattr(experiments, "mnist", lambda device: full)
    main(monkeypatch, "digit-classifier")
    record = read(home, "digit-classifier")
    assert record["metrics"]["accuracy"]["images"] == 300
    assert record["metrics"]["accuracy"]["mean"] > 0.75
    assert record["weights_sha256"] == trained.sha256(home / "weights" / "digit-classifier.safetensors")


def test_the_sample_is_not_enough_for_a_record(home, monkeypatch, images):
    monkeypatch.setattr(experiments, "mnist", lambda device: images._replace(source="sample"))
    with pytest.raises(SystemExit, match=r"whole of MNIST is needed .* see book/running\.md"):
        main(monkeypatch, "tiny")
    assert not list(home.iterdir())


def test_an_unknown_experiment_lists_those_that_exist(home, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        main(monkeypatch, "tiniest")
    message = capsys.readouterr().err
    for name in ("tiniest", "tiny", "coder", "digit-classifier"):
        assert name in message


def test_every_run_builds_and_learns_a_step():
    x = data.sample("mnist").train.images[:8]
    for name, run in experiments.RUNS.items():
        with seeded(0):
            model = run.build()
        bounds = run.objective(model, run.prepare(x))
        assert bounds.shape == (8,), name
        assert bounds.isfinite().all(), name
        bounds.mean().backward()


def test_provenance_does_not_need_git(tmp_path, monkeypatch):
    assert experiments.cpu_name()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(experiments, "ROOT", tmp_path)
    assert experiments.commit() == "unknown"
    monkeypatch.setenv("PATH", str(tmp_path))  # no git at all
    assert experiments.commit() == "unknown"


def test_the_commit_is_marked_when_the_package_differs(tmp_path, monkeypatch):
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        git("init")
    except OSError:
        pytest.skip("there is no git here")
    (tmp_path / "vae_src").mkdir()
    (tmp_path / "vae_src" / "a.py").write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    monkeypatch.setattr(experiments, "ROOT", tmp_path)
    assert experiments.commit() == git("rev-parse", "HEAD")
    (tmp_path / "notes.txt").write_text("beside the package")
    assert experiments.commit() == git("rev-parse", "HEAD")
    (tmp_path / "vae_src" / "a.py").write_text("2")
    assert experiments.commit() == git("rev-parse", "HEAD") + " with changes"
