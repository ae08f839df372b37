"""The two processes that all tests of this folder look at: to start them costs more than what they do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run two processes to their end and return where they wrote."""
    path = tmp_path_factory.mktemp("two")
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    result = subprocess.run(
        [*command, "-m", "tests.distributed.two_processes", str(path)],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-8000:]
    assert "rank 0 passed" in result.stdout
    assert "rank 1 passed" in result.stdout
    return path
