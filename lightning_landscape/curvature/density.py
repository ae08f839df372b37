"""The spectral density of an operator by stochastic Lanczos quadrature."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from lightning_landscape.curvature._curvlinops import PyTorchLinearOperator
from lightning_landscape.curvature.lanczos import KrylovBasis
from lightning_landscape.errors import CurvatureError
from lightning_landscape.sampling.estimators import Estimate, mean_of_batches

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SpectralDensity:
    r"""Quadratures of the spectral density of a symmetric operator, one for each random start vector.

    .. math:: \int f(\lambda)\, \phi(\lambda)\, d\lambda = \frac{1}{n} \mathrm{Tr} f(A)
        \approx \frac{1}{R} \sum_{r=1}^{R} \sum_{i=1}^{m} w_{ri} f(\theta_{ri})

    Attributes:
        nodes: the quadratures' nodes :math:`\theta`, float64 ``[R, m]``.
        weights: their weights, float64 ``[R, m]``; each row adds up to 1.
        size: the number n of rows of the operator.
    """

    nodes: Array
    weights: Array
    size: int

    def mean(self, values: ArrayLike) -> Estimate:
        """Average a function over the spectrum, given its values at the nodes, with its error over the draws."""
        draws = (self.weights * np.asarray(values, dtype=np.float64)).sum(axis=1)
        return mean_of_batches(draws, np.ones(len(draws)))

    def moment(self, power: int) -> Estimate:
        r"""The mean of :math:`\lambda^p` over the spectrum; each draw is exact for its vector if p is below 2 m."""
        return self.mean(self.nodes**power)

    @property
    def trace(self) -> Estimate:
        """The trace of the operator."""
        return _times(self.moment(1), self.size)

    @property
    def frobenius_norm(self) -> Estimate:
        """The Frobenius norm of the operator."""
        square = _times(self.moment(2), self.size)
        norm = math.sqrt(square.mean)
        return Estimate(norm, square.error / (2 * norm) if norm else 0.0)

    def at(self, points: ArrayLike, width: float) -> Array:
        """The density at some points, each node drawn as a normal distribution of standard deviation `width`.

        Args:
            points: where, ``[P]``.
            width: the standard deviation, in units of the eigenvalues.

        Returns:
            Float64 ``[P]``, the mean over the draws, which integrates to 1.
        """
        distances = (np.asarray(points, dtype=np.float64)[:, None] - self.nodes.ravel()) / width
        bumps = np.exp(-(distances**2) / 2) / (width * math.sqrt(2 * math.pi))
        return np.asarray(bumps @ self.weights.ravel() / len(self.nodes))


def spectral_density(
    operator: PyTorchLinearOperator, steps: int = 50, draws: int = 4, *, seed: int = 0
) -> SpectralDensity:
    r"""Estimate the spectral density by stochastic Lanczos quadrature.

    For each draw a random direction v, `steps` Lanczos steps from it in float64 with full re-orthogonalisation, and the
    Gauss quadrature that follows: the nodes are the eigenvalues of the tridiagonal matrix, the weights the squared
    first entries of its eigenvectors. It integrates :math:`v^\top A^p v` exactly up to :math:`p = 2m - 1`.

    Args:
        operator: a symmetric operator.
        steps: Lanczos steps m, and as many products, of each draw.
        draws: how many random directions.
        seed: of the directions.

    Raises:
        CurvatureError: for fewer than one step or draw, or more steps than the operator has rows.

    Source: Ghorbani, Krishnan and Xiao, arXiv 1901.10159; Golub and Welsch, Math. Comp. 23 (1969).

    >>> from lightning_landscape.curvature._curvlinops import PyTorchLinearOperator
    >>> class Diagonal(PyTorchLinearOperator):
    ...     SELF_ADJOINT, device, dtype = True, torch.device("cpu"), torch.float64
    ...     def _matmat(self, M):
    ...         return [torch.arange(10.0, dtype=torch.float64)[:, None] * M[0]]
    >>> density = spectral_density(Diagonal([(10,)], [(10,)]), steps=10, draws=400)
    >>> abs(density.trace.mean - 45) < 4 * density.trace.error
    True
    """
    n = operator.shape[0]
    if not 1 <= steps <= n:
        raise CurvatureError(f"steps={steps}: give between 1 and {n} Lanczos steps, the number of parameters")
    if draws < 1:
        raise CurvatureError(f"draws={draws}: give at least 1 random direction")
    generator = torch.Generator().manual_seed(seed)
    nodes, weights = np.zeros((draws, steps)), np.zeros((draws, steps))
    for draw in range(draws):
        basis = KrylovBasis(operator, steps, generator, torch.float64)
        for _ in range(steps):
            basis.extend()
            if not basis.remainder:
                break  # the direction lies in a space that the operator maps to itself: the rest has no weight
        values, vectors = torch.linalg.eigh(basis.matrix[: basis.count, : basis.count])
        nodes[draw, : basis.count], weights[draw, : basis.count] = values.numpy(), vectors[0].square().numpy()
    return SpectralDensity(nodes, weights, n)


def _times(estimate: Estimate, factor: float) -> Estimate:
    return Estimate(estimate.mean * factor, estimate.error * factor)
