"""The survey: what a surface will need and how good it will be, from a few timed points and without computing it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from lightning_landscape.engine.batch_norm import BatchNormMode
from lightning_landscape.engine.choice import Examples, predicted_seconds
from lightning_landscape.engine.guard import Guard
from lightning_landscape.engine.objective import OwnStep, Step, objective_of
from lightning_landscape.engine.parameters import ReplicatedParameters
from lightning_landscape.engine.pilot import Pilot, run_pilot
from lightning_landscape.engine.ranks import Ranks
from lightning_landscape.engine.workbench import Workbench
from lightning_landscape.geometry.slices import Line, Plane
from lightning_landscape.sampling.cost import Footprint, footprint
from lightning_landscape.sampling.grid import Grid
from lightning_landscape.sampling.plan import (
    SUBSET_BATCHES,
    UNSIZED,
    Plan,
    expected_error,
    plan_for_error,
    plan_for_number,
)


@dataclass(frozen=True)
class Survey:
    """What was found out about a surface before it is computed.

    Attributes:
        grid: its points.
        pilot: what the few points showed.
        populations: the sizes of its data sets; None for one without a length.
        parameter_bytes: the size of the module's parameters and buffers.
    """

    grid: Grid
    pilot: Pilot
    populations: list[int | None]
    parameter_bytes: int

    def plan(self, examples: Examples) -> Plan | None:
        """Return what a choice of examples comes to; None for all of them."""
        if examples == "all":
            return None
        if isinstance(examples, int):
            return plan_for_number(examples, self.grid, self.populations)
        if None in self.populations:
            return plan_for_number(UNSIZED, self.grid, self.populations)
        return plan_for_error(self.pilot.variations, self.grid, self.sizes)

    @property
    def sizes(self) -> list[int]:
        """The sizes of the data sets, those without a length counted as what "auto" takes of them."""
        return [UNSIZED if size is None else size for size in self.populations]

    def seconds(self, plan: Plan | None, ranks: int) -> float:
        """The time on so many devices like this one."""
        return predicted_seconds(self.pilot.costs, self.grid, plan, self.sizes, ranks)

    def error(self, plan: Plan | None) -> float:
        """The largest standard error to expect, as a share of the range; 0 for all examples."""
        if plan is None:
            return 0.0
        coarse = plan.coarse if plan.coarse_grid(self.grid) is not None else 0
        return expected_error(self.pilot.variations, plan.subset, plan.reference, self.populations, coarse)

    def footprint(self, plan: Plan | None) -> Footprint:
        """Memory and disk."""
        held = sum(self.sizes) if plan is None else sum(plan.subset) + (sum(plan.reference) if plan.coarse else 0)
        return footprint(
            self.parameter_bytes,
            self.grid.dim,
            held,
            self.pilot.example_bytes,
            self.pilot.activations,
            self.grid.size,
            len(self.pilot.channels),
            0 if plan is None else SUBSET_BATCHES,
        )


def survey(
    module: nn.Module,
    dataloader: DataLoader[Any] | Mapping[str, DataLoader[Any]],
    slice_: Line | Plane,
    grid: Grid,
    step: Step | OwnStep | None = None,
    *,
    seed: int = 0,
    batch_norm: BatchNormMode = "keep",
    context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    seconds: float = 30.0,
) -> Survey:
    """Evaluate few examples at few points of a slice, and leave the module as it was.

    Args:
        module: as for `compute_surface`, as are the next four and the seed.
        dataloader: the data.
        slice_: the line or plane.
        grid: the points that are planned.
        step: the step.
        seed: of the choice of examples.
        batch_norm: see `BatchNormMode`.
        context: the precision's context of a forward pass.
        seconds: about how long it may take.

    Raises:
        GeometryError: if slice and module do not fit together.
        ObjectiveError: if the step gives no loss or the data no examples.
    """
    loaders = dataloader if isinstance(dataloader, Mapping) else {"": dataloader}
    objective = objective_of(module, step)
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    with Guard(module):
        parameters = ReplicatedParameters(module, slice_, move_buffers=batch_norm == "interpolate")
        parameters.place_origin()
        bench = Workbench(
            module=module,
            objective=objective,
            loaders=loaders,
            slice_=slice_,
            parameters=parameters,
            ranks=Ranks(device),
            device=device,
            seed=seed,
            batch_norm=batch_norm,
            context=context,
        )
        pilot = run_pilot(bench, grid, seconds)
        populations = bench.populations()
    tensors = [*module.parameters(), *module.buffers()]
    return Survey(grid, pilot, populations, sum(tensor.nbytes for tensor in tensors))
