"""Several optimizers from one start: their paths on one surface."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from lightning_landscape.callbacks.trajectory_recorder import TrajectoryRecorder
from lightning_landscape.engine.surface import compute_surface
from lightning_landscape.errors import LandscapeError
from lightning_landscape.figures import plot_paths
from lightning_landscape.geometry.principal import JoinedCheckpoints
from lightning_landscape.geometry.slices import Plane
from lightning_landscape.records.surface_file import check_writable
from lightning_landscape.records.trajectory import Trajectory
from lightning_landscape.sampling.grid import Grid
from lightning_landscape.tasks.build import build_run, execute, of_run

_log = logging.getLogger(__name__)


def paths(cfg: DictConfig) -> list[Path]:
    """Train every run of ``cfg.runs`` from the same weights and draw all paths on their common principal plane.

    The plane goes through the start and along the two directions in which the checkpoints of all runs together vary
    most. Runs with more checkpoints weigh more, so all should record as often.

    Returns:
        The figure, the record of the surface and the trajectories.

    Raises:
        LandscapeError: if there are no runs, one records no trajectory, or the runs start from different weights.
    """
    if not cfg.runs:
        raise LandscapeError("mode=paths needs runs: give `runs` a name and overrides for each")
    folder = Path(cfg.output_dir)
    check_writable(folder)
    trajectories: dict[str, Trajectory] = {}
    for name in map(str, cfg.runs):
        run = build_run(of_run(cfg, name))
        callbacks: list[object] = run.trainer.callbacks  # type: ignore[attr-defined]
        recorder = next((c for c in callbacks if isinstance(c, TrajectoryRecorder) and c.projection is None), None)
        if recorder is None:
            raise LandscapeError(f"run {name!r} records no trajectory: add a TrajectoryRecorder to its callbacks")
        execute(run)
        trajectories[name] = recorder.trajectory()
        _log.info("%s: %d checkpoints", name, len(trajectories[name]))
    start = next(iter(trajectories.values()))[0]
    for name, trajectory in trajectories.items():
        if any(not torch.equal(trajectory[0][key], tensor) for key, tensor in start.items()):
            raise LandscapeError(
                f"run {name!r} starts from other weights than the first: give both the same seed and model"
            )
    plane = Plane.principal(JoinedCheckpoints(list(trajectories.values())), origin=start)
    found = {name: plane.project(trajectory) for name, trajectory in trajectories.items()}
    grid = Grid.covering(
        np.concatenate([path.coordinates for path in found.values()]), resolution=cfg.surface.resolution
    )
    record = folder / "paths.h5"
    surface = compute_surface(
        run.module,
        run.data.evaluation_dataloader("train"),  # type: ignore[attr-defined]
        plane,
        grid,
        path=record,
        examples=cfg.surface.examples,
        seed=cfg.seed,
        attrs={"title": cfg.title},
    )
    figure = record.with_suffix(".png")
    plot_paths(surface, found, zmax=cfg.ceiling).savefig(figure, dpi=150)
    return [figure, record, *(trajectory.path for trajectory in trajectories.values())]
