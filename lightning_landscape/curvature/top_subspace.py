"""The gradient and the leading eigenvectors of the Hessian: shares, overlaps, and how many eigenvalues stand out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor


def gradient_shares(vectors: Tensor, gradient: Tensor) -> NDArray[np.float64]:
    r"""The share of a gradient's square in the space of the first j eigenvectors, for each j.

    .. math:: f_j = \frac{\lVert P_j g \rVert^2}{\lVert g \rVert^2}, \qquad P_j = \sum_{i \le j} v_i v_i^\top

    Args:
        vectors: orthonormal, ``[k, n]``.
        gradient: ``[n]``.

    Returns:
        Increasing from f_1 to f_k, float64 ``[k]``; NaN for a gradient of zero. A random vector has k / n.

    Source: Gur-Ari, Roberts and Dyer, arXiv 1812.04754.

    >>> import torch
    >>> gradient_shares(torch.eye(4)[:3], torch.tensor([3.0, 0.0, 4.0, 0.0])).round(4).tolist()
    [0.36, 0.36, 1.0]
    """
    wide = gradient.double()
    parts = (vectors.double() @ wide).square()
    return np.asarray((parts.cumsum(0) / wide.square().sum()).cpu().numpy())


def subspace_overlap(a: Tensor, b: Tensor) -> float:
    r"""The overlap of two spaces, given by orthonormal vectors ``[j, n]`` and ``[k, n]``: 1 if one holds the other.

    .. math:: \frac{\mathrm{Tr}(P_a P_b)}{\min(j, k)}

    With j = k this is the definition of the source. Two random spaces have k / n.

    Source: Gur-Ari, Roberts and Dyer, arXiv 1812.04754.

    >>> import torch
    >>> subspace_overlap(torch.eye(4)[:2], torch.eye(4)[1:3])
    0.5
    """
    return float((a.double() @ b.double().T).square().sum()) / min(len(a), len(b))


def count_outliers(eigenvalues: ArrayLike) -> int:
    """How many of the leading eigenvalues stand out: those before the largest ratio of two that follow each other.

    Args:
        eigenvalues: from the largest down, ``[k]``; with some more than are expected to stand out.

    Returns:
        Between 1 and the number of positive ones less one; 0 if fewer than two are positive.

    >>> count_outliers([9.0, 8.0, 5.0, 0.4, 0.3, 0.2])
    3
    """
    values = np.asarray(eigenvalues, dtype=np.float64)
    positive = values[: int(np.argmax(values <= 0))] if (values <= 0).any() else values
    return int(np.argmax(positive[:-1] / positive[1:])) + 1 if len(positive) > 1 else 0
