"""Krylov bases with full re-orthogonalisation: what eigenpairs and spectral densities are computed from."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_landscape.curvature._curvlinops import PyTorchLinearOperator

_BREAKDOWN = 100  # units of rounding below which what is left of a vector is noise


class KrylovBasis:
    r"""An orthonormal basis of a Krylov space, and the matrix of the operator in it.

    .. math:: V^\top V = I, \qquad T = V^\top A V, \qquad A V = V T + r e_j^\top

    Each new vector is orthogonalised against all earlier ones, twice, so that T loses nothing to rounding and may
    begin, after a restart, with Ritz vectors instead of one start vector. Where the space is exhausted (a matrix of low
    rank), it goes on with a random vector that is orthogonal to it.

    Args:
        operator: a symmetric operator.
        size: the largest number of basis vectors.
        generator: of the start vector, on the CPU, so that every rank and device starts alike.
        dtype: of the basis vectors.

    Attributes:
        vectors: the basis, ``[size + 1, n]``; the row after the last basis vector is the next one.
        matrix: T, float64 ``[size, size]``, on the CPU.
        count: the number j of basis vectors so far.
        remainder: the norm of r.
    """

    def __init__(
        self, operator: PyTorchLinearOperator, size: int, generator: torch.Generator, dtype: torch.dtype
    ) -> None:
        self._operator = operator
        self._generator = generator
        self._n = operator.shape[0]
        self.vectors = torch.empty(size + 1, self._n, dtype=dtype, device=operator.device)
        self.matrix = torch.zeros(size, size, dtype=torch.float64)
        self.count = 0
        self.remainder = 0.0
        self._scale = 0.0
        self._set_next(self._random())

    def extend(self) -> None:
        """Multiply the next vector by the operator, and add it to the basis."""
        j = self.count
        product = (self._operator @ self.vectors[j].to(self._operator.dtype)).to(self.vectors.dtype)
        self._scale = max(self._scale, float(product.norm()))
        column, rest = self._orthogonalised(product, j + 1)
        self.matrix[: j + 1, j] = self.matrix[j, : j + 1] = column
        self.count = j + 1
        self.remainder = float(rest.norm())
        if self.remainder <= _BREAKDOWN * torch.finfo(self.vectors.dtype).eps * self._scale:
            self.remainder = 0.0
            if self.count < self._n:
                _, rest = self._orthogonalised(self._random(), self.count)
        self._set_next(rest)

    def restart(self, mixture: Tensor, values: Tensor) -> None:
        """Go on with fewer vectors: the Ritz vectors ``mixture.T @ V``, and their Ritz values.

        The next vector stays: its product finds again how it is coupled to the Ritz vectors (Wu and Simon, SIAM J.
        Matrix Anal. Appl. 22, 2000).
        """
        kept, j = len(values), self.count
        self.vectors[:kept] = self.combined(mixture)
        self.vectors[kept] = self.vectors[j]
        self.matrix.zero_()
        self.matrix[range(kept), range(kept)] = values
        self.count = kept

    def combined(self, mixture: Tensor) -> Tensor:
        """The combinations ``mixture.T @ V`` of the basis vectors: ``[j, k]`` gives ``[k, n]``."""
        return mixture.T.to(self.vectors) @ self.vectors[: self.count]

    def _orthogonalised(self, vector: Tensor, count: int) -> tuple[Tensor, Tensor]:
        basis = self.vectors[:count]
        first = basis @ vector
        vector = vector - first @ basis
        second = basis @ vector
        return (first + second).double().cpu(), vector - second @ basis

    def _random(self) -> Tensor:
        return torch.randn(self._n, dtype=torch.float64, generator=self._generator).to(self.vectors)

    def _set_next(self, vector: Tensor) -> None:
        norm = vector.norm()
        # Nothing follows a basis of the whole space.
        self.vectors[self.count] = vector / norm if self.count < self._n else 0.0
