"""Fixtures that the whole suite shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

# Threads that wait for each other on a busy machine cost tiny networks nearly all of their time.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with published networks and surfaces; the test is skipped where it is missing."""
    folder = Path(os.environ.get("LANDSCAPE_SHARED", Path(__file__).parents[2] / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"published networks and surfaces not found in {folder}: set LANDSCAPE_SHARED")
    return folder


@pytest.fixture(scope="session")
def dataset_dir() -> Path:
    """The folder with the .npz data sets; the test is skipped where it is missing."""
    folder = Path(os.environ.get("LANDSCAPE_DATA", Path.home() / ".cache/lightning_landscape/data"))
    if not folder.is_dir():
        pytest.skip(f"data sets not found in {folder}: set LANDSCAPE_DATA")
    return folder
