"""Scale of the drawn values: linear, logarithmic or, across zero, symmetric logarithmic; with its levels and labels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """A monotone map f from values to heights and colours, the range that it covers, and the levels to be labelled.

    * linear: f(v) = v
    * log: f(v) = log10(v), for positive values
    * symlog: f(v) = sign(v) log10(1 + |v| / c), for values of both signs or zero that span decades

    Contours, colours and heights are all drawn in f(v), so that they agree between the computed points, and figures
    that share a Scale can be compared by eye.

    Attributes:
        kind: which f.
        low: the smallest value covered.
        high: the largest value covered; larger ones are drawn as this one.
        levels: values, increasing, to draw as contours and to label.
        constant: c of the symmetric logarithm.
        clipped: `high` was lowered, so that values above it exist.
    """

    kind: Literal["linear", "log", "symlog"]
    low: float
    high: float
    levels: tuple[float, ...]
    constant: float = 1.0
    clipped: bool = False

    @classmethod
    def covering(
        cls,
        *values: ArrayLike,
        log: bool | None = None,
        levels: Sequence[float] | None = None,
        zmax: float | None = None,
    ) -> Scale:
        """Choose one scale for all the values given, so that several surfaces can share it.

        Args:
            values: arrays; what is not finite is left out.
            log: True for a logarithm (a symmetric one where values of both signs span decades, none where the values
                are of one size and not positive); False for none; None to take one if the largest value exceeds 50
                times the smallest.
            levels: the levels to label; None to choose about ten round ones.
            zmax: upper end of the range, for surfaces with walls that hide the basin.

        Returns:
            The scale. With no finite value at all it covers [0, 1] and has no levels.

        Examples:
            >>> Scale.covering([0.01, 10.0]).levels
            (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
            >>> Scale.covering([-2000.0, -1000.0], log=True).kind
            'linear'
        """
        finite = np.concatenate([np.ravel(np.asarray(v, dtype=np.float64)) for v in values] or [np.empty(0)])
        finite = finite[np.isfinite(finite)]
        if finite.size == 0:
            return cls("linear", 0.0, 1.0, tuple(levels or ()))
        low, high = float(finite.min()), float(finite.max())
        clipped = zmax is not None and low < zmax < high
        if clipped:
            assert zmax is not None
            high = zmax
        kind, constant = _kind(finite, low, high, log)
        scale = cls(kind, low, high, (), constant, clipped)
        chosen = scale._round_levels() if levels is None else sorted({float(v) for v in levels})
        return cls(kind, low, high, tuple(chosen), constant, clipped)

    def forward(self, values: ArrayLike) -> Array:
        """Heights f(v) of values; what cannot be drawn (not finite, or not positive under a logarithm) is NaN."""
        array = np.array(values, dtype=np.float64)
        array[~np.isfinite(array)] = np.nan
        if self.kind == "log":
            array[array <= 0] = np.nan
            return np.log10(array)
        if self.kind == "symlog":
            return np.sign(array) * np.log10(1 + np.abs(array) / self.constant)
        return array

    @property
    def limits(self) -> tuple[float, float]:
        """Heights of the range's ends, a little apart where the values are all alike."""
        low, high = self.forward([self.low, self.high]).tolist()
        if high - low <= 1e-13 * max(abs(low), abs(high)):
            half = 1e-3 * max(abs(low), 1e-6)
            return low - half, high + half
        return low, high

    @property
    def flat(self) -> bool:
        """Whether the values are all alike, so that there are no contours."""
        return self.limits != tuple(self.forward([self.low, self.high]).tolist())

    @property
    def norm(self) -> Normalize:
        """Colours of heights."""
        return Normalize(*self.limits)

    @property
    def drawn_levels(self) -> tuple[float, ...]:
        """The levels inside of the range, ends excluded."""
        return tuple(v for v in self.levels if self.low < v < self.high)

    @property
    def ticks(self) -> tuple[float, ...]:
        """Values to label on a colour bar or a vertical axis: at most nine of the levels, or the range's ends."""
        if self.flat:
            return (self.low,)
        inside = [v for v in self.levels if self.low <= v <= self.high]
        if len(inside) < 2:
            return (self.low, self.high)
        step = math.ceil(len(inside) / 9)
        return tuple(inside[::step])

    def words(self) -> str:
        """The scale in a word or two for a label; empty for a linear one.

        Examples:
            >>> Scale("log", 0.1, 10.0, ()).words()
            'log scale'
        """
        return {"linear": "", "log": "log scale", "symlog": "symmetric log scale"}[self.kind]

    def _round_levels(self) -> list[float]:
        ends = MaxNLocator(nbins=10, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
        evenly = [float(v) for v in ends if self.low < v < self.high]
        if self.kind == "linear":
            return evenly
        if self.kind == "log":
            decades = _decade_levels(self.low, self.high)
            return decades if len(decades) > 3 else evenly
        positive = _decade_levels(self.constant, self.high) if self.high > self.constant else []
        negative = _decade_levels(self.constant, -self.low) if -self.low > self.constant else []
        return [-v for v in reversed(negative)] + [0.0] * (self.low < 0 < self.high) + positive


def _kind(finite: Array, low: float, high: float, log: bool | None) -> tuple[Literal["linear", "log", "symlog"], float]:
    if log is False or high <= low:
        return "linear", 1.0
    if low > 0:
        return ("log", 1.0) if log or high > 50 * low else ("linear", 1.0)
    sizes = np.abs(finite[finite != 0])
    largest, typical = max(abs(low), abs(high)), float(np.median(sizes))
    if largest > 100 * typical or (log and low < 0 < high and largest > 100 * float(np.quantile(sizes, 0.1))):
        smallest = max(float(np.quantile(sizes, 0.1)), 1e-9 * largest)
        return "symlog", 10.0 ** math.floor(math.log10(smallest))
    return "linear", 1.0


def _decade_levels(low: float, high: float) -> list[float]:
    """Round numbers between two positive ones: the densest of the usual series with at most eleven members."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    series: list[list[float]] = [
        [float(f"{m}e{e}") for e in range(first, last + 1) for m in digits]
        for digits in ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))
    ]
    series += [
        [float(f"1e{e}") for e in range(first, last + 1) if e % step == 0] for step in (2, 3, 5, 10, 20, 50, 100)
    ]
    for candidates in series:
        inside = [v for v in candidates if low < v < high]
        if len(inside) <= 11:
            return inside
    return []


def number(value: float, digits: int = 4) -> str:
    """A number as a reader writes it: `digits` significant ones, thousands separated, a true minus, 1e8 when long.

    Args:
        value: any number.
        digits: significant digits.

    Returns:
        The text.

    Examples:
        >>> number(0.0320001), number(12345.0, 6), number(1e8), number(float("nan"))
        ('0.032', '12,345', '1e8', 'nan')
        >>> number(-2.5e-7) == "\N{MINUS SIGN}2.5e\N{MINUS SIGN}7"
        True
    """
    text = f"{value:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa}e{int(exponent)}"
    elif math.isfinite(value) and abs(value) >= 1000 and float(text).is_integer():
        text = f"{float(text):,.10g}"
    return text.replace("-", "\N{MINUS SIGN}")


def distinct_labels(values: Iterable[float]) -> list[str]:
    """Labels with as few digits as tell the values apart and place them to a hundredth of their spacing.

    Args:
        values: levels or ticks, increasing.

    Returns:
        One label a value.

    Examples:
        >>> distinct_labels([0.1, 0.25, 1.0, 1e6])
        ['0.1', '0.25', '1', '1e6']
        >>> distinct_labels([0.5000001, 0.5000002])
        ['0.5000001', '0.5000002']
    """
    wanted = [float(v) for v in values]
    if not wanted:
        return []
    gaps = [math.inf, *(b - a for a, b in itertools.pairwise(wanted)), math.inf]
    near = [min(pair) for pair in itertools.pairwise(gaps)]
    labels = []
    for value, spacing in zip(wanted, near, strict=True):
        tolerance = 0.01 * spacing if math.isfinite(spacing) else 0.001 * abs(value)
        digits = next((d for d in range(1, 17) if abs(float(f"{value:.{d}g}") - value) <= tolerance), 17)
        labels.append(number(float(f"{value:.{digits}g}"), max(digits, 4)))
    return labels
