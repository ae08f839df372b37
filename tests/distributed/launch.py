"""Starts two processes and waits for their end, which both announce."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch.distributed as dist


def run_two_processes(module: str, folder: Path) -> None:
    """Run ``python -m tests.distributed.<module> <folder>`` in two processes, which say when they have passed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    result = subprocess.run(
        [*command, "-m", f"tests.distributed.{module}", str(folder)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-8000:]
    assert "rank 0 passed" in result.stdout
    assert "rank 1 passed" in result.stdout


def end() -> None:
    """Say that this process has passed, and leave the group: its threads abort an interpreter that ends before them."""
    rank = dist.get_rank()
    dist.barrier()
    dist.destroy_process_group()
    print(f"rank {rank} passed", flush=True)
