"""Several small fully connected networks, computed at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from lightning_landscape.errors import GeometryError
from lightning_landscape.models.arguments import require_positive


class StackedLinear(nn.Module):
    """``count`` linear layers, each with its own inputs: orthogonal weights, biases of 0.1.

    Args:
        count: number of layers.
        in_features: inputs of each.
        out_features: outputs of each.
        groups: parameters that the layers are spread over.
    """

    def __init__(self, count: int, in_features: int, out_features: int, groups: int = 1) -> None:
        super().__init__()
        size = count // groups
        self.weights = nn.ParameterList(torch.empty(size, in_features, out_features) for _ in range(groups))
        self.biases = nn.ParameterList(torch.full((size, 1, out_features), 0.1) for _ in range(groups))
        for group in self.weights:
            for weight in group.data:
                nn.init.orthogonal_(weight)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs ``[count, N, out_features]`` of inputs ``[count, N, in_features]``."""
        return torch.baddbmm(torch.cat(list(self.biases)), inputs, torch.cat(list(self.weights)))


class StackedMLP(nn.Module):
    """Independent tanh networks of one shape, computed as one: many tiny networks for the time of a few.

    The layers are linear with tanh between them, drawn as in the code released with the paper on the prediction step
    (orthogonal weights, biases of 0.1). No network sees another's inputs or gradients, and an optimizer that works
    element by element, as SGD and Adam do, trains each as if it were alone. With ``groups`` the networks are spread,
    in their order, over so many sets of parameters, which may then have learning rates of their own.

    Args:
        count: number of networks.
        in_features: inputs of each.
        hidden: widths of the hidden layers.
        out_features: outputs of each; 1 for scores, which come without the last dimension.
        groups: sets of parameters; a divisor of count.

    Raises:
        GeometryError: A size is less than 1, or the groups cannot be of one size.

    Example:
        >>> StackedMLP(count=5, in_features=2, hidden=(128, 128), out_features=2)(torch.zeros(7, 5, 2)).shape
        torch.Size([7, 5, 2])
        >>> StackedMLP(count=5, in_features=2, hidden=(8,), out_features=1)(torch.zeros(7, 5, 2)).shape
        torch.Size([7, 5])
    """

    def __init__(self, count: int, in_features: int, hidden: Sequence[int], out_features: int, groups: int = 1) -> None:
        super().__init__()
        require_positive("StackedMLP", count=count, in_features=in_features, out_features=out_features, groups=groups)
        for width in hidden:
            require_positive("StackedMLP", hidden=width)
        if count % groups:
            raise GeometryError(f"StackedMLP got count={count} and groups={groups}: pass groups that divide the count")
        widths = [in_features, *hidden, out_features]
        self.layers = nn.ModuleList(StackedLinear(count, *pair, groups) for pair in pairwise(widths))

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs ``[N, count, out_features]``, or ``[N, count]`` for one output, of ``[N, count, in_features]``."""
        values = inputs.transpose(0, 1)
        *hidden, last = self.layers
        for layer in hidden:
            values = torch.tanh(layer(values))
        outputs: Tensor = last(values).transpose(0, 1)
        return outputs.squeeze(-1)
