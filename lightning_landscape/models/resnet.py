"""Residual networks for small images, with or without their shortcuts."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_landscape.errors import GeometryError
from lightning_landscape.models.arguments import require_positive
from lightning_landscape.models.initialization import initialize


class Block(nn.Module):
    """Two 3 x 3 convolutions with BatchNorm: ``relu(f(x) + shortcut(x))``, or ``relu(f(x))`` without a shortcut.

    The shortcut is the identity where the shape stays, else a 1 x 1 convolution with BatchNorm (option B of He et al.).

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        stride: Stride of the first convolution.
        shortcut: Whether the block has a shortcut.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Sequential | None = None
        if shortcut:
            self.shortcut = nn.Sequential()
            if stride != 1 or in_channels != channels:
                self.shortcut.append(nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False))
                self.shortcut.append(nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, in_channels, H, W]`` to ``[N, channels, ceil(H / stride), ceil(W / stride)]``."""
        out: Tensor = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.shortcut is not None:
            out = out + self.shortcut(x)
        return F.relu(out)


class ResNet(nn.Module):
    """A ResNet of depth 6n + 2: a 3 x 3 convolution, three stages of n blocks, global average pool, linear layer.

    The stages have ``width``, ``2 * width`` and ``4 * width`` channels and the second and third halve the image
    (rounded up). The pool is global, so that images of any size fit. ``shortcuts=False`` is the paper's "noshort"
    network: the same convolutions without any identity or projection. A base width of ``16 * k`` is the paper's
    WRN-depth-k. Names of the state dict are those of the published networks (``conv1``, ``bn1``,
    ``layer1.0.conv1``, ..., ``linear``).

    Source: He, Zhang, Ren, Sun (2016), section 4.2; Li, Xu, Taylor, Studer, Goldstein (2018), section 5.

    Args:
        depth: Convolutions on the longest path and the linear layer: 8, 14, 20, ..., 56, ..., 110, ...
        shortcuts: Whether the blocks have shortcuts.
        width: Channels of the first stage.
        in_channels: Channels of the images.
        num_classes: Outputs.

    Raises:
        GeometryError: The depth is not 6n + 2 with n at least 1, or a size is less than 1.

    Example:
        >>> import torch
        >>> ResNet(depth=8, width=2, in_channels=1)(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
        >>> ResNet(depth=57)
        Traceback (most recent call last):
        ...
        lightning_landscape.errors.GeometryError: ResNet got depth=57, which is not 6 n + 2: pass 56 or 62
    """

    def __init__(
        self,
        depth: int = 20,
        shortcuts: bool = True,
        width: int = 16,
        in_channels: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        require_positive("ResNet", depth=depth, width=width, in_channels=in_channels, num_classes=num_classes)
        blocks, remainder = divmod(depth - 2, 6)
        if blocks < 1:
            raise GeometryError(f"ResNet got depth={depth}: pass 6 n + 2 with n at least 1, such as 8, 14 or 20")
        if remainder:
            below = 6 * blocks + 2
            raise GeometryError(f"ResNet got depth={depth}, which is not 6 n + 2: pass {below} or {below + 6}")

        def stage(channels_in: int, channels: int, stride: int) -> nn.Sequential:
            first = Block(channels_in, channels, stride, shortcuts)
            return nn.Sequential(first, *(Block(channels, channels, 1, shortcuts) for _ in range(blocks - 1)))

        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = stage(width, width, 1)
        self.layer2 = stage(width, 2 * width, 2)
        self.layer3 = stage(2 * width, 4 * width, 2)
        self.linear = nn.Linear(4 * width, num_classes)
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[N, num_classes]`` of images ``[N, in_channels, H, W]``."""
        out = F.relu(self.bn1(self.conv1(images)))
        out = self.layer3(self.layer2(self.layer1(out)))
        logits: Tensor = self.linear(out.mean(dim=(2, 3)))
        return logits
