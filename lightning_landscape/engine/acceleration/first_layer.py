"""The first layer is linear in the plane's coordinates, so its products with the batch are computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_landscape.engine.acceleration.calls import Calls, is_plain_layer
from lightning_landscape.engine.acceleration.memo import BatchMemo
from lightning_landscape.engine.acceleration.shortcut import Shortcut, Substitution
from lightning_landscape.geometry.slices import Line, Plane


class FirstLayer:
    r"""The output of a linear layer as a combination of products that depend on the batch alone.

    .. math:: (W + a D_x + b D_y)\, x = W x + a D_x x + b D_y x

    and the bias likewise, where the layer's input is the same at every point. An input that is another tensor, or finds
    no more room, goes through the layer as ever. (A convolution's output is too large for that to be worth much.)

    Memory: the layer's output for all examples, once for the origin and once for each direction; 1 GiB or a batch more.

    Args:
        layer: the layer.
        origin: its parameters at the origin, by their names in the layer.
        directions: their directions, in the order of the coordinates.
    """

    def __init__(
        self, layer: nn.Linear, origin: Mapping[str, Tensor], directions: Sequence[Mapping[str, Tensor]]
    ) -> None:
        self._layer = layer
        self._moves = [any(bool(tensor.any()) for tensor in direction.values()) for direction in directions]
        self._coordinates: list[float] = []
        parts = [origin, *(d for d, moves in zip(directions, self._moves, strict=True) if moves)]
        self._products = BatchMemo(lambda x: tuple(F.linear(x, **part) for part in parts))
        # Where a tensor lies is nothing that a compiler can ask.
        self.substitutions = [Substitution(vars(layer), "forward", torch.compiler.disable(self._forward))]

    @classmethod
    def of(cls, calls: Calls, again: Calls, module: nn.Module, slice_: Line | Plane) -> Self | None:
        """Make the shortcut for a linear layer that is called first; None if its input is made anew at every point.

        Args:
            calls: the calls at one point.
            again: those at another point.
            module: the module that the slice is about.
            slice_: the line or plane.
        """
        layer = calls.first
        if not isinstance(layer, nn.Linear) or calls.narrow or not is_plain_layer(layer):
            return None
        if layer not in calls.same_inputs(again):
            return None
        own = dict(layer.named_parameters(recurse=False))
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        named = {key: names.get(id(parameter), "") for key, parameter in own.items()}
        origin, *directions = (
            {key: part[named[key]].to(p) if named[key] in part else rest(p.detach()) for key, p in own.items()}
            for part, rest in ((slice_.origin, torch.clone), *((d, torch.zeros_like) for d in slice_.directions))
        )
        return cls(layer, origin, directions)

    def place(self, *coordinates: float) -> None:
        """Combine the products with these coordinates from now on."""
        self._coordinates = [c for c, moves in zip(coordinates, self._moves, strict=True) if moves]

    def halves(self) -> Sequence[Shortcut]:
        """Return none: a layer is not divided."""
        return ()

    def _forward(self, x: Tensor) -> Tensor:
        products = None if torch.is_autocast_enabled(x.device.type) else self._products(x)
        if products is None:
            return F.linear(x, self._layer.weight, self._layer.bias)
        output = products[0].clone() if len(products) == 1 else products[0]
        for number, (coordinate, product) in enumerate(zip(self._coordinates, products[1:], strict=True)):
            output = output.add_(product, alpha=coordinate) if number else output.add(product, alpha=coordinate)
        return output
