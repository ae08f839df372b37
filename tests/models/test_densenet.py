"""DenseNet-121 for small images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_landscape.errors import GeometryError
from lightning_landscape.models import DenseNet


def test_densenet_121_has_121_layers_and_the_known_number_of_parameters() -> None:
    """121 counts the layers on the longest path: 1 + 2 (6 + 12 + 24 + 16) + 3 + 1."""
    network = DenseNet()
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 121
    channels, expected = 64, 3 * 64 * 9
    for stage, depth in enumerate((6, 12, 24, 16)):
        for _ in range(depth):
            expected += 2 * channels + channels * 128 + 2 * 128 + 128 * 32 * 9
            channels += 32
        if stage < 3:
            expected += 2 * channels + channels * (channels // 2)
            channels //= 2
    expected += 2 * channels + channels * 10 + 10
    assert sum(p.numel() for p in network.parameters()) == expected == 6_956_298


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (1, 28), (3, 32)])
def test_output_shape(channels: int, size: int) -> None:
    network = DenseNet(blocks=(1, 2, 1, 1), growth=4, in_channels=channels, num_classes=5)
    assert network(torch.randn(2, channels, size, size)).shape == (2, 5)


def test_a_layer_keeps_its_input() -> None:
    layer = DenseNet(blocks=(1, 1, 1, 1), growth=4, in_channels=1).get_submodule("dense1")[0]
    x = torch.randn(2, 8, 5, 5)
    out = layer(x)
    assert out.shape == (2, 12, 5, 5)
    assert torch.equal(out[:, 4:], x)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [({"blocks": (6, 12)}, "2 blocks"), ({"blocks": (6, 12, 0, 16)}, "blocks=0"), ({"growth": 0}, "growth=0")],
)
def test_bad_arguments_are_refused(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(GeometryError, match=sentence):
        DenseNet(**arguments)
