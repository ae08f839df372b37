"""Steps of a path against the gradient of a surface that is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_landscape.errors import RecordError
from lightning_landscape.geometry.path import Path
from lightning_landscape.records.descent import descent_cosines
from lightning_landscape.records.surface import Surface

X, Y = np.linspace(-3, 3, 61), np.linspace(-2, 2, 41)


def over_bowl(points: np.ndarray, **changes: np.ndarray) -> Surface:
    """A round bowl, whose contours are circles and whose descent goes to the middle."""
    loss = changes.get("loss", 0.1 + X**2 + Y[:, None] ** 2)
    none = np.zeros(len(points))
    return Surface(X, Y, {"loss": loss}, path=Path(points, none, none, None, None, none))


def test_a_circle_runs_along_the_contours_and_a_radius_across_them() -> None:
    angle = np.linspace(0, 2 * np.pi, 100)
    circle = np.stack([1.5 * np.cos(angle), 1.5 * np.sin(angle)], axis=1)
    np.testing.assert_allclose(descent_cosines(over_bowl(circle)), 0, atol=0.05)
    radius = np.linspace(1.9, 0.3, 12)[:, None] * np.array([np.cos(0.4), np.sin(0.4)])
    np.testing.assert_allclose(descent_cosines(over_bowl(radius)), 1, atol=0.01)
    np.testing.assert_allclose(descent_cosines(over_bowl(radius[::-1])), -1, atol=0.01)


def test_a_plane_slope_is_exact_at_every_angle() -> None:
    slope = np.exp(0.3 * X + 0.4 * Y[:, None])
    for angle in np.linspace(0, 6, 7):
        step = np.array([[0.0, 0.0], [0.5 * np.cos(angle), 0.5 * np.sin(angle)]])
        expected = -(0.6 * np.cos(angle) + 0.8 * np.sin(angle))
        np.testing.assert_allclose(descent_cosines(over_bowl(step, loss=slope)), expected, atol=1e-12)


def test_steps_without_an_answer_have_none() -> None:
    loss = 0.1 + X**2 + Y[:, None] ** 2
    loss[:, -3:] = np.inf
    points = np.array([[1.0, 1.0], [1.0, 1.0], [2.8, 1.0], [2.9, 1.0], [9.0, 9.0], [9.0, 8.0]])
    found = descent_cosines(over_bowl(points, loss=loss))
    assert np.isnan(found).tolist() == [True, False, True, True, True]


def test_a_surface_without_a_path_is_refused() -> None:
    with pytest.raises(RecordError, match="with the path of a training"):
        descent_cosines(Surface(X, Y, {"loss": np.ones((41, 61))}))
