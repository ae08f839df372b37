"""Points dealt to ranks of unequal speed, through the key-value store of their process group and without collectives.

A counter in the store says which points are taken. Each rank takes as many at a time as it computes in a tenth of a
second, so that taking costs little and all ranks end together; what it finds goes back through the store to rank zero,
where a thread keeps it as it comes, while the rank itself computes. A rank that fails or falls silent ends the others.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch.distributed as dist
from torch._C._distributed_c10d import Store

from lightning_landscape.errors import LandscapeError

Row = np.ndarray[Any, np.dtype[np.float64]]

_CLAIM = 0.1  # seconds for which a rank takes points at a time
_BEAT = 1.0  # seconds between signs of life
_PATIENCE = 60.0  # seconds of silence after which a rank is taken for dead
_PAUSE = 0.02  # seconds between looks into the store, where somebody waits for the answer
_REST = 0.25  # the same, where nobody does


class Deal:
    """One deal of points among ranks, each of which goes through its part.

        with Deal(store, rank, world, points, keep) as deal:
            for point in deal:
                deal.report(point, values_of(point))

    On leaving, every point has been kept on rank zero. After an exception, those that were finished have been.

    Args:
        store: shared by the ranks, and by nobody else.
        rank: of this process.
        world: the number of ranks.
        points: what to deal, the same on every rank.
        keep: takes a point and its values; called on rank zero only, in a thread.
    """

    def __init__(
        self, store: Store, rank: int, world: int, points: Sequence[int], keep: Callable[[int, Row], None]
    ) -> None:
        self._store = store
        self._rank = rank
        self._world = world
        self._points = points
        self._keep = keep
        self._rows: list[tuple[int, Row]] = []
        self._sent = time.monotonic()
        self._own: deque[tuple[int, Row]] = deque()
        self._kept = self._read = 0
        self._heard = {other: (b"", time.monotonic()) for other in (range(1, world) if rank == 0 else [0])}
        self._beat = 0
        self._lost = ""
        self._error: Exception | None = None
        self._waiting = rank == 0
        self._over, self._leaving = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._attend, name="landscape-deal", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __iter__(self) -> Iterator[int]:
        size, largest = 1, max(1, len(self._points) // (8 * self._world))
        while True:
            self._raise_if_lost()
            stop = self._store.add("taken", size)
            taken = self._points[stop - size : stop]
            if not len(taken):
                return
            started = time.monotonic()
            for point in taken:
                self._raise_if_lost()
                yield int(point)
            seconds = max(time.monotonic() - started, 1e-6)
            size = min(max(1, int(_CLAIM * len(taken) / seconds)), largest)

    def report(self, point: int, values: Row) -> None:
        """Hand in what was found at a point."""
        self._rows.append((point, values))
        if time.monotonic() - self._sent >= _CLAIM:
            self._send()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._send()
                self._waiting = True
                while not self._over.wait(_PAUSE):
                    self._raise_if_lost()
                self._raise_if_lost()
            else:
                self._leave_behind(error)
        finally:
            self._leaving.set()
            self._thread.join(timeout=10)
            if self._rank == 0 and self._error is None:
                with suppress(RuntimeError):
                    self._collect()

    def _leave_behind(self, error: BaseException) -> None:
        """Hand in what was finished, and tell the others what happened."""
        try:
            self._send()
            self._announce(f"{type(error).__name__}: {error}")
        except RuntimeError:
            return  # the store is gone, and with it whoever could be told

    def _send(self) -> None:
        rows, self._rows, self._sent = self._rows, [], time.monotonic()
        if self._rank == 0:
            self._own.extend(rows)
        elif rows:
            # JSON gives back every bit of a float, NaN and infinities included.
            report = json.dumps([(point, values.tolist()) for point, values in rows])
            self._store.set(f"report/{self._store.add('reports', 1)}", report)

    def _announce(self, message: str) -> None:
        if not self._lost and self._store.add("failures", 1) == 1:
            self._store.set("failure", f"rank {self._rank}: {message}")

    def _raise_if_lost(self) -> None:
        if self._error is not None:
            raise self._error
        if self._lost:
            raise LandscapeError(
                f"the surface was given up after a failure of {self._lost}; what was finished is kept: with a path, "
                "the same call goes on from there"
            )

    def _attend(self) -> None:
        """Give signs of life, listen to those of others, and, on rank zero, keep what comes in: the thread's work."""
        beaten = float("-inf")
        try:
            while not (self._over.is_set() or self._lost):
                leaving = self._leaving.is_set()
                if self._rank == 0:
                    self._collect()
                if self._kept == len(self._points) if self._rank == 0 else self._store.check(["end"]):
                    self._store.set("end", "")
                    self._over.set()
                elif leaving:
                    return
                elif self._store.check(["failure"]):
                    self._lost = self._store.get("failure").decode()
                elif time.monotonic() - beaten >= _BEAT:
                    beaten = time.monotonic()
                    self._listen()
                else:
                    self._leaving.wait(_PAUSE if self._waiting else _REST)
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, dist.DistError) or self._rank > 0:
            self._lost = f"rank 0, whose store is out of reach ({type(error).__name__}: {error})"
            return
        # Not to write is a failure of rank zero as any other.
        self._leave_behind(error)
        self._error = error

    def _collect(self) -> None:
        while self._own:
            self._take(*self._own.popleft())
        for number in range(self._read + 1, self._store.add("reports", 0) + 1):
            key = f"report/{number}"
            if not self._store.check([key]):
                return
            for point, values in json.loads(self._store.get(key)):
                self._take(point, np.array(values))
            self._store.delete_key(key)
            self._read = number

    def _take(self, point: int, values: Row) -> None:
        self._keep(point, values)
        self._kept += 1

    def _listen(self) -> None:
        self._beat += 1
        self._store.set(f"beat/{self._rank}", str(self._beat))
        now = time.monotonic()
        for other, (last, heard) in self._heard.items():
            key = f"beat/{other}"
            beat = self._store.get(key) if self._store.check([key]) else b""
            if beat != last:
                self._heard[other] = (beat, now)
            elif now - heard > _PATIENCE:
                self._announce_silent(other)

    def _announce_silent(self, other: int) -> None:
        if self._store.add("failures", 1) == 1:
            self._store.set("failure", f"rank {other}, which was not heard of for {_PATIENCE:.0f} s")
