"""Trace and Frobenius norm from random vectors, each with its standard error."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

from torch import Tensor

from lightning_landscape.curvature._curvlinops import (
    PyTorchLinearOperator,
    hutchinson_squared_fro,
    hutchinson_trace,
    hutchpp_trace,
)
from lightning_landscape.engine.guard import seed_rng, snapshot_rng
from lightning_landscape.errors import CurvatureError
from lightning_landscape.sampling.estimators import Estimate, mean_of_batches

TraceMethod: TypeAlias = Literal["hutchinson", "hutch++"]
"""Hutchinson's estimator, or Hutch++, which takes the leading part of the spectrum exactly."""


def trace(
    operator: PyTorchLinearOperator,
    draws: int = 32,
    *,
    method: TraceMethod = "hutchinson",
    rank: int = 4,
    seed: int = 0,
) -> Estimate:
    r"""Estimate the trace from random vectors of independent signs.

    .. math:: \mathrm{Tr} A = \mathbb{E}\, z^\top A z, \qquad
        \mathrm{Var}\, z^\top A z = 2 \sum_{i \ne j} A_{ij}^2

    Args:
        operator: a symmetric operator.
        draws: independent estimates, from whose spread the standard error comes; at least 2.
        method: see `TraceMethod`. A draw costs 1 product by Hutchinson's estimator and ``3 rank`` by Hutch++.
        rank: the dimension of the space in which Hutch++ takes the trace exactly.
        seed: of the random vectors.

    Raises:
        CurvatureError: for fewer than 2 draws, an unknown method, or an operator too small for it.

    Source: Hutchinson, Commun. Stat. Simul. Comput. 18 (1989); Meyer et al., arXiv 2010.09649.
    """
    products = {"hutchinson": 1, "hutch++": 3 * rank}.get(method)
    if products is None:
        raise CurvatureError(f"method={method!r} is unknown: choose 'hutchinson' or 'hutch++'")
    _require_room(operator, products)
    estimator = hutchinson_trace if method == "hutchinson" else hutchpp_trace
    return _repeated(lambda: estimator(operator, products), draws, seed)


def frobenius_norm(operator: PyTorchLinearOperator, draws: int = 32, *, seed: int = 0) -> Estimate:
    r"""Estimate the Frobenius norm, from :math:`\lVert A \rVert_F^2 = \mathbb{E} \lVert A z \rVert^2`.

    Args:
        operator: a symmetric operator.
        draws: products, each with a random vector of independent signs; at least 2.
        seed: of the random vectors.

    Returns:
        The root of the estimated square, with the error that follows to first order.

    Raises:
        CurvatureError: for fewer than 2 draws, or an operator of one row.
    """
    _require_room(operator, 1)
    square = _repeated(lambda: hutchinson_squared_fro(operator, 1), draws, seed)
    norm = math.sqrt(square.mean)
    return Estimate(norm, square.error / (2 * norm) if norm else 0.0)


def _require_room(operator: PyTorchLinearOperator, products: int) -> None:
    if operator.shape[0] <= products:
        raise CurvatureError(
            f"{products} products of each draw are as many as the operator's {operator.shape[0]} parameters: compute "
            "the matrix itself, operator @ torch.eye(n), or give a smaller rank"
        )


def _repeated(estimate: Callable[[], Tensor], draws: int, seed: int) -> Estimate:
    """Return the mean of independent estimates; curvlinops draws from torch's own stream, which is put back.

    Raises:
        CurvatureError: for fewer than 2 draws.
    """
    if draws < 2:
        raise CurvatureError(f"draws={draws}: give at least 2, from whose spread the standard error comes")
    restore = snapshot_rng()
    try:
        seed_rng(seed)
        values = [float(estimate()) for _ in range(draws)]
    finally:
        restore()
    return mean_of_batches(values, [1] * draws)
