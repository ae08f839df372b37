r"""Random subspaces: linear maps from d coordinates to the D entries of a weight vector.

Every map has D rows and d columns; each column is a vector of norm 1 over all D entries. They can be differentiated any
number of times, can be evaluated for some rows alone (those of one tensor), and are the same on every device, because
their random numbers are drawn on the CPU.

Source: Li, Farkhoor, Liu, Yosinski, *Measuring the Intrinsic Dimension of Objective Landscapes*, arXiv 1804.08838.
"""

from __future__ import annotations

import math
from typing import Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from lightning_landscape.errors import GeometryError

ProjectionName = Literal["dense", "sparse", "fastfood"]


class Projection(Protocol):
    """A linear map P from ``[d]`` to ``[D]``."""

    dimension: int
    size: int

    def apply(self, coordinates: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Return rows ``start`` to ``stop`` of ``P z``, shape ``[stop - start]``, for coordinates z ``[d]``."""

    def transpose(self, vector: Tensor) -> Tensor:
        """Return ``P^T v``, shape ``[d]``, for a vector v ``[D]``."""


def projection(name: ProjectionName, size: int, dimension: int, seed: int = 0) -> Projection:
    """Draw a random map from ``dimension`` coordinates to ``size`` weights.

    Args:
        name: "dense" (Gaussian columns: D d numbers in memory), "sparse" (about the square root of D entries a column)
            or "fastfood" (products of diagonal, permutation and Walsh-Hadamard matrices: 3 D numbers in memory).
        size: D.
        dimension: d, at most D.
        seed: of the draw.

    Raises:
        GeometryError: for an unknown name, or a dimension that is not from 1 to D.

    >>> p = projection("fastfood", size=1000, dimension=5)
    >>> torch.stack([p.apply(e) for e in torch.eye(5)]).norm(dim=1)
    tensor([1., 1., 1., 1., 1.])
    """
    kinds: dict[str, type[Dense | Sparse | Fastfood]] = {"dense": Dense, "sparse": Sparse, "fastfood": Fastfood}
    if name not in kinds:
        raise GeometryError(f"projection={name!r} is unknown: choose one of {', '.join(get_args(ProjectionName))}")
    if not 1 <= dimension <= size:
        raise GeometryError(
            f"dimension={dimension}: a subspace of a space of {size} weights has from 1 to {size} dimensions"
        )
    return kinds[name](size, dimension, seed)


class Dense:
    r"""Independent Gaussian columns, each scaled to norm 1: uniformly random directions, nearly at right angles.

    Memory: D d float32 numbers; a product costs D d multiplications.

    Args:
        size: D.
        dimension: d.
        seed: of the draw.
    """

    def __init__(self, size: int, dimension: int, seed: int) -> None:
        self.size, self.dimension = size, dimension
        self._basis = torch.randn(dimension, size, generator=torch.Generator().manual_seed(seed))
        for vector in self._basis:
            vector /= vector.double().norm().float()

    def apply(self, coordinates: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """See `Projection`."""
        return coordinates @ self._on(coordinates)[:, start:stop]

    def transpose(self, vector: Tensor) -> Tensor:
        """See `Projection`."""
        return self._on(vector) @ vector

    def _on(self, like: Tensor) -> Tensor:
        self._basis = self._basis.to(like)
        return self._basis


class Sparse:
    r"""Columns with ``k = round(sqrt(D))`` entries of :math:`\pm 1/\sqrt{k}` at random places.

    The number of entries is fixed, where the very sparse projections of Li, Hastie and Church (2006) draw it: no column
    is then empty, and each has norm 1 without rescaling.

    Memory: about :math:`d \sqrt D` numbers of each of float32 and two kinds of index.
    """

    def __init__(self, size: int, dimension: int, seed: int) -> None:
        self.size, self.dimension = size, dimension
        generator = np.random.default_rng(seed)
        count = max(round(math.sqrt(size)), 1)
        rows = np.concatenate([generator.choice(size, count, replace=False, shuffle=False) for _ in range(dimension)])
        signs = generator.integers(2, size=len(rows)) * 2 - 1
        order = np.argsort(rows, kind="stable")
        self._rows = torch.from_numpy(rows[order])
        self._columns = torch.arange(dimension).repeat_interleave(count)[torch.from_numpy(order)]
        self._values = torch.from_numpy(signs[order]).double() / math.sqrt(count)
        self._sorted = rows[order]

    def apply(self, coordinates: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """See `Projection`."""
        stop = self.size if stop is None else stop
        first, last = np.searchsorted(self._sorted, [start, stop])
        rows, columns, values = (entries[first:last] for entries in self._on(coordinates))
        return coordinates.new_zeros(stop - start).index_add(0, rows - start, values * coordinates[columns])

    def transpose(self, vector: Tensor) -> Tensor:
        """See `Projection`."""
        rows, columns, values = self._on(vector)
        return vector.new_zeros(self.dimension).index_add(0, columns, values * vector[rows])

    def _on(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self._rows, self._columns = self._rows.to(like.device), self._columns.to(like.device)
        self._values = self._values.to(like)
        return self._rows, self._columns, self._values


class Fastfood:
    r"""A stack of blocks ``H G \Pi H B``, each with n rows, n the smallest power of two from d upwards.

    H is the Walsh-Hadamard matrix, :math:`\Pi` a permutation, G diagonal Gaussian, B diagonal of signs; the last block
    is cut off at row D. Every column is divided by its norm, which is the same for all columns but for the rows that
    are cut off. Columns look like Gaussian ones, yet nothing but the diagonals and the permutation is stored. They
    share the n Gaussian numbers of a block, so that their inner products spread by :math:`\sqrt{2/D}`, where those of
    independent columns spread by :math:`\sqrt{1/D}`.

    Memory: 3 D numbers; a product costs about :math:`2 D \log_2 n` additions.

    Source: Le, Sarlos, Smola, *Fastfood: approximating kernel expansions in loglinear time*, ICML 2013.
    """

    def __init__(self, size: int, dimension: int, seed: int) -> None:
        self.size, self.dimension = size, dimension
        generator = torch.Generator().manual_seed(seed)
        self._n = 1 << (dimension - 1).bit_length()
        blocks = -(-size // self._n)
        shape = (blocks, self._n)
        self._gauss = torch.randn(shape, generator=generator, dtype=torch.float64)
        self._signs = (torch.randint(2, shape, generator=generator) * 2 - 1).double()
        self._permutation = torch.rand(shape, generator=generator).argsort(dim=1)
        self._scale = 1 / self._column_norms()

    def apply(self, coordinates: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """See `Projection`."""
        stop = self.size if stop is None else stop
        self._move(coordinates)
        # Only the blocks that hold one of the rows.
        first, last = start // self._n, -(-stop // self._n)
        padded = torch.nn.functional.pad(coordinates * self._scale, (0, self._n - self.dimension))
        mixed = walsh_hadamard(padded * self._signs[first:last]).gather(1, self._permutation[first:last])
        rows = walsh_hadamard(mixed * self._gauss[first:last]).flatten()
        return rows[start - first * self._n : stop - first * self._n]

    def transpose(self, vector: Tensor) -> Tensor:
        """See `Projection`."""
        self._move(vector)
        padded = torch.nn.functional.pad(vector, (0, self._gauss.numel() - self.size)).view_as(self._gauss)
        return self._transposed(padded, slice(None)).sum(0)[: self.dimension] * self._scale

    def _column_norms(self) -> Tensor:
        """The norm of each column over the D rows: of whole blocks in closed form, of the last from its rows."""
        whole, rest = divmod(self.size, self._n)
        # H is orthonormal with entries of size 1/sqrt(n): every column of a whole block has the square norm |g|^2 / n.
        squares = (self._gauss[:whole] ** 2).sum().expand(self._n) / self._n
        for rows in torch.split(torch.arange(rest), 256):
            unit = torch.nn.functional.one_hot(rows, self._n).to(self._gauss)
            squares = squares + (self._transposed(unit, slice(whole, None)) ** 2).sum(0)
        return squares[: self.dimension].sqrt()

    def _transposed(self, vectors: Tensor, blocks: slice) -> Tensor:
        """``B H Pi^T G H v`` for a vector in the rows of each block, or for several in those of one."""
        gauss, signs, permutation = self._gauss[blocks], self._signs[blocks], self._permutation[blocks]
        mixed = walsh_hadamard(vectors) * gauss
        back = torch.zeros_like(mixed).scatter(1, permutation.expand_as(mixed), mixed)
        return walsh_hadamard(back) * signs

    def _move(self, like: Tensor) -> None:
        self._gauss, self._signs, self._scale = self._gauss.to(like), self._signs.to(like), self._scale.to(like)
        self._permutation = self._permutation.to(like.device)


def walsh_hadamard(x: Tensor) -> Tensor:
    r"""Multiply the last dimension, of length :math:`n = 2^k`, by the orthonormal Walsh-Hadamard matrix.

    .. math:: H_1 = (1), \qquad H_{2m} = \frac{1}{\sqrt 2} \begin{pmatrix} H_m & H_m \\ H_m & -H_m \end{pmatrix}

    Symmetric and its own inverse; :math:`n \log_2 n` additions for each vector.

    Args:
        x: ``[..., n]``.

    Raises:
        GeometryError: if n is no power of two.

    >>> walsh_hadamard(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    tensor([0.5000, 0.5000, 0.5000, 0.5000])
    """
    n = x.shape[-1]
    if n < 1 or n & (n - 1):
        raise GeometryError(f"a Walsh-Hadamard transform has a power of two as its length, found {n}")
    shape, half = x.shape, 1
    while half < n:
        pairs = x.reshape(*shape[:-1], n // (2 * half), 2, half)
        first, second = pairs.unbind(-2)
        x = torch.stack((first + second, first - second), dim=-2)
        half *= 2
    return x.reshape(shape) / math.sqrt(n)


def orthonormal_frame(size: int, dimension: int, seed: int = 0) -> Tensor:
    """Draw an orthonormal basis of a uniformly random subspace (Haar), float64 ``[size, dimension]``.

    Args:
        size: D.
        dimension: d, at most D.
        seed: of the draw.

    >>> frame = orthonormal_frame(20, 3)
    >>> torch.allclose(frame.T @ frame, torch.eye(3, dtype=torch.float64))
    True
    """
    matrix = torch.randn(size, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    frame, triangle = torch.linalg.qr(matrix)
    # Without the signs QR's basis is not uniform.
    basis: Tensor = frame * triangle.diagonal().sign()
    return basis
