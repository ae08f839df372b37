"""Two processes under DDP: Stiffness does not disturb and measures what one process does; a subspace stays one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.distributed.gradient_geometry import measure


@pytest.mark.slow
def test_stiffness_and_subspace_in_two_processes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    result = subprocess.run(
        [*command, "-m", "tests.distributed.gradient_geometry", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-8000:]
    assert "rank 0 passed" in result.stdout
    assert "rank 1 passed" in result.stdout
    single = measure().values
    for rank in (0, 1):
        values = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        for name, expected in single.items():
            np.testing.assert_allclose(values[name].numpy(), expected, rtol=1e-5, atol=1e-6, err_msg=name)
