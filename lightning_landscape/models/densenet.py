"""DenseNet for small images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_landscape.errors import GeometryError
from lightning_landscape.models.arguments import require_positive
from lightning_landscape.models.initialization import initialize


class DenseLayer(nn.Module):
    """Puts ``growth`` new channels before those of its input: BN, ReLU, 1 x 1 (to ``4 * growth``), BN, ReLU, 3 x 3.

    Args:
        in_channels: Channels of the input.
        growth: Channels that the layer adds.
    """

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, in_channels, H, W]`` to ``[N, growth + in_channels, H, W]``."""
        new = self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
        return torch.cat([new, x], dim=1)


class Transition(nn.Module):
    """Halves the channels by a 1 x 1 convolution and the image by an average pool.

    Args:
        in_channels: Channels of the input.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, in_channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, in_channels, H, W]`` to ``[N, in_channels // 2, H // 2, W // 2]``."""
        return F.avg_pool2d(self.conv(F.relu(self.bn(x))), 2)


class DenseNet(nn.Module):
    """A DenseNet with four dense blocks, three transitions, global average pool and a linear layer.

    The defaults are the paper's DenseNet-121. The pool is global, so that images of at least 8 x 8 pixels fit.
    Names of the state dict are the released code's: ``conv1``, ``dense1`` ... ``dense4``, ``trans1`` ... ``trans3``,
    ``bn``, ``linear``.

    Source: Huang, Liu, van der Maaten, Weinberger (2017), table 1; Li, Xu, Taylor, Studer, Goldstein (2018), section 5.

    Args:
        blocks: Layers of the four dense blocks.
        growth: Channels that a layer adds; the first convolution has twice as many.
        in_channels: Channels of the images.
        num_classes: Outputs.

    Raises:
        GeometryError: There are not four blocks, or a size is less than 1.

    Example:
        >>> import torch
        >>> DenseNet(blocks=(1, 1, 1, 1), growth=4, in_channels=1)(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        blocks: Sequence[int] = (6, 12, 24, 16),
        growth: int = 32,
        in_channels: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        require_positive("DenseNet", growth=growth, in_channels=in_channels, num_classes=num_classes)
        if len(blocks) != 4:
            raise GeometryError(f"DenseNet got {len(blocks)} blocks, {list(blocks)}: pass the layers of four blocks")
        channels = 2 * growth
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        for stage, layers in enumerate(blocks, start=1):
            require_positive("DenseNet", blocks=layers)
            dense = nn.Sequential(*(DenseLayer(channels + i * growth, growth) for i in range(layers)))
            self.add_module(f"dense{stage}", dense)
            channels += layers * growth
            if stage < len(blocks):
                self.add_module(f"trans{stage}", Transition(channels))
                channels //= 2
        self.bn = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels, num_classes)
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[N, num_classes]`` of images ``[N, in_channels, H, W]``, H and W at least 8."""
        out: Tensor = self.conv1(images)
        for stage in (1, 2, 3):
            out = self.get_submodule(f"trans{stage}")(self.get_submodule(f"dense{stage}")(out))
        out = self.get_submodule("dense4")(out)
        logits: Tensor = self.linear(F.relu(self.bn(out)).mean(dim=(2, 3)))
        return logits
