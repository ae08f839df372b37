"""The lines and planes that callbacks choose by name, the same on every rank."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule

from lightning_landscape.callbacks.trajectory_recorder import TrajectoryRecorder
from lightning_landscape.engine.ranks import Ranks
from lightning_landscape.geometry.directions import Normalize
from lightning_landscape.geometry.path import Path
from lightning_landscape.geometry.slices import Line, Plane
from lightning_landscape.geometry.weights import Weights, direction_dtype, weights_of


def random_slice(module: LightningModule, dimensions: int, seed: int, normalize: Normalize | None) -> Line | Plane:
    """Return a line or plane in random directions around the module's weights; seeded, so equal on every rank."""
    weights = weights_of(module)
    return Plane.random(weights, seed, normalize) if dimensions == 2 else Line.random(weights, seed, normalize)


def principal_slice(
    module: LightningModule, dimensions: int, recorder: TrajectoryRecorder, ranks: Ranks
) -> tuple[Line | Plane, Path]:
    """Return the principal line or plane of the recorded trajectory through the present weights, and the path on it.

    Rank zero reads the file and finds the directions; the others receive them. Where the recorder keeps some parameters
    only, the slice is of these, and the others stay as they are.

    Raises:
        GeometryError: on every rank, while the trajectory has too few points to span a plane.
    """
    weights = weights_of(module)

    def find() -> tuple[Line | Plane, Path]:
        with recorder.trajectory() as trajectory:
            origin = _only(weights, trajectory.names)
            slice_: Line | Plane = Plane.principal(trajectory, origin=origin)
            if dimensions == 1:
                slice_ = _slice(origin, slice_.directions[:1], slice_.explained_variance)
            return slice_, slice_.project(trajectory)

    found = ranks.on_zero(find)
    facts = ranks.broadcast(found and (list(found[0].origin), found[0].explained_variance, found[1]))
    assert facts is not None
    names, explained_variance, path = facts
    origin = _only(weights, names)
    directions = found[0].directions if found else tuple(_like(origin) for _ in range(dimensions))
    for direction in directions:
        for tensor in direction.values():
            ranks.broadcast_tensor(tensor)
    return _slice(origin, directions, explained_variance), path


def _only(weights: Weights, names: list[str]) -> Weights:
    return Weights({name: weights[name] for name in names}, weights.roles)


def _like(origin: Weights) -> Weights:
    return Weights({name: torch.zeros_like(t, dtype=direction_dtype(t)) for name, t in origin.items()}, origin.roles)


def _slice(
    origin: Weights, directions: tuple[Weights, ...], explained_variance: tuple[float, ...] | None
) -> Line | Plane:
    shares = explained_variance and explained_variance[: len(directions)]
    kind = Line if len(directions) == 1 else Plane
    return kind(origin, *directions, kind="principal", explained_variance=shares)
