from __future__ import annotations

import pytest

from lightning_landscape.errors import LandscapeError
from lightning_landscape.sampling.cost import Costs, footprint, seconds_of, surface_seconds

COSTS = Costs(point=0.5, batch=0.25, example=0.01, loading=0.001, batch_size=100, subset_batches=4, write=0.002)


def test_an_exact_surface() -> None:
    """25 points of 250 examples in 3 batches, on 2 ranks: 13 points each."""
    expected = 250 * 0.001 + 13 * (0.5 + 3 * 0.25 + 250 * 0.01) + 25 * 0.002
    assert surface_seconds(COSTS, 25, [250], ranks=2) == pytest.approx(expected)


def test_an_estimated_surface() -> None:
    """40 examples in 4 batches everywhere, 250 in 3 batches at 16 points."""
    every, coarse = 0.5 + 4 * 0.25 + 40 * 0.01, 0.5 + 3 * 0.25 + 250 * 0.01
    expected = 290 * 0.001 + 100 * every + 16 * coarse + 100 * 0.002
    assert surface_seconds(COSTS, 100, [40], 16, [250]) == pytest.approx(expected)


def test_several_data_sets_add_up() -> None:
    both, one = (surface_seconds(COSTS, 10, sizes) for sizes in ([100, 100], [100]))
    assert both - one == pytest.approx(10 * (0.25 + 1.0) + 0.1)


def test_memory_and_disk() -> None:
    exact = footprint(1000, 2, 50, 8, 300, points=100, channels=2)
    assert exact.memory == 4000 + 400 + 300
    assert exact.disk == 100 * (2 * 16 + 1)
    estimated = footprint(1000, 2, 50, 8, 300, points=100, channels=2, subset_batches=8)
    assert estimated.disk == 100 * (2 * 33 + 2 * 8 * 9 + 1)


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60), ("1.5 h", 5400), ("10 MIN", 600), ("2m", 120), (7, 7)])
def test_times_are_read(text: str | float, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-3s", "0", "10 days", "1.2.3s", float("inf"), float("nan")])
def test_other_times_are_refused(text: str | float) -> None:
    with pytest.raises(LandscapeError, match=r"give seconds, or text such as '60s'"):
        seconds_of(text)
