"""The record of a projected training: dtypes and shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lightning_landscape.errors import GeometryError
from lightning_landscape.geometry import Path
from lightning_landscape.geometry.path import turning_angles


def arguments() -> dict[str, Any]:
    return {
        "coordinates": [[0, 1], [2, 3], [4, 5]],
        "residual": [0, 1, 2],
        "steps": [0, 10, 20],
        "epochs": [0, 1, 2],
        "lr": [1, 1, 0],
        "distance_from_origin": [3, 2, 1],
    }


def test_arrays_get_their_dtypes() -> None:
    path = Path(**arguments())
    assert len(path) == 3
    assert path.dim == 2
    assert path.steps.dtype == np.int64
    assert path.epochs is not None
    assert path.epochs.dtype == np.int64
    assert path.lr is not None
    for array in (path.coordinates, path.residual, path.lr, path.distance_from_origin):
        assert array.dtype == np.float64


def test_epochs_and_learning_rates_may_be_unknown() -> None:
    path = Path(**{**arguments(), "epochs": None, "lr": None})
    assert path.epochs is None
    assert path.lr is None


@pytest.mark.parametrize("name", ["residual", "steps", "epochs", "lr", "distance_from_origin"])
def test_one_value_for_each_checkpoint(name: str) -> None:
    with pytest.raises(GeometryError, match=rf"{name} of a path has shape \(2,\): give one value for each of its 3"):
        Path(**{**arguments(), name: [1, 2]})


def test_coordinates_have_two_dimensions() -> None:
    with pytest.raises(GeometryError, match=r"coordinates of a path have shape \(3,\)"):
        Path(**{**arguments(), "coordinates": [0, 1, 2]})


def test_turning_angles_of_polygons() -> None:
    sides = np.arange(25)
    for corners, outer in ((3, 120), (4, 90), (12, 30)):
        circle = np.stack([np.cos(2 * np.pi * sides / corners), np.sin(2 * np.pi * sides / corners)], axis=1)
        np.testing.assert_allclose(turning_angles(circle)[1:-1], outer)
    # Three sides of a regular polygon before a corner are at three times the angle to three sides after it.
    np.testing.assert_allclose(turning_angles(circle, 3)[3:-3], 90)
    back = np.array([[0, 0, 0], [1, 2, 2], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(turning_angles(back), [np.nan, 180, np.nan, np.nan])
    assert np.isnan(turning_angles(back, 2)).all()
    assert len(turning_angles(np.zeros((0, 2)))) == 0
