"""Tests of models.py: the protocol, the architectures and what they share, sampling."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from vae_src import models
from vae_src.distributions import NormalLikelihood
from vae_src.exact import LinearGaussian
from vae_src.models import (
    VAE,
    Autoencoder,
    LatentVariableModel,
    conv_autoencoder,
    conv_vae,
    mlp_autoencoder,
    mlp_vae,
)
from vae_src.objectives import elbo, log_weights, reconstruction
from vae_src.randomness import seeded

SHAPE = (1, 4, 6)


def layers(network: nn.Module) -> list[str]:
    """Every layer that is not a container, as torch prints it."""
    return [str(m) for m in network.modules() if not list(m.children())]


def test_what_the_objectives_take():
    assert isinstance(mlp_vae(2, (3,)), LatentVariableModel)
    assert isinstance(conv_vae(2, (2,)), LatentVariableModel)
    assert isinstance(LinearGaussian(torch.ones(3, 1), torch.zeros(3), 1.0), LatentVariableModel)
    assert not isinstance(mlp_autoencoder(2, (3,)), LatentVariableModel)  # it has no prior


@pytest.mark.parametrize("hidden", [(7,), (9, 5)])
def test_parameters_of_the_mlp_are_counted_by_hand(hidden):
    pixels = math.prod(SHAPE)

    def dense(*sizes: int) -> int:
        return sum((i + 1) * o for i, o in itertools.pairwise(sizes))

    model = mlp_vae(3, hidden, event_shape=SHAPE)
    decoder = dense(3, *hidden[::-1], pixels)
    assert sum(p.numel() for p in model.encoder.parameters()) == dense(pixels, *hidden, 6)
    assert sum(p.numel() for p in model.parameters()) == dense(pixels, *hidden, 6) + decoder
    plain = mlp_autoencoder(3, hidden, event_shape=SHAPE)
    assert sum(p.numel() for p in plain.parameters()) == dense(pixels, *hidden, 3) + decoder


def test_the_size_of_the_chapters_model():
    # 784·400+400 + 400·40+40 in the encoder, 20·400+400 + 400·784+784 in the decoder
    assert sum(p.numel() for p in mlp_vae().parameters()) == 314_000 + 16_040 + 8_400 + 314_384


def test_the_autoencoder_has_the_decoder_of_the_vae():
    arguments = {"latent_dim": 3, "hidden_dims": (9, 5), "activation": nn.Tanh, "event_shape": SHAPE}
    vae, plain = mlp_vae(**arguments), mlp_autoencoder(**arguments)
    assert layers(vae.decoder) == layers(plain.decoder)
    assert layers(vae.encoder)[:-1] == layers(plain.encoder)[:-1]
    plain.decoder.load_state_dict(vae.decoder.state_dict())
    z = torch.randn(4, 3)
    torch.testing.assert_close(vae.decode(z).mean, plain.decode(z).mean)
    assert plain.encode(torch.zeros(4, *SHAPE)).shape == (4, 3)


def test_the_convolutional_autoencoder_has_the_layers_of_its_vae():
    vae, plain = conv_vae(3, (2,), 5, event_shape=SHAPE), conv_autoencoder(3, (2,), 5, event_shape=SHAPE)
    assert layers(vae.decoder) == layers(plain.decoder)
    assert layers(vae.encoder)[:-1] == layers(plain.encoder)[:-1]
    assert plain.encode(torch.zeros(4, *SHAPE)).shape == (4, 3)
    assert plain.decode(torch.zeros(4, 3)).mean.shape == (4, *SHAPE)


MODELS = {
    "mlp": lambda **kwargs: mlp_vae(3, (5,), event_shape=SHAPE, **kwargs),
    "conv": lambda **kwargs: conv_vae(3, (2,), 5, event_shape=SHAPE, **kwargs),
}
build = pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)


@build
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_dtypes_through_the_model(build, dtype):
    model = build().to(dtype)
    x = torch.rand(7, *SHAPE, dtype=dtype).round()
    q = model.encode(x)
    assert (q.batch_shape, q.event_shape) == ((7,), (3,))
    p = model.decode(q.rsample((4,)))
    assert (p.batch_shape, p.event_shape) == ((4, 7), SHAPE)
    assert (model.prior.batch_shape, model.prior.event_shape) == ((), (3,))
    assert p.mean.dtype == model.prior.mean.dtype == elbo(model, x).dtype == dtype
    assert torch.isfinite(elbo(model, x)).all()


@build
def test_every_parameter_gets_a_gradient(build):
    with seeded(0):
        model = build(likelihood=NormalLikelihood(0.5, learn_scale=True))
        elbo(model, torch.rand(20, *SHAPE), 5).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@build
def test_double_precision_repeats_single_precision(build):
    with seeded(0):
        model, z = build(), torch.randn(5, 3)
    single = model.decode(z).mean
    double = model.double().decode(z.double()).mean
    torch.testing.assert_close(double, single.double(), atol=1e-5, rtol=0)


@build
def test_codes_are_decoded_independently(build):
    with seeded(0):
        model, z = build().double(), torch.randn(4, 7, 3).double()
    looped = torch.stack([model.decode(one).mean for one in z])
    torch.testing.assert_close(model.decode(z).mean, looped, atol=1e-12, rtol=0)


@pytest.mark.parametrize("event_shape", [(6,), (2, 3), (1, 2, 3)])
def test_an_example_of_any_rank_is_one_event(event_shape):
    # The default likelihood must sum the axes of one example, and never the batch.
    with seeded(0):
        model, x = mlp_vae(2, (4,), event_shape=event_shape), torch.rand(5, *event_shape).round()
        plain = mlp_autoencoder(2, (4,), event_shape=event_shape)
        assert log_weights(model, x, 3).shape == (3, 5)
    p = model.decode(torch.zeros(3, 5, 2))
    assert (p.batch_shape, p.event_shape) == ((3, 5), event_shape)
    assert reconstruction(plain, x).shape == (5,)


@build
def test_samples_are_binary_images_with_the_means_of_the_model(build):
    with seeded(0):
        model = build()
        for parameter in model.decoder.parameters():
            parameter.data.mul_(4)  # spread the probabilities
    n = 4000  # seed 1 for the samples, seed 2 for the probabilities of other codes
    with seeded(1):
        samples = model.sample(n)
    assert samples.shape == (n, *SHAPE)
    assert set(samples.unique().tolist()) == {0.0, 1.0}
    assert not samples.requires_grad
    with seeded(2), torch.no_grad():
        expected = model.decode(model.prior.sample((n,))).mean
    error = ((samples.var(0) + expected.var(0)) / n).sqrt()
    assert ((samples.mean(0) - expected.mean(0)).abs() <= 4 * error).all()
    assert expected.mean(0).std() > 0.02  # so that a constant would have failed


def test_samples_hold_the_noise_of_the_decoder():
    model = mlp_vae(3, (5,), NormalLikelihood(2.0), event_shape=SHAPE)
    for parameter in model.decoder[:-1].parameters():
        nn.init.zeros_(parameter)
    n = 4000 * math.prod(SHAPE)  # seed 0; the variance of n normal squares is 2
    with seeded(0):
        squares = (model.sample(4000) / 2).square()
    assert abs(squares.mean().item() - 1) <= 4 * math.sqrt(2 / n)


def test_the_parts_are_used_as_they_are():
    class Constant(nn.Module):
        def forward(self, *inputs: torch.Tensor) -> Independent:
            return Independent(Normal(torch.full((2,), 3.0), 1.0), 1)

    model = VAE(nn.Identity(), nn.Identity(), Constant())
    assert model.prior.mean.tolist() == [3, 3]
    coder = Autoencoder(nn.Linear(4, 2), Constant())
    assert coder.encode(torch.zeros(5, 4)).shape == (5, 2)
    assert coder.decode(torch.zeros(5, 2)).mean.tolist() == [3, 3]


def test_impossible_architectures_are_refused():
    with pytest.raises(ValueError, match="two positive widths"):
        mlp_vae(2, ())
    with pytest.raises(ValueError, match="at least one stage"):
        conv_vae(2, ())
    with pytest.raises(ValueError, match="divisible by 8"):
        conv_vae(2, (2, 2, 2))
    with pytest.raises(ValueError, match=r"\[batch, 1, 4, 6\], got \[5, 1, 28, 28\]"):
        MODELS["mlp"]().encode(torch.zeros(5, 1, 28, 28))


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("make", [mlp_vae, mlp_autoencoder, conv_vae, conv_autoencoder])
@pytest.mark.parametrize(
    ("dtype", "way"),
    [(torch.float64, r"convert them with \.to\(torch\.float32\)"), (torch.uint8, "binarize or rescale them")],
)
def test_images_and_codes_of_another_precision_are_refused(make, dtype, way, without_type_checks):
    model = make(2, event_shape=(1, 4, 4))
    message = rf"weights are torch\.float32 but it was given {dtype} values: {way}"
    plain = without_type_checks(models)
    owner = plain.Autoencoder if make in (mlp_autoencoder, conv_autoencoder) else plain.VAE
    for method, x in ((owner.encode, torch.zeros(3, 1, 4, 4)), (owner.decode, torch.zeros(3, 2))):
        with pytest.raises(ValueError, match=message):
            method(model, x.to(dtype))


def test_mixed_precision_is_left_alone():
    model = mlp_vae(2, (3,), NormalLikelihood(), event_shape=(1, 4, 4)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert model.encode(torch.zeros(3, 1, 4, 4)).mean.dtype == torch.bfloat16


@pytest.mark.parametrize("make", [mlp_vae, mlp_autoencoder, conv_vae, conv_autoencoder])
@pytest.mark.parametrize(("latent", "shape"), [(0, (1, 4, 4)), (-1, (1, 4, 4)), (2, (1, 4, 0)), (2, ())])
def test_sizes_that_make_no_model_are_refused(make, latent, shape):
    with pytest.raises(ValueError, match="latent_dim and event_shape must be positive"):
        make(latent, event_shape=shape)
