"""What the surfaces of a job will need, before any of them is computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from omegaconf import DictConfig
from torch.utils.data import DataLoader

from lightning_landscape.data.splits import EvaluationData
from lightning_landscape.engine.batch_norm import BatchNormMode
from lightning_landscape.engine.choice import Examples
from lightning_landscape.engine.objective import OwnStep, Step
from lightning_landscape.engine.survey import Survey, survey
from lightning_landscape.errors import LandscapeError
from lightning_landscape.geometry.slices import Line, Plane
from lightning_landscape.geometry.weights import weights_of
from lightning_landscape.sampling.grid import Grid
from lightning_landscape.tasks.build import Run, build_run, of_run
from lightning_landscape.tasks.interpolate import curve_grid

DEVICES = (1, 8, 64)
_MODES = ("compare", "train", "surface", "interpolate")
_NUMBER = 1024


@dataclass(frozen=True)
class Wanted:
    """One surface of a job, or several alike.

    Attributes:
        name: of the surface.
        count: how many of them.
        module: the module.
        data: the data, by name where there are several.
        grid: the points.
        examples: the configured choice of examples.
        step: the step.
        batch_norm: see `BatchNormMode`.
    """

    name: str
    count: int
    module: LightningModule
    data: DataLoader[Any] | Mapping[str, DataLoader[Any]]
    grid: Grid
    examples: Examples
    step: Step | OwnStep | None = None
    batch_norm: BatchNormMode = "keep"


def plan(cfg: DictConfig) -> list[Path]:
    """Print time, memory, disk and expected error of each surface of the job, for each choice of examples.

    They are extrapolated from a few evaluations around the weights as they are now (fresh ones, where the job is to
    train them first), in a random direction. Training itself is not included.

    Returns:
        Nothing: no file is written.

    Raises:
        LandscapeError: if the mode computes no surface.
    """
    if cfg.mode not in _MODES:
        raise LandscapeError(f"plan=true plans surfaces, and mode={cfg.mode} computes none: use {', '.join(_MODES)}")
    for wanted in _wanted(cfg):
        print(_table(wanted, _survey(wanted)), end="\n\n", flush=True)
    return []


def _wanted(cfg: DictConfig) -> Iterator[Wanted]:
    if cfg.mode == "interpolate":
        run = build_run(cfg)
        yield _curve("interpolation", run, cfg)
        return
    for name in cfg.runs if cfg.mode == "compare" else [None]:
        own = cfg if name is None else of_run(cfg, str(name))
        run = build_run(own)
        before = "" if name is None else f"{name}: "
        for landscape in run.landscapes:
            every, epochs = landscape.every_n_epochs, own.trainer.get("max_epochs") or 0
            count = 1 if every is None or own.weights is not None else max(1, -(-epochs // every))
            yield Wanted(
                f"{before}{landscape.name}",
                count,
                run.module,
                run.loader(landscape),
                landscape.grid(),
                landscape.examples,
                landscape.step,
                landscape.batch_norm,
            )
        if cfg.mode == "compare":
            yield _curve(f"{before}curve", run, own)


def _curve(name: str, run: Run, cfg: DictConfig) -> Wanted:
    if not isinstance(run.data, EvaluationData):
        raise LandscapeError(
            f"mode={cfg.mode} evaluates training and test data, and {type(run.data).__name__} has no "
            "evaluation_dataloader(split): define it"
        )
    run.data.prepare_data()
    data = {split: run.data.evaluation_dataloader(split) for split in ("train", "test")}
    return Wanted(name, 1, run.module, data, curve_grid(cfg.curve), cfg.curve.examples)


def _survey(wanted: Wanted) -> Survey:
    weights = weights_of(wanted.module)
    slice_ = Line.random(weights) if wanted.grid.dim == 1 else Plane.random(weights)
    # Statistics that would be interpolated rest here: that costs the same.
    batch_norm = "keep" if wanted.batch_norm == "interpolate" else wanted.batch_norm
    return survey(wanted.module, wanted.data, slice_, wanted.grid, wanted.step, batch_norm=batch_norm)


def _table(wanted: Wanted, found: Survey) -> str:
    points = " x ".join(str(count) for count in reversed(found.grid.shape))
    times = f", {wanted.count} times" if wanted.count > 1 else ""
    head = ("examples", "at a point", "on a coarse grid", "error", *(f"{n} device{'s'[: n > 1]}" for n in DEVICES))
    rows = [(*head, "memory", "disk")]
    choices: list[Examples] = list(dict.fromkeys([wanted.examples, "all", "auto", _NUMBER]))
    for examples in choices:
        chosen = found.plan(examples)
        size = found.footprint(chosen)
        coarse = None if chosen is None else chosen.coarse_grid(found.grid)
        nodes = "" if coarse is None else " x ".join(str(count) for count in reversed(coarse.shape))
        rows.append(
            (
                f"{examples}{' (configured)' if examples == wanted.examples else ''}",
                f"{sum(found.sizes if chosen is None else chosen.subset):,}",
                "" if chosen is None or coarse is None else f"{sum(chosen.reference):,} at {nodes}",
                "none" if chosen is None else f"{100 * found.error(chosen):.2g} % of the range",
                *(_duration(wanted.count * found.seconds(chosen, devices)) for devices in DEVICES),
                _bytes(size.memory),
                _bytes(wanted.count * size.disk),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head) + 2)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([f"{wanted.name}: {points} points{times}", *(f"  {line}" for line in lines)])


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2g} s"


def _bytes(count: float) -> str:
    power = max(0, min(4, (len(str(int(count))) - 1) // 3))
    return f"{count / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"
