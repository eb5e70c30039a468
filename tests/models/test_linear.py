"""Weights that are laid out once give what torch's own layers give, bit by bit."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dinoiser.models.linear import linear, mlp

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


def make_layer(dtype):
    torch.manual_seed(0)
    return nn.Linear(96, 160).to(dtype).requires_grad_(False)


@DTYPES
@pytest.mark.parametrize("tokens", [1, 7, 785])
def test_the_product_is_the_same_each_time(dtype, tokens):
    layer = make_layer(dtype)
    x = torch.randn(2, tokens, 96).to(dtype)
    with torch.inference_mode():
        expected = F.linear(x, layer.weight, layer.bias)
        for _ in range(2):
            assert torch.equal(linear(x, layer.weight, layer.bias), expected)


@DTYPES
def test_weights_that_change_are_laid_out_again(dtype):
    layer, x = make_layer(dtype), torch.randn(5, 96).to(dtype)
    linear(x, layer.weight, layer.bias)
    torch.manual_seed(1)
    layer.load_state_dict(nn.Linear(96, 160).state_dict())  # in place
    assert torch.equal(linear(x, layer.weight, layer.bias), layer(x))
    layer.weight.data = layer.weight.data * 2  # in other memory
    assert torch.equal(linear(x, layer.weight, layer.bias), layer(x))


def test_a_layer_that_is_trained_gets_its_gradients():
    layer = make_layer(torch.bfloat16).requires_grad_(True)
    x = torch.randn(5, 96).bfloat16()
    linear(x, layer.weight, layer.bias).sum().backward()
    found = layer.weight.grad.clone()
    layer.weight.grad = None
    layer(x).sum().backward()
    assert torch.equal(found, layer.weight.grad)


def test_autocast_converts_the_weights():
    layer, x = make_layer(torch.float32), torch.randn(5, 96).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(linear(x, layer.weight, layer.bias), layer(x))


@DTYPES
def test_the_layers_of_a_block_are_run_in_their_order(dtype):
    layers = nn.Sequential()
    layers.add_module("c_fc", make_layer(dtype))
    layers.add_module("gelu", nn.GELU())
    layers.add_module("c_proj", nn.Linear(160, 96, dtype=dtype).requires_grad_(False))
    x = torch.randn(3, 11, 96).to(dtype)
    assert torch.equal(mlp(layers, x), layers(x))
