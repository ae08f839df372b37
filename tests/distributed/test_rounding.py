"""Rounding at random in two processes under DDP."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_two_processes_round_alike(tmp_path: Path) -> None:
    """Asserted inside of both processes: the same weights on both ranks, on the grid, after training."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    result = subprocess.run(
        [*command, "-m", "tests.distributed.rounding_processes", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-6000:]
    assert "rank 0 passed" in result.stdout
    assert "rank 1 passed" in result.stdout
