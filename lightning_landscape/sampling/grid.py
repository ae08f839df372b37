"""Grids of points on a line or a plane: where the loss is evaluated."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lightning_landscape.errors import GeometryError


@dataclass(frozen=True)
class Grid:
    """Equidistant points on a line (`x` alone) or a plane, ends included.

    Points are numbered in C order over `shape`, which is (len(y), len(x)): with i along x and j along y, the point
    number j * len(x) + i is (x[i], y[j]).

    Args:
        x: (start, stop, count) of the first axis, in units of the first direction.
        y: (start, stop, count) of the second axis; None for a line.

    Raises:
        GeometryError: If an end is not finite, a count is less than 1, or stop is not above start (a single point
            has start equal to stop).

    Example:
        >>> grid = Grid(x=(-1, 1, 3), y=(0, 1, 2))
        >>> grid.shape, grid.x_axis, grid.point(5)
        ((2, 3), array([-1., 0., 1.]), (1.0, 1.0))
    """

    x: tuple[float, float, int]
    y: tuple[float, float, int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", _checked(self.x, "x"))
        if self.y is not None:
            object.__setattr__(self, "y", _checked(self.y, "y"))

    @classmethod
    def square(cls, extent: float, resolution: int) -> Grid:
        """The square [-extent, extent] x [-extent, extent]; an odd resolution puts a point at exactly (0, 0).

        Args:
            extent: Half the side, in units of the directions.
            resolution: Points along each side.

        Raises:
            GeometryError: If the extent is not positive and finite, or the resolution is below 1 (a resolution of 1
                needs an extent of 0).
        """
        return cls((-extent, extent, resolution), (-extent, extent, resolution))

    @classmethod
    def covering(cls, coordinates: npt.ArrayLike, margin: float = 0.25, resolution: int = 31) -> Grid:
        """The box around points, such as the projected path of a training, with a margin on every side.

        Args:
            coordinates: Points, [T, dim] with dim 1 or 2.
            margin: Margin on each side, as a share of the box's length along that axis. An axis along which all points
                agree is given the length of the other axis, or 1 if that is 0 too.
            resolution: Points of the grid along each axis.

        Raises:
            GeometryError: If the coordinates have another shape, hold no point or a point that is not finite.

        Example:
            >>> Grid.covering([[0, 0], [4, 2]], margin=0.5, resolution=3)
            Grid(x=(-2.0, 6.0, 3), y=(-1.0, 3.0, 3))
        """
        points = np.asarray(coordinates, dtype=np.float64)
        if points.ndim != 2 or points.shape[0] == 0 or points.shape[1] not in {1, 2} or not np.isfinite(points).all():
            raise GeometryError(
                f"a grid cannot cover coordinates of shape {points.shape}: give finite ones of shape [T, 1] or [T, 2]"
            )
        low, high = points.min(axis=0), points.max(axis=0)
        lengths = high - low
        lengths = np.where(lengths > 0, lengths, lengths.max() or 1.0)
        middle = (low + high) / 2
        half = lengths * (0.5 + margin)
        axes = [(float(m - h), float(m + h), resolution) for m, h in zip(middle, half, strict=True)]
        return cls(*axes)

    @property
    def dim(self) -> int:
        """1 for a line, 2 for a plane."""
        return 1 if self.y is None else 2

    @property
    def x_axis(self) -> npt.NDArray[np.float64]:
        """Coordinates along the first direction, float64 [X]."""
        return _axis(self.x)

    @property
    def y_axis(self) -> npt.NDArray[np.float64] | None:
        """Coordinates along the second direction, float64 [Y]; None for a line."""
        return None if self.y is None else _axis(self.y)

    @property
    def shape(self) -> tuple[int, ...]:
        """(Y, X), or (X,) for a line."""
        return (self.x[2],) if self.y is None else (self.y[2], self.x[2])

    @property
    def size(self) -> int:
        """Number of points."""
        return math.prod(self.shape)

    def point(self, index: int) -> tuple[float, ...]:
        """Coordinates of a point by its number: (a,) on a line, (a, b) on a plane.

        Args:
            index: From 0 to size - 1, in C order over `shape`.

        Raises:
            GeometryError: If there is no such point.
        """
        if not 0 <= index < self.size:
            raise GeometryError(f"there is no point {index} in a grid of {self.size}: count from 0 to {self.size - 1}")
        j, i = divmod(index, self.x[2])
        y = self.y_axis
        return (float(self.x_axis[i]),) if y is None else (float(self.x_axis[i]), float(y[j]))


def _axis(spec: tuple[float, float, int]) -> npt.NDArray[np.float64]:
    start, stop, count = spec
    if count == 1:
        return np.array([start])
    i = np.arange(count, dtype=np.float64)
    # Symmetric in the two ends, so that a symmetric axis mirrors exactly and has an exact 0 in its middle.
    axis = (start * (count - 1 - i) + stop * i) / (count - 1)
    axis[0], axis[-1] = start, stop
    return axis


def _checked(spec: tuple[float, float, int], name: str) -> tuple[float, float, int]:
    try:
        start, stop, count = float(spec[0]), float(spec[1]), int(spec[2])
        fits = len(spec) == 3 and count == spec[2]
    except (TypeError, ValueError, IndexError, OverflowError):
        fits = False
    if not fits:
        raise GeometryError(f"axis {name} of the grid is {spec!r}: give (start, stop, count), such as (-1, 1, 51)")
    if not (math.isfinite(start) and math.isfinite(stop)):
        raise GeometryError(f"axis {name} of the grid runs from {start} to {stop}: both ends must be finite")
    if count < 1:
        raise GeometryError(f"axis {name} of the grid has {count} points: at least 1 is needed")
    if count == 1 and start != stop:
        raise GeometryError(
            f"axis {name} of the grid has 1 point for two ends, {start} and {stop}: make them equal, or take 2 points"
        )
    if count > 1 and not np.all(np.diff(_axis((start, stop, count))) > 0):
        raise GeometryError(
            f"axis {name} of the grid has no {count} different points from {start} up to {stop}: "
            "stop must be above start, by more than rounding"
        )
    return start, stop, count
