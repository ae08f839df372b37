"""The main job: train or load several networks, compute their landscapes alike, and draw them side by side."""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from lightning_landscape.callbacks.loss_landscape import LossLandscape
from lightning_landscape.data.splits import EvaluationData, Split
from lightning_landscape.engine.surface import compute_surface
from lightning_landscape.errors import LandscapeError
from lightning_landscape.figures import Report, plot_comparison, plot_curves, write_report
from lightning_landscape.geometry.slices import Line
from lightning_landscape.geometry.weights import weights_of
from lightning_landscape.records.surface import Surface
from lightning_landscape.records.surface_file import check_writable
from lightning_landscape.sampling.grid import Grid
from lightning_landscape.tasks.build import Run, build_run, build_untrained, execute, of_run, quieten
from lightning_landscape.tasks.interpolate import curve_grid
from lightning_landscape.tasks.summaries import csv_text, markdown_text, summary

_log = logging.getLogger(__name__)
_SPLITS: tuple[Split, ...] = ("train", "test")


@dataclass(frozen=True)
class Landscape:
    """What one run leaves behind, as it travels between processes.

    Attributes:
        records: the record of each of its callbacks, by the callback's name.
        curve: the record of its curve on training and test data.
        parameters: how many the module has.
        seconds: the time that all of it took.
    """

    records: dict[str, Path]
    curve: Path
    parameters: int
    seconds: float


def compare(cfg: DictConfig) -> list[Path]:
    """Make the landscape of every run in ``cfg.runs``, and write ``report.html`` and the figures over all of them.

    Runs on one device each are made by ``cfg.jobs`` processes at a time, which share the cores. The numbers of each,
    among them the share of its plane with a loss below that of the untrained network, are printed and are in
    ``networks.csv``.

    Returns:
        The page, the figures and the records; nothing on other ranks than zero, which leave the drawing to it.

    Raises:
        LandscapeError: if there are no runs.
    """
    if not cfg.runs:
        raise LandscapeError("mode=compare needs runs: give `runs` a name and overrides for each, or use mode=train")
    folder = Path(cfg.output_dir)
    check_writable(folder)
    cfg.output_dir = str(folder)  # a process of its own does not know Hydra's
    names = [str(name) for name in cfg.runs]
    found = dict(zip(names, _landscapes([of_run(cfg, name) for name in names], cfg), strict=True))
    if rank_zero_only.rank:  # type: ignore[attr-defined]
        return []
    written = [path for made in found.values() for path in (*made.records.values(), made.curve)]
    surfaces = {name: {kind: Surface.load(path) for kind, path in made.records.items()} for name, made in found.items()}
    curves = {name: Surface.load(made.curve) for name, made in found.items()}

    kinds = dict.fromkeys(kind for made in surfaces.values() for kind, surface in made.items() if surface.dim == 2)
    planes = {kind: {name: made[kind] for name, made in surfaces.items() if kind in made} for kind in kinds}
    log = None if cfg.ceiling is None else False
    figures = {f"{kind}-contours": plot_comparison(s, log=log, zmax=cfg.ceiling) for kind, s in planes.items()}
    figures |= {f"{kind}-surfaces": plot_comparison(shown, three_d=True) for kind, shown in planes.items()}
    figures["curves"] = plot_curves(curves)
    for name, figure in figures.items():
        written.append(folder / f"{name}.png")
        figure.savefig(written[-1], dpi=150)

    with_paths = {
        name: surface for shown in planes.values() for name, surface in shown.items() if surface.path is not None
    }
    without_paths = next((s for s in planes.values() if all(surface.path is None for surface in s.values())), {})
    runs = [
        summary(name, made.parameters, made.seconds, curves[name], without_paths.get(name))
        for name, made in found.items()
    ]
    written.append(folder / "networks.csv")
    written[-1].write_text(csv_text(runs), encoding="utf-8")
    print(markdown_text(runs))
    report = Report(
        title=cfg.title,
        introduction=cfg.introduction,
        runs=runs,
        planes=without_paths,
        ceiling=cfg.ceiling,
        trajectories=with_paths,
        curves=curves,
        settings=OmegaConf.to_yaml(cfg),
        files={name: name for name in (path.relative_to(folder).as_posix() for path in written)},
    )
    return [write_report(folder / "report.html", report), *written]


def landscape(cfg: DictConfig) -> Landscape:
    """Train or load one network, with the callbacks' surfaces, and add its 1-D curve on training and test data.

    Raises:
        LandscapeError: if the data module does not say how to evaluate on its splits.
    """
    started = time.perf_counter()
    run = build_run(cfg)
    if not isinstance(run.data, EvaluationData):
        raise LandscapeError(
            f"mode=compare evaluates training and test data, and {type(run.data).__name__} has no "
            "evaluation_dataloader(split): define it, or use mode=train"
        )
    untrained = run.module if cfg.weights is None else build_untrained(cfg)
    initial: dict[object, float] = {}  # surfaces of the same examples share it
    for callback in run.landscapes:
        evaluated = (callback.data, callback.step, callback.examples, callback.seed)
        if evaluated not in initial:
            initial[evaluated] = _initial_loss(untrained, run, callback)
        callback.attrs["initial_loss"] = initial[evaluated]
    _log.info("%s: %s", cfg.name, "training" if cfg.weights is None else "surfaces of the given weights")
    execute(run)
    _log.info("%s: a curve on training and test data", cfg.name)
    path = Path(cfg.output_dir) / cfg.name / "landscape" / "curve.h5"
    _curve(run.module, run.data, cfg, path)
    seconds = time.perf_counter() - started
    _log.info("%s: done in %.0f s", cfg.name, seconds)
    return Landscape(
        records={callback.name: callback.surfaces[-1] for callback in run.landscapes if callback.surfaces},
        curve=path,
        parameters=sum(parameter.numel() for parameter in run.module.parameters()),
        seconds=seconds,
    )


def _landscapes(runs: list[DictConfig], cfg: DictConfig) -> list[Landscape]:
    jobs = min(cfg.jobs, len(runs)) if cfg.trainer.devices == 1 and cfg.trainer.num_nodes == 1 else 1
    if jobs == 1:
        return [landscape(run) for run in runs]
    threads = max(1, (os.cpu_count() or 1) // jobs)
    # Fresh processes: a fork of one that has used torch's threads may hang.
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _start_worker, (threads,)) as pool:
        return list(pool.map(_landscape_of_text, [OmegaConf.to_yaml(run) for run in runs]))


def _start_worker(threads: int) -> None:
    # More threads than cores wait for each other, which costs small networks nearly all of their time.
    torch.set_num_threads(threads)
    quieten()
    logging.basicConfig(level=logging.INFO, format="%(message)s")


def _landscape_of_text(text: str) -> Landscape:
    cfg = OmegaConf.create(text)
    assert isinstance(cfg, DictConfig)
    cfg.trainer.enable_progress_bar = False  # several bars at once would write over each other
    return landscape(cfg)


def _initial_loss(untrained: LightningModule, run: Run, landscape: LossLandscape) -> float:
    """The loss of the untrained network on the examples of a surface.

    Its BatchNorm statistics, which are those of no data yet, are estimated on the same examples: with the values that
    they begin with, the activations of a network with shortcuts would grow with its depth.
    """
    point = compute_surface(
        untrained,
        run.loader(landscape),
        Line.random(weights_of(untrained)),
        Grid(x=(0.0, 0.0, 1)),
        landscape.step,
        examples=landscape.examples,
        seed=landscape.seed,
        batch_norm="recalibrate",
        progress=False,
    )
    return float(point["loss"][0])


def _curve(module: LightningModule, data: EvaluationData, cfg: DictConfig, path: Path) -> None:
    """Evaluate along the first of the plane's random directions, on training and on test data."""
    compute_surface(
        module,
        {split: data.evaluation_dataloader(split) for split in _SPLITS},
        Line.random(weights_of(module)),
        curve_grid(cfg.curve),
        path=path,
        examples=cfg.curve.examples,
        seed=cfg.seed,
    )
