"""The contour at the loss before training, on bowls whose contours are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from lightning_landscape.figures import plot_comparison, plot_contours, plot_trajectory
from lightning_landscape.records.surface import Surface
from tests.figures import examples

LABEL = "loss before training"


def bowl(**attrs: float) -> Surface:
    """0.1 + 4 r², so that the contour at v is the circle of radius sqrt((v - 0.1) / 4)."""
    x, y, X, Y = examples.plane(81, 61)
    return Surface(x, y, {"loss": 0.1 + 4 * (X**2 + Y**2), "accuracy": X}, attrs={**examples.ATTRS, **attrs})


def border(figure: Figure, panel: int = 0) -> QuadContourSet | None:
    sets = [c for c in figure.axes[panel].collections if isinstance(c, QuadContourSet)]
    found = [c for c in sets if len(c.levels) == 1 and c.get_linestyle()[0][1] is not None]
    assert len(found) <= 1
    return found[0] if found else None


def entries(figure: Figure, panel: int = 0) -> list[str]:
    legend = figure.axes[panel].get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("zmax", [None, 3.0])
def test_the_contour_is_the_circle_at_that_loss(log: bool, zmax: float | None) -> None:
    figure = plot_contours(bowl(initial_loss=2.3), filled=True, log=log, zmax=zmax)
    lines = border(figure)
    assert lines is not None
    radius = np.hypot(*lines.get_paths()[0].vertices.T)
    assert len(radius) > 50
    np.testing.assert_allclose(radius, np.sqrt(2.2 / 4), atol=0.01)
    assert LABEL in entries(figure)
    assert f"{LABEL} 2.3" in figure.get_supxlabel().replace("\n", " ")


def test_there_is_none_where_nothing_tells_it_or_the_plane_does_not_reach_it() -> None:
    for surface in (bowl(), bowl(initial_loss=9.0), bowl(initial_loss=0.05), bowl(initial_loss=float("nan"))):
        figure = plot_contours(surface)
        assert border(figure) is None
        assert LABEL not in entries(figure)
    assert border(plot_contours(bowl(initial_loss=2.3), zmax=2.0)) is None
    assert border(plot_contours(bowl(initial_loss=0.3), "accuracy")) is None
    flat = replace(bowl(initial_loss=2.3), channels={"loss": np.full((61, 81), np.nan)})
    assert border(plot_contours(flat)) is None


def test_panels_that_are_compared_have_one_entry_for_it() -> None:
    surfaces = {"a": bowl(initial_loss=2.3), "b": bowl(initial_loss=1.3), "c": bowl(initial_loss=20.0)}
    figure = plot_comparison(surfaces, log=False, zmax=5.0)
    radii = [np.hypot(*lines.get_paths()[0].vertices.T).mean() for k in (0, 1) if (lines := border(figure, k))]
    np.testing.assert_allclose(radii, np.sqrt(np.array([2.2, 1.2]) / 4), atol=0.01)
    assert border(figure, 2) is None
    assert entries(figure, 2) == [LABEL]
    assert f"a: {LABEL} 2.3; b: {LABEL} 1.3; c: {LABEL} 20" in figure.get_supxlabel().replace("\n", " ")


def test_paths_are_drawn_over_it() -> None:
    figure = plot_trajectory(examples.trajectory(initial_loss=1.0))
    assert border(figure) is not None
    assert entries(figure)[-1] == LABEL
    assert border(plot_trajectory(examples.trajectory())) is None


def test_falls_of_the_rate_are_named_where_paths_have_any() -> None:
    surface = examples.trajectory()
    assert surface.path is not None
    old = replace(surface, path=replace(surface.path, lr=None))
    said = [
        plot_comparison({"a": one, "b": two}).get_supxlabel().replace("\n", " ")
        for one, two in ((old, old), (old, surface))
    ]
    assert "circle: start of training, star: end" in said[0]
    assert "circle: start of training, diamond: the learning rate falls, star: end" in said[1]


@pytest.mark.parametrize("count", [1, 3, 6])
def test_nothing_is_cut_off_and_nothing_overlaps(count: int, assert_well_laid_out: Callable[[Figure], None]) -> None:
    surfaces = {f"shortcuts, depth {20 + 36 * k}": bowl(initial_loss=2.3 + k) for k in range(count)}
    assert_well_laid_out(plot_comparison(surfaces, log=False, zmax=10.0))
    assert_well_laid_out(plot_trajectory(examples.trajectory(initial_loss=1.0)))
