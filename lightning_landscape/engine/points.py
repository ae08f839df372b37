"""The points of a surface, dealt to the ranks, and what they bring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from lightning.pytorch import Trainer

from lightning_landscape.engine.acceleration.accelerated import AcceleratedParameters
from lightning_landscape.engine.dealing import Deal, Row
from lightning_landscape.engine.parameters import Parameters
from lightning_landscape.engine.progress import progress_bar
from lightning_landscape.engine.ranks import Ranks
from lightning_landscape.records.surface import Surface
from lightning_landscape.sampling.estimators import Estimate
from lightning_landscape.sampling.grid import Grid


class Evaluates(Protocol):
    """Gives an estimate for each of its names at the weights that stand in the module."""

    names: list[str]

    @property
    def together(self) -> bool:
        """Whether all ranks stand at the same point and share the examples."""

    def evaluate(self) -> dict[str, Estimate]:
        """Evaluate at the weights that stand in the module."""


class Writes(Protocol):
    """Keeps the values and errors of one point on disk."""

    def write(self, index: int, values: Mapping[str, float], errors: Mapping[str, float] | None = None) -> None:
        """Write the point with this number."""


@dataclass
class Results:
    """What is known so far: ``means`` and ``errors`` are ``[channels, points]``, ``done`` is ``[points]``."""

    means: np.ndarray[Any, np.dtype[np.float64]]
    errors: np.ndarray[Any, np.dtype[np.float64]]
    done: np.ndarray[Any, np.dtype[np.bool_]]

    @classmethod
    def empty(cls, grid: Grid, names: list[str]) -> Results:
        """Start from nothing."""
        nothing = np.full((len(names), grid.size), np.nan)
        return cls(nothing, nothing.copy(), np.zeros(grid.size, dtype=bool))

    @classmethod
    def of(cls, surface: Surface) -> Results:
        """Start from what a record holds."""
        means = np.stack([surface[name].ravel() for name in surface.names])
        errors = np.stack([surface.error(name).ravel() for name in surface.names])
        return cls(means, errors, surface.done.ravel().copy())

    def write(self, names: list[str], file: Writes) -> None:
        """Write every point."""
        for index in range(len(self.done)):
            means, errors = (values[:, index].tolist() for values in (self.means, self.errors))
            file.write(index, dict(zip(names, means, strict=True)), dict(zip(names, errors, strict=True)))


def evaluate_missing(
    evaluator: Evaluates,
    parameters: Parameters | AcceleratedParameters,
    grid: Grid,
    results: Results,
    ranks: Ranks,
    file: Writes | None,
    trainer: Trainer | None,
    progress: bool,
    label: str = "Loss surface",
) -> None:
    """Evaluate what is not done yet; on every rank `results` are whole afterwards, and rank zero has written them.

    Ranks that hold the whole model take points of their own; those that hold shards go through all points together.
    """
    missing = np.flatnonzero(~results.done)
    names = evaluator.names
    show = progress and ranks.rank == 0

    def values_of(index: int) -> Row:
        parameters.place(*grid.point(index))
        estimates = evaluator.evaluate()
        return np.array([[estimates[n].mean for n in names], [estimates[n].error for n in names]]).ravel()

    with progress_bar(grid.size, int(results.done.sum()), label, trainer, show=show) as advance:

        def keep(index: int, values: Row) -> None:
            means, errors = values.reshape(2, -1)
            results.means[:, index], results.errors[:, index], results.done[index] = means, errors, True
            if file is not None:
                file.write(
                    index,
                    dict(zip(names, means.tolist(), strict=True)),
                    dict(zip(names, errors.tolist(), strict=True)),
                )
            advance(1)

        if ranks.world == 1:
            for index in missing.tolist():
                keep(index, values_of(index))
        elif evaluator.together:
            for index in missing.tolist():
                values = values_of(index)
                if ranks.rank > 0:
                    keep(index, values)
                ranks.on_zero(partial(keep, index, values))
        elif len(missing):
            with Deal(ranks.store(), ranks.rank, ranks.world, missing.tolist(), keep) as deal:
                for index in deal:
                    deal.report(index, values_of(index))
            for array in (results.means, results.errors, results.done):
                ranks.broadcast_tensor(torch.from_numpy(array))
