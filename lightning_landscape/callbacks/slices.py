"""The lines and planes that callbacks choose by name, the same on every rank."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule

from lightning_landscape.callbacks.trajectory_recorder import TrajectoryRecorder
from lightning_landscape.engine.ranks import Ranks
from lightning_landscape.errors import GeometryError
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
) -> tuple[Line | Plane, Path] | None:
    """Return the principal line or plane of the recorded trajectory through the present weights, and the path on it.

    Rank zero reads the file and finds the directions; the others receive them.

    Returns:
        None while the trajectory has too few points to span a plane.
    """
    origin = weights_of(module)

    def find() -> tuple[Plane, Path] | None:
        with recorder.trajectory() as trajectory:
            if len(trajectory) < 3:
                return None
            plane = Plane.principal(trajectory, origin=origin)
            return plane, plane.project(trajectory)

    found = ranks.on_zero(find)
    facts = ranks.broadcast(None if found is None else (found[0].explained_variance, found[1]))
    if facts is None:
        return None
    explained_variance, path = facts
    if found is not None:
        x, y = found[0].x, found[0].y
    else:
        x, y = (Weights({n: torch.zeros_like(t, dtype=direction_dtype(t)) for n, t in origin.items()}, origin.roles) for _ in range(2))
    for direction in (x, y):
        for tensor in direction.values():
            ranks.broadcast_tensor(tensor)
    if dimensions == 2:
        return Plane(origin, x, y, kind="principal", explained_variance=explained_variance), path
    if explained_variance is None:
        raise GeometryError("a principal plane states the variance that it explains")
    line = Line(origin, x, kind="principal", explained_variance=explained_variance[:1])
    return line, ranks.broadcast(line.project(recorder.trajectory()) if ranks.rank == 0 else path)
