"""Trace and norm within their stated errors, and the errors themselves."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_landscape import Curvature, CurvatureError
from lightning_landscape.curvature.trace import TraceMethod, frobenius_norm, trace
from tests.curvature.networks import Dense, dense, loader, network, step, symmetric


def test_a_networks_trace_and_norm() -> None:
    net = network()
    exact = dense(net)
    with Curvature(net, loader(23), step) as curvature:
        plain, better, norm = curvature.trace(300), curvature.trace(20, method="hutch++"), curvature.frobenius_norm(300)
    assert abs(plain.mean - float(exact.trace())) < 3 * plain.error
    assert abs(better.mean - float(exact.trace())) < 3 * better.error
    assert abs(norm.mean - float(exact.norm())) < 3 * norm.error


def test_the_error_of_hutchinsons_estimator() -> None:
    """Var = 2 sum of the squares off the diagonal, over the draws."""
    matrix = symmetric(torch.linspace(-1, 3, 60, dtype=torch.float64))
    variance = 2 * float((matrix - torch.diag(matrix.diag())).square().sum())
    found = trace(Dense(matrix), 4000)
    assert found.error == pytest.approx(math.sqrt(variance / 4000), rel=0.1)
    assert trace(Dense(torch.diag(torch.arange(9.0).double())), 2).mean == pytest.approx(36)


def test_hutch_takes_low_rank_exactly() -> None:
    values = torch.zeros(50, dtype=torch.float64)
    values[:3] = torch.tensor([5.0, 2.0, -1.0]).double()
    found = trace(Dense(symmetric(values)), 3, method="hutch++", rank=4)
    assert found.mean == pytest.approx(6, abs=1e-10)
    assert found.error < 1e-10


def test_the_estimates_leave_the_random_numbers_and_repeat() -> None:
    operator = Dense(symmetric(torch.rand(20, dtype=torch.float64)))
    before = torch.get_rng_state()
    assert trace(operator, 5, seed=1) == trace(operator, 5, seed=1) != trace(operator, 5, seed=2)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("method", ["hutchinson", "hutch++"])
def test_draws_are_independent_of_the_products_between_them(method: TraceMethod) -> None:
    """A product starts generators of its own; the next draw must not begin where the last one did."""
    with Curvature(network(), loader(), step) as curvature:
        assert curvature.trace(3, method=method).error > 0


def test_what_cannot_be_is_refused() -> None:
    operator = Dense(torch.eye(10).double())
    with pytest.raises(CurvatureError, match="draws=1: give at least 2"):
        trace(operator, 1)
    with pytest.raises(CurvatureError, match="12 products of each draw are as many as the operator's 10 parameters"):
        trace(operator, 2, method="hutch++")
    with pytest.raises(CurvatureError, match="method='xtrace' is unknown"):
        trace(operator, method="xtrace")  # type: ignore[arg-type]
    with pytest.raises(CurvatureError, match="1 products"):
        frobenius_norm(Dense(torch.eye(1).double()))
