"""One network on images, trained by every method from several seeds: test errors and training curves."""

from __future__ import annotations

import json
import logging
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig, OmegaConf

from lightning_landscape.errors import LandscapeError
from lightning_landscape.figures import plot_training_errors
from lightning_landscape.records.hdf5 import check_writable
from lightning_landscape.records.whole import write_whole
from lightning_landscape.tasks.build import build_run

_log = logging.getLogger(__name__)
_CURVES = ("train_accuracy", "val_accuracy", "weights_changed", "weights_differing")


class _History(Callback):
    """Keeps the metrics of every epoch."""

    def __init__(self) -> None:
        self.curves: dict[str, list[float]] = {name: [] for name in _CURVES}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        for name, values in self.curves.items():
            if name in trainer.callback_metrics:
                values.append(float(trainer.callback_metrics[name]))


def quantized_images(cfg: DictConfig) -> list[Path]:
    """Train every run in ``cfg.runs`` once for every seed in ``cfg.seeds``, and compare their errors.

    The results are on disk after each training; a command that is started again with the same ``output_dir`` goes on
    with the trainings that are missing.

    Returns:
        The figure and the numbers.

    Raises:
        LandscapeError: if there are no runs or seeds, or the file of results is of another experiment.
    """
    if not cfg.runs or not cfg.seeds:
        raise LandscapeError("mode=quantized_images needs runs and seeds: use experiment=quantized_images")
    folder = Path(cfg.output_dir)
    check_writable(folder)
    path = folder / "quantized_images.json"
    settings = _settings(cfg)
    results: dict[str, Any] = {"settings": settings, "runs": {name: {} for name in cfg.runs}}
    if path.exists():
        results = json.loads(path.read_text(encoding="utf-8"))
        if results["settings"] != settings:
            raise LandscapeError(f"{path} holds the results of other settings: delete it or choose another output_dir")
    for seed in cfg.seeds:
        for name in cfg.runs:
            if str(seed) in results["runs"][name]:
                continue
            results["runs"][name][str(seed)] = run = _train(cfg, str(name), int(seed))
            _log.info("%s, seed %s: test error %.2f %% in %.0f s", name, seed, run["test_error"], run["seconds"])
            write_whole(path, json.dumps(results, indent=1) + "\n")
    errors = {name: [run["test_error"] for run in runs.values()] for name, runs in results["runs"].items()}
    for name, found in errors.items():
        spread = statistics.stdev(found) if len(found) > 1 else 0.0
        _log.info("%-20s test error %6.2f +- %.2f %%", name, statistics.mean(found), spread)
    picture = folder / "quantized_images.png"
    curves = {name: {c: _stacked(runs, c) for c in _CURVES} for name, runs in results["runs"].items()}
    plot_training_errors(curves, errors).savefig(picture, dpi=150)
    return [picture, path]


def _train(cfg: DictConfig, name: str, seed: int) -> dict[str, Any]:
    merged = OmegaConf.merge(cfg, cfg.runs[name], {"name": f"{name}-{seed}", "seed": seed})
    assert isinstance(merged, DictConfig)
    started = time.perf_counter()
    run = build_run(merged)
    history = _History()
    run.trainer.callbacks.append(history)  # type: ignore[attr-defined]
    run.trainer.fit(run.module, datamodule=run.data)
    (tested,) = run.trainer.test(run.module, datamodule=run.data, verbose=False)
    return {
        "test_error": 100 * (1 - tested["test_accuracy"]),
        "seconds": time.perf_counter() - started,
        "curves": history.curves,
    }


def _stacked(runs: dict[str, Any], curve: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """One curve of every seed, [seeds, epochs]."""
    return np.array([run["curves"][curve] for run in runs.values()])


def _settings(cfg: DictConfig) -> dict[str, Any]:
    """What the results depend on, but for the seeds, of which more may be added."""
    kept = {key: OmegaConf.to_container(cfg[key], resolve=True) for key in ("data", "model", "module")}
    kept["runs"] = OmegaConf.to_container(cfg.runs)
    kept["trainer"] = {key: cfg.trainer[key] for key in ("max_epochs", "precision", "limit_train_batches")}
    return kept
