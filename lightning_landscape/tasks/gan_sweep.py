"""What the sweeps over GAN trainings share: runs that are done are kept, and all of them are tabulated and drawn."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig, OmegaConf

from lightning_landscape.callbacks.collapse_monitor import CollapseMonitor
from lightning_landscape.errors import RecordMismatchError
from lightning_landscape.figures.gan_runs import plot_gan_runs
from lightning_landscape.records.gan_runs import GANRun, load_runs, markdown_table, save_runs


def settings_of(cfg: DictConfig) -> dict[str, Any]:
    """The part of the configuration that runs depend on, as plain values; what is only shown is left out."""
    nodes: Any = {key: OmegaConf.to_container(cfg[key], resolve=True) for key in ("data", "gan", "sweep")}
    nodes["sweep"].pop("animate", None)
    trainer = {key: cfg.trainer[key] for key in ("max_epochs", "limit_train_batches")}
    return {**nodes, "trainer": trainer, "seed": cfg.seed}


def kept(path: Path, settings: dict[str, Any], make: Callable[[], list[GANRun]]) -> list[GANRun]:
    """Return the runs in a file, or make them and write the file: a sweep that was killed goes on where it stopped.

    Raises:
        RecordMismatchError: if the file holds runs of other settings.
    """
    if path.exists():
        runs, found = load_runs(path)
        if found != settings:
            raise RecordMismatchError(f"{path} holds runs of other settings: choose another output_dir or delete it")
        return runs
    runs = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_runs(path, runs, settings)
    return runs


def fit(cfg: DictConfig, name: str, module: LightningModule, data: Any, callbacks: Sequence[Callback]) -> None:
    """Train one module with the configuration's trainer and loggers, without checkpoints."""
    named = OmegaConf.merge(cfg, {"name": name})
    assert isinstance(named, DictConfig)
    loggers = list(instantiate(named.logger, _convert_="all").values())
    trainer: Trainer = instantiate(
        named.trainer, callbacks=list(callbacks), logger=loggers, enable_checkpointing=False, _convert_="all"
    )
    with warnings.catch_warnings():
        # Collapse is what a sweep counts.
        warnings.filterwarnings("ignore", message="the training.*collapsed")
        trainer.fit(module, data)


def final_measures(monitor: CollapseMonitor, names: Sequence[str], run: int = 0) -> dict[str, float]:
    """Each measure of one run as the mean over the last fifth of its measurements, since some models never rest."""
    last = monitor.history[-max(1, len(monitor.history) // 5) :]
    return {name: sum(row[name][run] for row in last) / len(last) for name in names}


def report(cfg: DictConfig, runs: Sequence[GANRun], measures: Sequence[str], best: float, caption: str) -> list[Path]:
    """Write all runs as JSON, as a table in Markdown and as a figure.

    Returns:
        These files.
    """
    folder = Path(cfg.output_dir)
    written = [folder / "sweep.json", folder / "sweep.md", folder / "sweep.png"]
    save_runs(written[0], runs, settings_of(cfg))
    written[1].write_text(markdown_table(runs, measures) + "\n", encoding="utf-8")
    figure = plot_gan_runs(runs, measures, best=best, title=cfg.title, caption=caption)
    figure.savefig(written[2], dpi=130)
    return written
