"""Writing while the training goes on: rows are copied, and a thread of their own takes the copies to the disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from lightning_landscape.records.rows import RowsFile

# One row is being written while the next one is copied.
_SLOTS = 2


class BackgroundWriter:
    """Appends rows to a record on a thread of its own; the caller waits for a copy of the values, not for the disk.

    Rows are written in the order in which they come. Their copies lie in two buffers, used in turn, so memory is
    bounded by twice a row, and a training that is faster than the disk waits for it. From a GPU the copy goes to
    page-locked memory and is not waited for either: the thread waits for the event that follows it on the stream.

    A failure to write (a full disk) is raised by the next `append`, `flush` or `close`. No later row is written then:
    a record has an end, but no gap.

    Args:
        file: The record; it belongs to the writer from now on, which closes it.
    """

    def __init__(self, file: RowsFile) -> None:
        self._file = file
        # The executor's own thread is waited for when the interpreter ends, so nothing that is queued is lost then.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="record")
        self._pending: deque[Future[None]] = deque()
        self._slots: deque[dict[str, Tensor]] = deque({} for _ in range(_SLOTS))
        self._failed = False

    @torch.no_grad()
    def append(self, values: Mapping[str, Tensor], step: int, epoch: int, lr: float | None = None) -> None:
        """Copy a row and have it written.

        Args:
            values: Tensors with the names and shapes that the file was created for; they may change afterwards.
            step: The global step, not before the last one's.
            epoch: The epoch.
            lr: The learning rate.

        Raises:
            LandscapeError: If an earlier row could not be written; see `RowsFile.append`.
        """
        self._settle(_SLOTS - 1)
        slot = self._slots[0]
        self._slots.rotate()
        events = {}
        for name, value in values.items():
            if name not in slot or slot[name].shape != value.shape or slot[name].dtype != value.dtype:
                slot[name] = torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)
            slot[name].copy_(value, non_blocking=value.is_cuda)
            if value.is_cuda:
                events[value.device] = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        for device, event in events.items():
            event.record(torch.cuda.current_stream(device))
        row = {name: slot[name] for name in values}
        self._pending.append(self._thread.submit(self._write, row, list(events.values()), step, epoch, lr))

    def flush(self) -> None:
        """Wait until everything is written.

        Raises:
            LandscapeError: If a row could not be written.
        """
        self._settle(0)

    def close(self) -> None:
        """Write what is left and close the file.

        Raises:
            LandscapeError: If a row could not be written.
        """
        try:
            self.flush()
        finally:
            self._thread.shutdown()
            self._file.close()

    def _write(
        self, values: dict[str, Tensor], events: list[torch.cuda.Event], step: int, epoch: int, lr: float | None
    ) -> None:
        if self._failed:
            return
        try:
            for event in events:
                event.synchronize()
            self._file.append(values, step, epoch, lr)
        except BaseException:
            self._failed = True
            raise

    def _settle(self, allowed: int) -> None:
        """Wait until at most so many rows are under way; raise what went wrong with those that are done.

        Raises:
            LandscapeError: If one could not be written.
        """
        # A row that failed stays at the head of the queue, so that it is raised again.
        while self._pending and (len(self._pending) > allowed or self._pending[0].done()):
            self._pending[0].result()
            self._pending.popleft()
