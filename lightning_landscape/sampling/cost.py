"""The cost model: time, memory and disk of a surface, from what a few evaluations cost."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_landscape.errors import LandscapeError

_UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Costs:
    """What was measured of one process.

    Attributes:
        point: seconds to move the weights to a point and back, whatever is evaluated there.
        batch: seconds a batch takes however small it is.
        example: seconds that each example of a batch adds.
        loading: seconds to load an example.
        batch_size: examples in a batch of the user's loader.
        subset_batches: batches that a subset is cut into.
        write: seconds to write a finished point.
    """

    point: float
    batch: float
    example: float
    loading: float = 0.0
    batch_size: int = 1
    subset_batches: int = 16
    write: float = 0.0


def surface_seconds(
    costs: Costs,
    points: int,
    subset: Sequence[int],
    coarse: int = 0,
    reference: Sequence[int] = (),
    ranks: int = 1,
) -> float:
    r"""Predict the time of a surface.

    .. math:: T = m\, t_\text{load} + \left\lceil \frac{M}{R} \right\rceil t(n)
                  + \left\lceil \frac{K}{R} \right\rceil t(m) + M\, t_\text{write},
              \qquad t(n) = t_\text{point} + b(n)\, t_\text{batch} + n\, t_\text{example}

    for M points with n examples in b(n) batches each, K coarse points with m examples, and R ranks. Each rank loads all
    examples; rank zero writes.

    Args:
        costs: what was measured.
        points: M.
        subset: n for each data set.
        coarse: K; 0 for the exact surface, and for a subset alone.
        reference: m for each data set, of an estimated surface.
        ranks: R, of equal speed.

    Returns:
        Seconds.

    >>> surface_seconds(Costs(point=1.0, batch=0.0, example=0.5, batch_size=2), points=10, subset=[4], ranks=4)
    9.0
    """
    estimated = bool(coarse) or bool(reference)

    def point(examples: Sequence[int], cut: bool) -> float:
        size = [max(1, math.ceil(n / costs.subset_batches)) if cut else costs.batch_size for n in examples]
        batches = sum(math.ceil(n / s) for n, s in zip(examples, size, strict=True))
        return costs.point + batches * costs.batch + sum(examples) * costs.example

    loaded = sum(subset) + (sum(reference) if coarse else 0)
    total = costs.loading * loaded + math.ceil(points / ranks) * point(subset, estimated) + points * costs.write
    return total + (math.ceil(coarse / ranks) * point(reference, False) if coarse else 0.0)


@dataclass(frozen=True)
class Footprint:
    """What a surface needs beside the run itself, in bytes; on each rank but for the disk."""

    weights: int
    examples: int
    activations: int
    disk: int

    @property
    def memory(self) -> int:
        """All that is in memory at once."""
        return self.weights + self.examples + self.activations


def footprint(
    parameters: int,
    directions: int,
    examples: int,
    example_bytes: int,
    activations: int,
    points: int,
    channels: int,
    subset_batches: int = 0,
) -> Footprint:
    r"""Predict memory and disk of a surface.

    Memory is the origin, the directions and the copy from which the module is restored, as large as the parameters
    each; the examples, which stay loaded; and the activations of a batch. Disk is 8 bytes for each channel's value and
    error at each point and 1 for "done", and for an estimated surface as much for the coarse values and
    :math:`8 (B + 1)` a channel for the subset's batches.

    Args:
        parameters: bytes of the module's parameters and buffers.
        directions: 1 for a line, 2 for a plane.
        examples: examples that are kept.
        example_bytes: bytes of one of them.
        activations: the largest that one batch was seen to take, in bytes.
        points: points of the grid.
        channels: channels.
        subset_batches: B, 0 for the exact surface.

    >>> footprint(100, 2, 10, 4, 7, points=9, channels=1).memory
    447
    """
    row = 16 * channels + 1
    kept = (row + 8 * channels * (subset_batches + 1) + 1) if subset_batches else 0
    return Footprint((2 + directions) * parameters, examples * example_bytes, activations, points * (row + kept))


def seconds_of(text: str | float) -> float:
    """Read a time: seconds, or text such as "90s", "10min" or "1.5 h".

    Raises:
        LandscapeError: if it is none, or not above 0.

    >>> seconds_of("10min"), seconds_of(45)
    (600.0, 45.0)
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-z]*)\s*", str(text), flags=re.IGNORECASE)
    unit = _UNITS.get(match.group(2).lower()) if match else None
    try:
        seconds = float(match.group(1)) * unit if match and unit else 0.0
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise LandscapeError(f"budget={text!r} is no time: give seconds, or text such as '60s', '10min' or '1.5h'")
    return seconds
