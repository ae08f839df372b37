"""VGG-9, the network of the paper's one-dimensional study."""

from __future__ import annotations

import math

from torch import Tensor, nn

from lightning_landscape.models.arguments import require_positive
from lightning_landscape.models.initialization import initialize

# Output channels of the 3 x 3 convolutions; None is a 2 x 2 max-pool of stride 2.
LAYERS = (64, 64, None, 128, 128, None, 256, 256, 256, None)


class VGG9(nn.Module):
    """Seven convolutions with bias, BatchNorm and ReLU, three max-pools, and two linear layers.

    The first linear layer (with BatchNorm and ReLU) has 256 outputs and as many inputs as the last pool leaves:
    ``256 * s * s`` with ``s`` the image size halved three times, rounded up each time. That is 256 * 4 * 4 for
    32 x 32 and for 28 x 28 images, and 256 for 8 x 8 images. Names of the state dict are the released code's:
    ``features``, ``fc``, ``classifier``.

    Source: Li, Xu, Taylor, Studer, Goldstein (2018), section 4 and the released model definition.

    Args:
        in_channels: Channels of the images.
        num_classes: Outputs.
        image_size: Height, equal to the width, of the images in pixels.

    Raises:
        GeometryError: A size is less than 1.

    Example:
        >>> import torch
        >>> VGG9(in_channels=1, image_size=8)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 10, image_size: int = 32) -> None:
        super().__init__()
        require_positive("VGG9", in_channels=in_channels, num_classes=num_classes, image_size=image_size)
        layers: list[nn.Module] = []
        channels, size = in_channels, image_size
        for width in LAYERS:
            if width is None:
                layers.append(nn.MaxPool2d(2, stride=2, ceil_mode=True))
                size = math.ceil(size / 2)
            else:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers)
        self.fc = nn.Sequential(nn.Linear(channels * size * size, channels), nn.BatchNorm1d(channels), nn.ReLU())
        self.classifier = nn.Linear(channels, num_classes)
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[N, num_classes]`` of images ``[N, in_channels, image_size, image_size]``."""
        logits: Tensor = self.classifier(self.fc(self.features(images).flatten(1)))
        return logits
