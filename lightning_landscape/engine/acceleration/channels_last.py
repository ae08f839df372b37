"""Convolutions with their channels innermost in memory, as the fast kernels want them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from lightning_landscape.engine.acceleration.calls import Calls, is_plain_layer
from lightning_landscape.engine.acceleration.memo import BatchMemo
from lightning_landscape.engine.acceleration.shortcut import Shortcut, Substitution

_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


class ChannelsLast:
    """The weights of two- and three-dimensional convolutions, and images of the batch, in the channels-last format.

    Memory: one copy of these weights, and one of those tensors of the batches that a module takes as they are, at most
    1 GiB or a batch more.

    Args:
        layers: the convolutions.
        modules: modules that are given tensors of the batch.
    """

    def __init__(self, layers: Sequence[nn.Module], modules: Sequence[nn.Module]) -> None:
        self._weights = [layer.get_parameter("weight") for layer in layers]
        self._copies = [nn.Parameter(_converted(weight.detach()), requires_grad=False) for weight in self._weights]
        self._memo = BatchMemo(_converted)
        self.substitutions = [
            *(
                Substitution(layer._parameters, "weight", copy)
                for layer, copy in zip(layers, self._copies, strict=True)
            ),
            *(Substitution(m._forward_pre_hooks, self, self._convert) for m in modules),
        ]

    @classmethod
    def of(cls, calls: Calls, again: Calls) -> Self | None:
        """Make the shortcut for the convolutions that are called; None if there are none.

        Args:
            calls: the calls at one point.
            again: those at another point; a module that gets the same tensors in both gets them from the batch.
        """
        layers = [m for m in calls.layers if is_plain_layer(m) and m.get_parameter("weight").ndim in _FORMATS]
        same = calls.same_inputs(again)
        return cls(layers, [m for m in calls.outermost if m in same]) if layers else None

    def place(self, *_: float) -> None:
        """Copy the weights that stand in the module."""
        torch._foreach_copy_(self._copies, self._weights)

    def halves(self) -> Sequence[Shortcut]:
        """Return none: a change of format is right for all or for none."""
        return ()

    def _convert(self, _: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(self._image(a) if isinstance(a, Tensor) and a.ndim in _FORMATS else a for a in arguments)

    def _image(self, tensor: Tensor) -> Tensor:
        image = self._memo(tensor)
        return tensor if image is None else image


def _converted(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=_FORMATS[tensor.ndim])
