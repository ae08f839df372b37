"""The main job: train or load several networks, compute their landscapes alike, and draw them side by side."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch import LightningModule
from omegaconf import DictConfig, OmegaConf

from lightning_landscape.data.images import ImageDataModule
from lightning_landscape.engine.surface import compute_surface
from lightning_landscape.errors import LandscapeError
from lightning_landscape.figures import Report, RunSummary, plot_comparison, plot_curves, write_report
from lightning_landscape.geometry.slices import Line
from lightning_landscape.geometry.weights import weights_of
from lightning_landscape.records.surface import Surface
from lightning_landscape.records.surface_file import check_writable
from lightning_landscape.tasks.build import Run, build_run, execute
from lightning_landscape.tasks.interpolate import curve_grid

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Landscape:
    """What one run leaves: the surfaces of its callbacks by name, and its curve on training and test data."""

    run: Run
    surfaces: dict[str, Surface]
    records: list[Path]
    curve: Surface
    seconds: float


def compare(cfg: DictConfig) -> list[Path]:
    """Make the landscape of every run in ``cfg.runs``, and write ``report.html`` and the figures over all of them.

    Returns:
        The page, the figures and the records; nothing on other ranks than zero, which leave the drawing to it.

    Raises:
        LandscapeError: if there are no runs.
    """
    if not cfg.runs:
        raise LandscapeError("mode=compare needs runs: give `runs` a name and overrides for each, or use mode=train")
    folder = Path(cfg.output_dir)
    check_writable(folder)
    landscapes = {}
    for number, name in enumerate(map(str, cfg.runs), 1):
        _log.info("%s (%d of %d)", name, number, len(cfg.runs))
        landscapes[name] = landscape(_of_run(cfg, name))
    if not all(found.run.trainer.is_global_zero for found in landscapes.values()):
        return []
    written = [path for found in landscapes.values() for path in found.records]

    kinds = dict.fromkeys(kind for found in landscapes.values() for kind, s in found.surfaces.items() if s.dim == 2)
    planes = {
        kind: {name: found.surfaces[kind] for name, found in landscapes.items() if kind in found.surfaces}
        for kind in kinds
    }
    curves = {name: found.curve for name, found in landscapes.items()}
    figures = {f"{kind}-contours": plot_comparison(shown) for kind, shown in planes.items()}
    figures |= {f"{kind}-surfaces": plot_comparison(shown, three_d=True) for kind, shown in planes.items()}
    figures["curves"] = plot_curves(curves)
    for name, figure in figures.items():
        written.append(folder / f"{name}.png")
        figure.savefig(written[-1], dpi=150)

    with_paths = {
        name: surface for shown in planes.values() for name, surface in shown.items() if surface.path is not None
    }
    without_paths = next((s for s in planes.values() if all(surface.path is None for surface in s.values())), {})
    report = Report(
        title=cfg.title,
        introduction=cfg.introduction,
        runs=[_summary(name, found) for name, found in landscapes.items()],
        planes=without_paths,
        trajectories=with_paths,
        curves=curves,
        settings=OmegaConf.to_yaml(cfg),
        files={path.relative_to(folder).as_posix(): path.relative_to(folder).as_posix() for path in written},
    )
    return [write_report(folder / "report.html", report), *written]


def landscape(cfg: DictConfig) -> Landscape:
    """Train or load one network, with the callbacks' surfaces, and add its 1-D curve on training and test data."""
    started = time.perf_counter()
    run = build_run(cfg)
    execute(run)
    records = {callback.name: callback.surfaces[-1] for callback in run.landscapes if callback.surfaces}
    path = Path(cfg.output_dir) / cfg.name / "landscape" / "curve.h5"
    curve = _curve(run.module, run.data, cfg, path)
    return Landscape(
        run,
        {name: Surface.load(record) for name, record in records.items()},
        [*records.values(), path],
        curve,
        time.perf_counter() - started,
    )


def _summary(name: str, found: Landscape) -> RunSummary:
    """Return the numbers of one run: loss and accuracy on training and test data at the weights themselves."""
    centre = int(abs(found.curve.x).argmin())
    metrics = {channel.replace("/", " "): float(found.curve[channel][centre]) for channel in found.curve.names}
    parameters = sum(parameter.numel() for parameter in found.run.module.parameters())
    return RunSummary(name, parameters, {**metrics, "seconds": round(found.seconds, 1)})


def _of_run(cfg: DictConfig, name: str) -> DictConfig:
    merged = OmegaConf.merge(cfg, cfg.runs[name])
    assert isinstance(merged, DictConfig)
    merged.name = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
    return merged


def _curve(module: LightningModule, data: object, cfg: DictConfig, path: Path) -> Surface:
    """Evaluate along the first of the plane's random directions, on training and on test data.

    Raises:
        LandscapeError: if the data module does not say how to evaluate on its splits.
    """
    if not isinstance(data, ImageDataModule):
        raise LandscapeError(
            f"mode=compare evaluates an ImageDataModule and found {type(data).__name__}: use mode=train instead"
        )
    return compute_surface(
        module,
        {split: data.evaluation_dataloader(split) for split in ("train", "test")},
        Line.random(weights_of(module)),
        curve_grid(cfg.curve),
        path=path,
        examples=cfg.curve.examples,
        seed=cfg.seed,
    )
