"""Properties of every public name, over shapes, dtypes, devices and seeds: what must hold for any input.

The oracles are identities, symmetries, inequalities and closed forms, never a second implementation.
Examples are drawn by hypothesis with a fixed seed; where a mean is estimated, the bounds are 5 standard
errors wide. The last test fails when a public name has no property here.
"""

import ast
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import assume, given, is_hypothesis_test, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, kl_divergence

import vae_src as vs
from vae_src import data as data_module
from vae_src.downloads import FetchError
from vae_src.networks import Flatten, Unflatten

F64 = torch.float64
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]

few = settings(max_examples=12, deadline=None, derandomize=True)
some = settings(max_examples=30, deadline=None, derandomize=True)

seeds = st.integers(0, 2**31)
sizes = st.integers(1, 4)
dtypes = st.sampled_from([torch.float32, F64])
all_floats = st.sampled_from([torch.float16, torch.bfloat16, torch.float32, F64])
leading = st.lists(st.integers(1, 3), max_size=2).map(tuple)
devices = st.sampled_from(DEVICES)
SHAPE = (1, 4, 6)  # of the images of most tests

SUBJECTS: dict[str, list[Callable]] = {}


def about(*names: str) -> Callable:
    """Say which public names a property is about; the last test holds this list to the code."""

    def mark(test: Callable) -> Callable:
        for name in names:
            SUBJECTS.setdefault(name, []).append(test)
        return test

    return mark


def normal(seed: int, *shape: int, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def binary(seed: int, *shape: int, dtype: torch.dtype = F64) -> Tensor:
    return (normal(seed, *shape) > 0).to(dtype)


def close(one: Tensor, other: Tensor) -> None:
    """Equal up to the rounding of their dtype."""
    tolerance = {F64: 1e-9, torch.float32: 1e-4}.get(one.dtype, 0.1)
    torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)


def mean_and_error(draws: Tensor) -> tuple[Tensor, Tensor]:
    return draws.mean(-1), draws.std(-1) / math.sqrt(draws.shape[-1]) + 1e-9


def build(kind: str, likelihood: str = "bernoulli", seed: int = 0, latent: int = 2) -> nn.Module:
    """A small model of images of shape SHAPE."""
    head = {"bernoulli": vs.BernoulliLikelihood, "normal": lambda: vs.NormalLikelihood(0.7)}[likelihood]()
    with vs.seeded(seed):
        if kind == "conv":
            return vs.conv_vae(latent, (2,), 5, head, SHAPE)
        make = vs.mlp_vae if kind == "mlp" else vs.mlp_autoencoder
        return make(latent, (5,), head, nn.Tanh, SHAPE)


kinds = st.sampled_from(["mlp", "conv"])
likelihoods = st.sampled_from(["bernoulli", "normal"])


@st.composite
def linear_models(draw: st.DrawFn) -> vs.LinearGaussian:
    """A linear decoder of any size, with noise from small to large."""
    features, latent, seed = draw(st.integers(1, 5)), draw(st.integers(1, 3)), draw(seeds)
    scale = draw(st.floats(0.3, 3))
    return vs.LinearGaussian(normal(seed, features, latent), normal(seed + 1, features), scale)


class Wrong:
    """A linear decoder whose encoder is a diagonal Gaussian that is not the posterior."""

    def __init__(self, exact: vs.LinearGaussian, shift: float, stretch: float):
        self.exact, self.shift, self.stretch = exact, shift, stretch
        self.prior, self.decode = exact.prior, exact.decode

    def encode(self, x: Tensor) -> Distribution:
        q = self.exact.posterior(x)
        return Independent(Normal(q.mean + self.shift, self.stretch * q.stddev), 1)

    def gap(self, x: Tensor) -> Tensor:
        q = self.encode(x)
        full = MultivariateNormal(q.mean, scale_tril=torch.diag_embed(q.stddev))
        return kl_divergence(full, self.exact.posterior(x))


wrong_models = st.builds(Wrong, linear_models(), st.floats(-0.5, 0.5), st.floats(0.6, 1.3))


# ---------------------------------------------------------------- where the evidence is known


@about("LinearGaussian", "log_weights", "iwae_bound", "log_marginal", "effective_sample_size")
@some
@given(model=linear_models(), batch=sizes, k=st.integers(1, 5), chunk=sizes, seed=seeds)
def test_with_the_exact_posterior_every_estimate_is_the_evidence(model, batch, k, chunk, seed):
    x = 3 * normal(seed, batch, len(model.offset))
    evidence = model.log_marginal(x)
    with vs.seeded(seed):
        log_w = vs.log_weights(model, x, k)
        close(log_w, evidence.expand(k, batch))
        close(vs.iwae_bound(model, x, k), evidence)
    close(vs.log_marginal(model, x, k, chunk_size=chunk, batch_size=chunk, seed=seed), evidence)
    close(vs.effective_sample_size(log_w), torch.full((batch,), float(k), dtype=F64))


@about("LinearGaussian")
@some
@given(model=linear_models(), seed=seeds)
def test_a_linear_gaussian_obeys_bayes_at_every_code(model, seed):
    x, z = normal(seed, 3, len(model.offset)), normal(seed + 1, 7, 3, model.weight.shape[1])
    joint = model.prior.log_prob(z) + model.decode(z).log_prob(x)
    close(joint - model.posterior(x).log_prob(z), model.log_marginal(x).expand(7, 3))


@about("elbo", "rate_distortion")
@few
@given(model=wrong_models, seed=seeds)
def test_the_elbo_is_below_the_evidence_by_the_gap(model, seed):
    n, x = 2000, normal(seed, 2, len(model.exact.offset))
    evidence = model.exact.log_marginal(x)
    rows = x.repeat_interleave(n, 0)
    with vs.seeded(seed):
        bound = vs.elbo(model, rows)
    with vs.seeded(seed):
        rate, distortion = vs.rate_distortion(model, rows)
    assert torch.equal(bound, -distortion - rate)
    mean, error = mean_and_error(bound.reshape(2, n))
    assert (mean <= evidence + 5 * error).all()
    assert ((mean - (evidence - model.gap(x))).abs() <= 5 * error).all()


@about("iwae_bound")
@few
@given(model=wrong_models, seed=seeds)
def test_more_draws_tighten_the_importance_weighted_bound(model, seed):
    n, x = 2000, normal(seed, 1, len(model.exact.offset))
    with vs.seeded(seed):
        means, errors = zip(
            *(mean_and_error(vs.iwae_bound(model, x.expand(n, -1), k)) for k in (1, 2, 8)), strict=True
        )
    for (low, high), (e, f) in zip(itertools.pairwise(means), itertools.pairwise(errors), strict=True):
        assert low <= high + 5 * (e**2 + f**2).sqrt()
    assert means[-1] <= model.exact.log_marginal(x) + 5 * errors[-1]


@about("ais")
@settings(few, max_examples=4)
@given(model=linear_models(), seed=seeds)
def test_annealing_stays_below_the_evidence_and_comes_closer(model, seed):
    n = 200
    x = model.marginal().mean.expand(n, -1)  # the same example n times, each with chains of its own
    evidence = model.log_marginal(x[:1])
    short, long = (vs.ais(model, x, 4, steps, num_leapfrog=2, seed=seed) for steps in (2, 20))
    for draws in (short, long):
        mean, error = mean_and_error(draws)
        assert mean <= evidence + 5 * error
        assert torch.isfinite(draws).all()
    difference, error = mean_and_error(long - short)
    assert difference >= -5 * error


@about("Grid")
@settings(few, max_examples=5)
@given(seed=seeds, latent=st.integers(1, 2), scale=st.floats(0.5, 2))
def test_a_grid_finds_the_evidence_and_a_posterior_that_sums_to_one(seed, latent, scale):
    model = vs.LinearGaussian(normal(seed, 3, latent), normal(seed + 1, 3), scale)
    x = normal(seed + 2, 2, 3)
    grid = vs.Grid(model, spacing=0.5)
    torch.testing.assert_close(grid.log_marginal(x), model.log_marginal(x), atol=2e-3, rtol=0)
    posterior = grid.posterior(x[:1])
    assert posterior.probability.sum().item() == pytest.approx(1, abs=1e-9)
    mean = posterior.probability @ posterior.z
    torch.testing.assert_close(mean, model.posterior(x[:1]).mean[0], atol=0.01, rtol=0)


# ---------------------------------------------------------------- one example does not see another

PER_EXAMPLE = {
    "elbo": vs.elbo,
    "beta_elbo": lambda m, x, k: vs.beta_elbo(m, x, 2.5, k),
    "iwae_bound": vs.iwae_bound,
    "stl": vs.stl,
    "log_weights": lambda m, x, k: vs.log_weights(m, x, k).T,
    "rate": lambda m, x, k: vs.rate_distortion(m, x, k).rate,
    "distortion": lambda m, x, k: vs.rate_distortion(m, x, k).distortion,
    "reconstruction": lambda m, x, k: vs.reconstruction(m, x),
}


@about("elbo", "beta_elbo", "iwae_bound", "log_weights", "rate_distortion", "reconstruction", "stl")
@some
@given(
    name=st.sampled_from(sorted(PER_EXAMPLE)),
    kind=kinds,
    likelihood=likelihoods,
    batch=st.integers(2, 4),
    k=sizes,
    dtype=dtypes,
    device=devices,
    seed=seeds,
    bad=st.sampled_from([None, math.nan, math.inf]),
)
def test_another_example_in_the_batch_changes_nothing(
    name, kind, likelihood, batch, k, dtype, device, seed, bad
):
    assume(bad is None or likelihood == "normal")  # BernoulliLikelihood refuses such pixels
    assume(bad != math.inf or name != "rate")  # tanh of infinity is a number, and so is its rate
    model = build("plain" if name == "reconstruction" else kind, likelihood).to(device, dtype)
    x = binary(seed, batch, *SHAPE, dtype=dtype).to(device)
    other = x.clone()
    other[0] = 1 - x[0] if bad is None else bad
    values = []
    for images in (x, other):
        with vs.seeded(seed):
            values.append(PER_EXAMPLE[name](model, images, k))
    assert values[0].shape[0] == batch
    assert values[0].dtype == dtype
    close(values[0][1:], values[1][1:])  # NaN stays in its row …
    if bad is None and name != "rate":
        assert not torch.equal(values[0][0], values[1][0])
    elif bad is not None:
        assert not values[1][0].isfinite().any()  # … and is never turned into a number


@about("beta_elbo", "elbo", "rate_distortion")
@some
@given(kind=kinds, likelihood=likelihoods, beta=st.floats(0, 10), k=sizes, seed=seeds)
def test_beta_weighs_a_rate_that_is_never_negative(kind, likelihood, beta, k, seed):
    model, x = build(kind, likelihood, seed).double(), binary(seed, 3, *SHAPE)

    def same_noise(function: Callable, *arguments: float) -> Tensor:
        with vs.seeded(seed):
            return function(model, x, *arguments)

    rate, _ = same_noise(vs.rate_distortion, k)
    assert (rate >= 0).all()
    close(same_noise(vs.beta_elbo, beta, k), same_noise(vs.elbo, k) + (1 - beta) * rate)


@about("beta_elbo")
@some
@given(beta=st.floats(max_value=0, exclude_max=True) | st.sampled_from([math.nan, math.inf]))
def test_a_beta_that_is_no_weight_is_refused(beta):
    with pytest.raises(ValueError, match="finite number of at least 0") as caught:
        vs.beta_elbo(build("mlp"), torch.zeros(2, *SHAPE), beta)
    assert "\n" not in str(caught.value)


@about("log_marginal")
@some
@given(kind=kinds, batch=st.integers(1, 5), size=st.integers(1, 6), k=sizes, seed=seeds)
def test_the_estimate_repeats_with_its_seed_and_leaves_the_generator(kind, batch, size, k, seed):
    model, x = build(kind).double(), binary(seed, batch, *SHAPE)
    before = torch.get_rng_state()
    one, two = (vs.log_marginal(model, x, k, batch_size=size, seed=seed) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == (batch,)
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------- evaluate


@about("evaluate", "reconstruction", "mlp_autoencoder")
@some
@given(n=st.integers(1, 9), size=st.integers(1, 12), training=st.booleans(), device=devices, seed=seeds)
def test_evaluate_is_the_same_for_every_batch_size(n, size, training, device, seed):
    model = build("plain", "normal").to(device, F64).train(training)
    images = (normal(seed, n, *SHAPE) * 64).to(torch.uint8)
    before = torch.get_rng_state()

    def prepare(x: Tensor) -> Tensor:
        assert len(x) <= size
        assert not model.training
        return vs.rescale(x).double()

    found = vs.evaluate(vs.reconstruction, model, images, prepare=prepare, batch_size=size)
    close(found, vs.reconstruction(model, vs.rescale(images).double().to(device)))
    assert not found.requires_grad
    assert model.training == training
    assert torch.equal(torch.get_rng_state(), before)


@about("evaluate", "rate_distortion")
@some
@given(n=st.integers(1, 9), size=st.integers(1, 12))
def test_evaluate_joins_records_in_order(n, size):
    model, x = build("mlp").double(), binary(n, n, *SHAPE)
    found = vs.evaluate(vs.rate_distortion, model, x, batch_size=size)
    with torch.no_grad():
        close(found.rate, vs.kl(model.encode(x), model.prior))
    assert found.distortion.shape == (n,)


# ---------------------------------------------------------------- gradients of expectations


@about("pathwise", "score_function")
@some
@given(batch=leading, latent=sizes, k=st.integers(2, 5), constant=st.floats(-9, 9), seed=seeds)
def test_a_constant_in_the_payoff_moves_no_gradient(batch, latent, k, constant, seed):
    mu, log_sigma, slope = normal(seed, 3, *batch, latent)
    phi = torch.stack([mu, log_sigma]).requires_grad_()

    def gradient(estimator: Callable, add: float) -> Tensor:
        q = Independent(Normal(phi[0], phi[1].exp()), 1)
        with vs.seeded(seed):
            value = estimator(lambda z: (slope * z).sum(-1) + add, q, k)
        assert value.shape == batch
        return torch.autograd.grad(value.sum(), phi)[0]

    others = partial(vs.score_function, baseline="leave-one-out")
    close(gradient(others, constant), gradient(others, 0.0))
    close(gradient(vs.pathwise, constant), gradient(vs.pathwise, 0.0))
    close(gradient(vs.pathwise, 0.0)[0], slope)  # a plane has the same slope at every draw
    known = partial(vs.score_function, baseline=constant)
    close(gradient(known, constant), gradient(vs.score_function, 0.0))


@about("stl")
@some
@given(model=linear_models(), batch=sizes, k=st.integers(1, 4), seed=seeds)
def test_at_the_posterior_the_landing_is_silent_and_worth_the_evidence(model, batch, k, seed):
    x = 3 * normal(seed, batch, len(model.offset))
    exact = model.posterior(x)
    phi = [exact.mean.clone().requires_grad_(), exact.scale_tril.clone().requires_grad_()]
    guess = mock.Mock(prior=model.prior, decode=model.decode, spec=["prior", "decode", "encode"])
    guess.encode = lambda _: MultivariateNormal(phi[0], scale_tril=phi[1])
    with vs.seeded(seed):
        value = vs.stl(guess, x, k)
    close(value, model.log_marginal(x))
    for gradient in torch.autograd.grad(value.sum(), phi):
        close(gradient, torch.zeros_like(gradient))


# ---------------------------------------------------------------- distributions


@about("kl", "StandardNormal")
@some
@given(latent=sizes, batch_shape=leading, seed=seeds, dtype=dtypes)
def test_a_divergence_is_zero_only_from_itself(latent, batch_shape, seed, dtype):
    prior = vs.StandardNormal(latent).to(dtype)()
    loc, log_scale = normal(seed, 2, *batch_shape, latent, dtype=dtype)
    q = Independent(Normal(loc, log_scale.exp()), 1)
    found = vs.kl(q, prior)
    assert found.shape == batch_shape
    assert (found > 0).all()
    close(vs.kl(q, q), torch.zeros(batch_shape, dtype=dtype))
    close(vs.kl(prior, prior), torch.zeros((), dtype=dtype))
    # each axis of a product adds its own, and moving and stretching both changes nothing
    parts = [vs.kl(Normal(loc[..., i], log_scale[..., i].exp()), Normal(0.0, 1.0)) for i in range(latent)]
    close(found, torch.stack(parts).sum(0))
    moved = [Independent(Normal(3 + 2 * d.mean, 2 * d.stddev), 1) for d in (q, prior)]
    close(vs.kl(*moved), found)


@about("kl")
@few
@given(latent=st.integers(1, 3), seed=seeds, shift=st.floats(-1, 1), stretch=st.floats(0.5, 1.5))
def test_without_a_closed_form_the_divergence_is_estimated_without_bias(latent, seed, shift, stretch):
    n, factor = 4000, torch.eye(latent, dtype=F64) + 0.3 * normal(seed, latent, latent).tril(-1)
    p = MultivariateNormal(torch.zeros(latent, dtype=F64), scale_tril=factor)
    loc, scale = torch.full((latent,), shift, dtype=F64), torch.full((latent,), stretch, dtype=F64)
    expected = kl_divergence(MultivariateNormal(loc, scale_tril=torch.diag(scale)), p)
    many = Independent(Normal(loc.expand(n, -1), scale.expand(n, -1)), 1)
    with vs.seeded(seed):
        mean, error = mean_and_error(vs.kl(many, p))
        once = vs.kl(Independent(Normal(loc, scale), 1), p, n)
    assert abs(mean - expected) <= 5 * error
    assert abs(once - expected) <= 5 * error


@about("StandardNormal")
@some
@given(latent=st.integers(1, 6), seed=seeds, dtype=dtypes)
def test_the_prior_depends_on_the_distance_only(latent, seed, dtype):
    prior, z = vs.StandardNormal(latent).to(dtype)(), normal(seed, 5, latent, dtype=dtype)
    close(prior.log_prob(z) - prior.log_prob(torch.zeros_like(z)), -z.square().sum(-1) / 2)
    rotation = torch.linalg.qr(normal(seed, latent, latent, dtype=dtype)).Q
    close(prior.log_prob(z @ rotation), prior.log_prob(z))
    assert prior.log_prob(torch.zeros(latent, dtype=dtype)).item() == pytest.approx(
        -latent / 2 * math.log(2 * math.pi), rel=1e-5
    )


@about("BernoulliLikelihood")
@some
@given(pixels=st.integers(1, 6), batch=sizes, spread=st.floats(0, 30), seed=seeds, dtype=dtypes)
def test_the_probabilities_of_all_binary_images_sum_to_one(pixels, batch, spread, seed, dtype):
    p_x = vs.BernoulliLikelihood(1)(spread * normal(seed, batch, pixels, dtype=dtype))
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=pixels)), dtype=dtype)
    log_p = p_x.log_prob(images[:, None])
    assert log_p.dtype == dtype
    assert (log_p <= 1e-6).all()
    close(log_p.logsumexp(0), torch.zeros(batch, dtype=dtype))
    close((log_p.exp()[..., None] * images[:, None]).sum(0), p_x.mean)


@about("BernoulliLikelihood")
@some
@given(value=st.floats(allow_nan=True, allow_infinity=True, width=32).filter(lambda v: v not in (0, 1)))
def test_a_pixel_that_is_neither_black_nor_white_is_refused(value):
    x = torch.zeros(2, *SHAPE)
    x[1, 0, 2, 3] = value
    with pytest.raises(ValueError, match="pixels that are 0 or 1") as caught:
        vs.BernoulliLikelihood()(torch.zeros(2, *SHAPE)).log_prob(x)
    assert "\n" not in str(caught.value)


@about("NormalLikelihood")
@some
@given(pixels=st.integers(1, 5), scale=st.floats(0.05, 20), seed=seeds, learn=st.booleans())
def test_a_gaussian_likelihood_is_its_peak_minus_a_square(pixels, scale, seed, learn):
    head = vs.NormalLikelihood(scale, learn, 1).double()
    loc, x = normal(seed, 2, 3, pixels)
    gap = head(loc).log_prob(loc) - head(loc).log_prob(x)
    torch.testing.assert_close(gap, (x - loc).square().sum(-1) / (2 * scale**2), rtol=1e-5, atol=1e-5)
    close(head(loc + 1).log_prob(x + 1), head(loc).log_prob(x))
    peak = -pixels * math.log(scale * math.sqrt(2 * math.pi))
    torch.testing.assert_close(
        head(loc).log_prob(loc), torch.full((3,), peak, dtype=F64), rtol=1e-5, atol=1e-5
    )
    assert [p.requires_grad for p in head.parameters()] == [learn]


@about("NormalLikelihood", "LinearGaussian")
@some
@given(scale=st.floats(max_value=0) | st.just(math.nan))
def test_a_standard_deviation_that_is_none_is_refused(scale):
    for make in (vs.NormalLikelihood, lambda s: vs.LinearGaussian(torch.ones(3, 2), torch.ones(3), s)):
        with pytest.raises(ValueError, match="is a standard deviation and must be positive") as caught:
            make(scale)
        assert "\n" not in str(caught.value)


@about("NormalHead")
@some
@given(features=sizes, latent=sizes, batch_shape=leading, dtype=all_floats, seed=seeds)
def test_a_head_returns_a_gaussian_per_row(features, latent, batch_shape, dtype, seed):
    head, x = vs.NormalHead(features, latent).to(dtype), normal(seed, *batch_shape, features, dtype=dtype)
    q = head(x)
    assert (q.batch_shape, q.event_shape) == (batch_shape, (latent,))
    assert q.mean.dtype == q.stddev.dtype == dtype
    assert (q.stddev > 0).all()
    flat = head(x.reshape(-1, features))
    close(q.stddev.reshape(-1, latent), flat.stddev)
    with torch.no_grad():  # the second half is a log-scale: raising it by log 2 doubles σ and moves no mean
        head.linear.bias[latent:] += math.log(2)
    close(head(x).stddev, 2 * q.stddev)
    close(head(x).mean, q.mean)


# ---------------------------------------------------------------- networks and models


@about("mlp", "conv_encoder", "conv_decoder")
@some
@given(
    widths=st.lists(sizes, min_size=2, max_size=4),
    stages=st.integers(1, 2),
    batch_shape=leading,
    dtype=all_floats,
    seed=seeds,
)
def test_networks_take_any_leading_axes_and_keep_the_dtype(widths, stages, batch_shape, dtype, seed):
    shape, channels = (2, 4, 8), tuple(widths[:1] * stages)
    networks = [
        (vs.mlp(widths), (widths[0],), (widths[-1],)),
        (vs.conv_encoder(3, channels, shape), shape, (3,)),
        (vs.conv_decoder(3, channels, shape), (3,), shape),
    ]
    for network, before, after in networks:
        x = normal(seed, *batch_shape, *before, dtype=dtype)
        found = network.to(dtype)(x)
        assert found.shape == (*batch_shape, *after)
        assert found.dtype == dtype
        close(found.reshape(-1, *after), network(x.reshape(-1, *before)))
        assert network(x[:0] if batch_shape else x[None][:0]).numel() == 0


@about("conv_encoder", "conv_decoder", "conv_vae", "conv_autoencoder")
@some
@given(stages=st.integers(1, 3), halves=st.tuples(sizes, sizes), batch=st.integers(1, 10**6), latent=sizes)
def test_shapes_hold_at_any_size_without_computing(stages, halves, batch, latent):
    shape = (1, halves[0] * 2**stages, halves[1] * 2**stages)
    channels = tuple(range(2, 2 + stages))
    with torch.device("meta"):
        model = vs.conv_vae(latent, channels, 7, None, shape)
        plain = vs.conv_autoencoder(latent, channels, 7, None, shape)
        assert vs.conv_encoder(7, channels, shape)(torch.empty(batch, *shape)).shape == (batch, 7)
        assert vs.conv_decoder(latent, channels, shape)(torch.empty(batch, latent)).shape == (batch, *shape)
        assert model.decode(model.encode(torch.empty(batch, *shape)).mean).mean.shape == (batch, *shape)
        assert plain.decode(plain.encode(torch.empty(batch, *shape))).mean.shape == (batch, *shape)


@about("conv_encoder", "conv_decoder", "conv_vae", "mlp_vae", "mlp_autoencoder")
@some
@given(size=st.integers(-3, 0))
def test_sizes_that_are_none_are_refused_in_one_sentence(size):
    wrong = [
        lambda: vs.mlp([4, size]),
        lambda: vs.conv_encoder(size),
        lambda: vs.conv_encoder(3, (2, size)),
        lambda: vs.conv_encoder(event_shape=(1, 4 * size, 4)),
        lambda: vs.conv_encoder(event_shape=(size, 4, 4)),
        lambda: vs.conv_encoder(event_shape=(28, 28)),
        lambda: vs.conv_decoder(size),
        lambda: vs.conv_decoder(3, (size, 2)),
        lambda: vs.conv_decoder(3, event_shape=(1, 4, 4 * size)),
        lambda: vs.conv_decoder(3, event_shape=(784,)),
        *(lambda make=make: make(size) for make in (vs.mlp_vae, vs.mlp_autoencoder, vs.conv_vae)),
        *(lambda make=make: make(2, event_shape=(1, 4, size)) for make in (vs.mlp_vae, vs.mlp_autoencoder)),
        lambda: vs.mlp_vae(2, event_shape=()),
        lambda: vs.mlp_vae(2, (size,)),
    ]
    for make in wrong:
        with pytest.raises(ValueError, match=r"positive|at least 1|event_shape needs") as caught:
            make()
        assert "\n" not in str(caught.value)


@some
@given(batch_shape=leading, event_shape=st.lists(sizes, min_size=1, max_size=3).map(tuple), extra=sizes)
def test_folding_undoes_laying_out_and_refuses_another_length(batch_shape, event_shape, extra):
    x = torch.rand(*batch_shape, *event_shape)
    flat = Flatten(event_shape)(x)
    assert torch.equal(Unflatten(event_shape)(flat), x)
    assert torch.equal(Flatten(event_shape)(Unflatten(event_shape)(flat)), flat)
    wrong = torch.zeros(*batch_shape, flat.shape[-1] + extra)
    with pytest.raises(ValueError, match="expected features of shape") as caught:
        Unflatten(event_shape)(wrong)
    assert "\n" not in str(caught.value)


@about("VAE", "mlp_vae", "conv_vae")
@some
@given(kind=kinds, likelihood=likelihoods, n=st.integers(0, 5), seed=seeds, dtype=dtypes, batch_shape=leading)
def test_samples_are_images_that_repeat_with_their_seed(kind, likelihood, n, seed, dtype, batch_shape):
    model = build(kind, likelihood, seed).to(dtype)
    assert isinstance(model, vs.VAE)
    with vs.seeded(seed):
        images = model.sample(n)
    with vs.seeded(seed):
        assert torch.equal(model.sample(n), images)
    assert images.shape == (n, *SHAPE)
    assert images.dtype == dtype
    assert not images.requires_grad
    assert likelihood == "normal" or set(images.unique().tolist()) <= {0.0, 1.0}
    z = normal(seed, *batch_shape, 2, dtype=dtype)
    close(model.decode(z).mean.reshape(-1, *SHAPE), model.decode(z.reshape(-1, 2)).mean)
    q = model.encode(binary(seed, *batch_shape, *SHAPE, dtype=dtype))
    assert (q.batch_shape, q.event_shape) == (batch_shape, (2,))


@about("Autoencoder", "VAE", "mlp_autoencoder")
@some
@given(kind=st.sampled_from(["plain", "mlp", "conv"]), seed=seeds, batch=st.integers(2, 5), dtype=dtypes)
def test_the_order_of_the_examples_does_not_matter(kind, seed, batch, dtype):
    model, x = build(kind, seed=seed).to(dtype), binary(seed, batch, *SHAPE, dtype=dtype)
    assert isinstance(model, vs.Autoencoder if kind == "plain" else vs.VAE)
    order = torch.randperm(batch, generator=torch.Generator().manual_seed(seed))
    code, moved = model.encode(x), model.encode(x[order])
    if kind == "plain":
        close(code[order], moved)
        close(vs.reconstruction(model, x)[order], vs.reconstruction(model, x[order]))
        code, moved = (Normal(c, 1.0) for c in (code, moved))
    close(code.mean[order], moved.mean)
    close(code.stddev[order], moved.stddev)
    close(model.decode(code.mean).mean[order], model.decode(moved.mean).mean)


@about("save_weights", "load_weights")
@settings(some, max_examples=20)
@given(
    kind=st.sampled_from(["plain", "mlp", "conv"]),
    dtype=all_floats,
    device=devices,
    seed=seeds,
    metadata=st.dictionaries(
        st.text(max_size=5), st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=3
    ),
)
def test_weights_of_every_dtype_come_back_to_the_bit(kind, dtype, device, seed, metadata):
    metadata.pop("crc32", None)
    one, other = (build(kind, seed=s).to(device, dtype) for s in (seed, seed + 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights"
        vs.save_weights(one, path, metadata)
        content = path.read_bytes()
        assert vs.load_weights(other, path) == metadata
        vs.save_weights(other, path, metadata)
        assert path.read_bytes() == content
    for (name, found), (_, expected) in zip(
        other.state_dict().items(), one.state_dict().items(), strict=True
    ):
        assert torch.equal(found, expected), name
        assert (found.dtype, found.device) == (expected.dtype, expected.device)


# ---------------------------------------------------------------- randomness


@about("seeded")
@some
@given(seed=st.none() | st.integers(-(2**63), 2**64 - 1), inner=seeds, fails=st.booleans())
def test_a_seed_stays_in_its_block(seed, inner, fails):
    with vs.seeded(inner):
        before, draws = torch.get_rng_state(), []
        for _ in range(2):
            try:
                with vs.seeded(seed):
                    draws.append(torch.rand(3))
                    if fails:
                        raise KeyError
            except KeyError:
                pass
        assert torch.equal(torch.get_rng_state(), before) == (seed is not None)
        assert torch.equal(*draws) == (seed is not None)


# ---------------------------------------------------------------- summaries


@about("effective_sample_size")
@some
@given(
    k=st.integers(1, 20),
    batch=sizes,
    spread=st.floats(0, 100),
    shift=st.floats(-1e4, 1e4),
    dtype=dtypes,
    seed=seeds,
)
def test_a_number_of_draws_lies_between_one_and_all(k, batch, spread, shift, dtype, seed):
    log_w = spread * normal(seed, k, batch, dtype=dtype)
    found = vs.effective_sample_size(log_w)
    slack = 1e-2 if dtype == torch.float32 else 1e-6  # of sums of numbers up to 1e4
    assert (found >= 1 - slack).all()
    assert (found <= k * (1 + slack)).all()
    torch.testing.assert_close(vs.effective_sample_size(log_w + shift), found, rtol=slack, atol=slack)
    torch.testing.assert_close(vs.effective_sample_size(log_w.flip(0)), found, rtol=slack, atol=slack)
    twice = vs.effective_sample_size(torch.cat([log_w, log_w]))
    torch.testing.assert_close(twice, 2 * found, rtol=slack, atol=slack)


@about("estimate")
@some
@given(values=st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=30), dtype=all_floats, seed=seeds)
def test_a_mean_and_its_error_are_numpys_and_ignore_the_order(values, dtype, seed):
    tensor = torch.tensor(values).to(dtype)
    found, exact = vs.estimate(tensor), tensor.double().numpy()
    assert found.mean == pytest.approx(exact.mean(), abs=1e-9)
    assert found.standard_error == pytest.approx(exact.std(ddof=1) / math.sqrt(len(values)), abs=1e-9)
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))
    assert vs.estimate(tensor[order]) == pytest.approx(found, abs=1e-9)
    moved = vs.estimate(3 - 2 * tensor.double())
    assert moved == pytest.approx((3 - 2 * found.mean, 2 * found.standard_error), abs=1e-9)


@about("estimate")
@some
@given(n=st.integers(2, 9), where=st.integers(0, 8), bad=st.sampled_from([math.nan, math.inf, -math.inf]))
def test_a_mean_of_what_is_not_finite_is_refused(n, where, bad):
    values = torch.zeros(n)
    values[where % n] = bad
    with pytest.raises(ValueError, match=f"1 of {n} values are not finite"):
        vs.estimate(values)


@about("active_units")
@some
@given(model=linear_models(), n=st.integers(2, 9), seed=seeds, threshold=st.floats(0, 2))
def test_active_units_count_what_moves_with_the_data(model, n, seed, threshold):
    x = normal(seed, n, len(model.offset))
    found = vs.active_units(model, x, threshold)
    close(found.variance, torch.from_numpy(np.var(model.posterior(x).mean.numpy(), axis=0, ddof=1)))
    assert found.count == sum(v > threshold for v in found.variance.tolist())
    close(vs.active_units(model, x.flip(0)).variance, found.variance)
    close(vs.active_units(model, x + 3).variance, found.variance)  # a linear encoder: only its mean moves
    assert vs.active_units(model, x[:1].expand(n, -1)).variance.max() < 1e-20
    assert vs.active_units(model, x, 2 * threshold + 0.1).count <= found.count


def pairs(seed: int, counts: tuple[int, int], features: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    real, fake = (normal(seed + i, n, features, dtype=dtype) for i, n in enumerate(counts))
    return real, 1.5 * fake + 0.5


@about("frechet_distance")
@some
@given(
    counts=st.tuples(*[st.integers(2, 30)] * 2),
    features=st.integers(2, 4),
    shift=st.floats(-5, 5),
    dtype=dtypes,
    seed=seeds,
)
def test_a_frechet_distance_is_a_squared_distance(counts, features, shift, dtype, seed):
    real, fake = pairs(seed, counts, features, dtype)
    found = vs.frechet_distance(real, fake)
    small = {"rel": 1e-4, "abs": 1e-4}
    assert found >= 0
    assert vs.frechet_distance(fake, real) == pytest.approx(found, **small)
    assert vs.frechet_distance(real, real.clone()) == pytest.approx(0, abs=1e-6)
    assert vs.frechet_distance(real, real + shift) == pytest.approx(features * shift**2, **small)
    assert vs.frechet_distance(real + shift, fake + shift) == pytest.approx(found, **small)
    assert vs.frechet_distance(2 * real, 2 * fake) == pytest.approx(4 * found, **small)
    rotation = torch.linalg.qr(normal(seed, features, features, dtype=dtype)).Q
    assert vs.frechet_distance(real @ rotation, fake @ rotation) == pytest.approx(found, **small)
    assert vs.frechet_distance(real.flip(0), fake) == pytest.approx(found, **small)


@about("precision_recall")
@some
@given(
    counts=st.tuples(*[st.integers(4, 20)] * 2),
    features=sizes,
    k=st.integers(1, 3),
    dtype=dtypes,
    seed=seeds,
)
def test_precision_and_recall_are_shares_that_trade_places(counts, features, k, dtype, seed):
    real, fake = pairs(seed, counts, features, dtype)
    found = vs.precision_recall(real, fake, k)
    assert 0 <= min(found) <= max(found) <= 1
    assert found.precision * counts[1] == pytest.approx(round(found.precision * counts[1]), abs=1e-4)
    assert tuple(vs.precision_recall(fake, real, k)) == tuple(reversed(found))
    assert vs.precision_recall(real.flip(0), fake.flip(0), k) == found
    assert vs.precision_recall(4 * real, 4 * fake, k) == found
    assert vs.precision_recall(real, real.clone(), k) == (1, 1)
    assert vs.precision_recall(real, fake + 1e4, k) == (0, 0)
    # each ball has its own size: what lies beside a dense cluster is not among it, however wide another is
    dense = real / 1000
    assert vs.precision_recall(torch.cat([dense, real + 100]), dense + 0.1, k).precision == 0


@about("principal_angles")
@some
@given(features=st.integers(4, 8), counts=st.tuples(sizes, sizes), dtype=dtypes, seed=seeds)
def test_principal_angles_belong_to_the_spaces_alone(features, counts, dtype, seed):
    a, b = (normal(seed + k, features, count, dtype=dtype) for k, count in enumerate(counts))
    mix = torch.linalg.qr(normal(seed + 2, counts[0], counts[0], dtype=dtype)).Q
    turn = torch.linalg.qr(normal(seed + 3, features, features, dtype=dtype)).Q
    assume(min(torch.linalg.svdvals(m).min() for m in (a, b)) > 0.05)
    found, small = vs.principal_angles(a, b), partial(pytest.approx, abs=2e-3 if dtype != F64 else 1e-6)
    assert len(found) == min(counts)
    assert found.tolist() == sorted(found.tolist())
    assert found[0] >= 0
    assert found[-1] <= math.pi / 2
    assert vs.principal_angles(b, a).tolist() == small(found.tolist())
    assert vs.principal_angles(3 * a @ mix, b).tolist() == small(found.tolist())
    assert vs.principal_angles(turn @ a, turn @ b).tolist() == small(found.tolist())
    assert vs.principal_angles(a, torch.cat([a, b], 1)[:, : counts[0]]).tolist() == small([0] * counts[0])


@about("is_unsure")
@some
@given(n=st.integers(1, 9), classes=st.integers(2, 10), shift=st.floats(-50, 50), dtype=dtypes, seed=seeds)
def test_a_classifier_is_surer_the_lower_the_bar(n, classes, shift, dtype, seed):
    logits = 3 * normal(seed, n, classes, dtype=dtype)
    found = [vs.is_unsure(logits, bar) for bar in (0.1, 0.5, 0.9, 1.0)]
    for low, high in itertools.pairwise(found):
        assert (low <= high).all()
    assert set(found[2].tolist()) <= {0, 1}
    assert found[2].dtype == dtype
    assert vs.is_unsure(logits.flip(1)).equal(found[2])
    assert vs.is_unsure(100 * logits.argsort(1).to(dtype)).sum() == 0
    assert vs.is_unsure(torch.full_like(logits, shift)).sum() == n


# ---------------------------------------------------------------- data


@about("binarize", "rescale")
@some
@given(shape=leading, seed=seeds, dtype=st.just(torch.uint8) | all_floats, device=devices)
def test_a_brighter_pixel_is_white_whenever_a_darker_one_is(shape, seed, dtype, device):
    grey = torch.rand(2, *shape, 5, 5, generator=torch.Generator().manual_seed(seed)).to(device)
    images = (grey * 255).to(torch.uint8) if dtype == torch.uint8 else grey.to(dtype)
    dark, bright = images.amin(0), images.amax(0)

    def toss(x: Tensor) -> Tensor:
        return vs.binarize(x, torch.Generator(device).manual_seed(seed))

    assert (toss(dark) <= toss(bright)).all()
    assert torch.equal(toss(dark), toss(dark))
    assert set(toss(dark).unique().tolist()) <= {0.0, 1.0}
    assert toss(dark).dtype == torch.float32
    assert not toss(torch.zeros_like(dark)).any()
    white = torch.full_like(dark, 255 if dtype == torch.uint8 else 1)
    assert toss(white).all()
    assert (vs.rescale(white) == 1).all()
    scaled = vs.rescale(images)
    assert ((scaled >= 0) & (scaled <= 1)).all()
    assert torch.equal(vs.rescale(scaled), scaled)
    assert scaled.dtype == (torch.float32 if dtype == torch.uint8 else dtype)
    assert torch.equal(scaled.flatten().argsort(stable=True), images.flatten().argsort(stable=True))


@about("binarize")
@few
@given(level=st.integers(0, 255), seed=seeds, floats=st.booleans())
def test_the_share_of_white_is_the_grey_level(level, seed, floats):
    n = 20_000
    images = torch.full((n,), level, dtype=torch.uint8)
    found = vs.binarize(vs.rescale(images) if floats else images, torch.Generator().manual_seed(seed)).mean()
    share = level / 255
    assert abs(found - share) <= 5 * math.sqrt(share * (1 - share) / n) + 1e-7


@about("binarize", "rescale", "validate_images")
@some
@given(
    shape=leading,
    where=st.integers(0, 10**6),
    bad=st.floats(allow_nan=True, allow_infinity=True, width=16).filter(lambda v: not 0 <= v <= 1),
    dtype=all_floats,
)
def test_one_bad_pixel_is_refused_in_one_sentence(shape, where, bad, dtype):
    images = torch.full((2, *shape), 0.5, dtype=dtype)
    vs.validate_images(images, shape)
    images.view(-1)[where % images.numel()] = bad
    for function in (vs.binarize, vs.rescale, lambda x: vs.validate_images(x, shape)):
        with pytest.raises(ValueError, match=r"Images (contain NaN|range from)") as caught:
            function(images)
        assert "\n" not in str(caught.value)


@about("validate_images")
@some
@given(shape=leading, event_shape=leading)
def test_images_pass_exactly_if_their_shape_is_right(shape, event_shape):
    images = torch.zeros(shape)
    if shape and shape[1:] == event_shape:
        vs.validate_images(images, event_shape)
    else:
        with pytest.raises(ValueError, match=r"Images have shape \["):
            vs.validate_images(images, event_shape)


@about("load", "mnist", "fashion", "ImageData", "Split")
@few
@given(
    name=st.sampled_from(["mnist", "fashion"]),
    sixths=st.integers(1, 5),
    num_test=st.integers(1, 5),
    seed=seeds,
    direct=st.booleans(),
    device=devices,
)
def test_the_splits_are_the_set_in_its_order(name, sixths, num_test, seed, direct, device):
    rng, n = np.random.default_rng(seed), 6 * sixths
    arrays = tuple(
        array
        for count in (n, num_test)
        for array in (rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 10, count))
    )
    with mock.patch.object(data_module, "full_set", return_value=(arrays, "cache")):
        found = (
            {"mnist": vs.mnist, "fashion": vs.fashion}[name]("r", device)
            if direct
            else vs.load(name, "r", device)
        )
    assert isinstance(found, vs.ImageData)
    assert (found.name, found.source) == (name, "cache")
    assert all(isinstance(part, vs.Split) for part in found[:3])
    assert (len(found.train.labels), len(found.validation.labels)) == (5 * sixths, sixths)
    for field, whole, test in (("images", arrays[0][:, None], arrays[2][:, None]), ("labels", *arrays[1::2])):
        joined = torch.cat([getattr(found.train, field), getattr(found.validation, field)])
        np.testing.assert_array_equal(joined.cpu(), whole)
        np.testing.assert_array_equal(getattr(found.test, field).cpu(), test)
        assert joined.device.type == device


@about("load", "sample", "SampleDataWarning")
@settings(few, max_examples=4)
@given(name=st.sampled_from(["mnist", "fashion"]), reason=st.text("abc", min_size=1, max_size=5))
def test_without_a_source_the_sample_stands_in_and_says_so(name, reason):
    failing = mock.Mock(side_effect=FetchError(reason))
    with mock.patch.object(data_module, "full_set", failing), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = vs.load(name, "r")
    (warning,) = caught
    assert warning.category is vs.SampleDataWarning
    assert reason in str(warning.message)
    assert "\n" not in str(warning.message)
    expected = vs.sample(name)
    for one, two in zip(found[:3], expected[:3], strict=True):
        assert torch.equal(one.images, two.images)
        assert torch.equal(one.labels, two.labels)
        assert set(one.labels.tolist()) <= set(range(10))
    assert found.source == "sample"


@about("load", "sample")
@some
@given(name=st.text(max_size=8).filter(lambda n: n not in ("mnist", "fashion")))
def test_unknown_sets_are_refused(name):
    for function in (vs.load, vs.sample):
        with pytest.raises(ValueError, match=r"Unknown data set .*: use one of 'mnist', 'fashion'") as caught:
            function(name)
        assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- training


@about("cosine")
@some
@given(one=st.floats(0, 1), two=st.floats(0, 1))
def test_the_schedule_falls_from_one_to_zero_and_is_symmetric(one, two):
    assert 0 <= vs.cosine(one) <= 1
    assert vs.cosine(one) + vs.cosine(1 - one) == pytest.approx(1)
    assert (vs.cosine(one) - vs.cosine(two)) * (two - one) >= 0
    assert vs.cosine(0.0) == 1


@about("TrainConfig")
@some
@given(
    counts=st.tuples(*[st.integers(1, 10**6)] * 2),
    rate=st.floats(1e-8, 1e3),
    name=st.sampled_from(["num_epochs", "batch_size", "monitor_every", "monitor_size"]),
    bad=st.integers(max_value=0),
    bad_rate=st.floats(max_value=0) | st.sampled_from([math.nan, math.inf]),
)
def test_two_configurations_never_look_the_same(counts, rate, name, bad, bad_rate):
    config = vs.TrainConfig(num_epochs=counts[0], learning_rate=rate)
    assert (config.describe() == replace(config, num_epochs=counts[1]).describe()) == (counts[0] == counts[1])
    assert config.describe() != replace(config, learning_rate=rate * 1.5).describe()
    assert config.describe() != replace(config, schedule=vs.cosine).describe()
    assert "\n" not in config.describe()
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1, not {bad}"):
        replace(config, **{name: bad})
    with pytest.raises(ValueError, match="learning_rate must be a positive number"):
        replace(config, learning_rate=bad_rate)


@about("fit", "History", "TrainConfig")
@settings(few, max_examples=8)
@given(
    n=st.integers(1, 9),
    batch_size=st.integers(1, 10),
    num_epochs=st.integers(1, 3),
    every=st.integers(1, 3),
    kind=kinds,
    device=devices,
    seed=seeds,
)
def test_training_repeats_with_its_seed_and_keeps_a_whole_history(
    n, batch_size, num_epochs, every, kind, device, seed
):
    images = (normal(seed, n, *SHAPE) * 64).to(torch.uint8)
    config = vs.TrainConfig(num_epochs, batch_size, seed=seed, monitor_every=every)
    before, found = torch.get_rng_state(), []
    for _ in range(2):
        model = build(kind, seed=seed).to(device)
        history = vs.fit(
            model, images, vs.elbo, config, prepare=vs.binarize, monitor=vs.rate_distortion,
            validation=images,
        )  # fmt: skip
        found.append((asdict(history) | {"seconds": []}, [p.detach().clone() for p in model.parameters()]))
    assert torch.equal(torch.get_rng_state(), before)
    assert found[0][0] == found[1][0]
    assert all(itertools.starmap(torch.equal, zip(found[0][1], found[1][1], strict=True)))
    assert history == vs.History(**json.loads(json.dumps(asdict(history))))
    assert len(history.objective) == len(history.seconds) == num_epochs
    assert history.epochs == [e for e in range(1, num_epochs + 1) if e % every == 0]
    for split in (history.train, history.validation):
        assert all(len(values) == len(history.epochs) for values in split.values())
    assert history.train == history.validation  # the same images, the same noise
    assert history.seconds == sorted(history.seconds)


# ---------------------------------------------------------------- as users have it: no type checks


def misuses() -> dict[str, Callable]:
    """Inputs that a reader might hand over by mistake; each is to be refused in one sentence."""
    good = torch.zeros(3, *SHAPE)
    inputs = {
        "none": good[:0],
        "a scalar": torch.zeros(()),
        "flat": good.flatten(1),
        "no batch axis": good[0, 0],
        "float64": good.double(),
        "bfloat16": good.bfloat16(),
        "uint8": good.to(torch.uint8),
        "NaN": good + math.nan,
        "infinite": good + math.inf,
        "grey": good + 0.3,
    }
    models = {kind: build(kind) for kind in ("plain", "mlp", "conv")}
    cases: dict[str, Callable] = {}
    for (kind, model), (what, x) in itertools.product(models.items(), inputs.items()):
        for name, function in PER_EXAMPLE.items():
            if (kind == "plain") == (name == "reconstruction"):
                cases[f"{name} of {what}, {kind}"] = partial(function, model, x, 2)
        if kind != "plain":
            cases[f"log_marginal of {what}, {kind}"] = partial(vs.log_marginal, model, x, 2)
        if what not in ("flat", "float64", "bfloat16", "grey"):
            objective = vs.reconstruction if kind == "plain" else vs.elbo
            cases[f"evaluate {what}, {kind}"] = partial(vs.evaluate, objective, model, x)
            cases[f"fit {what}, {kind}"] = partial(vs.fit, model, x, objective)
    for name, function in PER_EXAMPLE.items():
        if name != "reconstruction":
            cases[f"{name} without draws"] = partial(function, models["mlp"], good, 0)
    for kind, dtype in itertools.product(models, (F64, torch.bfloat16, torch.uint8)):
        cases[f"decode {dtype}, {kind}"] = partial(models[kind].decode, torch.zeros(3, 2, dtype=dtype))
    three, nan = torch.rand(9, 3), torch.full((9, 3), math.nan)
    others = {"two": three[:, :2], "flat": three[:, 0], "NaN": nan}
    for (name, judge), (what, features) in itertools.product(
        {"frechet": vs.frechet_distance, "precision": vs.precision_recall}.items(), others.items()
    ):
        cases[f"{name} of three and {what} features"] = partial(judge, three, features)
    for what, other in {"flat": three[:, 0], "short": three[:4], "NaN": nan, "equal": 0 * three + 1}.items():
        cases[f"angles of {what} columns"] = partial(vs.principal_angles, three, other)
    cases["angles of no columns"] = partial(vs.principal_angles, three, three[:, :0])
    for what, logits in {"flat": three[:, 0], "NaN": nan}.items():
        cases[f"unsure of {what} logits"] = partial(vs.is_unsure, logits)
    cases["unsure below 90 of 1"] = partial(vs.is_unsure, three, 90)
    cases["units of NaN"] = partial(vs.active_units, models["mlp"], inputs["NaN"])
    for what, log_w in {"none": three[:0], "NaN": nan, "no weight": three - math.inf}.items():
        cases[f"effective size of {what}"] = partial(vs.effective_sample_size, log_w)
    cases["decode a wrong length, conv"] = partial(models["conv"].decode, torch.zeros(3, 5))
    return cases


def report_misuses() -> None:
    """Print each misuse that is not refused in one sentence, and how many were tried."""
    cases = misuses()
    for name, misuse in cases.items():
        try:
            misuse()
            print(name, "is taken")
        except ValueError as error:
            if "\n" in str(error) or not str(error):
                print(name, "needs many lines")
        except Exception as error:
            print(f"{name} raises {type(error).__name__}: {error}")
    print(len(cases))


def test_misuse_is_refused_in_one_sentence():
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "TQDM_DISABLE": "1"}
    program = "import test_properties; test_properties.report_misuses()"
    command = [sys.executable, "-W", "error::UserWarning", "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
    assert found == f"{len(misuses())}\n"
    assert len(misuses()) > 150


# ---------------------------------------------------------------- is every public name covered?


def reached(name: str, tree: ast.Module) -> set[str]:
    """The attributes of `vs` that a definition of this file mentions, itself or through what it uses."""
    definitions = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                definitions |= {n.id: node for n in ast.walk(target) if isinstance(n, ast.Name)}
    seen, waiting, found = set(), [name], set()
    while waiting:
        current = waiting.pop()
        if current in definitions and current not in seen:
            seen.add(current)
            nodes = list(ast.walk(definitions[current]))
            waiting += [n.id for n in nodes if isinstance(n, ast.Name)]
            found |= {
                n.attr
                for n in nodes
                if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "vs"
            }
    return found


def test_every_public_name_has_a_property():
    tree = ast.parse(Path(__file__).read_text("utf8"))
    missing = set(vs.__all__) - SUBJECTS.keys()
    assert not missing, f"write a property about {', '.join(sorted(missing))}, with @about and @given"
    for name, tests in SUBJECTS.items():
        assert name in vs.__all__, f"{name} is no public name"
        for test in tests:
            assert is_hypothesis_test(test), f"{test.__name__} draws no examples"
            assert test.__name__.startswith("test_")
            assert name in reached(test.__name__, tree), f"{test.__name__} does not use vs.{name}"
