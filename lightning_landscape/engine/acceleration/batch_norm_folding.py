"""BatchNorm in eval mode is an affine map, which the layer before it takes over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from lightning_landscape.engine.acceleration.calls import Calls, is_plain_layer, is_unhooked
from lightning_landscape.engine.acceleration.shortcut import Shortcut, Substitution

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_WIDE = (torch.float32, torch.float64)


class BatchNormFolding:
    r"""Layers that do what the BatchNorm behind them does, which then passes on what it gets.

    .. math:: s = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}}, \qquad W' = s W, \qquad b' = \beta + (b - \mu) s

    for each output channel, from the running statistics. Formed anew at every point, from whatever moves there. It
    holds where nothing else uses the layer's output, which the modules' calls do not tell: try it before use.

    Memory: one copy of the layers' weights, in the format of those that it finds.

    Args:
        pairs: plain layers, each with the BatchNorm that takes its output.
    """

    def __init__(self, pairs: Sequence[tuple[nn.Module, nn.Module]]) -> None:
        self._pairs = pairs
        self._weights = [layer.get_parameter("weight") for layer, _ in pairs]
        self._own_biases = [layer._parameters["bias"] for layer, _ in pairs]
        self._folded = [nn.Parameter(torch.empty_like(weight), requires_grad=False) for weight in self._weights]
        self._biases = [
            nn.Parameter(torch.empty_like(norm.get_buffer("running_mean")), requires_grad=False) for _, norm in pairs
        ]
        self.substitutions = [
            *(Substitution(layer._parameters, "weight", w) for (layer, _), w in zip(pairs, self._folded, strict=True)),
            *(Substitution(layer._parameters, "bias", b) for (layer, _), b in zip(pairs, self._biases, strict=True)),
            *(Substitution(vars(norm), "forward", _unchanged) for _, norm in pairs),
        ]

    @classmethod
    def of(cls, calls: Calls) -> Self | None:
        """Make the shortcut for all layers that are followed by a BatchNorm; None if there are none.

        Args:
            calls: the calls at any point.
        """
        pairs = [(layer, norm) for layer, norm in calls.pairs() if is_plain_layer(layer) and _fits(norm, layer)]
        return cls(pairs) if pairs else None

    def place(self, *_: float) -> None:
        """Fold the weights and statistics that stand in the module."""
        for index, (layer, norm) in enumerate(self._pairs):
            mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
            scale = torch.rsqrt(variance + norm.eps)
            if norm.weight is not None:
                scale *= norm.weight
            own_bias = self._own_biases[index]
            bias = (-mean if own_bias is None else own_bias - mean) * scale
            self._biases[index].copy_(bias if norm.bias is None else bias + norm.bias)
            torch.mul(self._weights[index], _by_output(scale, layer), out=self._folded[index])

    def halves(self) -> Sequence[Shortcut]:
        """Return the shortcut for the first half of the pairs, and for the second."""
        middle = len(self._pairs) // 2
        return [type(self)(self._pairs[:middle]), type(self)(self._pairs[middle:])] if middle else ()


def _unchanged(x: Tensor) -> Tensor:
    return x


def _fits(norm: nn.Module, layer: nn.Module) -> bool:
    weight = layer.get_parameter("weight")
    return (
        type(norm) in _NORMS
        and isinstance(norm.running_mean, Tensor)
        and norm.running_mean.dtype == weight.dtype
        and weight.dtype in _WIDE
        and norm.num_features == _outputs(layer)
        and is_unhooked(norm)
    )


def _outputs(layer: nn.Module) -> Any:
    weight = layer.get_parameter("weight")
    return weight.shape[1] * layer.groups if type(layer) in _TRANSPOSED else weight.shape[0]


def _by_output(scale: Tensor, layer: nn.Module) -> Tensor:
    """Lay the scale of each output channel out so that it multiplies the layer's weight."""
    weight = layer.get_parameter("weight")
    if type(layer) not in _TRANSPOSED:
        return scale.view(-1, *(1,) * (weight.ndim - 1))
    # The inputs of a transposed convolution are divided among its groups, each of which has outputs of its own.
    of_group = scale.view(layer.groups, 1, weight.shape[1])
    return of_group.expand(-1, weight.shape[0] // layer.groups, -1).reshape(
        *weight.shape[:2], *(1,) * (weight.ndim - 2)
    )
