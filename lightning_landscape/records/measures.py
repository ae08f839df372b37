"""What a surface looks like, in numbers that can be compared between runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_landscape.records.surface import Surface

Array = NDArray[np.float64]

# Losses come out of float32 networks: a second difference adds four of them, each uncertain by a few roundings.
_ROUNDING = 16 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class SurfaceMeasures:
    """Scalar summaries of one channel of a surface.

    Gaps (points that are not computed) and values that are not finite take no part, except where it is said.

    Attributes:
        channel: The channel that was measured.
        centre: The value at the grid point nearest to the slice's origin, where the coordinates are 0.
        minimum: The least value.
        maximum: The largest value.
        nonconvex_share: The share of interior points at which the surface curves downwards in some direction
            (`nonconvex_share`); NaN without such points.
        roughness: How much the values go up and down beyond a single valley or hill (`roughness`); NaN without values.
        finite_share: The share of the computed points with a finite value; NaN if none is computed.
        share_above_initial: The share of the computed points with a loss above ``attrs["initial_loss"]``, the loss at
            initialisation, those that are not finite included; None without that attribute, or for another channel
            than the loss. Near 1 the surface is shattered: hardly any point of the slice is better than no training.
    """

    channel: str
    centre: float
    minimum: float
    maximum: float
    nonconvex_share: float
    roughness: float
    finite_share: float
    share_above_initial: float | None


def measure(surface: Surface, channel: str | None = None) -> SurfaceMeasures:
    """Summarise a surface.

    Args:
        surface: A surface, finished or not.
        channel: The channel; None means its loss.

    Raises:
        RecordError: If there is no such channel.

    >>> x = np.linspace(-1, 1, 21)
    >>> bowl = Surface(x=x, y=x, channels={"loss": x**2 + x[:, None] ** 2}, attrs={"initial_loss": 1.5})
    >>> found = measure(bowl)
    >>> found.centre, found.maximum, found.nonconvex_share, found.finite_share
    (0.0, 2.0, 0.0, 1.0)
    """
    name = surface.loss_name if channel is None or (channel not in surface.channels and channel == "loss") else channel
    values = np.where(surface.done, surface[name], np.nan)
    finite = values[np.isfinite(values)]
    computed = values[surface.done]

    initial = initial_loss(surface, name)
    above = None if initial is None else _share(~(computed <= initial))
    nearest = tuple(int(np.abs(axis).argmin()) for axis in (surface.y, surface.x) if axis is not None)
    return SurfaceMeasures(
        channel=name,
        centre=float(values[nearest]),
        minimum=float(finite.min()) if finite.size else math.nan,
        maximum=float(finite.max()) if finite.size else math.nan,
        nonconvex_share=nonconvex_share(values, surface.x, surface.y),
        roughness=roughness(values),
        finite_share=_share(np.isfinite(computed)),
        share_above_initial=above,
    )


def initial_loss(surface: Surface, channel: str) -> float | None:
    """The loss before training, ``attrs["initial_loss"]``; None without that attribute, or for another channel.

    >>> bowl = Surface(x=[0, 1], y=None, channels={"loss": [0, 1], "error": [0, 1]}, attrs={"initial_loss": 2})
    >>> initial_loss(bowl, "loss"), initial_loss(bowl, "error")
    (2.0, None)
    """
    found = surface.attrs.get("initial_loss") if channel == surface.loss_name else None
    return None if found is None else float(found)


def _share(flags: NDArray[np.bool_]) -> float:
    return float(flags.mean()) if flags.size else math.nan


def nonconvex_share(values: Array, x: Array, y: Array | None = None) -> float:
    r"""The share of interior points where a surface curves downwards in some direction.

    The Hessian :math:`H` is taken from central differences over the 3 x 3 points around each interior point, exact for
    quadratics also on axes with unequal steps, and in units of the grid's steps: :math:`\tilde H = D H D` with
    :math:`D` the mean steps at the point. By Sylvester's law :math:`\tilde H` and :math:`H` have as many negative
    eigenvalues, so the share depends neither on the scale of the axes nor on that of the values. A point counts when
    the least eigenvalue of :math:`\tilde H` is below -16 float32 roundings of the largest absolute value around it,
    which is what computing in float32 may leave of 0.

    On a line the second difference takes the place of the eigenvalue.

    Args:
        values: The values, [Y, X], or [X] without `y`. Points with a neighbour that is not finite are left out.
        x: Coordinates of the columns [X].
        y: Coordinates of the rows [Y].

    Returns:
        A number from 0 (convex as far as the grid shows) to 1; NaN if no interior point can be judged.

    >>> x = np.linspace(-1, 1, 5)
    >>> nonconvex_share(x**2 - x[:, None] ** 2, x, x), nonconvex_share(x**2, x), nonconvex_share(-(x**2), x)
    (1.0, 0.0, 1.0)
    """
    if min(values.shape) < 3:
        return math.nan
    windows = np.lib.stride_tricks.sliding_window_view(values, (3,) * values.ndim)
    around = windows.reshape(*windows.shape[: values.ndim], -1)
    usable = np.isfinite(around).all(axis=-1)
    if not usable.any():
        return math.nan
    points = windows[usable]  # [N, 3, 3], or [N, 3]
    at = np.nonzero(usable)
    if y is None:
        least = _second_difference(points, x, at[0])
    else:
        xx = _second_difference(points[:, 1, :], x, at[1])
        yy = _second_difference(points[:, :, 1], y, at[0])
        corners = points[:, 2, 2] - points[:, 2, 0] - points[:, 0, 2] + points[:, 0, 0]
        xy = corners / 4  # the mean step is half the distance between the outer points, so the steps cancel
        least = (xx + yy) / 2 - np.hypot((xx - yy) / 2, xy)
    return _share(least < -_ROUNDING * np.abs(around[usable]).max(axis=-1))


def _second_difference(triples: Array, axis: Array, start: NDArray[np.intp]) -> Array:
    """Second derivatives at the middle of three values [N, 3], times the squared mean step."""
    left, right = axis[start + 1] - axis[start], axis[start + 2] - axis[start + 1]
    slope_left, slope_right = (triples[:, 1] - triples[:, 0]) / left, (triples[:, 2] - triples[:, 1]) / right
    return (slope_right - slope_left) * (left + right) / 2


def roughness(values: Array) -> float:
    r"""How much a surface goes up and down beyond a single valley or hill, on a logarithmic scale.

    Along one line of the grid let :math:`v_1, \dots, v_n` be the logarithms of the values, :math:`m` and :math:`M`
    their extremes and :math:`V = \sum |v_{i+1} - v_i|` their total variation. A line that goes straight through one
    valley has :math:`V = v_1 + v_n - 2m`, through one hill :math:`V = 2M - v_1 - v_n`, and any other varies more. The
    roughness is the excess over both, in units of the range, over all rows and columns:

    .. math:: \frac{\sum_\text{lines} \left[V - \max(v_1 + v_n - 2m,\; 2M - v_1 - v_n)\right]}
                   {\sum_\text{lines} (M - m)}

    It is the mean number of swings through the full range beyond the first valley or hill: 0 for every surface with at
    most one turn along each line, hence for every convex one and every monotone function of one; 2k - 1 for k periods
    of a sine. It does not change when the values, their logarithms or the axes are scaled. Finer grids do not change
    it once they resolve the surface, since the total variation has a limit; noise from point to point makes it grow in
    proportion to the number of points, which is what noise does.

    Where a value is not positive, the values themselves take the logarithms' place. Points that are not finite are
    stepped over, and so are lines that are constant up to 16 float32 roundings.

    Args:
        values: The values, [Y, X] or [X].

    Returns:
        A number from 0 on; NaN if no value is finite, 0 for a constant.

    >>> t = np.linspace(0, 1, 401)
    >>> [round(roughness(np.exp(np.sin(2 * np.pi * k * t))), 6) for k in (1, 2, 5)]
    [1.0, 3.0, 9.0]
    """
    usable = np.isfinite(values)
    if not usable.any():
        return math.nan
    positive = bool((values[usable] > 0).all())
    levels = np.log(values, where=usable, out=np.full_like(values, np.nan)) if positive else values
    rounding = _ROUNDING * (1.0 if positive else float(np.abs(values[usable]).max()))
    excess = span = 0.0
    for axis in range(values.ndim):
        for line in np.moveaxis(levels, axis, -1).reshape(-1, values.shape[axis]):
            v = line[np.isfinite(line)]
            if not v.size or np.ptp(v) <= rounding:
                continue
            low, high, ends = v.min(), v.max(), v[0] + v[-1]
            excess += np.abs(np.diff(v)).sum() - max(ends - 2 * low, 2 * high - ends)
            span += high - low
    # Rounding may leave a hair less than nothing.
    return max(0.0, float(excess / span)) if span > 0 else 0.0
