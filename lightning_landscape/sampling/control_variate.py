"""Surfaces from few examples: a subset everywhere, many examples at some points, and the error that remains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from lightning_landscape.sampling.coarse_grid import CoarseGrid

Array = npt.NDArray[np.float64]

_TWO_SIGMA = 0.977249868051821  # of a normal distribution lies below two standard deviations


@dataclass(frozen=True, eq=False)
class EstimatedChannel:
    """Values over a grid and their standard errors, both of the grid's shape."""

    values: Array
    errors: Array


@dataclass(frozen=True)
class Sizes:
    """Numbers of examples.

    Attributes:
        subset: in each batch of the subset, which every point sees.
        reference: the examples that the coarse points see, the subset among them.
        population: in the whole data set; None if it has no length.
    """

    subset: tuple[int, ...]
    reference: int
    population: int | None

    @property
    def subset_total(self) -> int:
        """Examples in the subset."""
        return sum(self.subset)


def estimate(
    subset: npt.ArrayLike,
    batches: npt.ArrayLike,
    reference: npt.ArrayLike,
    reference_variances: npt.ArrayLike,
    coarse: CoarseGrid,
    sizes: Sizes,
) -> EstimatedChannel:
    r"""Correct a subset's surface by what many examples show on a coarse grid.

    With the mean s over a fixed subset of n examples at every point, and the mean F over a reference of m examples at
    the coarse points, which contain the subset,

    .. math:: \hat f = s + w\, I[F - s], \qquad w = \frac{V_s}{V_s + V_r},

    where I interpolates from the coarse points (`CoarseGrid.interpolate`). It is exact (equal to F) at the coarse
    points, and everywhere where the single examples' values are polynomials of up to the third degree. Since I is
    linear, the error of :math:`s + I[F - s]` is that of the subset's mean of the residuals
    :math:`r_i = \ell_i - I[\ell_i]` of single examples: without bias, and of variance

    .. math:: V_r = \Bigl(\frac1n - \frac1m\Bigr) \sigma_r^2, \qquad
              V_s = \Bigl(\frac1n - \frac1m\Bigr) \sigma_\ell^2

    for the subset alone. The weight matters where a flat basin lies between steep walls: a spline carries some of what
    happens on the walls into the basin, where the subset alone is better. The standard error is stated as
    :math:`w \sqrt{V_r} + (1 - w) \sqrt{V_s}`, which holds however the two errors are correlated; to its square is added
    :math:`(1/m - 1/N)\, \sigma_\ell^2` for a reference that is not the whole data set.

    :math:`V_r` is estimated from the spread of :math:`r` between the batches of the subset, with Student's factor
    for few batches, and compared with what leaving out one coarse point at a time shows: its square is multiplied by
    the mean square of these prediction errors over the mean that the batches predict for them, where that is above 1.
    :math:`V_s` is likewise compared with the differences at the coarse points.
    The last term is the reference's own variance, interpolated.

    Where the coarse values do not tell (a difference there is not finite), the subset's mean stands alone.

    Args:
        subset: the subset's mean, ``[*grid]``.
        batches: its batch means, ``[B, *grid]``; NaN where a channel has none, such as a metric that is no mean: the
            error is then what leaving out coarse points shows, in the shape that independent errors would have.
        reference: the reference's mean, ``[*coarse]``.
        reference_variances: the squares of its standard errors as a sample of an endless population, ``[*coarse]``.
        coarse: the coarse grid.
        sizes: the numbers of examples.

    Returns:
        Values, and standard errors against the mean over the whole data set.

    Source: the difference estimator of survey sampling (Cochran, Sampling Techniques, 1977, section 7), with groups of
    examples for its variance (Wolter, Introduction to Variance Estimation, 2007, chapter 2).
    """
    mean, parts, known = (np.asarray(values, dtype=np.float64) for values in (subset, batches, reference))
    with np.errstate(invalid="ignore"):
        difference = known - coarse.take(mean)
    if not np.isfinite(difference).all():
        return subset_alone(mean, parts, sizes)
    left_out = coarse.leave_one_out(difference)
    unseen = _share_unseen(sizes.subset_total, sizes.reference)
    with np.errstate(invalid="ignore", over="ignore"):
        variance = spread(parts - coarse.interpolate(coarse.take(parts)), sizes.subset) * unseen
        predicted = spread(coarse.leave_one_out(coarse.take(parts)), sizes.subset) * unseen
        alone = spread(parts, sizes.subset) * unseen
    told = bool(np.isfinite(variance[coarse.mask]).all())
    if not told:
        variance, predicted = coarse.unit_variance(), coarse.leave_one_out_unit_variance()
    if left_out.size:
        ratio = _ratio(left_out, predicted)
        variance = variance * (max(1.0, ratio) if told else ratio)
    elif not told:
        variance = np.where(coarse.mask, 0.0, np.nan)
    variance = np.where(coarse.mask, 0.0, variance)
    weight = np.ones_like(variance)
    if told:
        alone = alone * max(1.0, _ratio(difference, coarse.take(alone)))
        np.divide(alone, alone + variance, out=weight, where=np.isfinite(alone + variance) & (alone + variance > 0))
        weight[coarse.mask] = 1.0
        variance = (weight * np.sqrt(variance) + (1 - weight) * np.sqrt(np.where(weight < 1, alone, 0.0))) ** 2
    values = mean + weight * coarse.interpolate(difference)
    values[np.ix_(*coarse.nodes)] = known
    if sizes.population is None or sizes.reference < sizes.population:
        level = coarse.interpolate(reference_variances, degree=1)
        variance = variance + level * _share_unseen(sizes.reference, sizes.population)
    return EstimatedChannel(values, np.sqrt(variance))


def subset_alone(subset: npt.ArrayLike, batches: npt.ArrayLike, sizes: Sizes) -> EstimatedChannel:
    """Take the subset's means for the whole data set's, with their sampling error against these.

    Args:
        subset: the subset's mean, ``[*grid]``.
        batches: its batch means, ``[B, *grid]``.
        sizes: the numbers of examples.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        variance = spread(np.asarray(batches, dtype=np.float64), sizes.subset)
    variance = variance * _share_unseen(sizes.subset_total, sizes.population)
    return EstimatedChannel(np.array(subset, dtype=np.float64), np.sqrt(variance))


def spread(batches: Array, sizes: tuple[int, ...]) -> Array:
    r"""Variance of a mean over batches from the spread between them, ``[B, ...]`` to ``[...]``.

    .. math:: \frac{B}{B-1} \sum_b \Bigl(\frac{n_b}{n}\Bigr)^2 (m_b - m)^2 \; \Bigl(\frac{t_{B-1}}{2}\Bigr)^2

    where t is the quantile of Student's distribution that makes two standard errors cover as much as two of a normal
    distribution do, however few the batches (`students_factor`). NaN for a single batch.

    >>> float(spread(np.array([[1.0], [3.0]]), (1, 1))[0]) > 1  # the plain variance, much enlarged for two batches
    True
    """
    count = len(sizes)
    if count < 2:
        return np.full(batches.shape[1:], np.nan)
    weights = np.asarray(sizes, dtype=np.float64) / sum(sizes)
    mean = np.tensordot(weights, batches, axes=1)
    plain = count / (count - 1) * np.tensordot(weights**2, (batches - mean) ** 2, axes=1)
    return np.asarray(plain * students_factor(count) ** 2)


def students_factor(batches: int) -> float:
    """By how much an error from the spread between so many batches is enlarged; NaN for a single one.

    >>> students_factor(16)
    1.09...
    """
    return float(student.ppf(_TWO_SIGMA, batches - 1) / 2) if batches > 1 else float("nan")


def _share_unseen(seen: int, of: int | None) -> float:
    """The finite-population correction: what share of the examples was not seen."""
    return 1.0 if of is None else max(0.0, 1 - seen / of)


def _ratio(left_out: Array, predicted: Array) -> float:
    """The mean square of prediction errors over the mean that was predicted for it."""
    found, expected = float(np.mean(left_out**2)), float(np.mean(predicted))
    return found / expected if expected > 0 else 1.0
