"""The points of a surface, dealt to the ranks, and what they bring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from lightning.pytorch import Trainer

from lightning_landscape.engine.parameters import ReplicatedParameters
from lightning_landscape.engine.progress import progress_bar
from lightning_landscape.engine.ranks import Ranks
from lightning_landscape.records.surface import Surface
from lightning_landscape.sampling.estimators import Estimate
from lightning_landscape.sampling.grid import Grid


class Evaluates(Protocol):
    """Gives an estimate for each of its names at the weights that stand in the module."""

    names: list[str]

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
    parameters: ReplicatedParameters,
    grid: Grid,
    results: Results,
    ranks: Ranks,
    file: Writes | None,
    trainer: Trainer | None,
    progress: bool,
    label: str = "Loss surface",
) -> None:
    """Evaluate what is not done yet, the points dealt to the ranks in turn; rank zero writes what each round brings."""
    missing = np.flatnonzero(~results.done)
    names = evaluator.names
    show = progress and ranks.rank == 0
    with progress_bar(grid.size, int(results.done.sum()), label, trainer, show=show) as advance:
        for start in range(0, len(missing), ranks.world):
            turn = missing[start : start + ranks.world]
            # A rank without a point in the last round still takes part in the exchange.
            row = torch.full((2 * len(names),), torch.nan, dtype=torch.float64)
            if ranks.rank < len(turn):
                parameters.place(*grid.point(int(turn[ranks.rank])))
                estimates = evaluator.evaluate()
                row = torch.tensor(
                    [[estimates[n].mean for n in names], [estimates[n].error for n in names]], dtype=torch.float64
                ).ravel()
            for index, values in zip(turn.tolist(), ranks.gather(row).numpy(), strict=False):
                means, errors = values.reshape(2, -1)
                results.means[:, index], results.errors[:, index], results.done[index] = means, errors, True
                if file is not None:
                    file.write(
                        index,
                        dict(zip(names, means.tolist(), strict=True)),
                        dict(zip(names, errors.tolist(), strict=True)),
                    )
            advance(len(turn))
