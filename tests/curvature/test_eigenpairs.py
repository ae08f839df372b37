"""Leading eigenpairs against dense ones: both ends, restarts, low rank, and what cannot be asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh

from lightning_landscape import Curvature, CurvatureError
from lightning_landscape.curvature.eigenpairs import End, eigenpairs
from tests.curvature.networks import Dense, dense, loader, network, step, symmetric


def spectrum(n: int = 300) -> torch.Tensor:
    """A few outliers at either end of a bulk, as networks have."""
    values = torch.linspace(-1, 1, n, dtype=torch.float64)
    values[-5:] += torch.tensor([1.0, 3, 8, 20, 50]).double()
    values[:2] -= torch.tensor([4.0, 2]).double()
    return values


WANTED: dict[End, list[int]] = {
    "largest": [299, 298, 297, 296],
    "smallest": [0, 1, 2, 3],
    "magnitude": [299, 298, 297, 0],
    "both": [299, 298, 297, 296, 3, 2, 1, 0],
}


@pytest.mark.parametrize("which", WANTED)
def test_either_end_with_true_residuals(which: End) -> None:
    values = spectrum()
    operator = Dense(symmetric(values))
    found = eigenpairs(operator, 4, which, tolerance=1e-9)
    np.testing.assert_allclose(found.values, values[WANTED[which]].numpy(), rtol=0, atol=1e-8)
    assert found.converged
    assert found.products == operator.products
    vectors = found.vectors
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(len(vectors)).double(), rtol=0, atol=1e-9)
    for value, vector, residual in zip(found.values, vectors, found.residuals, strict=True):
        true = float((operator.matrix @ vector - value * vector).norm())
        assert true == pytest.approx(residual, rel=0.05, abs=1e-11)
        assert residual <= 1e-9 * max(abs(value), 1e-3)


def test_a_loose_tolerance_costs_less_and_bounds_the_error() -> None:
    values = torch.linspace(0, 1, 2000, dtype=torch.float64) ** 6
    operator = Dense(torch.diag(values))
    loose = eigenpairs(operator, 8, tolerance=1e-2)
    tight = eigenpairs(operator, 8, tolerance=1e-10)
    assert loose.products < tight.products  # and the tight one has restarted
    assert tight.products > 60
    exact = values.flip(0)[:8].numpy()
    np.testing.assert_allclose(tight.values, exact, rtol=0, atol=1e-10)
    assert (np.abs(loose.values - exact) <= loose.residuals).all()


def test_the_leading_eigenvalues_of_a_network() -> None:
    """To 1e-8, and those that SciPy finds with the same operator."""
    net = network()
    exact = torch.linalg.eigvalsh(dense(net)).flip(0)[:5].numpy()
    for batch_size in (4, 23):
        with Curvature(net, loader(batch_size), step) as curvature:
            found = curvature.eigenpairs(5, tolerance=1e-9)
            scipy = eigsh(curvature.hessian.to_scipy(), k=5, which="LA", tol=1e-9, return_eigenvectors=False)
        np.testing.assert_allclose(found.values, exact, rtol=0, atol=1e-8)
        np.testing.assert_allclose(scipy[::-1], exact, rtol=0, atol=1e-8)


def test_the_eigenvalues_do_not_grow_with_the_number_of_batches() -> None:
    """The original tool sums over batches where the loss is a mean."""
    net = network()
    tops = []
    for batch_size in (1, 6, 23):
        with Curvature(net, loader(batch_size), step) as curvature:
            tops.append(curvature.eigenpairs(1, "both", tolerance=1e-9).values)
    np.testing.assert_allclose(tops[1:], [tops[0]] * 2, rtol=0, atol=1e-9)


def test_a_matrix_of_low_rank_and_one_of_none() -> None:
    values = torch.zeros(200, dtype=torch.float64)
    values[:3] = torch.tensor([5.0, 2.0, -1.0]).double()
    found = eigenpairs(Dense(symmetric(values)), 5, tolerance=1e-6)
    np.testing.assert_allclose(found.values, [5, 2, 0, 0, 0], rtol=0, atol=1e-9)
    none = eigenpairs(Dense(torch.zeros(200, 200).double()), 2)
    np.testing.assert_array_equal(none.values, [0, 0])
    assert none.converged


def test_small_matrices_and_all_eigenvalues_are_computed_whole() -> None:
    values = torch.tensor([3.0, 3.0, 1.0, -2.0]).double()
    found = eigenpairs(Dense(symmetric(values)), 4)
    np.testing.assert_allclose(found.values, [3, 3, 1, -2], atol=1e-12)
    every = eigenpairs(Dense(symmetric(spectrum(90))), 90)
    np.testing.assert_allclose(every.values, spectrum(90).flip(0).sort(descending=True).values, atol=1e-10)


def test_eigenvalues_near_zero_cost_less_with_a_floor() -> None:
    values = torch.linspace(0, 1e-3, 400, dtype=torch.float64)
    values[-1] = 50.0
    operator = Dense(torch.diag(values))
    found = eigenpairs(operator, 1, "both", tolerance=1e-2, floor=1e-2)
    np.testing.assert_allclose(found.values, [50, 0], atol=50e-4)
    assert found.products == 20
    assert found.products < eigenpairs(operator, 1, "both", tolerance=1e-2).products


def test_a_large_bulk_of_small_eigenvalues_does_not_hide_the_smallest() -> None:
    """The first vectors lie in the bulk, with small residuals there, and do not know of the eigenvalue -100."""
    values = 0.1 * torch.randn(4000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values[0], values[-1] = -100.0, 1e4

    class Diagonal(Dense):
        def _matmat(self, M: list[torch.Tensor]) -> list[torch.Tensor]:
            return [values[:, None] * M[0]]

    for seed in range(5):
        found = eigenpairs(Diagonal(values), 1, "both", tolerance=1e-2, floor=1e-2, seed=seed)
        np.testing.assert_allclose(found.values, [1e4, -100], rtol=1e-3)


def test_too_few_products_are_told() -> None:
    operator = Dense(symmetric(torch.linspace(0, 1, 300, dtype=torch.float64)))
    with pytest.warns(UserWarning, match=r"after 25 products \d of 5 eigenvalues have residuals above 1e-08"):
        found = eigenpairs(operator, 5, tolerance=1e-8, max_products=25)
    assert not found.converged
    assert found.products == 25
    assert (np.abs(found.values - np.linspace(0, 1, 300)[::-1][:5]) < 0.5).all()


def test_more_than_there_are_is_refused() -> None:
    operator = Dense(torch.eye(10).double())
    with pytest.raises(CurvatureError, match=r"11 eigenvalues are asked for .* with 10 parameters: give k between 1"):
        eigenpairs(operator, 11)
    with pytest.raises(CurvatureError, match=r"12 eigenvalues .* between 1 and 5"):
        eigenpairs(operator, 6, "both")
    with pytest.raises(CurvatureError, match="0 eigenvalues"):
        eigenpairs(operator, 0)
    with pytest.raises(CurvatureError, match="which='LA' is unknown"):
        eigenpairs(operator, 1, "LA")  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_bits() -> None:
    operator = Dense(symmetric(spectrum()))
    one, two = (eigenpairs(operator, 3, seed=4) for _ in range(2))
    assert torch.equal(one.vectors, two.vectors)
