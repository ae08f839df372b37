from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lightning_landscape.errors import RecordError
from lightning_landscape.records import Surface, rise

X = np.linspace(-1, 1, 41)


def curve(values: Any, x: Any = X) -> Surface:
    return Surface(x=x, y=None, channels={"train/loss": values, "train/accuracy": 1 - np.asarray(values)})


@pytest.mark.parametrize("slope", [0.0, -7.0, 40.0])
@pytest.mark.parametrize(("at", "distance"), [(0.0, 0.5), (0.0, 1.0), (0.35, 0.1), (-0.5, 0.25)])
def test_a_parabola_rises_by_its_coefficient_times_the_squared_distance(
    at: float, distance: float, slope: float
) -> None:
    parabola = curve(3 * X**2 + slope * X + 11)
    assert rise(parabola, distance, at) == pytest.approx(3 * distance**2)
    assert rise(parabola, distance, at, "train/accuracy") == pytest.approx(-3 * distance**2)
    backwards = Surface(x=X[::-1], y=None, channels={"loss": parabola["loss"][::-1]})
    assert rise(backwards, distance, at) == pytest.approx(3 * distance**2)


def test_both_sides_count_alike() -> None:
    assert rise(curve(np.where(X > 0, 8 * X, 2 * -X)), 0.5) == pytest.approx((4 + 1) / 2)


def test_between_points_the_curve_is_straight() -> None:
    coarse = curve([4.0, 0.0, 2.0], [-1, 0, 1])
    assert rise(coarse, 0.5) == pytest.approx((2 + 1) / 2)


def test_what_is_not_finite_stays_so() -> None:
    walls = curve(np.where(np.abs(X) > 0.4, np.inf, 0.0))
    assert not math.isfinite(rise(walls, 0.5))
    assert rise(walls, 0.3) == 0.0


def test_what_has_no_rise_is_refused() -> None:
    plane = Surface(x=X, y=[0.0, 1.0], channels={"loss": np.zeros((2, 41))})
    with pytest.raises(RecordError, match="over a plane"):
        rise(plane, 0.5)
    with pytest.raises(RecordError, match=r"goes from -1 to 1 and its rise needs -0.25 to 1.75"):
        rise(curve(X), 1.0, 0.75)
    with pytest.raises(RecordError, match="no channel 'f1'"):
        rise(curve(X), 0.5, channel="f1")
