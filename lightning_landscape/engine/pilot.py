"""The pilot: few examples at few points, from which a plan is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from lightning_landscape.engine.estimation import BatchMeans, sample_of
from lightning_landscape.engine.objective import loss_among
from lightning_landscape.engine.points import Results
from lightning_landscape.engine.sample import Sample
from lightning_landscape.engine.workbench import Workbench
from lightning_landscape.sampling.cost import Costs
from lightning_landscape.sampling.grid import Grid
from lightning_landscape.sampling.plan import SUBSET_BATCHES
from lightning_landscape.sampling.variation import Variation, variation_of

POINTS, EXAMPLES = 15, 256
_BATCHES = 16
"""Points along each axis and examples of a pilot that may take its time."""

_SMALLER = ((POINTS, EXAMPLES), (9, EXAMPLES), (9, 128), (7, 128), (7, 64))


@dataclass(frozen=True)
class Pilot:
    """What the pilot found.

    Attributes:
        variations: how much examples differ in their loss, for each data set.
        costs: what evaluations cost one process.
        channels: the channels of the step.
        example_bytes: the size of an example in memory.
        activations: bytes that a batch of the user's size was seen to take on the device; 0 on a CPU.
    """

    variations: list[Variation]
    costs: Costs
    channels: list[str]
    example_bytes: int
    activations: int


def run_pilot(bench: Workbench, grid: Grid, seconds: float | None = None) -> Pilot:
    """Evaluate few examples on a grid of few points over the same part of the slice, and time it.

    Collective over the ranks, on which the result is the same.

    Args:
        bench: what is evaluated.
        grid: the grid that is planned for.
        seconds: about how long it may take at most; fewer points and examples are taken then.
    """
    populations = [EXAMPLES if size is None else size for size in bench.populations()]
    started = time.perf_counter()
    samples = _samples(bench, EXAMPLES, populations)
    loading = time.perf_counter() - started
    taken = sum(sample.examples for sample in samples.values())
    whole = bench.samples([loader.batch_size or 1 for loader in bench.loaders.values()])
    with bench.evaluator(whole) as evaluator:
        names = evaluator.probe()
        large = _timed(evaluator.evaluate)
        activations = _activations(evaluator.evaluate, bench.device)
    with bench.evaluator(samples, names) as evaluator:
        small = _timed(evaluator.evaluate)
    point = _timed(lambda: bench.parameters.place(*grid.point(0)))
    costs = bench.ranks.broadcast(_costs(point, loading / taken, samples, small, whole, large, bench))

    each = small + point
    points, examples = bench.ranks.broadcast(_within(seconds, grid, each, bench.ranks.world))
    if examples != EXAMPLES:
        samples = _samples(bench, examples, populations)
    coarse = replace(grid, x=_fewer(grid.x, points), y=None if grid.y is None else _fewer(grid.y, points))
    with bench.evaluator(samples, names) as evaluator:
        batches = {name: len(samples[sample_of(name, samples)]) for name in names}
        separate = BatchMeans(evaluator, batches)
        results = Results.empty(coarse, separate.names)
        bench.evaluate_missing(separate, bench.parameters, coarse, results, label="Pilot")
    bench.parameters.place(*(0.0 for _ in coarse.shape))
    variations = []
    for label, sample in samples.items():
        loss = loss_among([name for name in names if sample_of(name, samples) == label])
        row = separate.names.index(loss) + 1
        means = results.means[row : row + len(sample)].reshape(len(sample), *coarse.shape)
        variations.append(variation_of(means, tuple(sample.sizes), coarse))
    return Pilot(variations, costs, names, _example_bytes(samples), activations)


def _samples(bench: Workbench, examples: int, populations: Sequence[int]) -> dict[str, Sample]:
    counts = [min(examples, size) for size in populations]
    return bench.samples(counts, balanced=True, batches=_BATCHES)


def _within(seconds: float | None, grid: Grid, each: float, ranks: int) -> tuple[int, int]:
    """Points along an axis and examples for a pilot of about that time."""
    for points, examples in _SMALLER:
        if seconds is None or points**grid.dim * each * examples / EXAMPLES / ranks <= seconds:
            return points, examples
    return _SMALLER[-1]


def _fewer(axis: tuple[float, float, int], points: int) -> tuple[float, float, int]:
    start, stop, count = axis
    return start, stop, min(count, points)


def _timed(action: Callable[[], object]) -> float:
    """Seconds of an action, the shorter of two after a first that is not counted."""
    action()
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _costs(
    point: float,
    loading: float,
    small_batches: dict[str, Sample],
    small: float,
    large_batches: dict[str, Sample],
    large: float,
    bench: Workbench,
) -> Costs:
    """Separate what a batch costs from what an example costs, by batches of two sizes."""
    batches, examples = _total(small_batches)
    other_batches, other_examples = _total(large_batches)
    system = np.array([[batches, examples], [other_batches, other_examples]], dtype=np.float64)
    batch, example = 0.0, small / examples
    if abs(np.linalg.det(system)) > 1e-9:
        batch, example = np.linalg.solve(system, np.array([small, large])).tolist()
        if batch < 0 or example <= 0:
            batch, example = (0.0, large / other_examples) if batch < 0 else (small / batches, 0.0)
    size = max(loader.batch_size or 1 for loader in bench.loaders.values())
    return Costs(point, max(batch, 0.0), max(example, 1e-12), loading, size, SUBSET_BATCHES)


def _total(samples: dict[str, Sample]) -> tuple[int, int]:
    return sum(len(sample) for sample in samples.values()), sum(sample.examples for sample in samples.values())


def _example_bytes(samples: dict[str, Sample]) -> int:
    return sum(sample.nbytes for sample in samples.values()) // sum(sample.examples for sample in samples.values())


def _activations(evaluate: Callable[[], object], device: torch.device) -> int:
    """What a batch takes at its peak beside what is there already, where the device counts it."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    evaluate()
    return int(torch.cuda.max_memory_allocated(device) - before)
