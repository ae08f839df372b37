"""The generator and the discriminator of a DCGAN."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from lightning_landscape.errors import GeometryError
from lightning_landscape.models.arguments import require_positive


class DCGANGenerator(nn.Module):
    """Grows an image out of noise by transposed convolutions, with BatchNorm and ReLU, and tanh at the end.

    A linear map of the noise gives ``size / 2**stages`` pixels in each direction and ``width * 2**(stages - 1)``
    channels; each stage doubles the pixels and halves the channels, the last one gives the image's. Kernels are 4 x 4;
    weights are drawn from ``N(0, 0.02^2)``.

    Source: Radford, Metz, Chintala (2016), section 3.

    Args:
        latent_dim: numbers in the noise of one image.
        channels: of the image.
        size: height and width of the image in pixels; a multiple of ``2**stages``.
        width: channels before the last stage.
        stages: transposed convolutions.

    Raises:
        GeometryError: A size is less than 1, or does not fit the stages.

    Example:
        >>> import torch
        >>> DCGANGenerator(latent_dim=16, channels=1, size=28, width=8)(torch.zeros(3, 16)).shape
        torch.Size([3, 1, 28, 28])
    """

    def __init__(
        self, latent_dim: int = 100, channels: int = 3, size: int = 32, width: int = 64, stages: int = 2
    ) -> None:
        super().__init__()
        start = _start("DCGANGenerator", size, stages, latent_dim=latent_dim, channels=channels, width=width)
        widths = [width * 2**stage for stage in reversed(range(stages))]
        self.shape = (widths[0], start, start)
        self.project = nn.Linear(latent_dim, widths[0] * start * start, bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for fan_in, fan_out in pairwise(widths):
            layers += [_doubling(fan_in, fan_out, bias=False), nn.BatchNorm2d(fan_out), nn.ReLU()]
        layers += [_doubling(width, channels, bias=True), nn.Tanh()]
        self.grow = nn.Sequential(*layers)
        _initialize(self)

    def forward(self, noise: Tensor) -> Tensor:
        """Images ``[N, channels, size, size]`` in (-1, 1) of noise ``[N, latent_dim]``."""
        images: Tensor = self.grow(self.project(noise).unflatten(1, self.shape))
        return images


class DCGANDiscriminator(nn.Sequential):
    """Shrinks an image to one score by strided convolutions, with BatchNorm but in the first, and LeakyReLU (0.2).

    The mirror image of `DCGANGenerator`; the score has no sigmoid.

    Source: Radford, Metz, Chintala (2016), section 3.

    Args:
        channels: of the image.
        size: height and width of the image in pixels; a multiple of ``2**stages``.
        width: channels after the first stage.
        stages: strided convolutions.
        batch_norm: False for losses with a gradient penalty, which is defined for each example by itself.

    Raises:
        GeometryError: A size is less than 1, or does not fit the stages.

    Example:
        >>> import torch
        >>> DCGANDiscriminator(channels=1, size=28, width=8)(torch.zeros(3, 1, 28, 28)).shape
        torch.Size([3, 1])
    """

    def __init__(
        self, channels: int = 3, size: int = 32, width: int = 64, stages: int = 2, batch_norm: bool = True
    ) -> None:
        end = _start("DCGANDiscriminator", size, stages, channels=channels, width=width)
        layers: list[nn.Module] = []
        fan_in = channels
        for stage in range(stages):
            fan_out = width * 2**stage
            normed = batch_norm and stage > 0
            layers.append(nn.Conv2d(fan_in, fan_out, 4, stride=2, padding=1, bias=not normed))
            layers += [nn.BatchNorm2d(fan_out), nn.LeakyReLU(0.2)] if normed else [nn.LeakyReLU(0.2)]
            fan_in = fan_out
        super().__init__(*layers, nn.Flatten(), nn.Linear(fan_in * end * end, 1))
        _initialize(self)


def _doubling(fan_in: int, fan_out: int, bias: bool) -> nn.Module:
    return nn.ConvTranspose2d(fan_in, fan_out, 4, stride=2, padding=1, bias=bias)


def _start(network: str, size: int, stages: int, **sizes: int) -> int:
    """Return the pixels at the narrow end.

    Raises:
        GeometryError: A size is less than 1, or does not fit the stages.
    """
    require_positive(network, size=size, stages=stages, **sizes)
    if size % 2**stages:
        raise GeometryError(
            f"{network} got size={size} and stages={stages}: pass a size that can be halved {stages} times"
        )
    return int(size // 2**stages)


def _initialize(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
