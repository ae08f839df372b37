"""The bilinear saddle against its closed forms, and the iterations of real optimizers against both."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_landscape.errors import GeometryError
from lightning_landscape.optim.saddle import STABLE_BELOW, Steps, iteration_matrix, modulus
from lightning_landscape.tasks.gan_saddle import saddle_path

S = [0.01, 0.25, 0.5, 0.99]


def observed_modulus(steps: Steps, s: float, iterations: int) -> float:
    """Fit the linear map of the iterations to a path, and take the largest modulus of its eigenvalues."""
    path = saddle_path(steps, s, iterations)
    map_, *_ = np.linalg.lstsq(path[:-1], path[1:], rcond=None)
    return float(np.abs(np.linalg.eigvals(map_)).max())


@pytest.mark.parametrize("s", S)
def test_moduli_are_the_closed_forms(s: float) -> None:
    assert modulus("simultaneous", s) == pytest.approx(np.sqrt(1 + s), abs=1e-6)
    assert modulus("alternating", s) == pytest.approx(1, abs=1e-6)
    assert modulus("prediction", s) == pytest.approx(np.sqrt(1 - s), abs=1e-6)


@pytest.mark.parametrize("s", S)
@pytest.mark.parametrize("steps", ["simultaneous", "alternating", "prediction"])
def test_optimizers_move_with_these_moduli(steps: Steps, s: float) -> None:
    assert observed_modulus(steps, s, 20) == pytest.approx(float(modulus(steps, s)), abs=1e-6)


def test_trace_and_determinant_of_prediction() -> None:
    for s in (0.1, 0.7, 1.2):
        matrix = iteration_matrix("prediction", s)
        assert np.trace(matrix) == pytest.approx(2 - 2 * s)
        assert np.linalg.det(matrix) == pytest.approx(1 - s)
        assert np.linalg.det(iteration_matrix("alternating", s)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("steps", "s", "distance"),
    [
        ("simultaneous", 0.25, 6.9e9),
        ("alternating", 0.25, 1.34),
        ("prediction", 0.25, 3.2e-13),
        ("alternating", 1.4, 0.81),
        ("prediction", 1.4, 7.6e11),
    ],
)
def test_distance_after_200_iterations(steps: Steps, s: float, distance: float) -> None:
    assert np.hypot(*saddle_path(steps, s, 200)[-1]) == pytest.approx(distance, rel=0.01)


def test_prediction_with_s_1_is_exact_after_two_iterations() -> None:
    assert saddle_path("prediction", 1.0, 2)[-1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("steps", ["alternating", "prediction"])
def test_stability_ends_where_it_is_said_to_end(steps: Steps) -> None:
    limit = STABLE_BELOW[steps]
    assert modulus(steps, limit - 1e-3) <= 1 + 1e-9
    assert modulus(steps, limit + 1e-3) > 1 + 1e-4


def test_errors_say_what_is_known() -> None:
    with pytest.raises(GeometryError, match="choose one of simultaneous, alternating, prediction"):
        iteration_matrix("both", 1.0)  # type: ignore[arg-type]
    with pytest.raises(GeometryError, match="s=0"):
        iteration_matrix("prediction", 0.0)
