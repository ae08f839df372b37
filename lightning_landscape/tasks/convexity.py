"""Convexity maps of trained networks, side by side."""

from __future__ import annotations

from pathlib import Path

from hydra.utils import instantiate
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from lightning_landscape.curvature.convexity import convexity_map
from lightning_landscape.errors import LandscapeError
from lightning_landscape.figures import plot_convexity
from lightning_landscape.geometry.slices import Plane
from lightning_landscape.geometry.weights import weights_of
from lightning_landscape.records.surface import Surface
from lightning_landscape.records.surface_file import check_writable
from lightning_landscape.sampling.grid import Grid
from lightning_landscape.tasks.build import build_module, of_run


def convexity(cfg: DictConfig) -> list[Path]:
    """Map the ratio of the Hessian's extreme eigenvalues for each of ``cfg.runs``, and draw the maps as one figure.

    An interrupted job goes on where it stopped if it is given the same ``output_dir``.

    Returns:
        The figure and the records.

    Raises:
        LandscapeError: if a run has no weights.
    """
    folder = Path(cfg.output_dir)
    check_writable(folder)
    runs = {str(name): of_run(cfg, name) for name in cfg.runs} or {cfg.name: cfg}
    if without := [name for name, run in runs.items() if run.weights is None]:
        raise LandscapeError(
            f"mode=convexity needs trained weights, and {without} have none: weights=path/to/checkpoint"
        )
    records = {name: folder / run.name / "convexity.h5" for name, run in runs.items()}
    for name, run in runs.items():
        _map(run, records[name])
    if rank_zero_only.rank:  # type: ignore[attr-defined]
        return []
    figure = folder / "convexity.png"
    plot_convexity({name: Surface.load(path) for name, path in records.items()}).savefig(figure, dpi=150)
    return [figure, *records.values()]


def _map(cfg: DictConfig, path: Path) -> Surface:
    module = build_module(cfg)
    data = instantiate(cfg.data, _convert_="all")
    data.prepare_data()
    points, extent = cfg.convexity.resolution, cfg.convexity.extent
    return convexity_map(
        module,
        data.evaluation_dataloader("train"),
        Plane.random(weights_of(module)),
        Grid(x=(-extent, extent, points), y=(-extent, extent, points)),
        "training_step",
        path,
        tolerance=cfg.convexity.tolerance,
        examples=cfg.convexity.examples,
        seed=cfg.seed,
    )
