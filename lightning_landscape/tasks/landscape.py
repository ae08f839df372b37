"""The landscape of one network: trained or loaded, with the callbacks' surfaces and a curve."""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from lightning_landscape.callbacks.loss_landscape import LossLandscape
from lightning_landscape.callbacks.output import unused
from lightning_landscape.data.splits import EvaluationData, Split
from lightning_landscape.engine.surface import compute_surface
from lightning_landscape.errors import LandscapeError, RecordMismatchError
from lightning_landscape.geometry.slices import Line
from lightning_landscape.geometry.weights import weights_of
from lightning_landscape.records.whole import write_whole
from lightning_landscape.sampling.grid import Grid
from lightning_landscape.tasks.build import Run, build_run, build_untrained, execute
from lightning_landscape.tasks.interpolate import curve_grid

_log = logging.getLogger(__name__)
_SPLITS: tuple[Split, ...] = ("train", "test")
_FINISHED = "finished.json"
# What the pictures of all runs depend on, but no run.
_DRAWING = ("mode", "plan", "title", "introduction", "runs", "ceiling", "jobs", "output_dir")


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


def landscape(cfg: DictConfig) -> Landscape:
    """Train or load one network, with the callbacks' surfaces, and add its 1-D curve on training and test data.

    A network that was trained in the same folder is not trained again if all its records are there.

    Raises:
        LandscapeError: if the data module does not say how to evaluate on its splits.
        RecordMismatchError: if a network was trained in the same folder with other settings.
    """
    started = time.perf_counter()
    finished = Path(cfg.output_dir) / cfg.name / _FINISHED
    # Other machines may not see the file, and given weights are cheap to look at again.
    keeps = cfg.weights is None and cfg.trainer.num_nodes == 1
    if keeps and (found := _finished_before(finished, cfg)) is not None:
        _log.info("%s: finished before", cfg.name)
        return found
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
    curve = _curve(run.module, run.data, cfg, Path(cfg.output_dir) / cfg.name / "landscape" / "curve.h5")
    seconds = time.perf_counter() - started
    _log.info("%s: done in %.0f s", cfg.name, seconds)
    made = Landscape(
        records={callback.name: callback.surfaces[-1] for callback in run.landscapes if callback.surfaces},
        curve=curve,
        parameters=sum(parameter.numel() for parameter in run.module.parameters()),
        seconds=seconds,
    )
    if keeps and not rank_zero_only.rank:  # type: ignore[attr-defined]
        _keep(finished, cfg, made)
    return made


def _keep(path: Path, cfg: DictConfig, made: Landscape) -> None:
    """Write down that a network is finished, with its settings and paths relative to its folder."""
    facts = {
        "settings": _settings(cfg),
        "records": {name: os.path.relpath(record, path.parent) for name, record in made.records.items()},
        "curve": os.path.relpath(made.curve, path.parent),
        "parameters": made.parameters,
        "seconds": made.seconds,
    }
    write_whole(path, json.dumps(facts, indent=2) + "\n")


def _finished_before(path: Path, cfg: DictConfig) -> Landscape | None:
    """Read what `_keep` wrote; None if it wrote nothing, or a record is gone.

    Raises:
        RecordMismatchError: if the settings were others.
    """
    if not path.exists():
        return None
    facts, settings = json.loads(path.read_text(encoding="utf-8")), _settings(cfg)
    if facts["settings"] != settings:
        keys = {**settings, **facts["settings"]}
        others = [key for key in keys if settings.get(key) != facts["settings"].get(key)]
        raise RecordMismatchError(
            f"{path.parent} holds a network of other settings ({', '.join(others)}): choose another hydra.run.dir, or "
            "delete it"
        )
    records = {name: path.parent / record for name, record in facts["records"].items()}
    curve = path.parent / facts["curve"]
    if not all(record.exists() for record in (*records.values(), curve)):
        return None
    return Landscape(records, curve, facts["parameters"], facts["seconds"])


def _settings(cfg: DictConfig) -> dict[str, Any]:
    """All that one run depends on, as it comes back from JSON."""
    settings: Any = OmegaConf.to_container(cfg)
    settings["trainer"].pop("enable_progress_bar", None)
    found: dict[str, Any] = json.loads(json.dumps({k: v for k, v in settings.items() if k not in _DRAWING}))
    return found


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


def _curve(module: LightningModule, data: EvaluationData, cfg: DictConfig, path: Path) -> Path:
    """Evaluate along the first of the plane's random directions, on training and on test data.

    Returns:
        The record: another one than `path` where that belongs to other weights, as the same training may give on a GPU.
    """
    evaluate = partial(
        compute_surface,
        module,
        {split: data.evaluation_dataloader(split) for split in _SPLITS},
        Line.random(weights_of(module)),
        curve_grid(cfg.curve),
        examples=cfg.curve.examples,
        seed=cfg.seed,
    )
    try:
        evaluate(path=path)
    except RecordMismatchError as error:
        path = unused(path)
        _log.warning("%s; this curve goes to %s", error, path.name)
        evaluate(path=path)
    return path
