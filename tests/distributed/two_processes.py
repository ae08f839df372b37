"""What each of two processes does in the tests of this folder; started by torchrun."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader

from lightning_landscape import (
    Grid,
    LandscapeError,
    Line,
    LossLandscape,
    Plane,
    Surface,
    TrajectoryRecorder,
    compute_surface,
    weights_of,
)
from tests.distributed import sharded
from tests.distributed.launch import end
from tests.modules_under_test import Delicate, assert_same, dataset, loaders, state_of, train, trainer

OPTIONS = {"devices": 2, "strategy": "ddp"}


class Unscheduled(Delicate):
    """Needs no validation."""

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def surface(folder: Path, seed: int = 0):
    """Compute the surface that one process computes, too: 35 points, 53 examples.

    Without shortcuts: which of them save time depends on the machine's load, and each rounds in its own way.
    """
    pl.seed_everything(11, verbose=False)
    module = Delicate()
    return compute_surface(
        module,
        DataLoader(dataset(), batch_size=8),
        Plane.random(weights_of(module), seed),
        Grid(x=(-1, 1, 7), y=(-0.5, 1, 5)),
        path=folder / "surface.h5",
        progress=False,
        shortcuts=[],
    )


def estimate(folder: Path):
    """Estimate the surface that one process estimates: 25 coarse points, then 81 points."""
    pl.seed_everything(11, verbose=False)
    module = Delicate()
    return compute_surface(
        module,
        DataLoader(dataset(), batch_size=8),
        Plane.random(weights_of(module), 0),
        Grid(x=(-1, 1, 9), y=(-0.5, 1, 9)),
        path=folder / "estimate.h5",
        examples=24,
        progress=False,
        shortcuts=[],
    )


def main(folder: Path) -> None:
    """Train with and without the callbacks, compute a surface, fail together; then the same of sharded models."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    ours = [
        TrajectoryRecorder(every_n_steps=2),
        LossLandscape(resolution=3, examples=20, every_n_epochs=1, at_checkpoints=True),
        LossLandscape("pca", resolution=3, examples=20),
    ]
    plain = state_of(*train(folder / "plain", **OPTIONS))
    watched = state_of(*train(folder / "watched", ours, **OPTIONS))
    assert_same(plain, watched)
    rank = dist.get_rank()
    result = surface(folder)
    torch.save({name: torch.from_numpy(result[name]) for name in result.names}, folder / f"rank{rank}.pt")
    guess = estimate(folder)
    torch.save({name: torch.from_numpy(guess[name]) for name in guess.names}, folder / f"estimate{rank}.pt")
    # Rank 0 meets a file that is no record; rank 1 must hear of it and not wait for ever.
    dist.barrier()
    (folder / "bad").mkdir(exist_ok=True)
    (folder / "bad/surface.h5").write_bytes(b"no record")
    dist.barrier()
    try:
        surface(folder / "bad")
    except LandscapeError as error:
        assert "surface.h5" in str(error)  # noqa: PT017 both ranks raise, and neither is under pytest
    else:
        raise AssertionError(f"rank {rank} did not refuse a corrupt record")
    # A rank with other data must not be mixed in.
    try:
        surface(folder / f"other{rank}", seed=rank)
    except LandscapeError as error:
        assert "do not evaluate the same thing" in str(error)  # noqa: PT017
    else:
        raise AssertionError(f"rank {rank} did not notice that the ranks differ")
    check_failure_on_one_rank(folder)
    check_buffers_that_drift_apart(folder)
    sharded.main(folder)
    end()


def check_failure_on_one_rank(folder: Path) -> None:
    """Rank 1 fails in the middle; both end, the record keeps what was finished, and the same call goes on there."""
    rank, calls = dist.get_rank(), []

    def step(module: Any, batch: Any) -> torch.Tensor:
        calls.append(1)
        if rank == 1 and len(calls) == 5:
            raise ArithmeticError("on one rank only")
        return module(batch[0]).square().mean()

    pl.seed_everything(11, verbose=False)
    module = torch.nn.Linear(4, 1)
    loader = DataLoader(dataset(), batch_size=64)
    line, path = Line.random(weights_of(module)), folder / "failed.h5"

    def compute() -> Surface:
        return compute_surface(module, loader, line, Grid(x=(-1, 1, 2001)), step, path, progress=False, shortcuts=[])

    try:
        compute()
    except ArithmeticError:
        assert rank == 1
    except LandscapeError as error:
        assert rank == 0
        assert "failure of rank 1: ArithmeticError: on one rank only" in str(error)  # noqa: PT017
        kept = int(Surface.load(path).done.sum())
        assert 3 <= kept < 2001, kept
        assert len(calls) - 1 <= kept + 1
    else:
        raise AssertionError(f"rank {rank} did not fail")
    dist.barrier()
    before = len(calls)
    finished = compute()
    assert finished.complete
    assert len(calls) - before < 2001


def check_buffers_that_drift_apart(folder: Path) -> None:
    """Without validation nothing brings the ranks' running statistics together; the surface has rank zero's."""
    pl.seed_everything(7, verbose=False)
    landscape = LossLandscape(dimensions=1, resolution=3, data="train", dirpath=folder / "drifted")
    module = Unscheduled()
    trainer(folder / "drifted", [landscape], **OPTIONS).fit(module, loaders()["train_dataloaders"])
    mine = module.net[1].running_mean.clone()
    first = mine.clone()
    dist.broadcast(first, src=0)
    assert dist.get_rank() == 0 or not torch.equal(mine, first)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
