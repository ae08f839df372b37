"""Plans: how many examples at every point, how many at the points of which coarse grid, for an error or a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lightning_landscape.sampling.coarse_grid import CoarseGrid
from lightning_landscape.sampling.cost import Costs, surface_seconds
from lightning_landscape.sampling.grid import Grid
from lightning_landscape.sampling.variation import Variation

TARGET = 0.005
"""The largest error that "auto" aims at, as a share of the surface's range."""

SUBSET_BATCHES = 8
"""Batches that a subset is cut into: the spread between them tells its error."""

UNSIZED = 1024
"""Examples that "auto" takes of a data set without a length."""

_SAFETY = 2.0  # standard errors at the worst point that are to stay below the target
_LARGEST_SUBSET, _LARGEST_REFERENCE = 4096, 65_536
_SMALLEST_SUBSET = 64
# Odd, so that the trained weights in the middle of a plane are one of the points that see the reference.
_COARSE = range(5, 15, 2)
_WORTHWHILE = 0.5  # of the exact surface's cost: an estimate that costs more is not worth its error
_SMALLEST_RESOLUTION = 11


@dataclass(frozen=True)
class Plan:
    """A choice of examples for one surface.

    Attributes:
        subset: for each data set the examples that every point sees.
        reference: for each data set the examples that the coarse points see; those of `subset` without coarse points.
        coarse: coarse points along each axis; 0 for none.
        expected: the standard error to expect at the worst point, as a share of the range; None if unknown.
    """

    subset: tuple[int, ...]
    reference: tuple[int, ...]
    coarse: int
    expected: float | None = None

    @property
    def batches(self) -> int | None:
        """Batches that the subset is cut into, at least; None for batches of the user's size.

        A step may depend on the size of its batch. The coarse grid corrects that; without one it must not change.
        """
        return SUBSET_BATCHES if self.coarse else None

    def coarse_grid(self, grid: Grid) -> CoarseGrid | None:
        """The coarse points of a grid, at most every second along an axis; None if there are none."""
        return coarse_grid(grid, self.coarse)

    def work(self, grid: Grid) -> int:
        """Evaluations of single examples, over all points of a grid."""
        coarse = self.coarse_grid(grid)
        return grid.size * sum(self.subset) + (0 if coarse is None else coarse.size * sum(self.reference))


def coarse_grid(grid: Grid, count: int) -> CoarseGrid | None:
    """Return a coarse grid of at most `count` points along each axis, an odd number; None without room for five."""
    lengths = [length for length in grid.shape if length > 1]
    count = min(count, (min(lengths, default=1) + 1) // 2)
    count -= 1 - count % 2
    return CoarseGrid.of(grid, count) if count >= _COARSE[0] else None


def plan_for_number(examples: int, grid: Grid, populations: Sequence[int | None]) -> Plan | None:
    """Plan for a number of examples at every point, with as much work again on a coarse grid.

    Args:
        examples: at every point.
        grid: the points.
        populations: the sizes of the data sets; None for one without a length, which gets no coarse grid.

    Returns:
        The plan; None for the exact surface, where the data sets have no more examples.

    >>> plan_for_number(1024, Grid.square(1, 51), [50_000])
    Plan(subset=(1024,), reference=(50000,), coarse=7, expected=None)
    >>> plan_for_number(1024, Grid.square(1, 51), [1_281_167])
    Plan(subset=(1024,), reference=(107560,), coarse=5, expected=None)
    """
    subset = tuple(examples if size is None else min(examples, size) for size in populations)
    if all(n == size for n, size in zip(subset, populations, strict=True)):
        return None
    sizes = [size for size in populations if size is not None]
    if len(sizes) < len(populations):
        return Plan(subset, subset, 0)
    work, rest = grid.size * sum(subset), sum(sizes) - sum(subset)
    count = min(max(int((work / rest) ** (1 / grid.dim)), _COARSE[0]), 9)
    coarse = coarse_grid(grid, count)
    if coarse is None:
        return Plan(subset, subset, 0)
    share = min(1.0, work / (coarse.size * rest))
    reference = tuple(n + int(share * (size - n)) for n, size in zip(subset, sizes, strict=True))
    return Plan(subset, reference, count)


def plan_for_error(
    variations: Sequence[Variation], grid: Grid, populations: Sequence[int], target: float = TARGET
) -> Plan | None:
    r"""Plan for the least work that keeps the error below a share of the surface's range.

    For each coarse grid of K points, with :math:`\tau` the standard error that is allowed, n and m minimise
    :math:`nM + mK` under :math:`\sigma_r^2 (1/n - 1/m) + \sigma_\ell^2 (1/m - 1/N) = \tau^2` (M points in all):
    :math:`n \propto \sqrt{\sigma_r^2 / M}` and :math:`m \propto \sqrt{(\sigma_\ell^2 - \sigma_r^2) / K}`, the optimum
    of double sampling (Cochran, Sampling Techniques, 1977, section 12).

    Args:
        variations: of the loss, for each data set.
        grid: the points.
        populations: the sizes of the data sets.
        target: the largest error, as a share of the range; two standard errors are kept below it.

    Returns:
        The plan; None for the exact surface, where an estimate would cost more than half of it.
    """
    plans = [_optimum(count, variations, grid, populations, target / _SAFETY) for count in _counts(grid)]
    known = [plan for plan in plans if not math.isnan(_expected(plan))]
    if not known:
        return plan_for_number(UNSIZED, grid, populations)
    reaching = [plan for plan in known if _expected(plan) * _SAFETY <= target * 1.001]
    best = min(reaching, key=lambda plan: plan.work(grid)) if reaching else min(known, key=_expected)
    return best if best.work(grid) <= _WORTHWHILE * grid.size * sum(populations) else None


def plan_for_time(
    seconds: float,
    costs: Costs,
    variations: Sequence[Variation],
    grid: Grid,
    populations: Sequence[int],
    ranks: int = 1,
    target: float = TARGET,
) -> tuple[Grid, Plan | None]:
    """Plan for the smallest error that a time allows, on fewer points along each axis where it would be too large.

    Args:
        seconds: for the whole surface.
        costs: what evaluations cost.
        variations: of the loss, for each data set.
        grid: the finest grid.
        populations: the sizes of the data sets.
        ranks: processes that share the points.
        target: the error that is worth a coarser picture.

    Returns:
        The grid, and the plan, which is None for the exact surface.
    """
    best: tuple[Grid, Plan] | None = None
    for finest in _coarser(grid):
        if surface_seconds(costs, finest.size, tuple(populations), ranks=ranks) <= seconds:
            return finest, None
        plans = [
            _affordable(count, seconds, costs, variations, finest, populations, ranks) for count in _counts(finest)
        ]
        found = min((plan for plan in plans if plan is not None), key=_expected, default=None)
        if found is not None:
            best = (finest, found)
            if _expected(found) * _SAFETY <= target:
                break
    if best is None:
        smallest = tuple(min(size, _SMALLEST_SUBSET // 2) for size in populations)
        expected = expected_error(variations, smallest, smallest, populations, 0)
        best = finest, Plan(smallest, smallest, 0, expected)
    return best


def expected_error(
    variations: Sequence[Variation],
    subset: Sequence[int],
    reference: Sequence[int],
    populations: Sequence[int | None],
    coarse: int,
) -> float:
    """Return the largest standard error to expect, over all data sets, as a share of the range; see `Variation`."""
    each = zip(variations, subset, reference, populations, strict=True)
    return max(variation.error(n, m, size, coarse) for variation, n, m, size in each)


def _optimum(
    count: int, variations: Sequence[Variation], grid: Grid, populations: Sequence[int], allowed: float
) -> Plan:
    coarse = coarse_grid(grid, count)
    subset, reference = [], []
    for variation, size in zip(variations, populations, strict=True):
        level, permitted = variation.level, (allowed * variation.range) ** 2
        residual = variation.residual_at(count) if coarse is not None else level
        if coarse is None or not residual < level:
            n = m = _at_least(level, permitted + level / size)
        else:
            weight, rest = math.sqrt(residual * grid.size), math.sqrt((level - residual) * coarse.size)
            scale = (weight + rest) / (permitted + level / size)
            n, m = weight * scale / grid.size, rest * scale / coarse.size
            if m > size:
                n, m = _at_least(residual, permitted + residual / size), size
        subset.append(_whole(n, min(size, _LARGEST_SUBSET)))
        reference.append(max(subset[-1], _whole(m, min(size, _LARGEST_REFERENCE)) if coarse is not None else 0))
    expected = expected_error(variations, subset, reference, populations, count)
    return Plan(tuple(subset), tuple(reference), count, expected)


def _affordable(
    count: int,
    seconds: float,
    costs: Costs,
    variations: Sequence[Variation],
    grid: Grid,
    populations: Sequence[int],
    ranks: int,
) -> Plan | None:
    """The plan of the smallest error in a time; None if not even the smallest subset fits."""
    coarse = coarse_grid(grid, count)
    points, nodes = grid.size, 0 if coarse is None else coarse.size

    def plan(scale: float) -> Plan:
        subset, reference = [], []
        for variation, size in zip(variations, populations, strict=True):
            residual = variation.residual_at(count) if nodes else variation.level
            rest = max(0.0, variation.level - residual)
            n = _whole(scale * math.sqrt(residual / points), size)
            subset.append(n)
            reference.append(max(n, min(size, int(scale * math.sqrt(rest / nodes)))) if nodes else n)
        expected = expected_error(variations, subset, reference, populations, count)
        return Plan(tuple(subset), tuple(reference), count, expected)

    def fits(scale: float) -> bool:
        made = plan(scale)
        return surface_seconds(costs, points, made.subset, nodes, made.reference, ranks) <= seconds

    if math.isnan(_expected(plan(1.0))) or not fits(0.0):
        return None
    low, high = 0.0, 1.0
    while fits(high) and plan(high).subset != tuple(populations):
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return plan(low)


def _counts(grid: Grid) -> Iterator[int]:
    """Numbers of coarse points along an axis that a grid allows, 0 among them."""
    yield 0
    for count in _COARSE:
        coarse = coarse_grid(grid, count)
        if coarse is not None and max(coarse.shape) == count:
            yield count


def _coarser(grid: Grid) -> Iterator[Grid]:
    """The grid, then ever fewer points along each axis; a point in the middle stays one."""
    factor = 1.0
    while True:
        coarser = replace(grid, x=_thinned(grid.x, factor), y=None if grid.y is None else _thinned(grid.y, factor))
        yield coarser
        if max(coarser.shape) <= _SMALLEST_RESOLUTION:
            return
        factor *= 0.9


def _thinned(axis: tuple[float, float, int], factor: float) -> tuple[float, float, int]:
    start, stop, count = axis
    fewer = min(count, max(_SMALLEST_RESOLUTION, int(count * factor)))
    return start, stop, fewer if fewer == count or (count - fewer) % 2 == 0 else fewer - 1


def _expected(plan: Plan) -> float:
    return math.nan if plan.expected is None else plan.expected


def _at_least(variance: float, permitted: float) -> float:
    return variance / permitted if permitted > 0 else math.inf


def _whole(number: float, largest: int) -> int:
    """Round up to whole examples, within bounds."""
    return (
        largest if math.isnan(number) or number >= largest else min(largest, max(_SMALLEST_SUBSET, math.ceil(number)))
    )
