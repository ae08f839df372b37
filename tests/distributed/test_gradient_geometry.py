"""Two processes under DDP: Stiffness does not disturb and measures what one process does; a subspace stays one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.distributed.gradient_geometry import measure
from tests.distributed.launch import run_two_processes


@pytest.mark.slow
def test_stiffness_and_subspace_in_two_processes(tmp_path: Path) -> None:
    run_two_processes("gradient_geometry", tmp_path)
    single = measure().values
    for rank in (0, 1):
        values = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        for name, expected in single.items():
            np.testing.assert_allclose(values[name].numpy(), expected, rtol=1e-5, atol=1e-6, err_msg=name)
