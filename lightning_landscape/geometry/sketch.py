r"""Sketches: weights of any size projected at random to a few thousand numbers that keep distances and angles.

The projection is linear and orthogonal in expectation. The entries of a point, in the order of its tensors, are cut
into R blocks of k entries; each block is multiplied by random signs, a Hadamard matrix and random signs, and the blocks
are added:

.. math:: S x = \sum_{r=1}^{R} D'_r H D_r x_r, \qquad H H^T = I, \quad |H_{ij}| = k^{-1/2}.

The inner Hadamard transforms spread every entry over all k numbers, so that no vector, however spiky, is a bad one.
With independent signs, for all x and y (over the choice of the signs),

.. math::

    E \langle S x, S y \rangle &= \langle x, y \rangle, \\
    \mathrm{Var} \langle S x, S y \rangle &= \frac{1}{k} \Big( \|x\|^2 \|y\|^2 + \langle x, y \rangle^2
        - \sum_r \big( \|x_r\|^2 \|y_r\|^2 + \langle x_r, y_r \rangle^2 \big) \Big),

so a squared distance has a relative standard error of at most :math:`\sqrt{2 / k}`, the error of a dense Gaussian
projection, and a vector that lies in one block keeps its norm exactly. docs/trajectories.md derives this.

Source: Ailon and Chazelle (2009) for the signs before the Hadamard transform; the sum over blocks as in Balabanov,
Beaupere, Grigori and Lederer (2022), arXiv 2210.11295, here without a subsample.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_landscape.errors import GeometryError
from lightning_landscape.geometry.weights import borrow, wide, without_buffers

DIMENSION = 4096
"""The numbers of a sketch, where nobody chooses: a squared distance is known to 2.2 %."""

# One 64-bit hash gives the signs of 64 entries.
_WORD = 64
# Entries that are worked on at a time: what fits a processor's cache, or keeps an accelerator busy.
_CHUNK_CPU, _CHUNK = 1 << 17, 1 << 22
_SIGN_BIT = torch.iinfo(torch.int64).min


@dataclass(frozen=True)
class Projection:
    """The seeded random projection of points in weight space to `dimension` numbers.

    It is a function of the position of an entry among all entries, the dimension and the seed: the device, the number
    of processes and torch's generators do not matter. Nothing of its size is stored; projecting D entries takes
    O(D log k) operations and one chunk of memory. All arithmetic is in float64, so that the sketch of the difference of
    two points, however close, is the difference of their sketches.

    Args:
        dimension: k, a power of two, 64 at least.
        seed: Projections of one dimension and seed are the same, and their sketches can be compared.

    Raises:
        GeometryError: If the dimension is no power of two, or below 64.

    Example:
        >>> project = Projection(64)
        >>> a, b = {"w": torch.tensor([3.0, 4.0])}, {"w": torch.tensor([1.0, 1.0])}
        >>> round(float(project(a) @ project(b)), 9)  # exact, for these have fewer entries than the sketch
        7.0
    """

    dimension: int = DIMENSION
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dimension < _WORD or self.dimension & (self.dimension - 1):
            raise GeometryError(
                f"a sketch of {self.dimension} numbers: give a power of two, {_WORD} at least; {DIMENSION} knows "
                "squared distances to 2.2 %, four times as many to half of that"
            )

    def __call__(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Sketch a point or a direction.

        Args:
            weights: Tensors by name; their order is part of the projection. Running statistics take no part.

        Returns:
            Float64 [k], on the device of the first tensor.

        Raises:
            GeometryError: If there is no floating-point tensor.
        """
        return self.with_norm(weights)[0]

    @torch.no_grad()
    def with_norm(self, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sketch a point, and take its exact squared norm (float64, without dimensions) in the same pass.

        Args:
            weights: As for a call.

        Raises:
            GeometryError: If there is no floating-point tensor.
        """
        tensors = list(without_buffers(borrow(weights)).values())
        device = tensors[0].device
        size = max(_CHUNK_CPU if device.type == "cpu" else _CHUNK, self.dimension)
        sketches, norms, start = [], [], 0
        for chunk in _chunks(tensors, size):
            sketches.append(self.part(chunk, start).to(device))
            norms.append(chunk.square().sum().to(device))
            start += len(chunk)
        return sum(sketches[1:], sketches[0]), sum(norms[1:], norms[0])

    @torch.no_grad()
    def part(self, entries: Tensor, start: int = 0) -> Tensor:
        """Sketch a point of which a stretch of entries is known, and all others are 0.

        The projection is linear: the sketches of the parts of a point, wherever they lie, add up to its sketch.

        Args:
            entries: The entries, [n].
            start: The position of the first one among all entries of the point.

        Returns:
            Float64 [k].
        """
        k = self.dimension
        first, offset = divmod(start, k)
        blocks = -(-(offset + len(entries)) // k)
        entries = wide(entries)
        x = entries.new_zeros(blocks * k)
        x[offset : offset + len(entries)] = entries
        self._flip(x, first * k, stream=0)
        x = _hadamard(x.view(blocks, k)).view(-1)
        self._flip(x, first * k, stream=1)
        return x.view(blocks, k).sum(dim=0)

    def error(self, entries: int) -> float:
        """The largest relative standard error of a squared norm or distance, for points of so many entries."""
        blocks = max(1, -(-entries // self.dimension))
        return math.sqrt(2 / self.dimension * (1 - 1 / blocks))

    def _flip(self, x: Tensor, start: int, stream: int) -> None:
        """Multiply entries by their random signs, in place; `start` is the position of the first, a multiple of 64."""
        words = torch.arange(start // _WORD, (start + len(x)) // _WORD, device=x.device)
        bits = _mixed(words * _signed(_GOLDEN) + _signed(_key(self.seed, stream)))
        shifted = bits[:, None] << torch.arange(_WORD, device=x.device)
        # A float64 has its sign where an int64 has its own.
        x.view(torch.int64).bitwise_xor_((shifted & _SIGN_BIT).view(-1))


@dataclass(frozen=True, eq=False)
class Estimate:
    """What is read off sketches.

    Args:
        value: Float64, of any shape.
        error: The standard errors, over the choice of the projection, of the same shape.
    """

    value: npt.NDArray[np.float64]
    error: npt.NDArray[np.float64]


def _chunks(tensors: list[Tensor], size: int) -> Iterator[Tensor]:
    """The entries of all tensors one after another, in float64, in pieces of `size`, the last one shorter."""
    parts: list[Tensor] = []
    missing = size
    for tensor in tensors:
        flat = tensor.detach().reshape(-1)
        while len(flat):
            parts.append(wide(flat[:missing]))
            flat, missing = flat[len(parts[-1]) :], missing - len(parts[-1])
            if not missing:
                yield _joined(parts)
                parts, missing = [], size
    if parts:
        yield _joined(parts)


def _joined(parts: list[Tensor]) -> Tensor:
    # A model may lie on several devices.
    return torch.cat([part.to(parts[0].device) for part in parts])


def _hadamard(rows: Tensor) -> Tensor:
    """The orthonormal Hadamard transform of each row [n, k], its entries in another, fixed order."""
    n, k = rows.shape
    inner = 1 << (k.bit_length() // 2)
    outer = k // inner
    # The transform is a Kronecker product. Matrix products of moderate size are the fastest way on every device.
    half = rows.reshape(-1, inner) @ _matrix(inner).to(rows.device)
    half = half.view(n, outer, inner).transpose(1, 2).reshape(-1, outer)
    return (half @ _matrix(outer).to(rows.device)).view(n, k)


@lru_cache(maxsize=8)
def _matrix(size: int) -> Tensor:
    """Sylvester's Hadamard matrix, over the square root of its size."""
    one = torch.ones(1, 1, dtype=torch.float64)
    pair = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    matrix = one
    while len(matrix) < size:
        matrix = torch.kron(matrix, pair)
    return matrix / math.sqrt(size)


# The finaliser of SplitMix64 (Steele, Lea and Flood 2014), on int64, whose products wrap around as those of uint64 do.
_GOLDEN, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _mixed(z: Tensor) -> Tensor:
    # `>>` on int64 copies the sign bit; the masks make it a shift of unsigned numbers.
    z = (z ^ ((z >> 30) & ((1 << 34) - 1))) * _signed(_MIX_1)
    z = (z ^ ((z >> 27) & ((1 << 37) - 1))) * _signed(_MIX_2)
    return z ^ ((z >> 31) & ((1 << 33) - 1))


def _signed(number: int) -> int:
    """The int64 of the same 64 bits."""
    number &= (1 << 64) - 1
    return number - (1 << 64) if number >> 63 else number


def _key(seed: int, stream: int) -> int:
    """Where in the sequence of hashes a seed's stream of signs begins."""
    return int(_mixed(torch.tensor(_signed((2 * seed + stream + 1) * _GOLDEN))))
