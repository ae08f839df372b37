"""The workbench: all that the passes over a slice have in common, from samples to the points that are missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.utils.data import DataLoader

from lightning_landscape.engine.acceleration.accelerated import AcceleratedParameters
from lightning_landscape.engine.acceleration.choice import Shortcuts, accelerated
from lightning_landscape.engine.batch_norm import BatchNormMode
from lightning_landscape.engine.evaluator import Evaluator, Measure
from lightning_landscape.engine.objective import Objective
from lightning_landscape.engine.parameters import Parameters, ReplicatedParameters
from lightning_landscape.engine.points import Evaluates, Results, Writes, evaluate_missing
from lightning_landscape.engine.ranks import Ranks
from lightning_landscape.engine.sample import Sample, population_of, transfer_of
from lightning_landscape.engine.sharded import ShardedSlice
from lightning_landscape.engine.shards import Shards
from lightning_landscape.geometry.slices import Line, Plane
from lightning_landscape.sampling.grid import Grid


@dataclass(frozen=True, eq=False, kw_only=True)
class Workbench:
    """What is evaluated, on which data, by whom. To be used inside a `Guard`.

    Attributes:
        module: the module.
        objective: its step.
        loaders: the data, by name; a single one under the empty name.
        slice_: the line or plane.
        parameters: puts its points in place.
        ranks: the processes that share the points.
        device: where the module is.
        trainer: the trainer that runs the module, if any.
        shards: of a sharded module.
        seed: of the choice of examples and of each point's random numbers.
        batch_norm: see `BatchNormMode`.
        shortcuts: the shortcuts that may be taken.
        context: the precision's context of a forward pass.
        progress: whether a bar is shown.
        measures: further channels of every point.
    """

    module: nn.Module
    objective: Objective
    loaders: Mapping[str, DataLoader[Any]]
    slice_: Line | Plane | ShardedSlice
    parameters: Parameters
    ranks: Ranks
    device: torch.device
    trainer: Trainer | None = None
    shards: Shards | None = None
    seed: int
    batch_norm: BatchNormMode
    shortcuts: Shortcuts = ()
    context: Callable[[], AbstractContextManager[Any]] = nullcontext
    progress: bool = False
    measures: Sequence[Measure] = ()

    def populations(self) -> list[int | None]:
        """How many examples there are to choose from, for each loader."""
        return [population_of(loader, self.seed) for loader in self.loaders.values()]

    def samples(
        self, examples: Sequence[int] | None = None, *, balanced: bool = False, batches: int | None = None
    ) -> dict[str, Sample]:
        """Load a sample of each data set; see `Sample`. Without numbers of examples, all of them."""
        counts: Sequence[int | None] = [None] * len(self.loaders) if examples is None else examples
        transfer = transfer_of(self.module, self.trainer, self.device)
        return {
            label: Sample(
                loader, count, self.seed, transfer, self.device, self.shards, balanced=balanced, batches=batches
            )
            for (label, loader), count in zip(self.loaders.items(), counts, strict=True)
        }

    def evaluator(
        self, samples: Mapping[str, Sample], names: Sequence[str] = (), probe_seconds: float = 0.0
    ) -> Evaluator:
        """Return an evaluator, to be entered, over some samples; with what another one's probe has found, if known."""
        evaluator = Evaluator(
            self.module,
            self.objective,
            samples,
            seed=self.seed,
            forward_context=self.context,
            recalibrate_batch_norm=self.batch_norm == "recalibrate",
            shards=self.shards,
            measures=self.measures,
        )
        evaluator.names, evaluator.probe_seconds = list(names), probe_seconds
        return evaluator

    def accelerated(self, evaluator: Evaluator, grid: Grid) -> tuple[Parameters | AcceleratedParameters, Sequence[str]]:
        """Return what puts points in place together with the shortcuts that are taken, and the names of these."""
        if self.measures or not isinstance(self.parameters, ReplicatedParameters):
            return self.parameters, []
        if isinstance(self.slice_, ShardedSlice):
            return self.parameters, []
        return accelerated(self.module, self.slice_, self.parameters, evaluator, grid, self.shortcuts, self.ranks)

    def evaluate_missing(
        self,
        evaluator: Evaluates,
        placed: Parameters | AcceleratedParameters,
        grid: Grid,
        results: Results,
        file: Writes | None = None,
        label: str = "Loss surface",
    ) -> None:
        """Evaluate the points of a grid that are not done, shared among the ranks; see `points.evaluate_missing`."""
        evaluate_missing(evaluator, placed, grid, results, self.ranks, file, self.trainer, self.progress, label)
