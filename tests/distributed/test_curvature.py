"""Two processes under DDP: the null test of the curvature callbacks, and the numbers of one process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_landscape import CurvatureHistory
from tests.distributed.curvature import callbacks, numbers
from tests.distributed.launch import run_two_processes
from tests.modules_under_test import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run two processes to their end and return where they wrote."""
    path = tmp_path_factory.mktemp("two")
    run_two_processes("curvature", path)
    return path


@pytest.mark.parametrize("batch_size", [8, 64])
def test_two_processes_give_the_numbers_of_one(folder: Path, batch_size: int) -> None:
    single = numbers(batch_size)
    ranks = [torch.load(folder / f"rank{rank}.pt", weights_only=True)[batch_size] for rank in (0, 1)]
    for name, value in single.items():
        assert torch.equal(ranks[0][name], ranks[1][name]), name
        torch.testing.assert_close(ranks[0][name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_the_records_are_written_once_by_both(folder: Path) -> None:
    """Each rank trains on half of the examples, so that only the start is comparable with one process."""
    record = folder / "watched/landscape/spectrum.h5"
    history = CurvatureHistory.load(record)
    assert history.steps.tolist() == [0, 4, 8, 12]
    ours = callbacks()[:1]
    train(folder / "single", ours, max_epochs=1)
    np.testing.assert_allclose(history["largest"][0], ours[0].history()["largest"][0], rtol=1e-4)
    assert np.isfinite(CurvatureHistory.load(folder / "watched/landscape/subspace.h5")["overlap_first"][1:]).all()
