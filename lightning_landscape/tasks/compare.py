"""The main job: train or load several networks, compute their landscapes alike, and draw them side by side."""

from __future__ import annotations

import logging
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from lightning_landscape.errors import LandscapeError
from lightning_landscape.figures import Report, plot_comparison, plot_curves, write_report
from lightning_landscape.records.surface import Surface
from lightning_landscape.records.surface_file import check_writable
from lightning_landscape.tasks.build import of_run, quieten
from lightning_landscape.tasks.landscape import Landscape, landscape
from lightning_landscape.tasks.summaries import csv_text, markdown_text, summary


def compare(cfg: DictConfig) -> list[Path]:
    """Make the landscape of every run in ``cfg.runs``, and write ``report.html`` and the figures over all of them.

    Runs on one device each are made by ``cfg.jobs`` processes at a time, which share the cores; those that the same
    command finished before in the same folder are not made again. The numbers of each, among them the share of its
    plane with a loss below that of the untrained network, are printed and are in ``networks.csv``.

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
