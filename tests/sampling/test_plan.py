from __future__ import annotations

import math

import numpy as np
import pytest

from lightning_landscape.sampling.cost import Costs, surface_seconds
from lightning_landscape.sampling.grid import Grid
from lightning_landscape.sampling.plan import (
    TARGET,
    Plan,
    coarse_grid,
    plan_for_error,
    plan_for_number,
    plan_for_time,
)
from lightning_landscape.sampling.variation import Variation, variation_of

GRID = Grid.square(1.0, 51)
SMOOTH = Variation(level=0.16, residual={4: 1.6e-3, 5: 7e-4, 7: 2e-4}, range=0.3)
COSTS = Costs(point=1e-4, batch=1e-3, example=1e-5, loading=1e-5, batch_size=100)


def test_the_aim_is_reached_at_a_small_share_of_the_work() -> None:
    plan = plan_for_error([SMOOTH], GRID, [60_000])
    assert plan is not None
    assert plan.expected is not None
    assert 2 * plan.expected <= TARGET * 1.001
    assert plan.work(GRID) < 0.04 * GRID.size * 60_000


def test_no_plan_of_its_kind_is_cheaper() -> None:
    """Against all numbers of examples and coarse points on a lattice."""
    plan = plan_for_error([SMOOTH], GRID, [60_000])
    assert plan is not None
    work = [
        Plan((n,), (m,), count).work(GRID)
        for count in range(5, 15, 2)
        for n in np.geomspace(64, 4096, 80).astype(int).tolist()
        for m in [*np.geomspace(n + 1, 60_000, 40).astype(int).tolist(), 60_000]
        if 2 * SMOOTH.error(n, m, 60_000, count) <= TARGET
    ]
    assert plan.work(GRID) <= 1.01 * min(work)


def test_few_examples_are_evaluated_all() -> None:
    assert plan_for_error([SMOOTH], GRID, [100]) is None


def test_a_data_set_without_end_costs_no_more_than_a_large_one() -> None:
    """Not all of it is evaluated at the coarse points either."""
    one, other = (plan_for_error([SMOOTH], GRID, [size]) for size in (10**6, 10**9))
    assert one is not None
    assert other is not None
    assert other.work(GRID) <= 1.2 * one.work(GRID) < 0.01 * GRID.size * 10**6


def test_where_nothing_reaches_the_aim_the_work_is_bounded() -> None:
    wild = Variation(level=100.0, residual={4: 90.0, 5: 85.0, 7: 80.0}, range=0.1)
    plan = plan_for_error([wild], GRID, [10**6])
    assert plan is not None
    assert plan.expected is not None
    assert plan.expected > TARGET
    assert plan.work(GRID) < GRID.size * 4096 + 200 * 65_536


def test_a_pilot_that_saw_no_finite_loss_plans_for_a_number() -> None:
    unknown = Variation(math.nan, {4: math.nan, 5: math.nan, 7: math.nan}, math.nan)
    assert plan_for_error([unknown], GRID, [60_000]) == plan_for_number(1024, GRID, [60_000])


def test_a_number_takes_as_much_work_again_at_the_coarse_points() -> None:
    for population in (2000, 50_000, 10**7):
        plan = plan_for_number(1024, GRID, [population])
        assert plan is not None
        coarse = plan.coarse_grid(GRID)
        assert coarse is not None
        assert coarse.size * (plan.reference[0] - 1024) <= GRID.size * 1024
    assert plan_for_number(1024, GRID, [1024]) is None
    assert plan_for_number(1024, GRID, [None]) == Plan((1024,), (1024,), 0)


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (6, 51), (2, 40)])
def test_small_grids_have_no_coarse_grid(shape: tuple[int, int]) -> None:
    axes = [(0.0, float(count > 1), count) for count in shape]
    assert coarse_grid(Grid(*axes), 7) is None
    assert plan_for_number(10, Grid(*axes), [100]) == Plan((10,), (10,), 0)


@pytest.mark.parametrize("ranks", [1, 8])
@pytest.mark.parametrize("seconds", [20.0, 60.0, 600.0])
def test_a_time_is_kept_and_used(seconds: float, ranks: int) -> None:
    grid, plan = plan_for_time(seconds, COSTS, [SMOOTH], GRID, [60_000], ranks)
    assert grid.shape[0] % 2 == 1
    if plan is None:
        assert surface_seconds(COSTS, grid.size, [60_000], ranks=ranks) <= seconds
        return
    coarse = plan.coarse_grid(grid)
    nodes = 0 if coarse is None else coarse.size
    taken = surface_seconds(COSTS, grid.size, plan.subset, nodes, plan.reference, ranks)
    assert 0.8 * seconds <= taken <= seconds


def test_more_time_gives_smaller_errors_and_then_more_points() -> None:
    plans = [plan_for_time(s, COSTS, [SMOOTH], GRID, [60_000]) for s in (2.0, 6.0, 20.0, 60.0, 300.0, 1e5)]
    points = [grid.size for grid, _ in plans]
    assert points == sorted(points)
    assert points[0] < points[-1] == GRID.size
    assert plans[-1][1] is None  # everything
    full = [plan.expected for grid, plan in plans if grid == GRID and plan is not None and plan.expected is not None]
    assert full == sorted(full, reverse=True)


def test_no_time_gives_the_coarsest_picture() -> None:
    grid, plan = plan_for_time(1e-6, COSTS, [SMOOTH], GRID, [60_000])
    assert grid.shape == (11, 11)
    assert plan is not None
    assert plan.subset == (32,)


# The variation


def test_variances_are_those_of_single_examples() -> None:
    generator, grid = np.random.default_rng(0), Grid(x=(-1, 1, 15))
    examples = 3 + 2 * generator.normal(size=(1600, 1)) + 0.1 * generator.normal(size=(1600, 15))
    batches = examples.reshape(16, 100, 15).mean(axis=1)
    found = variation_of(batches, (100,) * 16, grid)
    assert found.level == pytest.approx(4.0, rel=1.2)  # the worst of 15 points, from 16 batches
    assert 0.01 < found.residual[7] < 0.08  # independent noise at each point: between 1 and 3 times its variance
    assert found.range < 0.05


def test_points_that_are_not_finite_are_left_out() -> None:
    batches = np.random.default_rng(0).normal(size=(16, 15))
    batches[:, 3] = np.nan
    found = variation_of(batches, (4,) * 16, Grid(x=(-1, 1, 15)))
    assert np.isfinite(found.level)
    assert found.range > 0
