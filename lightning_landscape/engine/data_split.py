"""Examples shared among ranks that stand at the same point, as a sharded model demands.

The batches are those of a single process, dealt out in turn: rank r of W takes the batches r, r + W, ... So a step
meets the batches that it would meet there, and means and standard errors are those of one process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.distributed as dist

from lightning_landscape.engine.objective import BatchMean

BatchMeans = dict[str, dict[int, BatchMean]]
"""The means of every channel, by the position of their batches in the sample."""


def share_of(rank: int, world: int, batches: int) -> list[tuple[int, bool]]:
    """Return which batches a rank evaluates, one for each forward pass, and whether it counts.

    All ranks make the same number of passes, for each pass is a collective. Whoever has one batch less repeats one, at
    no weight.

    Args:
        rank: the rank.
        world: the number of ranks that share the batches.
        batches: how many these are.

    >>> share_of(0, 2, 3), share_of(1, 2, 3)
    ([(0, True), (2, True)], [(1, True), (1, False)])
    """
    own = [(position, True) for position in range(rank, batches, world)]
    passes = -(-batches // world)
    return own + [(own[0][0] if own else 0, False)] * (passes - len(own))


def gather_means(means: BatchMeans, group: dist.ProcessGroup | None) -> BatchMeans:
    """Bring the batch means of all ranks together, on every rank, in the order of the batches.

    A channel may be missing in some batches, and so on some ranks.
    """
    mine = {
        name: {position: (float(part.value), part.weight) for position, part in parts.items()}
        for name, parts in means.items()
    }
    everyone: list[Mapping[str, Any]] = [{} for _ in range(dist.get_world_size(group))]
    dist.all_gather_object(everyone, mine, group=group)
    merged: dict[str, dict[int, BatchMean]] = {}
    for theirs in everyone:
        for name, parts in theirs.items():
            merged.setdefault(name, {}).update({at: BatchMean(*part) for at, part in parts.items()})
    return {name: dict(sorted(parts.items())) for name, parts in merged.items()}
