from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import plot_comparison
from tests.figures import examples

PAIR = {"smooth": examples.bowl(), "rough": examples.rough()}


def test_panels_share_colours_and_levels() -> None:
    figure = plot_comparison(PAIR)
    low = min(s["loss"].min() for s in PAIR.values())
    high = max(s["loss"].max() for s in PAIR.values())
    panels = figure.axes[:2]
    levels = set()
    for panel, surface in zip(panels, PAIR.values(), strict=True):
        body, lines = (c for c in panel.collections if isinstance(c, QuadContourSet))
        assert (body.norm.vmin, body.norm.vmax) == pytest.approx((np.log10(low), np.log10(high)))
        inside = [v for v in lines.levels if not body.norm.vmin <= v <= body.norm.vmax]
        assert not inside
        levels |= set(np.round(lines.levels, 9))
        assert panel.get_xlim() == (surface.x[0], surface.x[-1])
        assert panel.get_ylim() == (surface.y[0], surface.y[-1])
        colours = body.cmap(body.norm(np.log10([low, 1.0, high])))
        np.testing.assert_array_equal(colours[0], body.cmap(0.0))
        np.testing.assert_array_equal(colours[-1], body.cmap(1.0))
    shared = next(c for c in panels[1].collections if isinstance(c, QuadContourSet) and not c.filled)
    assert levels == set(np.round(shared.levels, 9))
    assert [p.get_title(loc="left") for p in panels] == ["smooth", "rough"]


def test_landscapes_share_heights_and_colours() -> None:
    figure = plot_comparison(PAIR, three_d=True)
    first, second, bar = figure.axes
    assert first.get_zlim() == second.get_zlim()
    assert bar.get_ylim() == first.get_zlim()
    np.testing.assert_array_equal(first.get_zticks(), second.get_zticks())


def test_one_channel_or_each_ones_loss() -> None:
    figure = plot_comparison({"a": examples.bowl(), "b": examples.bowl(curvature=1.0)}, "val/accuracy")
    assert figure.get_suptitle() == "Validation accuracy over a random plane"
    with pytest.raises(RecordError, match="val/accuracy"):
        plot_comparison(PAIR, "val/accuracy")


def test_gaps_and_paths_are_drawn_and_explained() -> None:
    figure = plot_comparison({"a": examples.bowl(), "gaps": examples.gappy()})
    legend = figure.axes[1].get_legend()
    assert {t.get_text() for t in legend.get_texts()} == {"not finite", "not computed"}
    path = examples.trajectory().path
    assert path is not None
    figure = plot_comparison({"a": examples.trajectory(), "b": examples.trajectory(21)})
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    np.testing.assert_array_equal(np.array(lines["checkpoints"].get_data()).T, path.coordinates)
    said = figure.get_supxlabel().replace("\n", " ")
    assert "circle: start of training, diamond: the learning rate falls, star: end" in said


def test_refusals() -> None:
    with pytest.raises(RecordError, match="no surface"):
        plot_comparison({})
    with pytest.raises(RecordError, match="over a line"):
        plot_comparison({"a": examples.bowl(), "b": examples.line()})


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("three_d", [False, True])
def test_nothing_is_cut_off_and_nothing_overlaps(
    count: int, three_d: bool, assert_well_laid_out: Callable[[Figure], None]
) -> None:
    makers = (examples.bowl, examples.gappy, examples.rough, examples.both_signs, examples.oblong)
    surfaces = {f"a network of some length {k}": make() for k, make in enumerate(makers[:count])}
    figure = plot_comparison(surfaces, three_d=three_d)
    assert len([a for a in figure.axes if a.get_title(loc="left")]) == count
    assert_well_laid_out(figure)
