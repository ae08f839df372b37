from __future__ import annotations

import numpy as np
import pytest

from lightning_landscape.sampling.coarse_grid import CoarseGrid, nodes_of
from lightning_landscape.sampling.grid import Grid

GRID = Grid(x=(-1, 2, 17), y=(-0.5, 1, 13))


def cubic(grid: Grid, seed: int = 0) -> np.ndarray:
    """A random polynomial of up to the third degree in each coordinate, on the whole grid."""
    c = np.random.default_rng(seed).normal(size=(4, 4))
    assert grid.y_axis is not None
    return np.polynomial.polynomial.polygrid2d(grid.y_axis, grid.x_axis, c)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 50, 51])
@pytest.mark.parametrize("count", [2, 4, 7, 8])
def test_nodes_are_distinct_symmetric_and_hold_the_ends(length: int, count: int) -> None:
    nodes = nodes_of(length, count)
    assert len(nodes) == min(length, count)
    assert nodes[0] == 0
    assert nodes[-1] == length - 1
    if count % 2 == 0 or length % 2:
        assert (nodes + nodes[::-1] == length - 1).all()


def test_an_odd_number_of_nodes_holds_the_middle() -> None:
    assert 25 in nodes_of(51, 7)


@pytest.mark.parametrize("count", [4, 5, 7])
def test_cubics_are_reproduced(count: int) -> None:
    coarse, values = CoarseGrid.of(GRID, count), cubic(GRID)
    np.testing.assert_allclose(coarse.interpolate(coarse.take(values)), values, atol=1e-12)
    np.testing.assert_allclose(coarse.interpolate(coarse.take([values, 2 * values]))[1], 2 * values, atol=1e-12)


def test_coarse_points_keep_their_values_to_the_last_bit() -> None:
    coarse = CoarseGrid.of(GRID, 5)
    known = np.random.default_rng(1).normal(size=coarse.shape)
    np.testing.assert_array_equal(coarse.take(coarse.interpolate(known)), known)
    assert coarse.mask.sum() == coarse.size == 25


@pytest.mark.parametrize("grid", [Grid(x=(0, 1, 9)), Grid(x=(0, 1, 9), y=(0, 0, 1)), Grid(x=(0, 1, 2), y=(0, 1, 3))])
def test_lines_and_small_grids(grid: Grid) -> None:
    coarse = CoarseGrid.of(grid, 4)
    x = np.broadcast_to(grid.x_axis, grid.shape)
    np.testing.assert_allclose(coarse.interpolate(coarse.take(3 * x + 1)), 3 * x + 1, atol=1e-14)


def test_of_first_degree_stays_between_its_neighbours() -> None:
    coarse = CoarseGrid.of(GRID, 5)
    spread = coarse.interpolate(np.random.default_rng(2).uniform(size=coarse.shape), degree=1)
    assert spread.min() >= 0
    assert spread.max() <= 1


def test_leaving_out_predicts_cubics_and_sees_anything_else() -> None:
    """With five nodes or more in a row, the four others of an inner one fix a cubic."""
    coarse = CoarseGrid.of(GRID, 6)
    assert np.abs(coarse.leave_one_out(coarse.take(cubic(GRID)))).max() < 1e-11
    spike = np.zeros(coarse.shape)
    spike[2, 3] = 1.0
    left = coarse.leave_one_out(spike)
    assert left.shape == (2 * 4 * 6,)
    assert (np.isclose(left, 1.0).sum()) == 2  # itself, in its row and in its column


def test_variances_of_independent_values() -> None:
    """Against 20,000 draws."""
    coarse, generator = CoarseGrid.of(Grid(x=(0, 1, 9), y=(0, 1, 7)), 4), np.random.default_rng(3)
    values = generator.normal(size=(20_000, 7, 9))
    drawn = (values - coarse.interpolate(coarse.take(values))).var(axis=0)
    np.testing.assert_allclose(coarse.unit_variance(), drawn, rtol=0.06, atol=1e-12)
    left = coarse.leave_one_out(coarse.take(values)).var(axis=0)
    np.testing.assert_allclose(coarse.leave_one_out_unit_variance(), left, rtol=0.06)
