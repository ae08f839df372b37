"""What each of two processes does in `test_gan.py`; started by torchrun."""

from __future__ import annotations

import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_landscape import CollapseMonitor, PredictionGAN
from lightning_landscape.data.ring import ring_modes
from lightning_landscape.sampling.modes import mode_coverage
from tests.distributed.launch import end

EXAMPLES, BATCH = 64, 16


class Shared(PredictionGAN):
    """Meets the whole batch and its noise on every rank, of which each takes the examples that are its own."""

    def training_step(self, batch: Tensor, batch_idx: int) -> dict[str, Tensor]:
        return super().training_step(batch[self.global_rank :: self.trainer.world_size], batch_idx)

    def _random(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.global_step)

    def _normal(self, count: int, random: torch.Generator) -> Tensor:
        world = self.trainer.world_size
        return super()._normal(world * count, random)[self.global_rank :: world]


def train(folder: Path, cls: type[PredictionGAN], world: int, loss: str, **options: Any) -> PredictionGAN:
    """Train for two epochs of four batches."""
    pl.seed_everything(3, verbose=False)
    data = torch.randn(EXAMPLES, 2, generator=torch.Generator().manual_seed(1))
    generator = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2))
    discriminator = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1))
    gan = cls(
        generator,
        discriminator,
        3,
        loss=loss,
        prediction="both",
        optimizer=partial(torch.optim.Adam, lr=0.01, betas=(0.5, 0.999)),
    )
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=world,
        strategy="ddp_find_unused_parameters_true" if world > 1 else "auto",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
        **options,
    )
    trainer.fit(gan, DataLoader(data, batch_size=BATCH))
    return gan


def main(folder: Path) -> None:
    """Train on batches that are divided among the ranks, then with noise of each rank's own and a monitor."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    shared = train(folder, Shared, 2, "minimax", logger=False)
    rank = dist.get_rank()
    if rank == 0:
        torch.save(shared.state_dict(), folder / "shared.pt")

    monitor = CollapseMonitor(2, threshold=None, quality=partial(mode_coverage, modes=ring_modes(8, 1.0)), samples=50)
    logger = pl.loggers.TensorBoardLogger(folder)
    own = train(folder, PredictionGAN, 2, "wasserstein", callbacks=[monitor], logger=logger)
    weights = torch.cat([parameter.detach().flatten() for parameter in own.parameters()])
    gathered = [torch.empty_like(weights) for _ in range(2)]
    dist.all_gather(gathered, weights)
    assert torch.equal(*gathered), "the ranks have parted"
    draws = [torch.empty(4) for _ in range(2)]
    dist.all_gather(draws, torch.rand(4, generator=own._random()))
    assert not torch.equal(*draws), "the ranks draw the same noise"
    end()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
