"""Every private attribute of Lightning and torchmetrics that the package reads, in one place.

A test probes each of them against the installed versions, so that an upgrade that moves one fails there and not in a
run.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import Sampler


def before_batch_transfer(module: LightningModule, batch: Any) -> Any:
    """Run `on_before_batch_transfer` of the module or of its datamodule, as Lightning's loops do."""
    return module._on_before_batch_transfer(batch, dataloader_idx=0)


def last_checkpoint(trainer: Trainer) -> tuple[int, str]:
    """Return the step and the path of what a ModelCheckpoint of the trainer saved last; (0, "") before the first."""
    saved = [
        (callback._last_global_step_saved, callback._last_checkpoint_saved)
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, ModelCheckpoint) and callback._last_checkpoint_saved
    ]
    return max(saved, default=(0, ""))


def wrapped_sampler(sampler: Sampler[Any]) -> Sampler[Any]:
    """Return the user's own sampler inside Lightning's distributed wrapper; any other sampler as it is."""
    inner = getattr(getattr(sampler, "dataset", None), "_sampler", None)
    return inner if isinstance(inner, Sampler) else sampler


def attached_trainer(module: LightningModule) -> Trainer | None:
    """Return the trainer that a module is attached to, or None (the public property raises when there is none)."""
    return module._trainer
