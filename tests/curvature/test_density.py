"""Stochastic Lanczos quadrature: exact moments, and what follows from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_landscape import Curvature, CurvatureError
from lightning_landscape.curvature.density import SpectralDensity, spectral_density
from lightning_landscape.curvature.lanczos import KrylovBasis
from tests.curvature.networks import Dense, dense, loader, network, step, symmetric


def test_moments_are_exact_up_to_twice_the_steps_less_one() -> None:
    """For the draw's own vector v: v^T A^p v to rounding for p < 2 m, and not for p = 2 m."""
    steps = 8
    values = torch.linspace(-1, 1, 120, dtype=torch.float64)
    matrix = symmetric(values)
    density = spectral_density(Dense(matrix), steps, 1, seed=3)
    start = KrylovBasis(Dense(matrix), 1, torch.Generator().manual_seed(3), torch.float64).vectors[0]
    power = start.clone()
    errors = []
    for p in range(2 * steps + 1):
        errors.append(abs(density.moment(p).mean - float(start @ power)))
        power = matrix @ power
    assert max(errors[: 2 * steps]) < 1e-13
    assert errors[2 * steps] > 1e-9


def test_many_steps_stay_orthogonal() -> None:
    """Without full re-orthogonalisation, Ritz values would be found twice and the basis would be lost."""
    values = torch.cat([torch.rand(395, dtype=torch.float64), torch.tensor([10.0, 30, 100, 300, 1000]).double()])
    basis = KrylovBasis(Dense(symmetric(values)), 150, torch.Generator().manual_seed(0), torch.float64)
    for _ in range(150):
        basis.extend()
    gram = basis.vectors[:150] @ basis.vectors[:150].T
    assert (gram - torch.eye(150)).abs().max() < 1e-12
    ritz = torch.linalg.eigvalsh(basis.matrix)
    assert (ritz > 5).sum() == 5
    # Beyond its three diagonals the matrix is empty.
    assert torch.triu(basis.matrix, 2).abs().max() < 1e-9


def test_a_networks_trace_and_norm_are_within_their_errors() -> None:
    net = network()
    exact = dense(net)
    with Curvature(net, loader(23), step) as curvature:
        density = curvature.density(steps=10, draws=100)
    assert abs(density.trace.mean - float(exact.trace())) < 3 * density.trace.error
    assert abs(density.frobenius_norm.mean - float(exact.norm())) < 3 * density.frobenius_norm.error
    assert density.trace.error < float(exact.norm()) / 3
    np.testing.assert_allclose(density.weights.sum(axis=1), 1, rtol=1e-12)


def test_the_vectors_are_float64_for_a_network_of_float32() -> None:
    with Curvature(network().float(), loader(), lambda m, b: m(b[0].float()).square().mean()) as curvature:
        density = curvature.density(5, 2)
    assert density.nodes.dtype == np.float64
    np.testing.assert_allclose(density.weights.sum(axis=1), 1, rtol=1e-12)


def test_low_rank_ends_a_draw_early() -> None:
    values = torch.zeros(100, dtype=torch.float64)
    values[:2] = torch.tensor([3.0, 7.0]).double()
    density = spectral_density(Dense(symmetric(values)), 10, 200)
    # Rounding may let a draw go one step too far, which splits the weight of one eigenvalue between two equal nodes.
    assert (density.weights[:, 4:] == 0).all()
    distances = np.abs(density.nodes[:, :, None] - np.array([0.0, 3.0, 7.0])).min(axis=2)
    assert distances[density.weights > 0].max() < 1e-6
    assert density.trace.mean == pytest.approx(10, abs=4 * density.trace.error)


def test_the_curve_integrates_to_one() -> None:
    density = SpectralDensity(
        nodes=np.array([[0.0, 2.0], [1.0, 5.0]]), weights=np.array([[0.5, 0.5], [1.0, 0.0]]), size=7
    )
    points = np.linspace(-3, 8, 4001)
    curve = density.at(points, 0.2)
    assert np.trapezoid(curve, points) == pytest.approx(1, abs=1e-6)
    assert np.trapezoid(curve * points, points) == pytest.approx(density.moment(1).mean, abs=1e-6)
    assert density.trace.mean == pytest.approx(7.0)


@pytest.mark.parametrize(("options", "message"), [({"steps": 11}, "between 1 and 10"), ({"draws": 0}, "at least 1")])
def test_what_cannot_be_is_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(CurvatureError, match=message):
        spectral_density(Dense(torch.eye(10).double()), **{"steps": 3, **options})
