"""Tests of experiments: a run from the command line to its record, small."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from vae_src import data, trained, training
from vae_src.checkpoints import load_weights
from vae_src.evaluation import active_units, estimate, log_marginal
from vae_src.experiments import __main__ as command_line
from vae_src.experiments import inference_gaps, iwae_table1, records, runs
from vae_src.models import VAE, mlp_autoencoder, mlp_vae
from vae_src.objectives import elbo, iwae_bound, reconstruction
from vae_src.randomness import seeded
from vae_src.training import TrainConfig, evaluate

CONFIG = TrainConfig(num_epochs=2, batch_size=32, learning_rate=0.01, monitor_size=20)
TINY = runs.Run("Does it run?", lambda: mlp_vae(2, (3,)), CONFIG)


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
    monkeypatch.setattr(runs, "RUNS", {"tiny": TINY, "coder": coder})
    monkeypatch.setattr(records, "ROOT", tmp_path)
    for module in (records, runs, iwae_table1):
        monkeypatch.setattr(module, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(command_line, "mnist", lambda device: images)
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0)
    return tmp_path


def main(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["experiments", *arguments, "--device", "cpu"])
    command_line.main()


def read(home, name: str) -> dict:
    return json.loads((home / "book" / "results" / f"{name}.json").read_text())


def test_a_run_leaves_weights_and_a_record_that_agree(home, monkeypatch, images):
    main(monkeypatch, "tiny")
    record, path = read(home, "tiny"), home / "weights" / "tiny.safetensors"
    assert record["weights_sha256"] == trained.sha256(path)
    with seeded(5):
        model = TINY.build()
    load_weights(model, path)
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

    monkeypatch.setitem(runs.RUNS, "tiny", replace(TINY, objective=stopped))
    with pytest.raises(SystemExit, match="Interrupted after 1 epochs: the same command goes on from there"):
        main(monkeypatch, "tiny")
    assert not (home / "book" / "results" / "tiny.json").exists()
    monkeypatch.setitem(runs.RUNS, "tiny", TINY)
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
    monkeypatch.setattr(command_line, "mnist", lambda device: full)
    main(monkeypatch, "digit-classifier")
    record = read(home, "digit-classifier")
    assert record["metrics"]["accuracy"]["images"] == 300
    assert record["metrics"]["accuracy"]["mean"] > 0.75
    assert record["weights_sha256"] == trained.sha256(home / "weights" / "digit-classifier.safetensors")


def test_the_sample_is_not_enough_for_a_record(home, monkeypatch, images):
    monkeypatch.setattr(command_line, "mnist", lambda device: images._replace(source="sample"))
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
    for name, run in runs.RUNS.items():
        with seeded(0):
            model = run.build()
        bounds = run.objective(model, run.prepare(x))
        assert bounds.shape == (8,), name
        assert bounds.isfinite().all(), name
        bounds.mean().backward()


# ---------------------------------------------------------------- table 1 of Burda et al.


def test_the_schedule_of_table_1_is_the_papers():
    paper = [iwae_table1.Cell(1, batch_size=20).config(stage) for stage in range(8)]
    assert sum(config.num_epochs for config in paper) == 3280
    rates = [config.learning_rate for config in paper]
    # what the authors' code has, rounded to one digit after the point of 10^(1 − i/7)
    assert [round(1e4 * rate, 1) for rate in rates] == [10, 7.2, 5.2, 3.7, 2.7, 1.9, 1.4, 1.0]
    assert {(config.adam_epsilon, config.schedule(0.7)) for config in paper} == {(1e-4, 1.0)}
    ours = iwae_table1.Cell(1).config(3)
    assert ours.batch_size == 100
    assert ours.learning_rate == pytest.approx(rates[3] * 5**0.5)
    seeds = {iwae_table1.Cell(1, seed).config(stage).seed for seed in range(5) for stage in range(8)}
    assert len(seeds) == 40


def test_the_network_of_table_1_starts_as_the_papers(images):
    with seeded(0):
        model = iwae_table1.build(images.train.images)
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    shapes = [(layer.in_features, layer.out_features) for layer in layers]
    assert shapes == [(784, 200), (200, 200), (200, 100), (50, 200), (200, 200), (200, 784)]
    assert sum(isinstance(module, torch.nn.Tanh) for module in model.modules()) == 4
    for layer in layers:
        limit = (6 / (layer.in_features + layer.out_features)) ** 0.5  # Glorot & Bengio 2010, eq. 16
        assert layer.weight.abs().max() <= limit
        assert layer.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.05)
    assert not any(layer.bias.any() for layer in layers[:-1])
    mean = images.train.images.double().mean(0).flatten() / 255
    torch.testing.assert_close(
        layers[-1].bias.sigmoid().double(), mean.clamp(0.001, 0.999), atol=1e-6, rtol=0
    )


def test_a_cell_of_the_table_leaves_weights_and_a_record(home, monkeypatch, images):
    def watched(model: VAE, x: torch.Tensor, num_samples: int) -> torch.Tensor:
        seen.add(num_samples)
        return iwae_bound(model, x, num_samples)

    seen: set[int] = set()
    monkeypatch.setattr(iwae_table1, "iwae_bound", watched)
    monkeypatch.setattr(iwae_table1, "log_marginal", lambda m, x, k, **sizes: log_marginal(m, x, k // 100))
    options = ["--rows", "2", "--seeds", "3", "--batch-size", "32"]
    main(monkeypatch, "iwae-table1", *options, "--stages", "1")
    name = "iwae-table1-k2-batch32-seed3"
    assert seen == {2}  # the k of the row is the k of the objective
    short = read(home, name)
    main(monkeypatch, "iwae-table1", *options, "--stages", "2")  # goes on from the first stage
    record = read(home, name)
    assert short["row"] == {"k": 2, "seed": 3, "stages": 1, "batch_size": 32, "epochs": 1}
    assert record["row"] == {"k": 2, "seed": 3, "stages": 2, "batch_size": 32, "epochs": 4}
    assert record["command"].endswith("iwae-table1 --rows 2 --seeds 3 --stages 2 --batch-size 32")
    assert record["data"]["train"] == 120  # all training images: the 20 of the validation split too
    path = home / "weights" / f"{name}.safetensors"
    assert record["weights_sha256"] == trained.sha256(path) != short["weights_sha256"]
    model = iwae_table1.build(images.train.images)
    load_weights(model, path)
    with seeded(0):
        x = data.binarize(images.test.images)
    expected = estimate(log_marginal(model, x, 50))
    assert record["metrics"]["log_marginal_5000"] == pytest.approx(expected._asdict() | {"images": 40})
    assert [stage["epochs"] for stage in record["stages"]] == [1, 4]
    assert all(stage["log_marginal_1000"]["mean"] < -100 for stage in record["stages"])
    assert record["metrics"]["active_units"] == active_units(model, x).count
    assert record["metrics"]["elbo"]["mean"] < record["metrics"]["log_marginal_5000"]["mean"]

    for file in (home / ".checkpoints").iterdir():
        file.unlink()
    main(monkeypatch, "iwae-table1", *options, "--stages", "2")  # in one sitting: the same model
    assert read(home, name)["weights_sha256"] == record["weights_sha256"]


@pytest.mark.parametrize("bad", [{"k": 0}, {"stages": 0}, {"stages": 9}, {"batch_size": 0}])
def test_a_cell_that_cannot_be_is_refused(bad):
    with pytest.raises(ValueError, match="k and batch_size of at least 1 and 1 to 8 stages, not"):
        iwae_table1.Cell(**{"k": 1, **bad})


# ---------------------------------------------------------------- provenance


def test_the_gaps_of_a_model_leave_a_record(home, monkeypatch):
    main(monkeypatch, "tiny")
    monkeypatch.setattr(inference_gaps, "NAME", "gaps")
    monkeypatch.setattr(inference_gaps, "MODEL", "tiny")
    monkeypatch.setattr(inference_gaps, "build", TINY.build)
    monkeypatch.setattr(inference_gaps, "NUM_IMAGES", 6)
    monkeypatch.setattr(
        inference_gaps,
        "load_trained",
        load_tiny := lambda model, name: load_weights(model, home / "weights" / f"{name}.safetensors"),
    )
    quick = {"num_steps": 20, "num_samples": 2, "num_evaluations": 50, "num_importance": 50, "seed": 0}
    monkeypatch.setattr(inference_gaps, "SETTINGS", quick)
    main(monkeypatch, "gaps")
    record = read(home, "gaps")
    assert record["weights_sha256"] == trained.sha256(home / "weights" / "tiny.safetensors")
    assert (record["model"], record["settings"]) == ("tiny", quick)
    model = TINY.build()
    load_tiny(model, "tiny")
    small = data.sample("mnist")
    for which, split in (("test", small.test), ("train", small.train)):
        x = inference_gaps.images(split, 6)
        expected = inference_gaps.inference_gaps(model, x, **quick)
        for rung, values in expected._asdict().items():
            assert record["values"][which][rung] == pytest.approx(values.tolist(), abs=6e-4), rung
            found = record["metrics"][which][rung]
            assert found == pytest.approx(estimate(values)._asdict() | {"images": 6}, abs=1e-4)
        paired = record["metrics"][which]["amortization"]
        assert paired == pytest.approx(estimate(expected.amortization)._asdict() | {"images": 6}, abs=1e-4)
    shorter = inference_gaps.images(small.test, 2)
    assert torch.equal(shorter, inference_gaps.images(small.test, 6)[:2])


def test_provenance_does_not_need_git(tmp_path, monkeypatch):
    assert records.cpu_name()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(records, "ROOT", tmp_path)
    assert records.commit() == "unknown"
    monkeypatch.setenv("PATH", str(tmp_path))  # no git at all
    assert records.commit() == "unknown"


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
    monkeypatch.setattr(records, "ROOT", tmp_path)
    assert records.commit() == git("rev-parse", "HEAD")
    (tmp_path / "notes.txt").write_text("beside the package")
    assert records.commit() == git("rev-parse", "HEAD")
    (tmp_path / "vae_src" / "a.py").write_text("2")
    assert records.commit() == git("rev-parse", "HEAD") + " with changes"
