"""Random-number generators that objects keep for themselves, beside the global streams."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

_LARGEST_CONTAINER = 100
_LARGEST_WALK = 10_000


def snapshot_generator(value: object) -> Callable[[], object] | None:
    """Return the function that puts a random-number generator back to its present state; None for anything else."""
    if isinstance(value, torch.Generator):
        state = value.get_state()
        return lambda: value.set_state(state)
    if isinstance(value, np.random.Generator):
        bits, numbers = value.bit_generator, value.bit_generator.state
        return lambda: setattr(bits, "state", numbers)
    if isinstance(value, np.random.RandomState):
        legacy = value.get_state()
        return lambda: value.set_state(legacy)
    if isinstance(value, random.Random):
        stream = value.getstate()
        return lambda: value.setstate(stream)
    return None


@contextmanager
def seeded_generators(seed: int, *roots: object) -> Iterator[None]:
    """Start the generators that some objects keep from `seed`, and put them back to where they were afterwards.

    A sampler that is iterated, or a data set that transforms its examples at random, draws from its own generator where
    it has one. A run in progress uses the same objects and must not notice.

    Args:
        seed: the seed.
        roots: samplers, data sets and the like; their attributes are searched, and the attributes of these.
    """
    generators = list(_generators_of(roots))
    restores = [restore for restore in map(snapshot_generator, generators) if restore is not None]
    try:
        for generator in generators:
            _seed(generator, seed)
        yield
    finally:
        for restore in restores:
            restore()


def _seed(generator: Any, seed: int) -> None:
    if isinstance(generator, torch.Generator):
        generator.manual_seed(seed)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = type(generator.bit_generator)(seed).state
    else:
        generator.seed(seed % 2**32)


def _generators_of(roots: tuple[object, ...]) -> Iterator[object]:
    # Those near to the roots first. The search is bounded: data sets may hold millions of objects.
    found, seen = deque(roots), dict[int, object]()
    while found and len(seen) < _LARGEST_WALK:
        value = found.popleft()
        if id(value) in seen or isinstance(value, Tensor | type | ModuleType | FunctionType):
            continue
        seen[id(value)] = value
        if isinstance(value, torch.Generator | np.random.Generator | np.random.RandomState | random.Random):
            yield value
        elif isinstance(value, list | tuple | dict):
            if len(value) <= _LARGEST_CONTAINER:
                found.extend(value.values() if isinstance(value, dict) else value)
        elif hasattr(value, "__dict__"):
            found.extend(vars(value).values())
