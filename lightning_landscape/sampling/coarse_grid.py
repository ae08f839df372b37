"""Coarse grids: some of a grid's points, ends included, and the spline through values that are known only there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.interpolate import make_interp_spline

from lightning_landscape.sampling.grid import Grid

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CoarseGrid:
    """Some of a grid's points: all combinations of some coordinates along each axis, the ends among them.

    Attributes:
        axes: coordinates of the whole grid along each of its array axes, (y, x), or (x,) for a line.
        nodes: for each of them the positions of the coarse coordinates, ascending.

    >>> coarse = CoarseGrid.of(Grid(x=(0, 1, 5)), 3)
    >>> coarse.nodes[0].tolist(), coarse.interpolate([0, 1, 4], degree=1).tolist()
    ([0, 2, 4], [0.0, 0.5, 1.0, 2.5, 4.0])
    """

    axes: tuple[Array, ...]
    nodes: tuple[npt.NDArray[np.int64], ...]

    @classmethod
    def of(cls, grid: Grid, count: int) -> CoarseGrid:
        """Choose `count` coordinates along each axis (`nodes_of`); all, where an axis has no more."""
        axes = axes_of(grid)
        return cls(axes, tuple(nodes_of(len(axis), count) for axis in axes))

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """Shape of the whole grid."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the coarse grid."""
        return tuple(len(nodes) for nodes in self.nodes)

    @property
    def size(self) -> int:
        """Number of coarse points."""
        return int(np.prod(self.shape))

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Which points of the whole grid are coarse ones, of its shape."""
        mask = np.zeros(self.grid_shape, dtype=bool)
        mask[np.ix_(*self.nodes)] = True
        return mask

    def take(self, values: npt.ArrayLike) -> Array:
        """Values at the coarse points: ``[..., *grid_shape]`` becomes ``[..., *shape]``."""
        values = np.asarray(values, dtype=np.float64)
        for axis, nodes in enumerate(self.nodes):
            values = np.take(values, nodes, axis=axis - len(self.nodes))
        return values

    def interpolate(self, values: npt.ArrayLike, degree: int = 3) -> Array:
        r"""Spread values at the coarse points over the whole grid by splines along each axis in turn.

        .. math:: v_{ji} = \sum_{cd} A^y_{jc} A^x_{id} \, v_{cd},

        where A holds the cardinal splines: not-a-knot cubics through four nodes or more, which reproduce polynomials up
        to the third degree in each coordinate; polynomials through fewer.

        Args:
            values: ``[..., *shape]``.
            degree: of the splines; 1 keeps between neighbouring values.

        Returns:
            ``[..., *grid_shape]``; at the coarse points the values given, to the last bit.
        """
        known = np.asarray(values, dtype=np.float64)
        spread = self._along_each(
            known, [_cardinal(a, a[n], degree) for a, n in zip(self.axes, self.nodes, strict=True)]
        )
        spread[..., self.mask] = known.reshape(*known.shape[: -len(self.nodes)], -1)
        return spread

    def unit_variance(self) -> Array:
        r"""Variance of :math:`v - \text{interpolated}\ v` for independent values of variance 1, 0 at coarse points.

        Returns:
            ``[*grid_shape]``: :math:`1 + \sum_{cd} (A^y_{jc} A^x_{id})^2`.
        """
        squares = [_cardinal(a, a[n], 3) ** 2 for a, n in zip(self.axes, self.nodes, strict=True)]
        variance = 1 + self._along_each(np.ones(self.shape), squares)
        return np.where(self.mask, 0.0, variance)

    def leave_one_out(self, values: npt.ArrayLike) -> Array:
        """What is left of each coarse value after it was predicted from the others in its row, and in its column.

        The ends of a row or column are not predicted, which would be extrapolation.

        Args:
            values: ``[..., *shape]``.

        Returns:
            ``[..., R]``; R is 0 where no axis has three nodes.
        """
        return self._left_out(np.asarray(values, dtype=np.float64), lambda part, matrix: part - part @ matrix.T)

    def leave_one_out_unit_variance(self) -> Array:
        """Variances of what `leave_one_out` returns for independent values of variance 1, ``[R]``."""
        return self._left_out(np.ones(self.shape), lambda part, matrix: part + part @ (matrix.T**2))

    def _left_out(self, values: Array, residual: Callable[[Array, Array], Array]) -> Array:
        leading, found = values.shape[: -len(self.nodes)], []
        for axis, nodes in enumerate(self.nodes):
            if len(nodes) >= 3:
                along = np.moveaxis(values, axis - len(self.nodes), -1)
                left = residual(along, _without_itself(self.axes[axis][nodes]))[..., 1:-1]
                found.append(left.reshape(*leading, -1))
        return np.concatenate(found, axis=-1) if found else np.empty((*leading, 0))

    def _along_each(self, values: Array, matrices: list[Array]) -> Array:
        for axis, matrix in enumerate(matrices):
            position = axis - len(matrices)
            values = np.moveaxis(np.moveaxis(values, position, -1) @ matrix.T, -1, position)
        return np.array(values)


def axes_of(grid: Grid) -> tuple[Array, ...]:
    """Coordinates along the array axes of a surface: (y, x), or (x,) for a line."""
    return (grid.x_axis,) if grid.y_axis is None else (grid.y_axis, grid.x_axis)


def nodes_of(length: int, count: int) -> npt.NDArray[np.int64]:
    """Positions of `count` nodes from 0 to ``length - 1``, somewhat closer together towards the ends.

    A spline errs most beside its ends. Of nodes that lie between even ones and Chebyshev's, those 0.4 of the way gave
    the smallest largest error on the networks of docs/scaling.md, with a variance half that of even ones.

    >>> nodes_of(51, 7).tolist(), nodes_of(3, 7).tolist(), nodes_of(1, 7).tolist()
    ([0, 6, 15, 25, 35, 44, 50], [0, 1, 2], [0])
    """
    count = min(count, length)
    if count < 2:
        return np.zeros(1, dtype=np.int64)
    even = np.linspace(0, 1, count)
    chebyshev = (1 - np.cos(np.pi * even)) / 2
    half = np.round((length - 1) * (0.6 * even + 0.4 * chebyshev))[: count // 2].astype(np.int64)
    middle = [(length - 1) // 2] if count % 2 else []
    return np.unique(np.concatenate([half, middle, length - 1 - half])).astype(np.int64)


def _cardinal(axis: Array, nodes: Array, degree: int) -> Array:
    """The spline through 1 at one node and 0 at the others, for each node: ``[axis, nodes]``."""
    if len(nodes) == 1:
        return np.ones((len(axis), 1))
    spline: Any = make_interp_spline(nodes, np.eye(len(nodes)), k=min(degree, len(nodes) - 1))
    return np.asarray(spline(axis), dtype=np.float64)


def _without_itself(nodes: Array) -> Array:
    """Predict each inner node from all others: ``[nodes, nodes]``, with rows of zeros for the ends."""
    matrix = np.zeros((len(nodes), len(nodes)))
    for position in range(1, len(nodes) - 1):
        others = np.delete(np.arange(len(nodes)), position)
        matrix[position, others] = _cardinal(nodes[position : position + 1], nodes[others], 3)[0]
    return matrix
