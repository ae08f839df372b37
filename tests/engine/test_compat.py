"""Each private attribute of Lightning that the package reads is there in the installed version."""

from __future__ import annotations

import inspect
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import SequentialSampler, SubsetRandomSampler

from lightning_landscape.engine import _compat
from tests.modules_under_test import Delicate, loaders, train, trainer


def test_batch_hooks_of_the_datamodule(tmp_path: Path) -> None:
    """The hook of whoever defines it is called, which only the private method knows."""

    class Data(pl.LightningDataModule):
        def on_before_batch_transfer(self, batch: list[torch.Tensor], dataloader_idx: int) -> list[torch.Tensor]:
            return [tensor + 1 for tensor in batch]

        def train_dataloader(self) -> object:
            return loaders()["train_dataloaders"]

    class Quiet(Delicate):
        validation_step = None  # type: ignore[assignment]
        on_validation_epoch_end = None  # type: ignore[assignment]

        def configure_optimizers(self) -> torch.optim.Optimizer:  # type: ignore[override]
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module = Quiet()
    run = trainer(tmp_path, limit_train_batches=0)
    assert list(inspect.signature(pl.LightningModule._on_before_batch_transfer).parameters)[:3] == [
        "self",
        "batch",
        "dataloader_idx",
    ]
    module.trainer = run
    run._data_connector.attach_data(module, datamodule=Data())
    (found,) = _compat.before_batch_transfer(module, [torch.zeros(2)])
    assert found.tolist() == [1, 1]


def test_the_last_checkpoint(tmp_path: Path) -> None:
    """One that overwrites its file is a new checkpoint, too."""
    assert ModelCheckpoint()._last_global_step_saved == 0
    assert ModelCheckpoint()._last_checkpoint_saved == ""
    assert _compat.last_checkpoint(trainer(tmp_path)) == (0, "")
    seen: list[tuple[int, str]] = []

    class Watch(pl.Callback):
        def on_train_epoch_start(self, run: pl.Trainer, module: pl.LightningModule) -> None:
            seen.append(_compat.last_checkpoint(run))

    saver = ModelCheckpoint(tmp_path / "saved", "model", enable_version_counter=False)
    _, run = train(tmp_path, [Watch(), saver], enable_checkpointing=True)
    path = str(tmp_path / "saved" / "model.ckpt")
    assert [*seen, _compat.last_checkpoint(run)] == [(0, ""), (7, path), (14, path), (21, path)]


def test_the_sampler_inside_lightnings_distributed_wrapper() -> None:
    own = SubsetRandomSampler([1, 2])
    assert _compat.wrapped_sampler(DistributedSamplerWrapper(own, num_replicas=1, rank=0)) is own
    plain = SequentialSampler(range(2))
    assert _compat.wrapped_sampler(plain) is plain


def test_the_trainer_of_a_module(tmp_path: Path) -> None:
    module = Delicate()
    assert _compat.attached_trainer(module) is None
    run = trainer(tmp_path)
    module.trainer = run
    assert _compat.attached_trainer(module) is run
