"""Leading eigenpairs of either end, each with its residual."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_landscape.curvature._curvlinops import PyTorchLinearOperator
from lightning_landscape.curvature.lanczos import KrylovBasis
from lightning_landscape.errors import CurvatureError

End: TypeAlias = Literal["largest", "smallest", "magnitude", "both"]
"""Which eigenvalues: the algebraically largest or smallest, those of largest magnitude, or k of the largest and k of
the smallest."""

_LEAST_STEPS = 20
_DENSE = 64  # a matrix of so few rows is computed whole


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    r"""Some eigenvalues of a symmetric operator, with their vectors and residuals.

    An eigenvalue of the operator lies within the residual of each value:
    :math:`|\lambda - \theta_i| \le \lVert A v_i - \theta_i v_i \rVert`.

    Attributes:
        values: the eigenvalues, float64 ``[k]``, the wanted end first; for both ends from the largest to the smallest.
        vectors: the eigenvectors ``[k, n]``, of unit length, on the operator's device.
        residuals: the norms of the residuals, float64 ``[k]``; no smaller than one rounding of the largest eigenvalue.
        products: how many products with the operator it took.
        converged: whether every residual is below the tolerance.
    """

    values: NDArray[np.float64]
    vectors: Tensor
    residuals: NDArray[np.float64]
    products: int
    converged: bool


def eigenpairs(
    operator: PyTorchLinearOperator,
    k: int = 1,
    which: End = "largest",
    *,
    tolerance: float = 1e-3,
    floor: float = 0.0,
    max_products: int = 1000,
    seed: int = 0,
) -> Eigenpairs:
    r"""Compute k eigenpairs of a symmetric operator by the Lanczos method with thick restarts.

    An eigenvalue has converged when its residual is at most `tolerance` times its magnitude, which is ARPACK's rule.
    Values of both ends come from one basis, for little more than one end's price. The basis has at most
    ``max(4 k + 20, 60)`` vectors, in the operator's precision. Of eigenvalues that coincide to the last digits,
    the method may find only one, as every method does that starts from a single vector.

    Args:
        operator: a symmetric operator of curvlinops, such as `HessianOperator`.
        k: how many; for ``which="both"``, at each end.
        which: see `End`.
        tolerance: relative size of the residuals.
        floor: eigenvalues below this share of the largest magnitude need residuals no smaller than one of that size.
        max_products: where to stop, with a warning, if they are larger then.
        seed: of the start vector.

    Raises:
        CurvatureError: if k is below 1 or more than the operator has, or `which` is unknown.

    Source: Wu and Simon, SIAM J. Matrix Anal. Appl. 22 (2000).
    """
    n = operator.shape[0]
    if which not in get_args(End):
        raise CurvatureError(f"which={which!r} is unknown: choose one of {', '.join(get_args(End))}")
    wanted = 2 * k if which == "both" else k
    if not 1 <= wanted <= n:
        raise CurvatureError(
            f"{wanted} eigenvalues are asked for (k={k}, which={which!r}) of an operator with {n} parameters: give k "
            f"between 1 and {n // 2 if which == 'both' else n}"
        )
    if n <= max(_DENSE, wanted + 1):
        return _dense(operator, k, which)
    size = min(n, max(4 * wanted + 20, 60))
    basis = KrylovBasis(operator, size, torch.Generator().manual_seed(seed), operator.dtype)
    # A small residual says that an eigenvalue is near, not that it is the extreme one: of a few large eigenvalues and
    # many small ones, the first steps show some of the small. ARPACK does not look before so many steps either.
    least_steps = min(max(2 * wanted + 1, _LEAST_STEPS), size)
    products = 0
    while True:
        basis.extend()
        products += 1
        if basis.count < least_steps:
            continue
        values, mixture = torch.linalg.eigh(basis.matrix[: basis.count, : basis.count])
        residuals = basis.remainder * mixture[-1].abs()
        chosen = _chosen(values, k, which)
        # Below this share of the largest magnitude, rounding hides how well an eigenvalue is known.
        least = max(floor, torch.finfo(basis.vectors.dtype).eps ** (2 / 3)) * float(values.abs().max())
        sizes = values[chosen].abs().clamp(min=least)
        converged = bool((residuals[chosen] <= tolerance * sizes).all())
        if converged or products >= max_products or basis.count == n:
            break
        if basis.count == size:
            # The wanted Ritz vectors, and next to them some that will be wanted or disturb.
            kept = _chosen(values, k + (size - wanted) // (6 if which == "both" else 3), which)
            basis.restart(mixture[:, kept], values[kept])
    if not converged and basis.count < n:
        unsure = int((residuals[chosen] > tolerance * sizes).sum())
        warnings.warn(
            f"after {products} products {unsure} of {wanted} eigenvalues have residuals above {tolerance:g} of their "
            f"size (the largest is {float(residuals[chosen].max()):.2g}): allow more products, or a larger tolerance",
            stacklevel=2,
        )
    vectors = basis.combined(mixture[:, chosen])
    rounding = torch.finfo(basis.vectors.dtype).eps * float(values.abs().max())
    return Eigenpairs(
        values[chosen].numpy(),
        vectors / vectors.norm(dim=1, keepdim=True),
        residuals[chosen].clamp(min=rounding).numpy(),
        products,
        converged or basis.count == n,
    )


def _dense(operator: PyTorchLinearOperator, k: int, which: End) -> Eigenpairs:
    n = operator.shape[0]
    matrix = operator @ torch.eye(n, dtype=operator.dtype, device=operator.device)
    wide = matrix.double().cpu()
    values, vectors = torch.linalg.eigh((wide + wide.T) / 2)
    chosen = _chosen(values, k, which)
    residuals = (wide @ vectors - vectors * values).norm(dim=0)
    return Eigenpairs(values[chosen].numpy(), vectors.T[chosen].to(matrix), residuals[chosen].numpy(), n, True)


def _chosen(values: Tensor, k: int, which: End) -> Tensor:
    """The indices of the wanted among ascending values, in the order in which they are returned."""
    count = len(values)
    ascending = torch.arange(count)
    if which == "smallest":
        return ascending[:k]
    if which == "largest":
        return ascending.flip(0)[:k]
    if which == "magnitude":
        return values.abs().argsort(descending=True)[:k]
    k = min(k, count // 2)
    return torch.cat([ascending[count - k :], ascending[:k]]).sort(descending=True).values
