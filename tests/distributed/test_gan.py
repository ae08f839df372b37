"""A GAN with prediction under DDP: two processes train as one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from tests.distributed.gan_processes import Shared, train


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    result = subprocess.run(
        [*command, "-m", "tests.distributed.gan_processes", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-8000:]
    assert "rank 0 passed" in result.stdout
    assert "rank 1 passed" in result.stdout
    two = torch.load(tmp_path / "shared.pt", weights_only=True)
    one = train(tmp_path, Shared, 1, "minimax", logger=False).state_dict()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
