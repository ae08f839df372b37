"""Grids: exact ends and centre, the order of the points, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lightning_landscape.errors import GeometryError
from lightning_landscape.sampling import Grid


@pytest.mark.parametrize(("start", "stop"), [(-1.0, 1.0), (-0.5, 1.5), (0.1, 0.7), (-1 / 3, 1 / 7), (1e-9, 1e9)])
@pytest.mark.parametrize("count", [2, 3, 4, 7, 50, 51, 401])
def test_ends_are_exact_and_points_equidistant(start: float, stop: float, count: int) -> None:
    axis = Grid(x=(start, stop, count)).x_axis
    assert axis.dtype == np.float64
    assert axis.shape == (count,)
    assert axis[0] == start
    assert axis[-1] == stop
    steps = np.diff(axis)
    np.testing.assert_allclose(steps, (stop - start) / (count - 1), rtol=1e-9)


@pytest.mark.parametrize("extent", [1.0, 0.1, 1 / 3, math.pi, 1e-5])
@pytest.mark.parametrize("count", [3, 5, 21, 51, 101, 401])
def test_symmetric_odd_axis_has_an_exact_zero_and_mirrors_exactly(extent: float, count: int) -> None:
    axis = Grid(x=(-extent, extent, count)).x_axis
    assert axis[count // 2] == 0.0
    np.testing.assert_array_equal(axis, -axis[::-1])


def test_points_of_a_non_square_grid_follow_the_shape_of_the_array() -> None:
    grid = Grid(x=(-1, 1, 5), y=(0, 3, 4))
    assert grid.dim == 2
    assert grid.shape == (4, 5)
    assert grid.size == 20
    assert grid.y_axis is not None
    x_of, y_of = np.meshgrid(grid.x_axis, grid.y_axis)  # both [Y, X]
    values = np.array([grid.point(index) for index in range(grid.size)]).reshape(*grid.shape, 2)
    np.testing.assert_array_equal(values[..., 0], x_of)
    np.testing.assert_array_equal(values[..., 1], y_of)
    j, i = 2, 3
    assert grid.point(j * 5 + i) == (grid.x_axis[i], grid.y_axis[j]) == (0.5, 2.0)


def test_line_has_one_coordinate() -> None:
    grid = Grid(x=(0, 1, 3))
    assert (grid.dim, grid.shape, grid.size, grid.y_axis) == (1, (3,), 3, None)
    assert [grid.point(index) for index in range(3)] == [(0.0,), (0.5,), (1.0,)]


def test_single_point() -> None:
    grid = Grid(x=(0.25, 0.25, 1), y=(0, 1, 2))
    assert grid.shape == (2, 1)
    assert [grid.point(0), grid.point(1)] == [(0.25, 0.0), (0.25, 1.0)]


def test_axes_given_as_lists_become_tuples_and_grids_compare() -> None:
    from_lists = Grid(x=[-1, 1, 3], y=[0, 1, 2])  # type: ignore[arg-type]
    assert from_lists == Grid(x=(-1.0, 1.0, 3), y=(0.0, 1.0, 2))
    assert hash(from_lists) == hash(Grid(x=(-1, 1, 3), y=(0, 1, 2)))


@pytest.mark.parametrize(
    ("axis", "complaint"),
    [
        ((-1, 1, 0), "0 points: at least 1"),
        ((-1, 1, -3), "-3 points: at least 1"),
        ((-1, 1, 1), "1 point for two ends, -1.0 and 1.0"),
        ((1, -1, 5), "stop must be above start"),
        ((1, 1, 5), "stop must be above start"),
        ((1.0, 1.0 + 1e-15, 50), "by more than rounding"),
        ((math.nan, 1, 5), "both ends must be finite"),
        ((-1, math.inf, 5), "both ends must be finite"),
        ((-1, 1, 5.5), r"give \(start, stop, count\)"),
        ((-1, 1), r"give \(start, stop, count\)"),
        ((-1, 1, 5, 7), r"give \(start, stop, count\)"),
        ((-1, 1, None), r"give \(start, stop, count\)"),
        ("abc", r"give \(start, stop, count\)"),
        (7, r"give \(start, stop, count\)"),
    ],
)
def test_bad_axes_are_refused(axis: object, complaint: str) -> None:
    with pytest.raises(GeometryError, match=f"axis x .*{complaint}"):
        Grid(x=axis)  # type: ignore[arg-type]
    with pytest.raises(GeometryError, match=f"axis y .*{complaint}"):
        Grid(x=(0, 1, 2), y=axis)  # type: ignore[arg-type]


@pytest.mark.parametrize("index", [-1, 6])
def test_points_outside_are_refused(index: int) -> None:
    with pytest.raises(GeometryError, match=f"no point {index} in a grid of 6: count from 0 to 5"):
        Grid(x=(0, 1, 3), y=(0, 1, 2)).point(index)


def test_square() -> None:
    assert Grid.square(0.5, 7) == Grid(x=(-0.5, 0.5, 7), y=(-0.5, 0.5, 7))
    assert Grid.square(0.5, 7).point(24) == (0.0, 0.0)
    with pytest.raises(GeometryError, match="0 points"):
        Grid.square(1.0, 0)
    with pytest.raises(GeometryError, match="stop must be above start"):
        Grid.square(-1.0, 5)


def test_covering_has_the_margin_on_every_side() -> None:
    points = np.array([[-1.0, 10.0], [3.0, 20.0], [0.0, 12.0]])
    grid = Grid.covering(points, margin=0.25, resolution=5)
    assert grid == Grid(x=(-2.0, 4.0, 5), y=(7.5, 22.5, 5))


def test_covering_a_line_a_flat_axis_and_a_single_point() -> None:
    assert Grid.covering([[0.0], [2.0]], margin=0.5, resolution=3) == Grid(x=(-1.0, 3.0, 3))
    assert Grid.covering([[0.0, 1.0], [2.0, 1.0]], margin=0.0, resolution=3) == Grid(x=(0.0, 2.0, 3), y=(0.0, 2.0, 3))
    assert Grid.covering([[2.0, 1.0]], margin=0.0, resolution=3) == Grid(x=(1.5, 2.5, 3), y=(0.5, 1.5, 3))


@pytest.mark.parametrize("points", [[1.0, 2.0], [[1.0, 2.0, 3.0]], np.empty((0, 2)), [[math.nan, 0.0]]])
def test_covering_refuses_what_is_no_list_of_points(points: object) -> None:
    with pytest.raises(GeometryError, match="cannot cover coordinates of shape"):
        Grid.covering(points)  # type: ignore[arg-type]
