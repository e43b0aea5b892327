"""Packed networks: what the page unpacks is the rounded network, and the rounding is as small as stated."""

import numpy as np
import pytest
import torch
from conftest import rounded
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

import vae_src as vs
from vae_src.widgets.packing import LARGEST, pack, quantize


@given(hnp.arrays(np.float32, (3, 5), elements=st.floats(-100, 100, width=32)))
def test_rounding_is_within_half_a_step(matrix):
    integers, scales = quantize(matrix)
    assert np.abs(integers).max() <= LARGEST
    assert np.all(np.abs(integers * scales[:, None] - matrix) <= 0.501 * scales[:, None])


def test_a_row_of_zeros_stays_zero():
    integers, scales = quantize(np.zeros((2, 3), np.float32))
    assert not integers.any()
    assert np.isfinite(scales).all()


def test_layout_names_every_layer_in_order(plane_models):
    data, layers = pack(plane_models[0].encoder)
    assert [layer["op"] for layer in layers] == [
        "linear", "relu", "linear", "relu", "linear", "exp_second_half",
    ]  # fmt: skip
    assert [(layer["rows"], layer["columns"]) for layer in layers if layer["op"] == "linear"] == [
        (256, 784), (128, 256), (4, 128),
    ]  # fmt: skip
    weights = sum(layer["rows"] * layer["columns"] for layer in layers if layer["op"] == "linear")
    assert len(data) <= 1.55 * weights
    assert all(
        layer[k] % 4 == 0 for layer in layers if layer["op"] == "linear" for k in ("at", "scale", "bias")
    )


def test_page_computes_the_rounded_networks(plane_models, in_node):
    torch.manual_seed(0)
    vae, autoencoder = plane_models
    odd = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 3))  # an odd number of weights
    plane = torch.cartesian_prod(torch.linspace(-3, 3, 6), torch.linspace(-3, 3, 6))
    digits = vs.binarize(vs.sample("mnist").test.images[:20], torch.Generator().manual_seed(0))
    cases = []
    with torch.no_grad():
        for network, inputs, read in [
            (vae.decoder, plane, lambda p_x: p_x.mean.flatten(1)),
            (autoencoder.decoder, 10 * plane, lambda p_x: p_x.mean.flatten(1)),
            (vae.encoder, digits, lambda q_z: torch.cat([q_z.mean, q_z.stddev], 1)),
            (odd, torch.randn(4, 3), lambda y: y),
        ]:
            data, layers = pack(network)
            cases.append(
                {
                    "bytes": data.hex(),
                    "layers": layers,
                    "inputs": inputs.flatten(1).tolist(),
                    "outputs": read(rounded(network)(inputs)).tolist(),
                }
            )
    in_node("packing", {"cases": cases}, explorer="latent")


def test_rounding_changes_little(plane_models):
    """The tolerances that `packing` and the gallery state: pixels 0.02, means 0.02, deviations 1 %."""
    vae, autoencoder = plane_models
    axis = torch.linspace(-3, 3, 25)
    plane = torch.cartesian_prod(axis, axis)
    x = vs.binarize(vs.sample("mnist").test.images, torch.Generator().manual_seed(0))
    with torch.no_grad():
        codes = autoencoder.encode(x)
        for network, z in [(vae.decoder, plane), (autoencoder.decoder, codes)]:
            apart = (rounded(network)(z).mean - network(z).mean).abs()
            assert apart.max() < 0.02
            assert apart.mean() < 0.001
        q, page = vae.encode(x), rounded(vae.encoder)(x)
        assert (page.mean - q.mean).abs().max() < 0.02
        assert (page.stddev / q.stddev - 1).abs().max() < 0.01


def test_unknown_layers_and_broken_weights_are_refused():
    with pytest.raises(TypeError, match="cannot compute a layer of type Tanh"):
        pack(nn.Sequential(nn.Linear(2, 2), nn.Tanh()))
    broken = nn.Sequential(nn.Linear(2, 2))
    broken[0].weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="finite"):
        pack(broken)
