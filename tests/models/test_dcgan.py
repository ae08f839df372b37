"""Shapes, normalisation and initialisation of DCGAN's two networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_landscape.errors import GeometryError
from lightning_landscape.models import DCGANDiscriminator, DCGANGenerator


@pytest.mark.parametrize(("size", "stages", "channels"), [(28, 2, 1), (32, 3, 3), (8, 1, 1), (16, 4, 3)])
def test_shapes_and_range(size: int, stages: int, channels: int) -> None:
    images = DCGANGenerator(7, channels, size, 4, stages)(torch.randn(5, 7))
    assert images.shape == (5, channels, size, size)
    assert images.abs().max() < 1
    assert DCGANDiscriminator(channels, size, 4, stages)(images).shape == (5, 1)


def test_widths_double_towards_the_narrow_end() -> None:
    generator, discriminator = DCGANGenerator(7, 3, 32, 16, 3), DCGANDiscriminator(3, 32, 16, 3)
    growing = [m.in_channels for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    shrinking = [m.out_channels for m in discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert growing == [64, 32, 16]
    assert shrinking == [16, 32, 64]


def test_initialisation_has_the_published_spread() -> None:
    torch.manual_seed(0)
    for module in (*DCGANGenerator(width=32).modules(), *DCGANDiscriminator(width=32).modules()):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.weight.numel() > 5000:
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_batch_norm_can_be_left_out_of_the_discriminator() -> None:
    assert any(isinstance(m, nn.BatchNorm2d) for m in DCGANDiscriminator().modules())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in DCGANDiscriminator(batch_norm=False).modules())


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(GeometryError, match="halved 3 times"):
        DCGANGenerator(size=28, stages=3)
    with pytest.raises(GeometryError, match="latent_dim=0"):
        DCGANGenerator(latent_dim=0)
    with pytest.raises(GeometryError, match="width=0"):
        DCGANDiscriminator(width=0)
