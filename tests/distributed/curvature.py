"""What each of two processes does in test_curvature.py; started by torchrun."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_landscape import Curvature, CurvatureError, GradientSubspace, HessianSpectrum
from tests.distributed.launch import end
from tests.modules_under_test import Delicate, assert_same, dataset, state_of, train

OPTIONS: dict[str, Any] = {"devices": 2, "strategy": "ddp"}


def callbacks() -> list[pl.Callback]:
    return [
        HessianSpectrum(eigenvalues=3, steps=5, examples=40, tolerance=1e-5),
        GradientSubspace(k=2, more=1, examples=40, tolerance=1e-5),
    ]


def numbers(batch_size: int) -> dict[str, Tensor]:
    """Everything that the operator is asked for, of 53 examples: seven batches, or one, which a rank goes without."""
    pl.seed_everything(11, verbose=False)
    module = Delicate()
    with Curvature(module, DataLoader(dataset(), batch_size=batch_size)) as curvature:
        loss, gradient = curvature.gradient()
        return {
            "product": curvature.hessian @ torch.ones(curvature.hessian.shape[0]),
            "gradient": gradient,
            "loss": torch.tensor(loss),
            "eigenvalues": torch.from_numpy(curvature.eigenpairs(3, tolerance=1e-4).values),
            "nodes": torch.from_numpy(curvature.density(5, 2).nodes),
            "trace": torch.tensor(curvature.trace(4).mean),
        }


def main(folder: Path) -> None:
    """Compute, fail together, and train with and without the callbacks."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    plain = state_of(*train(folder / "plain", **OPTIONS))
    assert_same(plain, state_of(*train(folder / "watched", callbacks(), **OPTIONS)))
    rank = dist.get_rank()
    torch.save({size: numbers(size) for size in (8, 64)}, folder / f"rank{rank}.pt")
    module = Delicate()
    torch.nn.init.constant_(module.net[0].weight, torch.inf if rank == 0 else 1.0)
    try:
        with Curvature(module, DataLoader(dataset(), batch_size=8)) as curvature:
            curvature.eigenpairs(1)
    except CurvatureError as error:
        assert "not finite" in str(error)  # noqa: PT017 both ranks raise, and neither is under pytest
    else:
        raise AssertionError(f"rank {rank} did not notice")
    end()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
