"""Means over batches and their standard errors, against closed forms and by simulation."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from lightning_landscape.sampling.estimators import Estimate, mean_of_batches


def test_the_mean_is_over_examples_and_not_over_batches() -> None:
    values = np.random.default_rng(0).normal(size=19)
    batches = np.split(values, [8, 16])
    found = mean_of_batches([b.mean() for b in batches], [len(b) for b in batches])
    assert found.mean == pytest.approx(values.mean(), rel=1e-14)
    assert abs(found.mean - np.mean([b.mean() for b in batches])) > 1e-3


def test_error_of_equal_batches_is_that_of_the_mean_of_their_means() -> None:
    means = np.random.default_rng(1).normal(size=7)
    assert mean_of_batches(means, [4] * 7).error == pytest.approx(means.std(ddof=1) / np.sqrt(7), rel=1e-14)


def test_error_of_unequal_batches() -> None:
    """N = 3, m = 2: s^2 = 2 ((2/3)^2 (1-2)^2 + (1/3)^2 (4-2)^2) = 16/9."""
    assert mean_of_batches([1.0, 4.0], [2, 1]) == Estimate(2.0, pytest.approx(4 / 3, rel=1e-15))  # type: ignore[arg-type]


def test_batches_of_one_example_give_the_textbook_error() -> None:
    values = np.random.default_rng(2).exponential(size=50)
    found = mean_of_batches(values, np.ones(50))
    assert found.error == pytest.approx(values.std(ddof=1) / np.sqrt(50), rel=1e-13)


def test_the_error_is_the_spread_of_the_mean_over_samples() -> None:
    """20 batches of 5 and a short one of 2, drawn 4000 times: mean square error = mean square of the stated error."""
    rng = np.random.default_rng(3)
    sizes = np.array([5] * 20 + [2])
    found = []
    for _ in range(4000):
        means = np.array([m.mean() for m in np.split(rng.normal(1.0, 2.0, sizes.sum()), np.cumsum(sizes)[:-1])])
        found.append(mean_of_batches(means, sizes))
    truth = 4.0 / sizes.sum()
    assert np.mean([(f.mean - 1.0) ** 2 for f in found]) == pytest.approx(truth, rel=0.1)
    assert np.mean([f.error**2 for f in found]) == pytest.approx(truth, rel=0.1)


def test_one_batch_tells_nothing_about_its_error() -> None:
    found = mean_of_batches([3.0], [4])
    assert found.mean == 3.0
    assert np.isnan(found.error)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_carry_over_silently(bad: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = mean_of_batches([1.0, bad, 2.0], [1, 2, 3])
    np.testing.assert_equal(found.mean, bad)
    assert np.isnan(found.error)
    assert np.isnan(mean_of_batches([np.inf, -np.inf], [1, 1]).mean)


def test_huge_values_and_no_examples() -> None:
    assert mean_of_batches([1e300, 1e300], [1, 1]) == Estimate(1e300, 0.0)
    assert np.isnan(mean_of_batches([1.0], [0]).mean)
