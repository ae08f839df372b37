"""How a path runs over the surface that it is drawn on: along its contours, or straight down."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightning_landscape.errors import RecordError
from lightning_landscape.records.surface import Surface

Array = NDArray[np.float64]


def descent_cosines(surface: Surface) -> Array:
    r"""The cosine between each step of a surface's path and the steepest descent of the loss in the plane.

    1 is straight down, 0 along a contour, -1 straight up; a direction drawn at random has the mean absolute value
    :math:`2 / \pi = 0.64`. The gradient is that of the bilinear interpolation of the logarithm of the loss (of the loss
    itself where one is not positive), at the middle of the step. The plane's axes are taken to be orthonormal, as
    principal directions are.

    Args:
        surface: a surface over a plane, with its path.

    Returns:
        float64 [T - 1]; NaN for a step that rests, leaves the grid, or meets a value that is not finite.

    Raises:
        RecordError: if the surface is over a line or has no path.

    >>> from lightning_landscape.geometry.path import Path
    >>> axis, none = np.linspace(-2, 2, 9), np.zeros(3)
    >>> path = Path([[1, 0], [0, 0], [0, 1]], none, none, None, None, none)
    >>> slope = Surface(axis, axis, {"loss": np.exp(np.tile(axis, (9, 1)))}, path=path)
    >>> descent_cosines(slope)
    array([1., 0.])
    """
    if surface.y is None or surface.path is None:
        raise RecordError("descent_cosines needs a surface over a plane with the path of a training")
    values = np.where(surface.done & np.isfinite(surface["loss"]), surface["loss"], np.nan)
    if np.nanmin(values, initial=np.inf) > 0:
        values = np.log(values)
    points = surface.path.coordinates
    middles, steps = (points[1:] + points[:-1]) / 2, np.diff(points, axis=0)
    downhill = np.array([-_gradient(surface.x, surface.y, values, *middle) for middle in middles]).reshape(-1, 2)
    lengths = np.linalg.norm(steps, axis=1) * np.linalg.norm(downhill, axis=1)
    cosines = np.full(len(steps), np.nan)
    np.divide((steps * downhill).sum(axis=1), lengths, out=cosines, where=lengths > 0)
    return cosines


def _gradient(x: Array, y: Array, values: Array, a: float, b: float) -> Array:
    """The gradient of the bilinear interpolation at the point (a, b); NaN beyond the grid."""
    if not (x[0] <= a <= x[-1] and y[0] <= b <= y[-1]):
        return np.full(2, np.nan)
    i, j = (min(int(np.searchsorted(axis, at, side="right")) - 1, len(axis) - 2) for axis, at in ((x, a), (y, b)))
    width, height = x[i + 1] - x[i], y[j + 1] - y[j]
    u, v = (a - x[i]) / width, (b - y[j]) / height
    (lower_left, lower_right), (upper_left, upper_right) = values[j : j + 2, i : i + 2]
    along = (1 - v) * (lower_right - lower_left) + v * (upper_right - upper_left)
    across = (1 - u) * (upper_left - lower_left) + u * (upper_right - lower_right)
    return np.array([along / width, across / height])
