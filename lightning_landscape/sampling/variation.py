"""How much examples differ along a slice, from a few points: what error a choice of examples will have."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lightning_landscape.sampling.coarse_grid import CoarseGrid
from lightning_landscape.sampling.control_variate import spread
from lightning_landscape.sampling.grid import Grid

_COARSE = (4, 5, 7)
_STEEPEST, _FLATTEST = 4.0, 1.0  # powers of the spacing: a cubic spline's for smooth functions, a line's for kinks


@dataclass(frozen=True)
class Variation:
    r"""Variances between single examples at the worst point of a slice.

    Attributes:
        level: variance of an example's value, :math:`\sigma_\ell^2`.
        residual: for several numbers of coarse points along an axis, the variance of what interpolation from them
            leaves of an example's values, :math:`\sigma_r^2`.
        range: largest minus smallest value of the surface.

    >>> variation = Variation(level=1.0, residual={4: 0.16, 7: 0.01}, range=2.0)
    >>> variation.residual_at(7), variation.residual_at(13) < 0.01
    (0.01, True)
    """

    level: float
    residual: dict[int, float]
    range: float

    def residual_at(self, count: int) -> float:
        r"""Variance of the residuals for another number of coarse points along an axis.

        Between and beyond those that were measured it follows a power of the spacing, :math:`\sigma_r \propto h^p` with
        the power that the measured ones show, between 1 and 4.
        """
        if count in self.residual:
            return self.residual[count]
        known = sorted(self.residual)
        nearest = min(known, key=lambda k: abs(k - count))
        first, last = known[0], known[-1]
        power = 0.5 * math.log(_ratio(self.residual[first], self.residual[last])) / math.log((last - 1) / (first - 1))
        power = min(max(power, _FLATTEST), _STEEPEST)
        return float(self.residual[nearest] * ((nearest - 1) / (count - 1)) ** (2 * power))

    def error(self, subset: int, reference: int, population: int | None, coarse: int) -> float:
        r"""Standard error to expect at the worst point, as a share of the range.

        .. math:: e^2 = \sigma_r^2 \left(\frac1n - \frac1m\right) + \sigma_\ell^2 \left(\frac1m - \frac1N\right)

        Args:
            subset: examples at every point, n.
            reference: examples at the coarse points, m; those of the subset if there are no coarse points.
            population: examples in the data set, N; None for endless.
            coarse: coarse points along an axis, 0 for none.
        """
        unseen = 1 / reference - (0.0 if population is None else 1 / population)
        variance = self.level * max(0.0, unseen)
        if coarse:
            variance += self.residual_at(coarse) * (1 / subset - 1 / reference)
        if math.isnan(variance):
            return math.nan
        return math.sqrt(variance) / self.range if self.range > 0 else (math.inf if variance > 0 else 0.0)


def variation_of(batches: npt.ArrayLike, sizes: tuple[int, ...], grid: Grid) -> Variation:
    """Measure the variation from the batch means of few examples on a grid of few points.

    Args:
        batches: ``[B, *grid]``, with two batches or more; points that are not finite are left out.
        sizes: examples in each batch.
        grid: the points; 7 or more along each axis that has more than one.
    """
    values = np.asarray(batches, dtype=np.float64)
    examples = sum(sizes)
    mean = np.tensordot(np.asarray(sizes) / examples, values, axes=1)
    finite = np.isfinite(mean)
    if not finite.any():
        return Variation(math.nan, dict.fromkeys(_COARSE, math.nan), math.nan)
    residual = {}
    for count in _COARSE:
        coarse = CoarseGrid.of(grid, count)
        left = values - coarse.interpolate(coarse.take(values))
        residual[count] = _worst(spread(left, sizes)) * examples
    return Variation(
        level=_worst(spread(values, sizes)) * examples,
        residual=residual,
        range=float(np.ptp(mean[finite])),
    )


def _worst(variances: npt.NDArray[np.float64]) -> float:
    finite = variances[np.isfinite(variances)]
    return float(finite.max()) if finite.size else math.nan


def _ratio(one: float, other: float) -> float:
    return one / other if one > 0 and other > 0 else 1.0
