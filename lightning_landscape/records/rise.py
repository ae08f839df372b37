"""How sharp a curve is around a point, in a number that needs no derivative."""

from __future__ import annotations

import numpy as np

from lightning_landscape.errors import RecordError
from lightning_landscape.records.surface import Surface


def rise(surface: Surface, distance: float, at: float = 0.0, channel: str | None = None) -> float:
    r"""How much higher a curve lies at a distance on either side of a point, on average.

    .. math:: R_r(c) = \frac{f(c - r) + f(c + r)}{2} - f(c)

    For a parabola :math:`f(x) = a x^2 + b x + d` this is :math:`a r^2` at every point: the slope drops out. Values
    between the grid's points are taken from the straight line between their neighbours.

    Args:
        surface: A surface over a line.
        distance: :math:`r`, in the line's coordinate.
        at: :math:`c`, in the line's coordinate.
        channel: The channel; None means its loss.

    Returns:
        The rise, in the channel's unit; not finite where the curve is not.

    Raises:
        RecordError: If the surface is over a plane, has no such channel, or ends before one of the three points.

    >>> x = np.linspace(-1, 1, 41)
    >>> parabola = Surface(x=x, y=None, channels={"loss": 8 * x**2 + 3 * x + 5})
    >>> round(rise(parabola, 0.5), 9), round(rise(parabola, 0.25, at=-0.5), 9)
    (2.0, 0.5)
    """
    if surface.dim != 1:
        raise RecordError("the rise is of a surface over a line; this one is over a plane: give one of its rows")
    order = np.argsort(surface.x)
    x = surface.x[order]
    values = surface[surface.loss_name if channel is None else channel][order]
    points = at + distance * np.array([-1.0, 0.0, 1.0])
    # An axis of floating-point steps may miss its own ends by a rounding.
    margin = 1e-9 * (x[-1] - x[0])
    if points[0] < x[0] - margin or points[2] > x[-1] + margin:
        raise RecordError(
            f"the curve goes from {x[0]:g} to {x[-1]:g} and its rise needs {points[0]:g} to {points[2]:g}"
        )
    before, here, after = np.interp(points, x, values).tolist()
    return float((before + after) / 2 - here)
