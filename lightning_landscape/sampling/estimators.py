"""Means over a sample of examples, with their standard errors."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Estimate:
    """A mean over examples and its standard error (NaN where the sample cannot tell).

    Attributes:
        mean: the mean.
        error: its standard error.
        batches: the batch means that it was combined from; empty for a value that is no mean over batches.
    """

    mean: float
    error: float
    batches: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0), repr=False, compare=False)


def mean_of_batches(means: npt.ArrayLike, sizes: npt.ArrayLike) -> Estimate:
    r"""Combine the means of batches of unequal size into the mean over all examples, with its standard error.

    With batch means :math:`m_b` over :math:`n_b` examples and :math:`N = \sum n_b`,

    .. math:: m = \sum_b \frac{n_b}{N} m_b, \qquad
              s^2 = \frac{B}{B-1} \sum_b \left(\frac{n_b}{N}\right)^2 (m_b - m)^2,

    the ratio estimator of cluster sampling with the batches as clusters (Cochran, Sampling Techniques, 1977, section
    9A): a step returns only its batch's mean, so that the spread between random batches is what the data tell. It is
    the error of the mean as an estimate for the population that the examples were drawn from; where they are a large
    share of a finite data set, the error against that whole data set is smaller.

    Args:
        means: the batch means, shape ``[B]``; NaN and infinities carry over.
        sizes: the batch sizes, shape ``[B]``.

    Returns:
        The estimate; its error is NaN for a single batch.

    >>> mean_of_batches([1.0, 4.0], [2, 1])
    Estimate(mean=2.0, error=1.333...)
    """
    values, weights = np.asarray(means, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    total = float(weights.sum())
    with np.errstate(invalid="ignore", over="ignore"):
        mean = float((values * weights).sum() / total) if total else float("nan")
        count = len(values)
        if count < 2 or not np.isfinite(mean):
            return Estimate(mean, float("nan"), values)
        square = count / (count - 1) * float(((weights / total) ** 2 * (values - mean) ** 2).sum())
    return Estimate(mean, float(np.sqrt(square)), values)
