r"""The Hessian on a low-dimensional slice of weight space, exactly: its sign and its convexity.

.. math:: w = w_0 + M \theta, \qquad H_d = M^\top H M

with d orthonormal columns of M. What is reported are the share of positive eigenvalues and :math:`\operatorname{Tr} H_d
/ \lVert H_d \rVert_F`, which is :math:`\sqrt d` where all eigenvalues are equal and 0 on average for a symmetric random
matrix.

Source: Fort and Scherlis, *The Goldilocks zone*, arXiv 1807.02581.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class RestrictedCurvature:
    """The eigenvalues of a restricted Hessian, ascending, float64 ``[d]``."""

    eigenvalues: NDArray[np.float64]

    @property
    def positive(self) -> float:
        """The share of positive eigenvalues."""
        return float((self.eigenvalues > 0).mean())

    @property
    def convexity(self) -> float:
        """``Tr H_d / ||H_d||_F``, from -sqrt(d) to sqrt(d); NaN for a matrix of zeros."""
        norm = float(np.linalg.norm(self.eigenvalues))
        return float(self.eigenvalues.sum()) / norm if norm else float("nan")


def restricted_hessian(product: Callable[[Tensor], Tensor], frame: Tensor) -> Tensor:
    """Compute ``M^T H M`` by d products with the Hessian.

    Args:
        product: maps vectors ``[D, d]`` to H times them, such as an operator's ``__matmul__``.
        frame: M, ``[D, d]``.

    Returns:
        Symmetric, float64 ``[d, d]``, on the CPU.

    >>> diagonal = torch.tensor([1.0, 2.0, 4.0])
    >>> restricted_hessian(lambda v: diagonal[:, None] * v, torch.eye(3)[:, 1:]).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """
    products = product(frame)
    matrix = (frame.double().T @ products.double()).cpu()
    return (matrix + matrix.T) / 2


def on_sphere(restricted: Tensor, gradient: Tensor, weights: Tensor) -> Tensor:
    r"""The restricted Hessian on the sphere around the origin on which the weights lie.

    For a frame M of directions tangent to the sphere, along :math:`w(\theta) = |w| \frac{w + M\theta}{|w + M\theta|}`,

    .. math:: \frac{\partial^2 L}{\partial \theta^2} = M^\top H M - \frac{g^\top w}{\lVert w \rVert^2} I

    Args:
        restricted: ``M^T H M``, ``[d, d]``.
        gradient: g, ``[D]``.
        weights: w, ``[D]``.

    >>> w = torch.tensor([3.0, 0.0])  # L = |w|^2 / 2 is constant on spheres
    >>> on_sphere(torch.eye(1, dtype=torch.float64), w, w)
    tensor([[0.]], dtype=torch.float64)
    """
    bend = (gradient.double() @ weights.double() / weights.double().square().sum()).cpu()
    return restricted - bend * torch.eye(len(restricted), dtype=torch.float64)


def tangent_frame(frame: Tensor, weights: Tensor) -> Tensor:
    """An orthonormal basis of a subspace's part at right angles to the weights, ``[D, d]``, from a frame ``[D, d]``.

    >>> tangent_frame(torch.tensor([[1.0], [1.0]]), torch.tensor([2.0, 0.0])).abs().tolist()
    [[0.0], [1.0]]
    """
    radial = weights.to(frame) / weights.to(frame).norm()
    basis: Tensor = torch.linalg.qr(frame - torch.outer(radial, radial @ frame)).Q
    return basis


def curvature_of(restricted: Tensor) -> RestrictedCurvature:
    """Diagonalise a restricted Hessian ``[d, d]``."""
    return RestrictedCurvature(np.asarray(torch.linalg.eigvalsh(restricted.double()).cpu().numpy()))


def expected_trace(trace: float, size: int, dimension: int) -> float:
    r"""The mean of :math:`\operatorname{Tr} H_d` over uniformly random frames, :math:`d \operatorname{Tr} H / D`.

    >>> expected_trace(50.0, size=100, dimension=10)
    5.0
    """
    return dimension * trace / size


def expected_square_norm(trace: float, square: float, size: int, dimension: int) -> float:
    r"""The mean of :math:`\lVert H_d \rVert_F^2` over uniformly random frames.

    .. math:: \frac{d (2 T_2 + T^2)}{D (D + 2)} + \frac{d (d - 1) (D T_2 - T^2)}{D (D - 1)(D + 2)}, \qquad
              T = \operatorname{Tr} H, \quad T_2 = \operatorname{Tr} H^2

    Args:
        trace: T.
        square: T_2, the squared Frobenius norm of H.
        size: D, at least 2.
        dimension: d.

    >>> expected_square_norm(7.0, 7.0, size=7, dimension=3)  # H = I
    3.0
    """
    d, n = dimension, size
    diagonal = d * (2 * square + trace**2) / (n * (n + 2))
    return diagonal + d * (d - 1) * (n * square - trace**2) / (n * (n - 1) * (n + 2))
