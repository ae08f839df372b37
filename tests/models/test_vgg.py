"""VGG-9: its layers, and how it fits images of other sizes."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from lightning_landscape.errors import GeometryError
from lightning_landscape.models import VGG9

WIDTHS = [64, 64, 128, 128, 256, 256, 256]


@pytest.mark.parametrize(("channels", "size", "left"), [(3, 32, 4), (1, 28, 4), (1, 8, 1)])
def test_shapes_and_parameter_count(channels: int, size: int, left: int) -> None:
    network = VGG9(in_channels=channels, image_size=size)
    assert network(torch.randn(2, channels, size, size)).shape == (2, 10)
    inputs = [channels, *WIDTHS[:-1]]
    expected = sum(9 * i * o + o + 2 * o for i, o in zip(inputs, WIDTHS, strict=True))
    expected += 256 * left**2 * 256 + 256 + 2 * 256 + 256 * 10 + 10
    assert sum(p.numel() for p in network.parameters()) == expected


def test_nine_layers_with_weights_in_the_papers_order() -> None:
    network = VGG9()
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert [m.weight.shape[0] for m in layers] == [*WIDTHS, 256, 10]
    pools = [i for i, m in enumerate(network.features) if isinstance(m, nn.MaxPool2d)]
    assert pools == [6, 13, 23]
    assert all(m.bias is not None for m in layers)


def test_a_batch_norm_follows_each_layer_but_the_last() -> None:
    modules = [m for m in VGG9().modules() if not list(m.children())]
    for layer, following in pairwise(modules):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert isinstance(following, nn.BatchNorm2d | nn.BatchNorm1d)
    assert isinstance(modules[-1], nn.Linear)


def test_a_bad_image_size_is_refused() -> None:
    with pytest.raises(GeometryError, match="image_size=0"):
        VGG9(image_size=0)
