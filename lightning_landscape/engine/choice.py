"""The choice of examples for a surface: what the user asks for, or what a pilot shows to be enough."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from lightning_landscape.engine.pilot import EXAMPLES, POINTS, run_pilot
from lightning_landscape.engine.workbench import Workbench
from lightning_landscape.errors import LandscapeError
from lightning_landscape.records.surface import Surface
from lightning_landscape.sampling.cost import Costs, seconds_of, surface_seconds
from lightning_landscape.sampling.grid import Grid
from lightning_landscape.sampling.plan import UNSIZED, Plan, plan_for_error, plan_for_number, plan_for_time

Examples: TypeAlias = int | Literal["auto", "all"]
"""How many examples a surface is evaluated on: every one; so many at every point, corrected on a coarse grid; or as
many as keep the error below 0.5 % of the surface's range."""

# Below Lightning's own logger, whose level and handler users see.
_log = logging.getLogger(f"lightning.pytorch.{__name__}")

_PILOT_SHARE = 0.15  # of a budget
_WORTHWHILE = 0.25  # of the exact surface's work: a pilot that costs more is not worth it


def check_examples(examples: object) -> None:
    """Refuse what is no choice of examples.

    Raises:
        LandscapeError: if it is not "auto", "all" or a number above 0.
    """
    number = isinstance(examples, int) and not isinstance(examples, bool) and examples >= 1
    if not number and examples not in {"auto", "all"}:
        raise LandscapeError(f"examples={examples!r}: give a number of at least 1, 'auto' or 'all'")


def choose(
    bench: Workbench, grid: Grid, examples: Examples, budget: str | float | None, record: Path | None
) -> tuple[Grid, Plan | None]:
    """Decide which points and which examples a surface is made of; collective over the ranks.

    Args:
        bench: what is evaluated.
        grid: the finest grid.
        examples: the user's choice.
        budget: the time that the surface may take, which overrides `examples`; None for any.
        record: the record on disk, whose choice stands where a pilot made it.

    Returns:
        The grid, and the plan; None for all examples at every point.
    """
    populations = bench.populations()
    if budget is None and examples == "all":
        return grid, None
    if budget is None and isinstance(examples, int):
        return grid, plan_for_number(examples, grid, populations)
    recorded = bench.ranks.broadcast(bench.ranks.on_zero(lambda: _recorded(record)))
    if recorded is not None and (budget is not None or recorded[0] == grid):
        return recorded
    sizes = [size for size in populations if size is not None]
    if len(sizes) < len(populations):
        return grid, plan_for_number(UNSIZED, grid, populations)
    ranks, said = bench.ranks.world, ""
    if budget is None:
        if max(grid.shape) < POINTS or POINTS**grid.dim * EXAMPLES > _WORTHWHILE * grid.size * sum(sizes):
            return grid, None
        chosen = grid, plan_for_error(run_pilot(bench, grid).variations, grid, sizes)
    else:
        seconds = seconds_of(budget)
        pilot = run_pilot(bench, grid, _PILOT_SHARE * seconds)
        left = (1 - _PILOT_SHARE) * seconds
        chosen = plan_for_time(left, pilot.costs, pilot.variations, grid, sizes, ranks)
        said = f"; about {predicted_seconds(pilot.costs, *chosen, sizes, ranks):.0f} s"
    if bench.ranks.rank == 0:
        _log.info("Loss surface: %s%s", describe(*chosen, sizes), said)
    return chosen


def describe(grid: Grid, plan: Plan | None, populations: Sequence[int]) -> str:
    """Say in words which examples a surface is made of, at what share of the exact work, and which error to expect.

    >>> describe(Grid.square(1, 51), Plan((1000,), (60_000,), 7, 0.002), [60_000])
    '1,000 of 60,000 examples at each of 51 x 51 points, 60,000 at 7 x 7 of them (3.6 % of the work for all); largest
    standard error to expect 0.2 % of the range'
    """
    points = " x ".join(str(count) for count in reversed(grid.shape))
    total = sum(populations)
    if plan is None:
        return f"all {total:,} examples at each of {points} points"
    words = f"{sum(plan.subset):,} of {total:,} examples at each of {points} points"
    coarse = plan.coarse_grid(grid)
    if coarse is not None:
        nodes = " x ".join(str(count) for count in reversed(coarse.shape))
        words += f", {sum(plan.reference):,} at {nodes} of them"
    words += f" ({100 * plan.work(grid) / (grid.size * total):.2g} % of the work for all)"
    return words if plan.expected is None else f"{words}; largest standard error to expect {_percent(plan.expected)}"


def predicted_seconds(costs: Costs, grid: Grid, plan: Plan | None, populations: Sequence[int], ranks: int = 1) -> float:
    """Predict the time of a surface; see `surface_seconds`."""
    if plan is None:
        return surface_seconds(costs, grid.size, populations, ranks=ranks)
    coarse = plan.coarse_grid(grid)
    nodes = 0 if coarse is None else coarse.size
    return surface_seconds(costs, grid.size, plan.subset, nodes, plan.reference, ranks)


def plan_attributes(plan: Plan | None) -> dict[str, Any]:
    """Return the attributes of a record by which a surface is resumed with the plan that it was begun with."""
    if plan is None:
        return {"sampling": "all"}
    return {
        "sampling": "estimated",
        "plan_subset": list(plan.subset),
        "plan_reference": list(plan.reference),
        "plan_coarse": plan.coarse,
        "plan_expected": plan.expected,
    }


def _recorded(record: Path | None) -> tuple[Grid, Plan | None] | None:
    if record is None or not record.exists():
        return None
    surface = Surface.load(record)
    attrs, axes = surface.attrs, [(float(a[0]), float(a[-1]), len(a)) for a in (surface.x, surface.y) if a is not None]
    if attrs.get("sampling") == "all":
        return Grid(*axes), None
    if "plan_subset" not in attrs:
        return None
    subset, reference = (tuple(int(n) for n in attrs[f"plan_{name}"]) for name in ("subset", "reference"))
    return Grid(*axes), Plan(subset, reference, int(attrs["plan_coarse"]), attrs.get("plan_expected"))


def _percent(share: float) -> str:
    return f"{100 * share:.2g} % of the range"
