"""The parameter view: weights of a line or plane, put in place in the live module; here of a replicated model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from lightning_landscape.errors import GeometryError
from lightning_landscape.geometry.slices import Line, Plane
from lightning_landscape.geometry.weights import digest, live_weights, place

_NARROW = (torch.float16, torch.bfloat16)


class Parameters(Protocol):
    """A module whose live weights can be set to any point of a slice; `sharded.parameters_of` chooses the kind."""

    def place_origin(self) -> str:
        """Put the whole origin in place, and return the SHA-256 of all weights and running statistics there."""

    def place(self, *coordinates: float) -> None:
        """Put the point with these coordinates in place."""


class ReplicatedParameters:
    """The live parameters of a module that every rank holds whole.

    A point is always written from the origin, never as a step from the point before, so that its value depends on its
    coordinates alone: in place, ``w = w0``, then ``w += a x``, then ``w += b y``, over those tensors that move. At
    ``(0, 0)`` the weights are the origin's to the last bit. Weights of 16 bits are summed in float32 and rounded once.

    Memory: the slice itself (origin and directions) and, for 16-bit weights, one float32 copy.

    Args:
        module: the module; not changed before `place_origin`.
        slice_: the line or plane. Names that it lacks stay as they are in the module.
        move_buffers: whether BatchNorm running statistics move along the slice, too (interpolation).

    Raises:
        GeometryError: if the slice names tensors that the module has not, or of another shape.
    """

    def __init__(self, module: nn.Module, slice_: Line | Plane, *, move_buffers: bool = False) -> None:
        self._module = module
        self._slice = slice_
        live = require_fit(module, slice_)
        statistics = live_weights(module, buffers=True).keys() - dict(module.named_parameters()).keys()
        if move_buffers:
            require_statistics(slice_.origin, statistics)
        moving = [
            name
            for name in slice_.origin
            if (move_buffers or name not in statistics) and any(bool(d[name].any()) for d in slice_.directions)
        ]
        self._live = [live[name].data for name in moving]
        self._sums = [sum_of(t) for t in self._live]
        self._origin = [_like(slice_.origin[name], total) for name, total in zip(moving, self._sums, strict=True)]
        self._directions = [
            [_like(direction[name], total) for name, total in zip(moving, self._sums, strict=True)]
            for direction in slice_.directions
        ]

    def place_origin(self) -> str:
        """Put the whole origin in place, and return the SHA-256 of all weights and running statistics there."""
        place(self._module, self._slice.origin)
        return digest(live_weights(self._module, buffers=True))

    def place(self, *coordinates: float) -> None:
        """Put the point with these coordinates in place."""
        if not self._live:
            return
        torch._foreach_copy_(self._sums, self._origin)
        for coordinate, direction in zip(coordinates, self._directions, strict=True):
            if coordinate:
                torch._foreach_add_(self._sums, direction, alpha=coordinate)
        for total, tensor in zip(self._sums, self._live, strict=True):
            if total is not tensor:
                tensor.copy_(total)


def require_fit(module: nn.Module, slice_: Line | Plane) -> dict[str, Tensor]:
    """Return the parameters and buffers of a module by name, among which every tensor of a slice has its place.

    Raises:
        GeometryError: if the slice names tensors that the module has not, or of another shape.
    """
    live = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    require_shapes(type(module).__name__, slice_.origin, {name: tensor.shape for name, tensor in live.items()})
    return live


def require_shapes(owner: str, origin: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> None:
    """Refuse a slice that names tensors that a module has not, or has in another shape.

    Args:
        owner: what the module is called.
        origin: the origin of the slice.
        shapes: the shapes of the module's tensors.

    Raises:
        GeometryError: if it does not fit.
    """
    wrong = [f"{name} {tuple(t.shape)}" for name, t in origin.items() if shapes.get(name) != t.shape]
    if wrong:
        raise GeometryError(
            f"the slice does not fit {owner}: {len(wrong)} of its {len(origin)} tensors "
            f"have no counterpart of that name and shape ({', '.join(wrong[:3])}); make the slice from "
            "weights_of(module) or from a checkpoint of the same architecture"
        )


def require_statistics(origin: Mapping[str, Tensor], statistics: Iterable[str]) -> None:
    """Refuse to move running statistics along a slice that has none.

    Raises:
        GeometryError: if one is missing.
    """
    if set(statistics) - origin.keys():
        raise GeometryError(
            'batch_norm="interpolate" moves the running statistics along, and the slice has none: '
            "make its end points with weights_of(module, buffers=True)"
        )


def sum_of(tensor: Tensor) -> Tensor:
    """Return where the sum for a live tensor is formed: the tensor itself, or a float32 buffer if it has 16 bits."""
    return torch.empty_like(tensor, dtype=torch.float32) if tensor.dtype in _NARROW else tensor


def _like(tensor: Tensor, total: Tensor) -> Tensor:
    """Move a tensor of the slice to the device and dtype in which its sum is formed; no copy where it is there."""
    moved = tensor.detach().to(device=total.device, dtype=total.dtype)
    # The user's tensor may be the live one (of a state dict, say), which is about to move.
    return moved.clone() if moved.data_ptr() == total.data_ptr() else moved
