"""Rounding at random in two processes under DDP."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.distributed.launch import run_two_processes


@pytest.mark.slow
def test_two_processes_round_alike(tmp_path: Path) -> None:
    """Asserted inside of both processes: the same weights on both ranks, on the grid, after training."""
    run_two_processes("rounding_processes", tmp_path)
