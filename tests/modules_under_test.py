"""A small LightningModule with everything that an evaluation can disturb, and the run that trains it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

EXAMPLES = 53  # odd, and no multiple of a batch


class Delicate(pl.LightningModule):
    """BatchNorm, dropout, metrics, Adam, and a step that draws random numbers, collects outputs and keeps averages."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))
        self.accuracy = MulticlassAccuracy(3, average="micro")
        self.collection = MetricCollection(
            {"calibration": MulticlassCalibrationError(3), "top2": MulticlassAccuracy(3, top_k=2)}
        )
        self.register_buffer("seen", torch.zeros(()), persistent=False)
        self.outputs: list[Tensor] = []
        self.history: dict[str, list[float]] = {"loss": []}
        self.average = torch.zeros(3)

    def _loss(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        inputs, labels = batch
        logits = self.net(inputs)
        return logits, nn.functional.cross_entropy(logits, labels)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        _, loss = self._loss(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        logits, loss = self._loss(batch)
        noise = torch.rand(()) + random.random() + np.random.rand()  # noqa: NPY002
        self.accuracy(logits, batch[1])
        self.collection(logits, batch[1])
        self.seen += 1
        self.average *= 0.9
        self.outputs.append(loss)
        self.history["loss"].append(float(loss))
        self.log("val_loss", loss, prog_bar=True)
        self.log("val_noise", noise)
        self.log("val_accuracy", self.accuracy)
        self.log_dict(self.collection)
        return loss

    def on_validation_epoch_end(self) -> None:
        self.log("val_collected", torch.stack(self.outputs).mean())
        self.outputs.clear()

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.Adam(self.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val_loss"}}


def dataset() -> TensorDataset:
    """Return 53 examples of four numbers in three classes that can be learnt."""
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(EXAMPLES, 4, generator=generator)
    return TensorDataset(inputs, (inputs @ torch.randn(4, 3, generator=generator)).argmax(1))


def loaders() -> dict[str, DataLoader[Any]]:
    """Return a shuffled training and an ordered validation loader over the same examples."""
    return {
        "train_dataloaders": DataLoader(dataset(), batch_size=8, shuffle=True),
        "val_dataloaders": DataLoader(dataset(), batch_size=8),
    }


def trainer(folder: Path, callbacks: Sequence[pl.Callback] = (), **options: Any) -> pl.Trainer:
    """Return a quiet trainer of three epochs on one CPU device."""
    settings: dict[str, Any] = {
        "max_epochs": 3,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": folder,
        **options,
    }
    return pl.Trainer(callbacks=list(callbacks), **settings)


def train(folder: Path, callbacks: Sequence[pl.Callback] = (), **options: Any) -> tuple[Delicate, pl.Trainer]:
    """Seed everything, train, and return the module and its trainer."""
    pl.seed_everything(7, verbose=False)
    module = Delicate()
    run = trainer(folder, callbacks, **options)
    run.fit(module, **loaders())
    return module, run


def state_of(module: Any, run: pl.Trainer, *, results: bool = True) -> dict[str, Any]:
    """Collect everything that must not depend on our callbacks.

    `results` are left out inside of hooks, where reading the trainer's metrics computes them.
    """
    return {
        "metrics": dict(run.callback_metrics) if results else {},
        "logged": dict(run.logged_metrics) if results else {},
        "weights": {name: tensor.clone() for name, tensor in module.named_parameters()},
        "buffers": {name: tensor.clone() for name, tensor in module.named_buffers()},
        "gradients": {name: tensor.grad for name, tensor in module.named_parameters()},
        "optimizer": [optimizer.state_dict() for optimizer in run.optimizers],
        "modes": {name: child.training for name, child in module.named_modules()},
        "collected": (list(module.outputs), module.history, module.average),
        "metric_states": {
            name: (metric.metric_state, metric.update_count)
            for name, metric in module.named_modules()
            if isinstance(metric, Metric)
        },
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(),  # noqa: NPY002
        "python": random.getstate(),
        "attributes": sorted(vars(module)),
    }


def assert_same(a: Any, b: Any, where: str = "state") -> None:
    """Assert that two nested states agree to the last bit."""
    assert type(a) is type(b), f"{where}: {type(a)} and {type(b)}"
    if isinstance(a, Tensor):
        assert a.dtype == b.dtype, where
        assert torch.equal(a, b), f"{where} differs by up to {(a.double() - b.double()).abs().max()}"
    elif isinstance(a, np.ndarray):
        assert np.array_equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), f"{where}: {a.keys() ^ b.keys()}"
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for number, pair in enumerate(zip(a, b, strict=True)):
            assert_same(*pair, f"{where}[{number}]")
    else:
        assert a == b or (a != a and b != b), f"{where}: {a} and {b}"
