"""Batches that do not fit on the device, brought there one ahead of the computation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor


def pinned(batch: Any, device: torch.device) -> Any:
    """Copy a batch that is meant for a GPU into page-locked memory, from which that fetches by itself."""
    if device.type != "cuda":
        return batch
    return apply_to_collection(batch, Tensor, lambda tensor: tensor.pin_memory() if tensor.is_cpu else tensor)


def streamed(batches: Iterable[Any], transfer: Callable[[Any], Any], device: torch.device) -> Iterator[Any]:
    """Bring batches to the device, each while the one before it is evaluated.

    Args:
        batches: the batches, on the host.
        transfer: brings one to the device.
        device: where they go; on any but a GPU nothing overlaps.

    Yields:
        The batches on the device, in order.
    """
    if device.type != "cuda":
        yield from map(transfer, batches)
        return
    side, computing = torch.cuda.Stream(device), torch.cuda.current_stream(device)  # type: ignore[no-untyped-call]
    ahead: list[tuple[Any, torch.cuda.Event]] = []
    for batch in batches:
        with torch.cuda.stream(side):
            ahead.append((transfer(batch), side.record_event()))
        if len(ahead) > 1:
            yield _arrived(*ahead.pop(0), computing)
    for batch, event in ahead:
        yield _arrived(batch, event, computing)


def _arrived(batch: Any, event: torch.cuda.Event, computing: torch.cuda.Stream) -> Any:
    computing.wait_event(event)

    def keep(tensor: Tensor) -> Tensor:
        tensor.record_stream(computing)  # its memory is the side stream's, which must not give it away too early
        return tensor

    return apply_to_collection(batch, Tensor, keep)
