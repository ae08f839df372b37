"""Lines and planes of sharded models, of which every rank holds its own shards, and the parameter view over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from lightning_landscape.engine.parameters import (
    Parameters,
    ReplicatedParameters,
    require_fit,
    require_shapes,
    require_statistics,
    sum_of,
)
from lightning_landscape.engine.shards import Shards
from lightning_landscape.geometry.directions import Normalize, derived_seed, random_direction
from lightning_landscape.geometry.slices import Line, Metadata, Plane, check_directions, describe
from lightning_landscape.geometry.weights import Digest, Weights, inner


@dataclass(frozen=True, eq=False)
class ShardedSlice:
    """A line or plane of which this rank holds the shards: the same, put together, as on a single device.

    Args:
        origin: this rank's part of each tensor of the point with coordinates 0.
        directions: likewise of one or two directions.
        facts: what a record says about the whole slice; see `Slice.metadata`.
    """

    origin: dict[str, Tensor]
    directions: tuple[dict[str, Tensor], ...]
    facts: Metadata

    @property
    def dim(self) -> int:
        """1 for a line, 2 for a plane."""
        return len(self.directions)

    def metadata(self) -> Metadata:
        """Return what a record should say about the slice."""
        return dict(self.facts)

    @classmethod
    def cut(
        cls, shards: Shards, tensors: Iterable[tuple[str, Sequence[Tensor]]], dimensions: int, facts: Metadata
    ) -> ShardedSlice:
        """Keep this rank's part of whole tensors that come one by one.

        Args:
            shards: where the weights of the module lie.
            tensors: name, and the tensors of the origin and of each direction.
            dimensions: the number of directions.
            facts: see the class.
        """
        points: list[dict[str, Tensor]] = [{} for _ in range(1 + dimensions)]
        for name, wholes in tensors:
            shard = shards.tensors[name]
            for point, whole in zip(points, wholes, strict=True):
                # A clone, so that what is kept is the part and not the whole tensor around it.
                point[name] = shard.cut(whole.to(shard.local.device)).clone()
        return cls(points[0], tuple(points[1:]), facts)

    @classmethod
    def of(cls, shards: Shards, slice_: Line | Plane) -> ShardedSlice:
        """Cut a slice that every rank holds whole."""
        points = (slice_.origin, *slice_.directions)
        tensors = ((name, [point[name] for point in points]) for name in slice_.origin)
        return cls.cut(shards, tensors, slice_.dim, slice_.metadata())

    @classmethod
    def random(cls, shards: Shards, dimensions: int, seed: int, normalize: Normalize | None) -> ShardedSlice:
        """Draw the line or plane that `Line.random` and `Plane.random` would draw from the whole weights.

        Every rank draws all of each tensor and keeps its part, because filters straddle the shards.
        """
        seeds = [derived_seed(seed, label) for label in "xy"[:dimensions]]
        gram, digests = np.zeros((dimensions, dimensions)), [Digest() for _ in seeds]

        def drawn() -> Iterator[tuple[str, Sequence[Tensor]]]:
            for name in sorted(shards.weights):
                weights = Weights({name: shards.weights[name].whole()}, shards.roles)
                directions = [random_direction(weights, normalize, seed) for seed in seeds]
                gram[:] += [[inner(a, b) for b in directions] for a in directions]
                for digest, direction in zip(digests, directions, strict=True):
                    digest.add(name, direction[name])
                yield name, [weights[name], *(direction[name] for direction in directions)]

        made = cls.cut(shards, drawn(), dimensions, {})
        check_directions(gram)
        facts = describe(gram, [each.hexdigest() for each in digests], kind="random", seed=seed, normalize=normalize)
        return replace(made, facts=facts)


class ShardedParameters:
    """The live shards of a module, on which every rank writes its part of a point; see `ReplicatedParameters`.

    Whole copies of weights that forward passes have left are dropped before anything is written.

    Memory on each rank: its shards of origin and directions, and, for 16-bit weights, one float32 copy of its shards.

    Args:
        shards: where the weights lie.
        slice_: the line or plane.
        move_buffers: whether running statistics move along the slice, too (interpolation).
    """

    def __init__(self, shards: Shards, slice_: ShardedSlice, *, move_buffers: bool = False) -> None:
        if move_buffers:
            require_statistics(slice_.origin, shards.statistics)
        self._shards = shards
        self._origin = slice_.origin
        moving = [name for name in slice_.origin if move_buffers or name not in shards.statistics]
        self._live = [shards.tensors[name].local for name in moving]
        self._sums = [sum_of(tensor) for tensor in self._live]
        self._points = [
            [point[name].to(total.dtype) for name, total in zip(moving, self._sums, strict=True)]
            for point in (slice_.origin, *slice_.directions)
        ]

    def place_origin(self) -> str:
        """Put the whole origin in place, and return the SHA-256 of all weights and running statistics there."""
        self._shards.reshard()
        tensors = self._shards.tensors
        for name, part in self._origin.items():
            tensors[name].local.copy_(part)
        digest = Digest()
        for name in sorted(tensors):
            digest.add(name, tensors[name].whole())
        return digest.hexdigest()

    def place(self, *coordinates: float) -> None:
        """Put the point with these coordinates in place."""
        self._shards.reshard()
        origin, *directions = self._points
        torch._foreach_copy_(self._sums, origin)
        for coordinate, direction in zip(coordinates, directions, strict=True):
            if coordinate:
                torch._foreach_add_(self._sums, direction, alpha=coordinate)
        for total, tensor in zip(self._sums, self._live, strict=True):
            if total is not tensor:
                tensor.copy_(total)


def require_slice_fits(module: nn.Module, slice_: Line | Plane, shards: Shards | None) -> None:
    """Refuse a slice that names tensors that a module has not, or has in another shape.

    Raises:
        GeometryError: if it does not fit.
    """
    if shards is None:
        require_fit(module, slice_)
    else:
        shapes = {name: shard.shape for name, shard in shards.tensors.items()}
        require_shapes(type(module).__name__, slice_.origin, shapes)


def parameters_of(
    module: nn.Module, slice_: Line | Plane | ShardedSlice, shards: Shards | None, *, move_buffers: bool = False
) -> Parameters:
    """Choose the parameter view: over the whole weights, or over this rank's shards of them."""
    if shards is None:
        assert not isinstance(slice_, ShardedSlice)
        return ReplicatedParameters(module, slice_, move_buffers=move_buffers)
    if not isinstance(slice_, ShardedSlice):
        require_slice_fits(module, slice_, shards)
        slice_ = ShardedSlice.of(shards, slice_)
    return ShardedParameters(shards, slice_, move_buffers=move_buffers)
