"""A fully connected network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from lightning_landscape.models.arguments import require_positive


class MLP(nn.Sequential):
    """Flattens its input and applies linear layers with ReLU, perhaps after BatchNorm, between them.

    It keeps PyTorch's initialisation: without BatchNorm, the paper's tiny linear weights would not train.

    Args:
        in_features: Numbers in one example, such as 64 for an 8 x 8 image with one channel.
        hidden: Widths of the hidden layers; empty for a linear classifier.
        num_classes: Outputs.
        batch_norm: Whether each hidden layer is normalised, as binary weights need it: their scale is not free.

    Raises:
        GeometryError: A size is less than 1.

    Example:
        >>> import torch
        >>> network = MLP(in_features=64, hidden=(32,), num_classes=10)
        >>> network(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
        >>> sum(p.numel() for p in network.parameters()) == 64 * 32 + 32 + 32 * 10 + 10
        True
    """

    def __init__(
        self,
        in_features: int = 64,
        hidden: Sequence[int] = (128,),
        num_classes: int = 10,
        batch_norm: bool = False,
    ) -> None:
        require_positive("MLP", in_features=in_features, num_classes=num_classes)
        for width in hidden:
            require_positive("MLP", hidden=width)
        widths = [in_features, *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in pairwise(widths):
            layers.append(nn.Linear(fan_in, fan_out))
            layers += [nn.BatchNorm1d(fan_out), nn.ReLU()] if batch_norm else [nn.ReLU()]
        super().__init__(*layers, nn.Linear(widths[-1], num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[N, num_classes]`` of examples of any shape ``[N, ...]`` with ``in_features`` numbers each."""
        for layer in self:
            images = layer(images)
        return images
