"""The monitor on constructed losses and samples, and a training that does not notice it."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn

from lightning_landscape import CollapseMonitor, LandscapeError, PredictionGAN
from lightning_landscape.data import GaussianRing
from lightning_landscape.data.ring import ring_modes
from lightning_landscape.sampling.modes import mode_coverage
from tests.modules_under_test import assert_same


class Scripted(LightningModule):
    """Returns given losses one after the other."""

    def __init__(self, losses: Tensor) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.losses = losses
        self.weight = nn.Parameter(torch.zeros(()))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.weight], lr=1)

    def training_step(self, batch: Tensor, batch_idx: int) -> dict[str, Tensor]:
        return {"discriminator_loss": self.losses[int(batch)]}


def run(folder: Path, module: LightningModule, data: Any, monitor: CollapseMonitor | None, **options: Any) -> Trainer:
    settings = {"max_epochs": 1, "accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "default_root_dir": folder}
    trainer = Trainer(callbacks=[monitor] if monitor else [], **{**settings, **quiet, **options})
    trainer.fit(module, data, weights_only=True)
    return trainer


def watch(folder: Path, losses: Tensor, monitor: CollapseMonitor) -> None:
    run(folder, Scripted(losses), torch.arange(len(losses)), monitor)


def test_collapse_is_complete_after_so_many_small_losses_on_end(tmp_path: Path) -> None:
    high, low = torch.full((7,), 1.4), torch.full((7,), 0.001)
    losses = torch.cat([high, low[:4], high[:1], low[:5], high])
    monitor = CollapseMonitor(10, threshold=0.01, patience=5)
    with pytest.warns(UserWarning, match="collapsed at iteration 17: for 5 iterations"):
        watch(tmp_path, losses, monitor)
    assert monitor.collapsed_at == [17]
    assert [row["collapsed"] for row in monitor.history] == [[0.0], [1.0]]


def test_four_in_five_are_not_five_on_end(tmp_path: Path) -> None:
    losses = torch.tensor([0.001, 0.001, 0.001, 0.001, 1.4] * 5)
    monitor = CollapseMonitor(5, patience=5)
    watch(tmp_path, losses, monitor)
    assert monitor.collapsed_at == [None]


def test_runs_side_by_side_collapse_by_themselves(tmp_path: Path) -> None:
    losses = torch.ones(12, 3)
    losses[2:, 1] = 0
    losses[6:, 2] = torch.nan
    monitor = CollapseMonitor(4, patience=4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        watch(tmp_path, losses, monitor)
    assert monitor.collapsed_at == [None, 6, 10]
    words = [str(w.message) for w in caught if "collapsed" in str(w.message)]
    assert [word.split(":")[0] for word in words] == [
        "the training of run 1 collapsed at iteration 6",
        "the training of run 2 collapsed at iteration 10",
    ]


def test_the_counts_survive_a_resumption(tmp_path: Path) -> None:
    """Three small losses before and two after make five."""
    monitor = CollapseMonitor(5, patience=5)
    trainer = run(tmp_path, Scripted(torch.zeros(3)), torch.arange(3), monitor)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = CollapseMonitor(5, patience=5)
    settings = {"max_epochs": 2, "accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "default_root_dir": tmp_path}
    resumed = Trainer(callbacks=[again], **settings, **quiet)
    with pytest.warns(UserWarning, match="at iteration 5"):
        resumed.fit(Scripted(torch.zeros(3)), torch.arange(3), ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert again.collapsed_at == [5]


def test_the_training_does_not_notice(tmp_path: Path) -> None:
    """Weights, optimizers, streams and metrics end alike; the measurements are logged."""

    def train(monitor: CollapseMonitor | None, **options: Any) -> dict[str, Any]:
        seed_everything(0, verbose=False)
        generator = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        gan = PredictionGAN(generator, nn.Linear(2, 1), 2, samples=0)
        trainer = run(tmp_path, gan, GaussianRing(batches=6, batch_size=8), monitor, **options)
        return {
            "module": gan.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
            "metrics": dict(trainer.callback_metrics),
            "stream": torch.get_rng_state(),
        }

    monitor = CollapseMonitor(2, quality=partial(mode_coverage, modes=ring_modes(8, 1.0)), samples=50)
    logger = CSVLogger(tmp_path, "", "")
    assert_same(train(None), train(monitor, logger=logger))
    assert [row["iteration"] for row in monitor.history] == [2, 4, 6]
    text = (tmp_path / "metrics.csv").read_text()
    assert {"gan/modes_covered", "gan/good_samples", "gan/collapsed"} <= set(text.splitlines()[0].split(","))


def test_what_cannot_be_watched_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LandscapeError, match="threshold=None"):
        watch(tmp_path, -torch.ones(3), CollapseMonitor(1))
    with pytest.raises(LandscapeError, match="found \\['discriminator_loss'\\]"):
        watch(tmp_path, torch.ones(3), CollapseMonitor(loss="d_loss"))
    with pytest.raises(LandscapeError, match=r"no method sample\(count, seed\)"):
        watch(tmp_path, torch.ones(3), CollapseMonitor(quality=partial(mode_coverage, modes=ring_modes(8, 1.0))))
    for option in ("every_n_steps", "patience", "samples"):
        with pytest.raises(LandscapeError, match=f"{option}=0"):
            CollapseMonitor(**{option: 0})
    watch(tmp_path, -torch.ones(3), CollapseMonitor(1, threshold=None))
