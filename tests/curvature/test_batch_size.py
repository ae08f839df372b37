"""Random-matrix predictions against random matrices, and against the rows that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lightning_landscape import CurvatureError
from lightning_landscape.curvature.batch_size import (
    batch_eigenvalue,
    batch_gradient_square,
    effective_batch,
    eigenvector_overlap,
    gauss_newton_batch_eigenvalue,
    largest_stable_adaptive_rate,
    largest_stable_rate,
    noise_radius,
    noise_variance,
)


@pytest.mark.parametrize(
    ("eigenvalue", "measured", "predicted", "overlap"),
    # P = 1500, P s^2 / b = 1
    [(3.0, 3.26, 3.333, 0.89), (1.5, 2.151, 2.167, 0.56), (0.5, 1.987, 2.0, 0.0)],
)
def test_known_rows_of_the_wigner_form(eigenvalue: float, measured: float, predicted: float, overlap: float) -> None:
    assert batch_eigenvalue(eigenvalue, 1.0) == pytest.approx(predicted, abs=1e-3)
    assert batch_eigenvalue(-eigenvalue, 1.0) == pytest.approx(-predicted, abs=1e-3)
    assert eigenvector_overlap(eigenvalue, 1.0) == pytest.approx(overlap, abs=5e-3)
    assert batch_eigenvalue(eigenvalue, 1.0) == pytest.approx(measured, rel=0.03)


@pytest.mark.parametrize("eigenvalue", [3.0, 1.5, 0.5, -3.0])
def test_the_wigner_form_against_a_random_matrix(eigenvalue: float) -> None:
    rows, variance, batch = 800, 0.02, 16.0
    radius = noise_radius(variance, rows, batch)
    assert radius == pytest.approx(1.0)
    noise = np.random.default_rng(0).normal(size=(rows, rows)) * math.sqrt(variance / batch)
    noise = (noise + noise.T) / math.sqrt(2)
    noise[0, 0] += eigenvalue
    values, vectors = np.linalg.eigh(noise)
    end = -1 if eigenvalue > 0 else 0
    assert values[end] == pytest.approx(batch_eigenvalue(eigenvalue, radius), rel=0.04)
    assert vectors[0, end] ** 2 == pytest.approx(eigenvector_overlap(eigenvalue, radius), abs=0.06)


def test_known_row_of_the_covariance_form_and_a_random_matrix() -> None:
    assert gauss_newton_batch_eigenvalue(3.0, 0.5) == 3.75  # measured 3.754
    rows, examples = 400, 800
    factors = np.random.default_rng(1).normal(size=(examples, rows))
    factors[:, 0] *= math.sqrt(3.0)
    assert np.linalg.eigvalsh(factors.T @ factors / examples)[-1] == pytest.approx(3.75, rel=0.06)
    assert gauss_newton_batch_eigenvalue(6.0, 0.5, noise=2.0) == 7.5
    # continuous where the spike is swallowed
    edge = 1 + math.sqrt(0.5)
    assert gauss_newton_batch_eigenvalue(edge + 1e-9, 0.5) == pytest.approx(gauss_newton_batch_eigenvalue(1.0, 0.5))


def test_the_spike_is_continuous_where_it_is_swallowed() -> None:
    assert batch_eigenvalue(1 + 1e-9, 1.0) == pytest.approx(batch_eigenvalue(1.0, 1.0))


def test_no_noise_changes_nothing() -> None:
    assert batch_eigenvalue(3.0, noise_radius(1.0, 10, effective_batch(100, 100))) == 3.0


def test_rates_grow_as_b_and_as_its_root_in_small_batches_and_not_in_large_ones() -> None:
    """While the noise dominates an eigenvalue that is still seen: lambda' ~ r^2 / lambda ~ 1/B."""

    def rates(batch: float) -> tuple[float, float]:
        # lambda + r^2 / lambda with a small lambda
        curvature, square = 1e-3 + 1e3 / batch, batch_gradient_square(1e-9, 1e3, batch)
        return largest_stable_rate(curvature), largest_stable_adaptive_rate(curvature, square, 10)

    sgd, adaptive = np.array(rates(64.0)) / np.array(rates(4.0))
    assert sgd == pytest.approx(16, rel=0.01)
    assert adaptive == pytest.approx(4, rel=0.01)
    radii = [noise_radius(1.0, 100, batch) for batch in (1e6, 1e8)]
    assert largest_stable_rate(batch_eigenvalue(5.0, radii[0])) == pytest.approx(
        largest_stable_rate(batch_eigenvalue(5.0, radii[1])), rel=1e-4
    )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_descent_on_a_quadratic_diverges_just_above_the_rate(momentum: float) -> None:
    for factor, diverges in ((0.98, False), (1.02, True)):
        rate = factor * largest_stable_rate(4.0, momentum)
        w, velocity = 1.0, 0.0
        for _ in range(3000):
            velocity = momentum * velocity - rate * 4.0 * w
            w += velocity
        assert (abs(w) > 1) == diverges
    assert largest_stable_rate(-1.0) == math.inf


def test_the_variance_is_estimated_from_products() -> None:
    """Wigner noise of known variance between examples, averaged in batches."""
    rows, batch, batches, variance = 200, 5, 12, 0.3
    generator = torch.Generator().manual_seed(0)

    def noise() -> torch.Tensor:
        matrix = torch.randn(rows, rows, generator=generator, dtype=torch.float64)
        return (matrix + matrix.T) * math.sqrt(variance / batch / 2)

    mean = torch.diag(torch.arange(rows, dtype=torch.float64))
    hessians = [mean + noise() for _ in range(batches)]
    signs = [torch.randint(2, (rows,), generator=generator).double() * 2 - 1 for _ in range(20)]
    found = noise_variance((torch.stack([h @ v for h in hessians]) for v in signs), batch)
    assert found.mean == pytest.approx(variance, rel=0.03)
    assert abs(found.mean - variance) < 5 * found.error
    with pytest.raises(CurvatureError, match="at least 2 batches"):
        noise_variance([torch.zeros(1, 3)], batch)
