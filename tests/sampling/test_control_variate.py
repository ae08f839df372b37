"""The estimate and its error, on populations whose every example is known."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_landscape.sampling.coarse_grid import CoarseGrid
from lightning_landscape.sampling.control_variate import EstimatedChannel, Sizes, estimate, subset_alone
from lightning_landscape.sampling.grid import Grid

GRID = Grid(x=(-1, 1, 21), y=(-1, 1, 19))
COARSE = CoarseGrid.of(GRID, 6)


def population(count: int, bend: float, seed: int = 0) -> np.ndarray:
    """Quadratics of random centre and shape, [N, Y, X]; with `bend` also waves, which no spline reproduces."""
    g = np.random.default_rng(seed)
    x, y = GRID.x_axis, GRID.y_axis
    assert y is not None
    a, b, c, phase = (g.normal(size=(count, 1, 1)) for _ in range(4))
    square = (x[None, None] - 0.3 * a) ** 2 * np.exp(0.5 * b) + (y[None, :, None] - 0.3 * c) ** 2 * np.exp(0.5 * c)
    return square + bend * np.sin(5 * x[None, None] + 4 * y[None, :, None] + 2 * phase) * np.exp(0.5 * a)


def estimated(
    examples: np.ndarray, chosen: np.ndarray, batches: int = 8, reference: np.ndarray | None = None
) -> EstimatedChannel:
    parts = np.array_split(chosen, batches)
    means = np.stack([examples[part].mean(axis=0) for part in parts])
    seen = examples if reference is None else examples[reference]
    variances = COARSE.take(seen.var(axis=0, ddof=1)) / len(seen)
    sizes = Sizes(tuple(len(part) for part in parts), len(seen), len(examples))
    return estimate(examples[chosen].mean(axis=0), means, COARSE.take(seen.mean(axis=0)), variances, COARSE, sizes)


def test_differences_of_the_third_degree_are_exact() -> None:
    examples = population(40, bend=0.0)
    found = estimated(examples, np.arange(8))
    np.testing.assert_allclose(found.values, examples.mean(axis=0), rtol=1e-12)
    assert found.errors.max() < 1e-12


def test_coarse_points_are_the_references_to_the_last_bit() -> None:
    examples = population(40, bend=0.3)
    found = estimated(examples, np.arange(8))
    np.testing.assert_array_equal(COARSE.take(found.values), COARSE.take(examples.mean(axis=0)))
    assert not COARSE.take(found.errors).any()
    assert (found.errors[~COARSE.mask] > 0).all()


@pytest.mark.parametrize(("subset", "reference"), [(16, None), (60, None), (60, 250)])
def test_the_error_is_calibrated(subset: int, reference: int | None) -> None:
    """Over 100 draws, at least nine points of ten lie within two errors; and the error is not just large."""
    examples = population(500, bend=0.3)
    exact, covered, ratio = examples.mean(axis=0), [], []
    for seed in range(100):
        order = np.random.default_rng(seed).permutation(500)
        found = estimated(examples, order[:subset], reference=None if reference is None else order[:reference])
        where = found.errors > 0
        off = np.abs(found.values - exact)[where] / found.errors[where]
        covered.append((off <= 2).mean())
        ratio.append(np.mean(off**2))
    assert np.mean(covered) >= 0.9, np.mean(covered)
    assert np.mean(ratio) > 0.5, np.mean(ratio)


def test_it_is_without_bias() -> None:
    examples = population(60, bend=0.3)
    draws = [estimated(examples, np.random.default_rng(s).permutation(60)[:16]).values for s in range(300)]
    off, error = np.mean(draws, axis=0) - examples.mean(axis=0), np.std(draws, axis=0) / np.sqrt(300)
    assert (np.abs(off) <= 4.5 * error + 1e-12).all()


def test_leaving_out_coarse_points_corrects_batches_that_tell_too_little() -> None:
    """Batches that are all alike would claim an error of 0."""
    examples = population(200, bend=0.3)
    subset = examples[:16].mean(axis=0)
    alike = np.repeat(subset[None], 8, axis=0) * np.linspace(0.999, 1.001, 8)[:, None, None]
    known = COARSE.take(examples.mean(axis=0))
    found = estimate(subset, alike, known, 0 * known, COARSE, Sizes((2,) * 8, 200, 200))
    off = np.abs(found.values - examples.mean(axis=0))
    assert (off <= 2 * found.errors + 1e-12).mean() > 0.5


def test_a_metric_without_batches_has_the_error_of_leaving_out() -> None:
    examples = population(200, bend=0.3)
    exact, covered = examples.mean(axis=0), []
    known, nothing = COARSE.take(exact), np.full((8, *GRID.shape), np.nan)
    for seed in range(20):
        subset = examples[np.random.default_rng(seed).permutation(200)[:16]].mean(axis=0)
        found = estimate(subset, nothing, known, 0 * known, COARSE, Sizes((2,) * 8, 200, 200))
        covered.append((np.abs(found.values - exact) <= 2 * found.errors + 1e-12).mean())
    assert np.mean(covered) >= 0.9


def test_a_difference_that_is_not_finite_leaves_the_subset_alone() -> None:
    examples = population(40, bend=0.3)
    examples[:, 0, 0] = np.inf
    means, known = examples[:8], COARSE.take(examples.mean(axis=0))
    found = estimate(means.mean(axis=0), means, known, 0 * COARSE.take(means[0] > 0), COARSE, Sizes((1,) * 8, 40, 40))
    np.testing.assert_array_equal(found.values, examples[:8].mean(axis=0))
    assert np.isinf(found.values[0, 0])


def test_the_subset_alone_has_its_sampling_error() -> None:
    """The classical one, for examples drawn without replacement from a finite population."""
    examples = population(100, bend=0.3)
    chosen = np.random.default_rng(0).permutation(100)[:50]
    found = subset_alone(examples[chosen].mean(axis=0), examples[chosen], Sizes((1,) * 50, 50, 100))
    classical = examples[chosen].std(axis=0, ddof=1) / np.sqrt(50) * np.sqrt(1 - 50 / 100)
    np.testing.assert_allclose(found.errors, classical, rtol=0.03)
    endless = subset_alone(examples[chosen].mean(axis=0), examples[chosen], Sizes((1,) * 50, 50, None))
    np.testing.assert_allclose(endless.errors, found.errors * np.sqrt(2))


def test_a_single_batch_tells_nothing() -> None:
    assert np.isnan(subset_alone(np.ones(3), np.ones((1, 3)), Sizes((5,), 5, 10)).errors).all()
