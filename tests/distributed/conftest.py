"""The two processes that all tests of this folder look at: to start them costs more than what they do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.distributed.launch import run_two_processes


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run two processes to their end and return where they wrote."""
    path = tmp_path_factory.mktemp("two")
    run_two_processes("two_processes", path)
    return path
