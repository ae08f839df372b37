"""What each of two processes does with Stiffness and RandomSubspace; started by torchrun."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader

from lightning_landscape import RandomSubspace, Stiffness
from lightning_landscape.curvature.stiffness import StiffnessMeasurement, compute_stiffness
from tests.distributed.launch import end
from tests.modules_under_test import Delicate, assert_same, dataset, state_of, train

OPTIONS = {"devices": 2, "strategy": "ddp", "num_sanity_val_steps": 0}


def measure() -> StiffnessMeasurement:
    """Measure what one process measures, too: 11 training and 11 validation examples."""
    torch.manual_seed(5)
    data = DataLoader(dataset(), batch_size=8)
    return compute_stiffness(Delicate(), data, data, "training_step", examples=11)


def main(folder: Path) -> None:
    """Train with and without Stiffness, measure, then train in a subspace."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    plain = state_of(*train(folder / "plain", **OPTIONS))
    watched = state_of(*train(folder / "watched", [Stiffness(examples=5, every_n_epochs=3)], **OPTIONS))
    assert_same(plain, watched)
    rank = dist.get_rank()
    found = measure()
    torch.save({name: torch.from_numpy(values) for name, values in found.values.items()}, folder / f"rank{rank}.pt")
    # One epoch: from then on each rank lowers its learning rate by its own validation loss.
    module, run = train(folder / "subspace", [RandomSubspace(4)], **OPTIONS, max_epochs=1)
    z = module.subspace_coordinates.detach()
    everyone = [torch.empty_like(z) for _ in range(2)]
    dist.all_gather(everyone, z)
    assert torch.equal(*everyone)
    assert z.abs().min() > 0
    weight = module.net[0].weight.detach().clone()
    both = [torch.empty_like(weight) for _ in range(2)]
    dist.all_gather(both, weight)
    assert torch.equal(*both)
    exchanged = [p for p in run.strategy.model.parameters() if p.requires_grad]
    assert [tuple(p.shape) for p in exchanged] == [(4,)]
    end()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
