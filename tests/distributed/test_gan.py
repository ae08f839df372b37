"""A GAN with prediction under DDP: two processes train as one does."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.distributed.gan_processes import Shared, train
from tests.distributed.launch import run_two_processes


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    run_two_processes("gan_processes", tmp_path)
    two = torch.load(tmp_path / "shared.pt", weights_only=True)
    one = train(tmp_path, Shared, 1, "minimax", logger=False).state_dict()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
