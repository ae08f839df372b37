"""Rescalings: the function stays, the weights do not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_landscape.errors import GeometryError
from lightning_landscape.geometry.rescaling import rescale_normalised, rescale_pairs
from lightning_landscape.models import MLP, VGG9, ResNet


def outputs(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = network.eval()(images)
    return result


@pytest.mark.parametrize(("make", "layers"), [(lambda: ResNet(8, width=4), 9), (lambda: VGG9(image_size=8), 8)])
def test_batch_norm_takes_a_factor_out_again(make: type[nn.Module], layers: int) -> None:
    torch.manual_seed(0)
    network = make().double()
    images = torch.randn(16, 3, 8, 8, dtype=torch.float64)
    network.train()(images)  # running statistics of some size
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_var is not None
            module.running_var *= 1e-4  # so small that BatchNorm's epsilon counts
    before, weight = outputs(network, images), next(network.parameters()).clone()
    assert rescale_normalised(network, 100) == layers
    torch.testing.assert_close(outputs(network, images), before, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(next(network.parameters()), 100 * weight)


def test_a_relu_lets_a_factor_pass() -> None:
    torch.manual_seed(0)
    network = MLP(12, (8, 8, 8), 3).double()
    images = torch.randn(16, 12, dtype=torch.float64)
    before = outputs(network, images)
    first, second, third, last = [m for m in network if isinstance(m, nn.Linear)]
    weights = [m.weight.clone() for m in (first, second, third, last)]
    assert rescale_pairs(network, 10) == 2
    torch.testing.assert_close(outputs(network, images), before, rtol=1e-12, atol=1e-12)
    for layer, weight, factor in zip((first, second, third, last), weights, (10, 0.1, 10, 0.1), strict=True):
        torch.testing.assert_close(layer.weight, factor * weight)


def test_networks_that_are_refused() -> None:
    with pytest.raises(GeometryError, match="no layer of the network is followed by a BatchNorm"):
        rescale_normalised(MLP())
    with pytest.raises(GeometryError, match="no two layers with a ReLU module between them"):
        rescale_pairs(ResNet(8))
    with pytest.raises(GeometryError, match=r"a factor of 0\.5"):
        rescale_normalised(ResNet(8), 0.5)
    with pytest.raises(GeometryError, match="a factor of -1"):
        rescale_pairs(MLP(), -1)
