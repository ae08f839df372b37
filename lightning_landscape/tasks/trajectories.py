"""The paths of several trainings, each on its own principal plane, with the falls of the learning rate marked."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from lightning_landscape.callbacks.loss_landscape import LossLandscape
from lightning_landscape.callbacks.trajectory_recorder import TrajectoryRecorder
from lightning_landscape.errors import LandscapeError
from lightning_landscape.figures import Panel, Series, plot_comparison, plot_panels
from lightning_landscape.figures.scale import number
from lightning_landscape.figures.trajectory import learning_rate_falls
from lightning_landscape.geometry.directions import derived_seed, random_direction
from lightning_landscape.geometry.path import turning_angles
from lightning_landscape.geometry.principal import captured_variance, principal_directions
from lightning_landscape.geometry.weights import Weights
from lightning_landscape.records.descent import descent_cosines
from lightning_landscape.records.surface import Surface
from lightning_landscape.records.surface_file import check_writable
from lightning_landscape.records.trajectory import Trajectory
from lightning_landscape.tasks.build import Run, build_run, execute, of_run

_log = logging.getLogger(__name__)

_COMPONENTS = 8
_PLANES = 20  # random ones
_WINDOW = 3  # checkpoints before and after a turn


def trajectories(cfg: DictConfig) -> list[Path]:
    """Train every run of ``cfg.runs`` and measure its path: how flat it is, how it runs over its plane, where it turns.

    ``trajectories.json`` holds, for each run: the shares of the path's variance along its leading principal directions
    and in random planes, with the share to expect there; for each phase of constant learning rate, the mean cosine
    between the path's steps and the steepest descent in the plane (`descent_cosines`), and its mean absolute value,
    which is small along contours; the angles by which the path turns in the plane where the rate falls, and their
    median over all other checkpoints; the test loss and accuracy.

    Returns:
        The figures, the numbers, the records of the surfaces and the trajectories.

    Raises:
        LandscapeError: if there are no runs, or one records no trajectory or no surface on its principal plane.

    Source: Li et al., arXiv 1712.09913, section 7.
    """
    if not cfg.runs:
        raise LandscapeError("mode=trajectories needs runs: give `runs` a name and overrides for each")
    folder = Path(cfg.output_dir)
    check_writable(folder)
    surfaces: dict[str, Surface] = {}
    numbers: dict[str, Any] = {}
    records: list[Path] = []
    for name in map(str, cfg.runs):
        run = build_run(of_run(cfg, name))
        recorder, landscape = _callbacks(run, name)
        execute(run)
        surfaces[name] = Surface.load(landscape.surfaces[-1])
        with recorder.trajectory() as trajectory:
            records += [landscape.surfaces[-1], trajectory.path]
            (tested,) = run.trainer.test(run.module, datamodule=run.data, verbose=False)
            numbers[name] = {**_variance(trajectory), **_travel(surfaces[name]), **tested}
        _log.info("%s: %s", name, numbers[name])
    report = folder / "trajectories.json"
    report.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    figures = [folder / "trajectories.png", folder / "numbers.png"]
    plot_comparison(surfaces, log=True).savefig(figures[0], dpi=150)
    plot_panels(_panels(surfaces, numbers), cfg.title, _caption(numbers), size=(4.4, 3.0)).savefig(figures[1], dpi=150)
    return [*figures, report, *records]


def _callbacks(run: Run, name: str) -> tuple[TrajectoryRecorder, LossLandscape]:
    callbacks: list[object] = run.trainer.callbacks  # type: ignore[attr-defined]
    recorder = next((c for c in callbacks if isinstance(c, TrajectoryRecorder) and c.projection is None), None)
    landscape = next((landscape for landscape in run.landscapes if landscape.plane == "pca"), None)
    if recorder is None or landscape is None:
        raise LandscapeError(
            f"run {name!r} records no trajectory, or no surface on its principal plane: use callbacks=principal"
        )
    return recorder, landscape


def _variance(trajectory: Trajectory) -> dict[str, Any]:
    """Cumulative shares of the variance: along principal directions, in random planes, and to be expected in these."""
    principal = principal_directions(trajectory)
    cumulative = np.cumsum(principal.all_variance)[:_COMPONENTS] / principal.all_variance.sum()
    final = trajectory[len(trajectory) - 1]
    found = [captured_variance(trajectory, _random_plane(final, seed)) for seed in range(_PLANES)]
    return {
        "principal": cumulative.tolist(),
        "random_plane": float(np.mean(found)),
        "random_plane_error": float(np.std(found, ddof=1) / np.sqrt(_PLANES)),
        "random_plane_expected": 2 / sum(tensor.numel() for tensor in final.values()),
    }


def _random_plane(weights: Weights, seed: int) -> list[Weights]:
    return [random_direction(weights, None, derived_seed(seed, label), include_1d=True) for label in "xy"]


def _travel(surface: Surface) -> dict[str, Any]:
    path = surface.path
    assert path is not None
    falls = learning_rate_falls(path.lr)
    turns = turning_angles(path.coordinates, _WINDOW)
    elsewhere = np.delete(turns, falls)
    phases = np.split(descent_cosines(surface), falls)
    return {
        "descent_by_phase": [float(np.nanmean(phase)) for phase in phases],
        "across_contours_by_phase": [float(np.nanmean(np.abs(phase))) for phase in phases],
        "turns_at_falls": [float(turns[fall]) for fall in falls],
        "turn_elsewhere": float(np.nanmedian(elsewhere)),
    }


def _panels(surfaces: dict[str, Surface], numbers: dict[str, Any]) -> list[Panel]:
    counts = np.arange(1, _COMPONENTS + 1)
    shares = [Series(name, counts, found["principal"], colour=k) for k, (name, found) in enumerate(numbers.items())]
    expected = next(iter(numbers.values()))["random_plane_expected"] / 2
    shares += [Series("random directions, expected", counts, counts * expected, look="dashed", colour=5)]
    shares += [
        Series("random planes", [2], [found["random_plane"]], look="points", colour=k)
        for k, found in enumerate(numbers.values())
    ]
    angles = []
    marks: dict[str, float] = {}
    for k, (name, surface) in enumerate(surfaces.items()):
        path = surface.path
        assert path is not None
        when = path.steps if path.epochs is None else path.epochs
        angles.append(Series(name, (when[1:] + when[:-1]) / 2, descent_cosines(surface), colour=k))
        rates = path.lr if path.lr is not None else np.empty(0)
        marks |= {f"rate {number(rates[fall], 2)}": float(when[fall]) for fall in learning_rate_falls(path.lr)}
    return [
        Panel("Share of the path's variance", "directions", "cumulative share", shares, log_y=True),
        Panel(
            "Straight down (1) or along the contours (0)",
            "epoch",
            "cosine of step and steepest descent",
            angles,
            levels={"along the contours": 0.0},
            marks=marks,
        ),
    ]


def _caption(numbers: dict[str, Any]) -> str:
    return "; ".join(
        f"{name}: two directions hold {100 * found['principal'][1]:.0f} % of the variance, "
        f"a random plane {100 * found['random_plane']:.2g} %"
        for name, found in numbers.items()
    )
