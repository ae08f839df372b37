from __future__ import annotations

import numpy as np
import pytest

from lightning_landscape.figures.scale import Scale, distinct_labels, number


def test_a_log_scale_is_chosen_beyond_a_ratio_of_fifty() -> None:
    assert Scale.covering([1.0, 49.0]).kind == "linear"
    assert Scale.covering([1.0, 51.0]).kind == "log"
    assert Scale.covering([1.0, 2.0], log=True).kind == "log"
    assert Scale.covering([1.0, 1e6], log=False).kind == "linear"


def test_values_that_have_no_logarithm() -> None:
    assert Scale.covering([-1979.0, -1500.0, -1053.0], log=True).kind == "linear"
    spanning = np.concatenate([[-2.0, 0.0], np.geomspace(1e-2, 1e7, 40)])
    scale = Scale.covering(spanning)
    assert scale.kind == "symlog"
    assert np.isfinite(scale.forward(spanning)).all()
    assert (np.diff(scale.forward(np.sort(spanning))) > 0).all()
    assert scale.forward([0.0]) == 0
    assert 0.0 in scale.levels


def test_forward_maps_what_cannot_be_drawn_to_nan_and_leaves_its_argument() -> None:
    values = np.array([np.nan, np.inf, -np.inf, -1.0, 0.0, 100.0])
    before = values.copy()
    np.testing.assert_array_equal(Scale.covering([1.0, 100.0]).forward(values), [np.nan] * 5 + [2.0])
    np.testing.assert_array_equal(values, before)


def test_the_scale_covers_all_arrays_and_ignores_what_is_not_finite() -> None:
    scale = Scale.covering([[1.0, np.nan]], [3.0, np.inf], [2.0])
    assert (scale.low, scale.high) == (1.0, 3.0)


@pytest.mark.parametrize(
    ("low", "high"), [(1e-3, 1e8), (0.01, 10.0), (0.9, 1.1), (-5.0, 7.0), (1e-300, 1e300), (0.5, 0.5000002)]
)
@pytest.mark.parametrize("log", [None, True, False])
def test_levels_are_few_round_increasing_and_inside(low: float, high: float, log: bool | None) -> None:
    scale = Scale.covering(np.array([low, high]), log=log)
    levels = np.array(scale.drawn_levels)
    assert 3 <= len(levels) <= 12
    assert (np.diff(levels) > 0).all()
    assert levels[0] > low
    assert levels[-1] < high
    assert len(set(distinct_labels(levels))) == len(levels)
    assert len(scale.ticks) <= 9


def test_published_levels_can_be_asked_for() -> None:
    # Li et al. draw contours from 0.1 to 10 in steps of 0.5.
    wanted = np.arange(0.1, 10, 0.5)
    assert Scale.covering([0.01, 40.0], levels=wanted).levels == tuple(wanted.tolist())


def test_zmax_ends_the_range_only_where_there_are_larger_values() -> None:
    cut = Scale.covering([0.1, 1e6], zmax=10.0)
    assert (cut.high, cut.clipped) == (10.0, True)
    for ineffective in (1e7, 0.01):
        scale = Scale.covering([0.1, 1e6], zmax=ineffective)
        assert (scale.high, scale.clipped) == (1e6, False)


def test_a_constant_and_no_value_at_all() -> None:
    for value in (0.0, 2.3, -7.0, 1e-9):
        scale = Scale.covering([value, value])
        assert scale.flat
        assert scale.drawn_levels == ()
        assert scale.ticks == (value,)
        low, high = scale.limits
        assert low < scale.forward(value) < high
    empty = Scale.covering([np.nan])
    assert empty.limits == (0.0, 1.0)
    assert not empty.flat


def test_numbers_are_short_and_have_a_true_minus() -> None:
    assert number(-1219.0) == "\N{MINUS SIGN}1,219"
    assert number(0.0) == "0"
    assert number(1234.5678, 6) == "1234.57"
    assert number(float("inf")) == "inf"


def test_labels_place_values_to_a_hundredth_of_their_distance() -> None:
    values = [0.1, 0.30000001, 0.30000002, 5.0, 1e9]
    labels = distinct_labels(values)
    assert labels == ["0.1", "0.30000001", "0.30000002", "5", "1e9"]
    assert distinct_labels([]) == []
