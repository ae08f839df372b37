from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import plot_trajectory
from lightning_landscape.figures.trajectory import learning_rate_falls
from tests.figures import examples


def labelled(figure: Figure, panel: int) -> dict[str, np.ndarray]:
    return {line.get_label(): np.array(line.get_data()) for line in figure.axes[panel].get_lines()}


def test_every_checkpoint_is_drawn_at_its_coordinates() -> None:
    surface = examples.trajectory()
    path = surface.path
    assert path is not None
    figure = plot_trajectory(surface)
    drawn = labelled(figure, 0)
    np.testing.assert_array_equal(drawn["checkpoints"].T, path.coordinates)
    np.testing.assert_array_equal(drawn["start"].T, path.coordinates[:1])
    np.testing.assert_array_equal(drawn["final weights"].T, path.coordinates[-1:])
    np.testing.assert_array_equal(drawn["learning rate falls"].T, path.coordinates[[20, 30]])
    axes = figure.axes[0]
    assert axes.get_xlim() == (surface.x[0], surface.x[-1])
    assert axes.get_ylim() == (surface.y[0], surface.y[-1])
    assert axes.get_xlabel().startswith("first principal direction (73 % of variance)")
    assert axes.get_ylabel().startswith("second principal direction (12 % of variance)")


def test_distances_are_drawn_from_zero_with_the_whole_distance_beside_them() -> None:
    surface = examples.trajectory()
    path = surface.path
    assert path is not None
    figure = plot_trajectory(surface)
    drawn = labelled(figure, 1)
    np.testing.assert_array_equal(drawn["from the plane, not visible in it"], [path.epochs, path.residual])
    np.testing.assert_array_equal(drawn["from the plane's origin"], [path.epochs, path.distance_from_origin])
    low, high = figure.axes[1].get_ylim()
    assert low == 0
    assert high > path.distance_from_origin.max()
    assert figure.axes[1].get_xlim() == (0, 40)
    assert figure.axes[1].get_xlabel() == "epoch"


def test_steps_take_the_place_of_epochs_and_smooth_schedules_have_no_marks() -> None:
    surface = examples.trajectory()
    assert surface.path is not None
    path = replace(surface.path, epochs=None, lr=np.linspace(0.1, 0.0, len(surface.path)))
    figure = plot_trajectory(replace(surface, path=path))
    assert figure.axes[1].get_xlabel() == "optimizer step"
    assert "learning rate falls" not in labelled(figure, 0)


def test_checkpoints_beyond_the_axes_are_counted_and_do_not_move_them() -> None:
    surface = examples.trajectory()
    assert surface.path is not None
    path = replace(surface.path, coordinates=surface.path.coordinates * 1.5)
    figure = plot_trajectory(replace(surface, path=path))
    outside = ((path.coordinates[:, 0] > 14) | (abs(path.coordinates[:, 1] - 0.5) > 4.5)).sum()
    assert outside > 0
    assert f"{outside} of 41 checkpoints lie beyond the axes" in figure.get_supxlabel().replace("\n", " ")
    assert figure.axes[0].get_xlim() == (surface.x[0], surface.x[-1])


def test_learning_rate_falls() -> None:
    steps = np.repeat([0.1, 0.01, 0.001], 10)
    np.testing.assert_array_equal(learning_rate_falls(steps), [10, 20])
    np.testing.assert_array_equal(learning_rate_falls(np.array([0.1, 0.01])), [1])
    warm_up = np.array([0.01, 0.05, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])
    np.testing.assert_array_equal(learning_rate_falls(warm_up), [6])
    assert len(learning_rate_falls(0.5 * (1 + np.cos(np.linspace(0, np.pi, 50))))) == 0
    assert len(learning_rate_falls(None)) == 0


def test_a_surface_without_a_path_is_refused() -> None:
    with pytest.raises(RecordError, match="plot_contours"):
        plot_trajectory(examples.bowl())


@pytest.mark.parametrize("wide", [True, False])
def test_nothing_is_cut_off_and_nothing_overlaps(wide: bool, assert_well_laid_out: Callable[[Figure], None]) -> None:
    surface = examples.trajectory()
    if not wide:
        surface = replace(surface, x=np.linspace(-4, 5, len(surface.x)))
    assert_well_laid_out(plot_trajectory(surface, filled=wide))
