from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import plot_contours
from lightning_landscape.records.surface import Surface
from tests.figures import examples


def sets(figure: Figure) -> list[QuadContourSet]:
    return [c for c in figure.axes[0].collections if isinstance(c, QuadContourSet)]


def test_contours_lie_where_the_values_say_on_a_grid_that_is_not_square() -> None:
    # Bilinear interpolation is exact for 1 + x + 10 y, so every vertex of a contour solves its equation. Values
    # transposed, or rows and columns exchanged, do not fit the axes of 5 and 3 points at all.
    figure = plot_contours(examples.oblong())
    (lines,) = sets(figure)
    assert len(lines.levels) >= 5
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):
        x, y = path.vertices.T
        assert len(x) >= 2
        np.testing.assert_allclose(1 + x + 10 * y, level, atol=1e-9)


def test_colours_lie_where_the_values_say() -> None:
    body, _ = sets(plot_contours(examples.oblong(), filled=True))
    edges = np.asarray(body.levels)
    for low, high, path in zip(edges[:-1], edges[1:], body.get_paths()[1:-1], strict=True):
        x, y = path.vertices.T
        values = 1 + x + 10 * y
        assert low - 1e-9 <= values.min()
        assert values.max() <= high + 1e-9


@pytest.mark.parametrize("make", [examples.oblong, examples.bowl, examples.trajectory])
@pytest.mark.parametrize("filled", [False, True])
def test_the_axes_end_where_the_grid_ends(make: Callable[[], Surface], filled: bool) -> None:
    surface = make()
    assert surface.y is not None
    axes = plot_contours(surface, filled=filled).axes[0]
    assert axes.get_xlim() == (surface.x[0], surface.x[-1])
    assert axes.get_ylim() == (surface.y[0], surface.y[-1])


def test_contours_under_a_logarithm_are_labelled_with_the_values_themselves() -> None:
    figure = plot_contours(examples.huge(), levels=[0.1, 10.0, 1e4])
    (lines,) = sets(figure)
    np.testing.assert_allclose(lines.levels, [-1, 1, 4])
    assert {t.get_text() for t in lines.labelTexts} <= {"0.1", "10", "1e4"}
    # Contours of 10^(-3 + 11 r^0.8) are circles; the piecewise linear ones of a 41-point grid are close to them.
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):
        radius = ((level + 3) / 11) ** (1 / 0.8)
        assert abs(np.hypot(*path.vertices.T).mean() - radius) < 0.01


def cells_of(collections: list[PolyCollection], surface: Surface) -> np.ndarray:
    """Which cells rectangles cover, by their centres."""
    assert surface.y is not None
    x, y = ((a[:-1] + a[1:]) / 2 for a in (surface.x, surface.y))
    covered = np.zeros((len(y), len(x)), dtype=bool)
    for collection in collections:
        for path in collection.get_paths():
            (x0, y0), (x1, y1) = path.vertices.min(axis=0), path.vertices.max(axis=0)
            covered |= ((y > y0) & (y < y1))[:, None] & ((x > x0) & (x < x1))[None]
    return covered


@pytest.mark.parametrize("filled", [False, True])
def test_gaps_are_gaps_and_the_legend_explains_them(filled: bool) -> None:
    surface = examples.gappy()
    figure = plot_contours(surface, filled=filled)
    axes = figure.axes[0]
    grey = [c for c in axes.collections if isinstance(c, PolyCollection)]
    missing = ~np.isfinite(surface["val/loss"])
    expected = missing[:-1, :-1] | missing[1:, :-1] | missing[:-1, 1:] | missing[1:, 1:]
    np.testing.assert_array_equal(cells_of(grey, surface), expected)
    hatched = cells_of([c for c in grey if c.get_hatch()], surface)
    not_computed = ~surface.done
    touches = not_computed[:-1, :-1] | not_computed[1:, :-1] | not_computed[:-1, 1:] | not_computed[1:, 1:]
    np.testing.assert_array_equal(hatched, expected & ~touches)
    legend = axes.get_legend()
    assert legend is not None
    assert {"not finite", "not computed"} <= {t.get_text() for t in legend.get_texts()}
    # No contour enters a gap.
    for contours in sets(figure):
        for path in contours.get_paths():
            if len(path.vertices):
                x, y = path.vertices.T
                j = np.clip(np.searchsorted(surface.y, y, side="right") - 1, 0, expected.shape[0] - 1)
                i = np.clip(np.searchsorted(surface.x, x, side="right") - 1, 0, expected.shape[1] - 1)
                on_line = np.isclose(surface.x[i], x) | np.isclose(surface.y[j], y)
                on_line |= np.isclose(surface.x[i + 1], x) | np.isclose(surface.y[j + 1], y)
                assert not (expected[j, i] & ~on_line).any()


def test_a_surface_without_any_value_is_all_gap() -> None:
    surface = Surface([0, 1, 2], [0, 1], {"loss": np.full((2, 3), np.nan)}, done=False)
    figure = plot_contours(surface, filled=True)
    assert sets(figure) == []
    assert "6 of 6 points not computed" in figure.get_supxlabel().replace("\n", " ")


def test_the_origin_is_marked_and_a_lower_point_too() -> None:
    legend = plot_contours(examples.bowl()).axes[0].get_legend()
    assert [t.get_text() for t in legend.get_texts()] == ["trained weights: 0.03"]
    axes = plot_contours(examples.oblong()).axes[0]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == [
        "trained weights: 1",
        "lowest computed: \N{MINUS SIGN}1 at (\N{MINUS SIGN}2, 0)",
    ]
    origin, lowest = axes.get_lines()
    assert (origin.get_xdata()[0], origin.get_ydata()[0]) == (0, 0)
    assert (lowest.get_xdata()[0], lowest.get_ydata()[0]) == (-2, 0)


def test_an_accuracy_has_no_logarithm_and_no_lowest_point() -> None:
    figure = plot_contours(examples.bowl(), "val/accuracy", filled=True)
    assert figure.axes[0].child_axes[0].get_ylabel() == "val/accuracy"
    assert len(figure.axes[0].get_lines()) == 1


def test_values_above_zmax_are_said_to_be_drawn_as_it() -> None:
    figure = plot_contours(examples.huge(), filled=True, zmax=100.0)
    assert "values above 100 are drawn as 100" in figure.get_supxlabel().replace("\n", " ")
    (body, _) = sets(figure)
    assert body.norm.vmax == 2.0


def test_a_constant_has_no_contours_and_says_so() -> None:
    figure = plot_contours(examples.constant(), filled=True)
    assert "every value is 2.3" in figure.get_supxlabel().replace("\n", " ")


def test_a_line_is_refused() -> None:
    with pytest.raises(RecordError, match="over a line: use plot_curves"):
        plot_contours(examples.line())


@pytest.mark.parametrize("name", ["bowl", "gappy", "tiny_range", "negative", "both_signs", "oblong"])
def test_nothing_is_cut_off_and_nothing_overlaps(name: str, assert_well_laid_out: Callable[[Figure], None]) -> None:
    assert_well_laid_out(plot_contours(examples.PLANES[name](), filled=name != "bowl"))


def test_a_title_with_dollars_and_a_long_one_stay_text(assert_well_laid_out: Callable[[Figure], None]) -> None:
    figure = plot_contours(examples.bowl(title="$\\frac{a}$ costs $5, " + "a very long title " * 12 + "x" * 200))
    assert_well_laid_out(figure)


def test_published_surfaces_are_drawn(shared, assert_well_laid_out: Callable[[Figure], None]) -> None:
    for name in ("cnn_nll", "small_dense_margin"):
        surface = Surface.load(shared / "surfaces" / name / "surface.h5")
        figure = plot_contours(surface, filled=True)
        body = sets(figure)[0]
        np.testing.assert_allclose(
            (body.norm.vmin, body.norm.vmax), (surface["loss"].min(), surface["loss"].max()), rtol=1e-12
        )
        assert_well_laid_out(figure)
