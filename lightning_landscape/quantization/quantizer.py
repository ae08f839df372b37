"""The grid that low-bit weights live on: which numbers they may be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lightning_landscape.errors import QuantizationError


@dataclass(frozen=True)
class Quantizer:
    r"""A uniform grid of weights, given by its resolution or by a number of bits.

    With a resolution :math:`\Delta` the grid is the multiples of :math:`\Delta` in [-limit, limit], zero among them;
    ``limit=math.inf`` leaves it without ends. With :math:`b` bits it is :math:`2^b` evenly spaced values from -limit to
    limit, zero *not* among them:

    .. math:: \left\{ k \Delta : |k \Delta| \le \text{limit} \right\} \qquad
              \left\{ (k + \tfrac12) \Delta : -2^{b-1} \le k < 2^{b-1} \right\}, \quad
              \Delta = \frac{2\,\text{limit}}{2^b - 1}

    One bit is the binary grid {-limit, limit}. With ``scale="filter"`` a binary weight is plus or minus the scale of
    its filter, the mean magnitude of the real-valued weights there, instead of the limit.

    Args:
        delta: the resolution, in units of the weights.
        bits: the number of bits of a weight, instead of a resolution.
        limit: the largest magnitude of a weight; for a resolution, the grid ends at its last multiple within.
        scale: "filter" for binary weights with a scale for each filter; None for the same grid everywhere.

    Raises:
        QuantizationError: for a grid that is none.

    Source: Li, De, Xu, Studer, Samet, Goldstein (2017), section 2; the scale: Rastegari et al. (2016), equation 6.

    >>> Quantizer(delta=0.5).nearest(torch.tensor([0.3, -0.2, 7.0]))
    tensor([0.5000, -0.0000, 1.0000])
    >>> Quantizer(bits=1).nearest(torch.tensor([0.3, -0.2, 7.0]))
    tensor([ 1., -1.,  1.])
    >>> Quantizer(bits=2).levels
    4
    >>> Quantizer(delta=0)
    Traceback (most recent call last):
    lightning_landscape.errors.QuantizationError: delta=0: give the distance between neighbouring weights, above 0
    """

    delta: float | None = None
    bits: int | None = None
    limit: float = 1.0
    scale: Literal["filter"] | None = None

    def __post_init__(self) -> None:
        if (self.delta is None) == (self.bits is None):
            raise QuantizationError(
                f"delta={self.delta} and bits={self.bits}: give one of the two, such as Quantizer(delta=0.25) or "
                "Quantizer(bits=1)"
            )
        if self.delta is not None and not 0 < self.delta < math.inf:
            raise QuantizationError(f"delta={self.delta}: give the distance between neighbouring weights, above 0")
        if self.bits is not None and (self.bits < 1 or self.bits > 16 or self.bits != int(self.bits)):
            raise QuantizationError(f"bits={self.bits}: give a whole number of bits a weight, from 1 to 16")
        if not self.limit > 0 or (self.bits is not None and self.limit == math.inf):
            raise QuantizationError(
                f"limit={self.limit}: give the largest magnitude of a weight, above 0; only a grid with a resolution "
                "may be without ends"
            )
        if self.delta is not None and self.delta > self.limit:
            raise QuantizationError(
                f"delta={self.delta} is larger than limit={self.limit}, so 0 would be the only weight: give a finer "
                "resolution or a wider limit"
            )
        if self.scale not in {None, "filter"} or (self.scale is not None and self.bits != 1):
            raise QuantizationError(
                f"scale={self.scale!r} with bits={self.bits}: only binary weights have a scale, "
                'Quantizer(bits=1, scale="filter")'
            )

    @property
    def step(self) -> float:
        """The distance between neighbouring weights."""
        if self.delta is not None:
            return self.delta
        return 2 * self.limit / (self.levels - 1)

    @property
    def levels(self) -> int:
        """How many values a weight may have.

        Raises:
            QuantizationError: for a grid without ends.
        """
        if self.bits is not None:
            return 1 << int(self.bits)
        if self.limit == math.inf:
            raise QuantizationError("a grid with limit=inf has no number of levels: give a finite limit")
        return 2 * self._last + 1

    @property
    def highest(self) -> float:
        """The largest weight; the smallest is its negative."""
        if self.bits is not None or self.limit == math.inf:
            return self.limit
        return self._last * self.step

    @property
    def _last(self) -> int:
        # A multiple that misses the limit by a rounding error is within it: 10 * 0.1 in [-1, 1].
        return math.floor(self.limit / self.step * (1 + 1e-9))

    def nearest(self, weights: Tensor) -> Tensor:
        r"""Return the nearest weight of the grid for each, :math:`Q_d(w)`, as a new tensor without a gradient.

        Halfway between two weights, a grid with a resolution gives the even multiple, one with bits the higher weight.

        Args:
            weights: any shape; with ``scale="filter"``, the filters are counted by dimension 0.
        """
        with torch.no_grad():
            if self.scale is None:
                return self.snap(weights, torch.empty_like(weights))
            scale = self.scale_of(weights)
            units = weights / scale.clamp(min=torch.finfo(weights.dtype).tiny)  # a filter of zeros stays one
            return self.snap(units, units).mul_(scale)

    def snap(self, weights: Tensor, out: Tensor) -> Tensor:
        """Write the nearest weights of the grid to `out`, which may be the weights themselves. Scales count as 1."""
        # Every weight of the grid is made by these operations, each rounded once: the same bits wherever it is made.
        return self.place_(self._count(weights, out))

    def index(self, weights: Tensor) -> Tensor:
        """Return the number of the nearest weight of the grid, counted from about zero: int32, any shape.

        >>> Quantizer(bits=2).index(torch.tensor([-1.0, -0.3, 0.3, 1.0])).tolist()
        [-2, -1, 0, 1]
        """
        return self._count(weights.detach(), torch.empty_like(weights)).to(torch.int32)

    def place_(self, index: Tensor) -> Tensor:
        """Turn numbers of weights (`index`, as a floating-point tensor) into the weights, in place."""
        return (index if self.delta is not None else index.add_(0.5)).mul_(self.step)

    def _count(self, weights: Tensor, out: Tensor) -> Tensor:
        torch.div(weights, self.step, out=out)
        end = self.highest / self.step
        if self.delta is not None:
            return out.clamp_(-end, end).round_()
        return out.floor_().clamp_(-end - 0.5, end - 0.5)

    def scale_of(self, weights: Tensor) -> Tensor:
        r"""Return the scale of each filter, :math:`\frac1n \sum_i |w_i|`, of size 1 along all dimensions but 0."""
        inner = tuple(range(1, weights.ndim))
        magnitudes = weights.detach().abs()
        return magnitudes.mean(inner, keepdim=True) if inner else magnitudes

    def outside(self, weights: Tensor) -> int:
        """Count the weights beyond the ends of the grid (none with a scale for each filter, which follows them).

        >>> Quantizer(bits=1).outside(torch.tensor([0.5, 1.5, -3.0]))
        2
        """
        if self.scale is not None:
            return 0
        return int(torch.count_nonzero(weights.detach().abs() > self.highest))
