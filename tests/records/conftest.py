"""Fixtures of the tests of records."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.records.nursery import Nursery


# Without being asked for, so that its imports are done by the time when the first test asks.
@pytest.fixture(scope="session", autouse=True)
def _nursery() -> Iterator[Nursery | None]:
    nursery = Nursery() if hasattr(os, "fork") else None
    yield nursery
    if nursery is not None:
        nursery.close()


@pytest.fixture
def nursery(_nursery: Nursery | None) -> Nursery:
    """A source of processes that can be killed."""
    if _nursery is None:
        pytest.skip("needs os.fork")
    return _nursery
