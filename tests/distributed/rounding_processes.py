"""What each of two processes does in the test of rounding under DDP; started by torchrun."""

from __future__ import annotations

import sys
import warnings
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import torch
import torch.distributed as dist

from lightning_landscape.data import Digits
from lightning_landscape.models import MLP
from lightning_landscape.modules import QuantizedClassifier
from tests.distributed.launch import end


def main(folder: Path) -> None:
    """Train by every method that draws random numbers; the ranks must hold the same weights, of the grid."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    for method, stochastic_forward in (("stochastic", False), ("binaryconnect", True)):
        pl.seed_everything(5, verbose=False)
        module = QuantizedClassifier(
            MLP(64, (16,), batch_norm=True),
            method,
            stochastic_forward=stochastic_forward,
            optimizer=partial(torch.optim.Adam, lr=0.03),
        )
        before = module.net[1].weight.detach().clone()
        trainer = pl.Trainer(
            max_epochs=2,
            accelerator="cpu",
            devices=2,
            strategy="ddp",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            limit_train_batches=5,
            limit_val_batches=1,
            default_root_dir=folder,
        )
        trainer.fit(module, Digits())
        torch.manual_seed(dist.get_rank())  # what the ranks draw otherwise must not matter
        for name, tensor in module.eval().state_dict().items():
            if "running" in name or "tracked" in name:
                continue  # BatchNorm's statistics are each rank's own
            everyone = [torch.empty_like(tensor) for _ in range(2)]
            dist.all_gather(everyone, tensor.contiguous())
            assert torch.equal(*everyone), f"{method}: the ranks differ in {name}"
        assert bool((module.net[1].weight.abs() == 1).all())
        assert not torch.equal(module.net[1].weight, before.sign())
    end()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
