"""Points dealt to ranks, which are threads here: every point once, failures named, what was finished kept."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch.distributed as dist

from lightning_landscape.engine import dealing
from lightning_landscape.engine.dealing import Deal
from lightning_landscape.errors import LandscapeError


class Table:
    """Stands for ranks that share a store; keeps what each computed, what rank zero kept, and what each raised."""

    def __init__(self, world: int, points: int) -> None:
        self.world, self.points = world, list(range(7, 7 + points))
        self.store = dist.HashStore()
        self.kept: dict[int, list[float]] = {}
        self.computed: list[list[int]] = [[] for _ in range(world)]
        self.errors: list[BaseException | None] = [None] * world
        self.ended = [0.0] * world

    def keep(self, point: int, values: Any) -> None:
        assert point not in self.kept
        self.kept[point] = values.tolist()

    def play(self, compute: Callable[[int, int], None], keep: Callable[..., None] | None = None) -> None:
        """Let every rank go through its part; `compute(rank, point)` takes its time, or raises."""

        def rank(number: int) -> None:
            try:
                with Deal(self.store, number, self.world, self.points, keep or self.keep) as deal:
                    for point in deal:
                        compute(number, point)
                        self.computed[number].append(point)
                        deal.report(point, np.array([2.0 * point, -1.0]))
                    self.ended[number] = time.monotonic()
            except BaseException as error:
                self.errors[number] = error

        threads = [threading.Thread(target=rank, args=(number,), daemon=True) for number in range(self.world)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
            assert not thread.is_alive()


def test_ranks_of_unequal_speed_share_by_speed_and_every_point_is_kept_once() -> None:
    table = Table(world=3, points=200)
    table.play(lambda rank, point: time.sleep((0.001, 0.002, 0.008)[rank]))
    assert table.errors == [None] * 3
    assert table.kept == {point: [2.0 * point, -1.0] for point in table.points}
    assert Counter(list(chain(*table.computed))) == Counter(table.points)
    fast, middle, slow = map(len, table.computed)
    assert fast > middle > slow > 0


def test_a_single_point_and_more_ranks_than_points() -> None:
    table = Table(world=3, points=1)
    table.play(lambda rank, point: None)
    assert table.errors == [None] * 3
    assert list(table.kept) == table.points


def test_fast_points_are_taken_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the store is asked seldom: here less than once in five points."""
    table = Table(world=2, points=2000)
    asked = Counter[str]()
    add = table.store.add
    monkeypatch.setattr(table, "store", Counting(table.store, asked), raising=True)
    table.play(lambda rank, point: time.sleep(0.0002))
    assert len(table.kept) == 2000
    assert asked["taken"] < 2000 / 5
    assert add("taken", 0) >= 2000


class Counting:
    """A store that counts who adds to what."""

    def __init__(self, store: Any, asked: Counter[str]) -> None:
        self._store, self._asked = store, asked

    def add(self, key: str, amount: int) -> int:
        self._asked[key] += 1
        return int(self._store.add(key, amount))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.mark.parametrize("failing", [0, 1])
def test_a_rank_that_fails_ends_the_others_and_loses_nothing_finished(failing: int) -> None:
    table = Table(world=2, points=500)

    def compute(rank: int, point: int) -> None:
        time.sleep(0.002)
        if rank == failing and len(table.computed[rank]) == 30:
            raise ZeroDivisionError("no such luck")

    table.play(compute)
    assert isinstance(table.errors[failing], ZeroDivisionError)
    other = table.errors[1 - failing]
    assert isinstance(other, LandscapeError)
    assert f"rank {failing}: ZeroDivisionError: no such luck" in str(other)
    assert "the same call goes on from there" in str(other)
    assert len(list(chain(*table.computed))) < 500
    assert set(table.computed[0]) <= table.kept.keys()
    assert set(table.computed[failing]) <= table.kept.keys()


def test_what_cannot_be_kept_is_raised_as_it_is_on_rank_zero() -> None:
    table = Table(world=2, points=500)

    def keep(point: int, values: Any) -> None:
        if len(table.kept) == 40:
            raise OSError("disk full")
        table.keep(point, values)

    table.play(lambda rank, point: time.sleep(0.001), keep)
    assert isinstance(table.errors[0], OSError)
    assert "rank 0: OSError: disk full" in str(table.errors[1])


def test_a_rank_that_falls_silent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 1 computes for ever and its thread gives no sign of life; the others give up, and keep what they have."""
    monkeypatch.setattr(dealing, "_PATIENCE", 1.0)
    monkeypatch.setattr(dealing, "_BEAT", 0.1)
    dead = threading.Event()
    table = Table(world=2, points=300)
    listen = Deal._listen
    monkeypatch.setattr(Deal, "_listen", lambda deal: None if deal._rank == 1 else listen(deal))

    def compute(rank: int, point: int) -> None:
        if rank == 1 and len(table.computed[1]) == 5:
            dead.wait(15)
        time.sleep(0.001)

    threading.Timer(2.5, dead.set).start()
    table.play(compute)
    assert "rank 1, which was not heard of for 1 s" in str(table.errors[0])
    assert set(table.computed[0]) <= table.kept.keys()


def test_a_store_that_is_gone_means_rank_zero_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def __getattr__(self, name: str) -> Any:
            raise dist.DistNetworkError("connection reset")

    deal = Deal(Gone(), 1, 2, [1, 2, 3], lambda point, values: None)
    with deal:
        deal._thread.join()
        with pytest.raises(LandscapeError, match="failure of rank 0, whose store is out of reach"):
            next(iter(deal))
        deal._over.set()
        deal._lost = ""
