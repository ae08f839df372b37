"""Estimated surfaces: one pass over few points with many examples, one over all points with few, and what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lightning_landscape.engine.acceleration.accelerated import AcceleratedParameters
from lightning_landscape.engine.evaluator import Evaluator
from lightning_landscape.engine.parameters import Parameters
from lightning_landscape.engine.points import Results
from lightning_landscape.engine.sample import Sample
from lightning_landscape.engine.workbench import Workbench
from lightning_landscape.records.point_rows import PointRows
from lightning_landscape.records.surface_file import SurfaceFile
from lightning_landscape.sampling.control_variate import Sizes, estimate, students_factor, subset_alone
from lightning_landscape.sampling.estimators import Estimate
from lightning_landscape.sampling.grid import Grid
from lightning_landscape.sampling.plan import Plan

_REFERENCE, _SUBSET = "reference", "subset"


class BatchMeans:
    """An evaluator that gives, beside each channel's mean, its batch means as channels of their own.

    Args:
        evaluator: the evaluator, which knows its channels.
        batches: for each channel the number of batches.
    """

    def __init__(self, evaluator: Evaluator, batches: Mapping[str, int]) -> None:
        self._evaluator = evaluator
        self._batches = batches
        self.names = batch_columns(batches)

    @property
    def together(self) -> bool:
        """Whether all ranks stand at the same point and share the examples."""
        return self._evaluator.together

    def evaluate(self) -> dict[str, Estimate]:
        """Evaluate at the weights that stand in the module; batch means are NaN where a channel has not all of them."""
        values: list[float] = []
        for name, found in self._evaluator.evaluate().items():
            values.append(found.mean)
            complete = len(found.batches) == self._batches[name]
            values.extend(found.batches.tolist() if complete else [np.nan] * self._batches[name])
        return {name: Estimate(value, np.nan) for name, value in zip(self.names, values, strict=True)}


def batch_columns(batches: Mapping[str, int]) -> list[str]:
    """Name a channel and its batches, for every channel.

    >>> batch_columns({"loss": 2})
    ['loss', 'loss, batch 0', 'loss, batch 1']
    """
    return [
        column for name, count in batches.items() for column in (name, *(f"{name}, batch {b}" for b in range(count)))
    ]


def sample_of(channel: str, samples: Mapping[str, Sample]) -> str:
    """The name of the sample that a channel is a mean over: the one that it begins with."""
    return max((label for label in samples if not label or channel.startswith(f"{label}/")), key=len)


class Estimation:
    """The two passes of an estimated surface, and their rows in its file.

    Args:
        bench: what is evaluated.
        plan: how many examples where.
        grid: the points.

    Attributes:
        reference: the examples that the coarse points see; the subset, where there are none.
        subset: the examples that every point sees.
    """

    def __init__(self, bench: Workbench, plan: Plan, grid: Grid) -> None:
        self._bench = bench
        self._grid = grid
        self._populations = bench.populations()
        self._coarse = plan.coarse_grid(grid)
        whole = list(plan.reference) == self._populations
        self.subset = bench.samples(plan.subset, balanced=True, batches=plan.batches)
        # The whole data set comes in the exact surface's order, so that the coarse points are the exact surface's.
        self.reference = self.subset
        if self._coarse is not None:
            batches = None if whole else plan.batches
            self.reference = bench.samples(plan.reference, balanced=not whole, batches=batches)

    def rows(self, names: Sequence[str]) -> dict[str, list[str]]:
        """Return what is kept of each point on the way, for `SurfaceFile.open`."""
        rows = {_SUBSET: batch_columns(self._batches(names))}
        if self._coarse is not None:
            rows[_REFERENCE] = [*names, *(f"{name}, error" for name in names)]
        return rows

    def attributes(self) -> dict[str, Any]:
        """Return what a reader needs to judge the picture."""
        first, last = next(iter(self.subset.values())), next(iter(self.reference.values()))
        facts: dict[str, Any] = {"examples": last.examples, "subset_examples": first.examples}
        if first.dataset_size is not None:
            facts["dataset_size"] = first.dataset_size
        if self._coarse is not None:
            facts["coarse_points"] = list(reversed(self._coarse.shape))
        return facts

    def compute(
        self, names: list[str], placed: Parameters | AcceleratedParameters, file: SurfaceFile | None
    ) -> Results:
        """Evaluate what is missing of both passes, and estimate every channel; collective over the ranks."""
        known = Results.empty(self._grid, names)
        if self._coarse is not None:
            rows = file.rows(_REFERENCE) if file is not None else None
            known = self._resumed(names, rows, with_errors=True)
            known.done |= ~self._coarse.mask.ravel()
            with self._bench.evaluator(self.reference, names) as evaluator:
                self._bench.evaluate_missing(evaluator, placed, self._grid, known, rows, "Coarse grid")
        rows = file.rows(_SUBSET) if file is not None else None
        batches = self._batches(names)
        subset = self._resumed(batch_columns(batches), rows, with_errors=False)
        with self._bench.evaluator(self.subset, names) as evaluator:
            self._bench.evaluate_missing(BatchMeans(evaluator, batches), placed, self._grid, subset, rows)
        return self._estimate(names, subset, known)

    def _batches(self, names: Sequence[str]) -> dict[str, int]:
        return {name: len(self.subset[sample_of(name, self.subset)]) for name in names}

    def _resumed(self, names: list[str], rows: PointRows | None, *, with_errors: bool) -> Results:
        """Start from what rank zero finds on disk."""
        results = Results.empty(self._grid, names)
        if rows is not None:
            values, results.done = rows.read()
            results.means = values.T[: len(names)].copy()
            if with_errors:
                results.errors = values.T[len(names) :].copy()
        return self._bench.ranks.broadcast(results)

    def _estimate(self, names: list[str], subset: Results, known: Results) -> Results:
        results, shape, row = Results.empty(self._grid, names), self._grid.shape, 0
        populations = dict(zip(self.subset, self._populations, strict=True))
        for position, (name, count) in enumerate(self._batches(names).items()):
            label = sample_of(name, self.subset)
            mean = subset.means[row].reshape(shape)
            batches = subset.means[row + 1 : row + 1 + count].reshape(count, *shape)
            row += 1 + count
            sizes = Sizes(tuple(self.subset[label].sizes), self.reference[label].examples, populations[label])
            if self._coarse is None:
                found = subset_alone(mean, batches, sizes)
            else:
                reference, errors = (
                    self._coarse.take(values[position].reshape(shape)) for values in (known.means, known.errors)
                )
                variances = (errors * students_factor(len(self.reference[label]))) ** 2
                found = estimate(mean, batches, reference, variances, self._coarse, sizes)
            results.means[position], results.errors[position] = found.values.ravel(), found.errors.ravel()
        results.done[:] = True
        return results
