"""Tests of trained.py: every shipped model is the one its record describes, and as good as it says."""

import importlib.resources
import json
import math

import pytest
import torch

from vae_src import data, trained
from vae_src.checkpoints import save_weights
from vae_src.evaluation import active_units, estimate, log_marginal
from vae_src.experiments import inference_gaps, iwae_table1, runs
from vae_src.models import VAE, mlp_vae
from vae_src.objectives import elbo, rate_distortion
from vae_src.randomness import seeded
from vae_src.training import evaluate

RESULTS = importlib.resources.files("vae_src.results")
SHIPPED = sorted(file.stem for file in trained.WEIGHTS.glob("*.safetensors"))
RECORDS = sorted(f.name.removesuffix(".json") for f in RESULTS.iterdir() if f.name.endswith(".json"))
RECORDED = [name for name in runs.RUNS if name in RECORDS]

# ---------------------------------------------------------------- what ships


@pytest.mark.parametrize("name", sorted({*SHIPPED, *RECORDED}))
def test_shipped_weights_are_those_of_their_record(name):
    record = trained.record(name)
    assert record["name"] == name
    assert trained.sha256(trained.WEIGHTS / f"{name}.safetensors") == record["weights_sha256"]
    assert record["data"]["train"] == (60_000 if name.startswith("iwae-table1") else 50_000)
    assert record["data"]["source"] != "sample"


@pytest.mark.parametrize("name", RECORDED)
def test_a_record_holds_what_the_shipped_model_does(name):
    """The record against the first 500 test images, which every copy of the package has."""
    run = runs.RUNS[name]
    with seeded(0):
        model = run.build()
    record = trained.load_trained(model, name)
    assert record["config"] == run.config.describe()
    assert record["prepare"] == run.prepare.__name__
    assert record["parameters"] == sum(p.numel() for p in model.parameters())

    images = data.sample("mnist").test.images[:500]
    measured = {run.objective.__name__: evaluate(run.objective, model, images, prepare=run.prepare)}
    if isinstance(model, VAE):
        measured |= evaluate(rate_distortion, model, images, prepare=run.prepare)._asdict()
    for metric, values in measured.items():
        here, there = estimate(values), record["metrics"][metric]
        assert there["images"] == 10_000
        error = math.hypot(here.standard_error, there["standard_error"])
        assert abs(here.mean - there["mean"]) <= 5 * error, metric


@pytest.mark.parametrize("name", [n for n in RECORDED if runs.RUNS[n].objective is elbo])
def test_the_numbers_of_a_record_agree_with_each_other(name):
    record = trained.record(name)
    metrics = record["metrics"]
    rate, distortion = metrics["rate"], metrics["distortion"]
    # the same draws: the objective is evaluated with the seed of its two terms
    assert metrics["elbo"]["mean"] == pytest.approx(-rate["mean"] - distortion["mean"], abs=1e-3)
    assert metrics["log_marginal_1000"]["images"] == 1000
    with seeded(0):
        model = runs.RUNS[name].build()
    trained.load_trained(model, name)
    latents = model.prior.event_shape[0]
    assert 1 <= metrics["active_units"] <= latents
    assert rate["mean"] > 0
    # 1,000 draws tighten the bound on the images they were drawn for, the first 1,000 of the test set
    with torch.no_grad():
        bound = evaluate(elbo, model, data.sample("mnist").test.images, prepare=runs.RUNS[name].prepare)
    here, there = estimate(bound), metrics["log_marginal_1000"]
    gain = (bound.std().item() + 1) / math.sqrt(len(bound))  # the images are the same, the draws are not
    assert there["mean"] > here.mean - gain


TABLE = [record["name"] for record in trained.records("iwae-table1")]


@pytest.mark.parametrize("name", TABLE)
def test_a_number_of_the_table_is_what_the_shipped_model_gives(name):
    """The record against the first 200 test images, which every copy of the package has."""
    full = trained.record(name)
    row, metrics = full["row"], full["metrics"]
    model = iwae_table1.build(data.sample("mnist").train.images)
    trained.load_trained(model, name)
    assert row["epochs"] == sum(3**i for i in range(row["stages"]))
    cell = iwae_table1.Cell(row["k"], row["seed"], row["stages"], row["batch_size"])
    assert (cell.name, full["config"]) == (name, cell.config(row["stages"] - 1).describe())
    with seeded(0):
        x = data.binarize(data.sample("mnist").test.images)
    here = estimate(log_marginal(model, x[:200], 5000))
    there, first = metrics["log_marginal_5000"], metrics["log_marginal_5000_first"]
    assert (there["images"], first["images"]) == (10_000, 200)
    # the same images; the draws are the same only on the same kind of device, and 5,000 leave little noise
    assert here.mean == pytest.approx(first["mean"], abs=0.1)
    assert abs(there["mean"] - first["mean"]) <= 4 * first["standard_error"]
    assert abs(active_units(model, x).count - metrics["active_units"]) <= 1
    assert there["mean"] > metrics["elbo"]["mean"]


def test_the_recorded_gaps_are_those_of_the_shipped_model():
    """The record against the first 10 test images, optimised anew."""
    full, model = trained.record(inference_gaps.NAME), inference_gaps.build()
    weights = trained.load_trained(model, inference_gaps.MODEL)["weights_sha256"]
    assert full["weights_sha256"] == weights
    assert (full["model"], full["settings"]) == (inference_gaps.MODEL, inference_gaps.SETTINGS)
    x = inference_gaps.images(data.sample("mnist").test, 10)
    here = inference_gaps.inference_gaps(model, x, **inference_gaps.SETTINGS)
    for rung, values in here._asdict().items():
        there = torch.tensor(full["values"]["test"][rung])
        assert len(there) == inference_gaps.NUM_IMAGES
        # the same images with other draws, 1,000 for each bound
        assert (values - there[:10]).abs().max() < 0.5, rung
        assert values.mean().item() == pytest.approx(there[:10].mean().item(), abs=0.12), rung


def test_the_recorded_ladder_climbs_and_its_means_are_those_of_its_values():
    full = trained.record(inference_gaps.NAME)
    for which, values in full["values"].items():
        ladder = inference_gaps.InferenceGaps(*(torch.tensor(column).double() for column in values.values()))
        assert list(values) == list(ladder._fields)
        for metric, there in full["metrics"][which].items():
            here = estimate(getattr(ladder, metric))
            assert here.mean == pytest.approx(there["mean"], abs=1e-3), metric
            assert here.standard_error == pytest.approx(there["standard_error"], abs=1e-3), metric
        means = [column.mean().item() for column in ladder]
        assert means == sorted(means)


def test_records_are_found_by_the_beginning_of_their_name(shelf):
    (shelf / "tin.json").write_text('{"name": "tin"}')
    assert [record["name"] for record in trained.records("tin")] == ["tin", "tiny"]
    assert [record["name"] for record in trained.records("tiny")] == ["tiny"]
    assert trained.records("another") == []
    assert trained.records("iny") == []


@pytest.mark.skipif("digit-classifier" not in SHIPPED, reason="not made yet")
def test_the_judge_of_digits_is_as_right_as_it_says():
    with seeded(0):
        model = runs.digit_classifier()
    accuracy = trained.load_trained(model, "digit-classifier")["metrics"]["accuracy"]
    test = data.sample("mnist").test
    with torch.no_grad():
        right = (model(data.rescale(test.images)).argmax(1) == test.labels).double()
    error = math.hypot(estimate(right).standard_error, accuracy["standard_error"])
    assert abs(right.mean().item() - accuracy["mean"]) <= 5 * error
    assert accuracy["mean"] > 0.95


# ---------------------------------------------------------------- refusals


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder of weights and records with one model in it."""
    monkeypatch.setattr(trained, "WEIGHTS", tmp_path)
    monkeypatch.setattr(importlib.resources, "files", lambda package: tmp_path)
    with seeded(0):
        model = mlp_vae(2, (3,), event_shape=(4,))
    save_weights(model, tmp_path / "tiny.safetensors")
    record = {"name": "tiny", "weights_sha256": trained.sha256(tmp_path / "tiny.safetensors")}
    (tmp_path / "tiny.json").write_text(json.dumps(record))
    return tmp_path


def other() -> VAE:
    with seeded(1):
        return mlp_vae(2, (3,), event_shape=(4,))


def test_weights_come_with_their_record(shelf):
    model = other()
    assert trained.load_trained(model, "tiny")["name"] == "tiny"
    with seeded(0):
        expected = mlp_vae(2, (3,), event_shape=(4,)).state_dict()
    for key, value in model.state_dict().items():
        assert torch.equal(value, expected[key])


@pytest.mark.parametrize("function", [trained.record, lambda name: trained.load_trained(other(), name)])
def test_an_unknown_name_lists_those_that_exist(shelf, function):
    (shelf / "another.json").write_text("{}")
    with pytest.raises(ValueError, match=r"there is no record named 'tiniest'; there are: another, tiny$"):
        function("tiniest")
    for file in shelf.glob("*.json"):
        file.unlink()
    with pytest.raises(ValueError, match=r"there are: none yet$"):
        function("tiny")


def test_damaged_weights_are_refused(shelf):
    path = shelf / "tiny.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # one bit of one weight: still a valid file
    path.write_bytes(content)
    model = other()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    message = (
        r"tiny\.safetensors has checksum [0-9a-f]{12} but its record says [0-9a-f]{12}: restore the file"
    )
    with pytest.raises(ValueError, match=message):
        trained.load_trained(model, "tiny")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    path.unlink()
    with pytest.raises(ValueError, match=r"has checksum missing .* python -m vae_src\.experiments tiny"):
        trained.load_trained(model, "tiny")


def test_a_model_of_another_architecture_is_refused(shelf):
    with pytest.raises(ValueError, match="weights of another architecture"):
        trained.load_trained(mlp_vae(3, (3,), event_shape=(4,)), "tiny")


def test_the_checksum_is_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")  # the example of FIPS 180-2
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert trained.sha256(tmp_path / "file") == expected
