from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import plot_curve_sets
from lightning_landscape.records.surface import Surface
from tests.figures import examples
from tests.figures.conftest import frozen


def given() -> dict[str, list[Surface]]:
    """Parabolas of other widths, around each name's own."""
    widths = {"SGD, batch 8, decay 0: 3.4 %": 1.0, "SGD, batch 512, decay 0.0005: 12.1 %": 0.5, "Adam: 4 %": 2.0}
    return {
        name: [frozen(examples.line(width=width * (1 + 0.05 * k), seed=k)) for k in range(3)]
        for name, width in widths.items()
    }


def test_each_curve_and_the_mean_are_drawn_in_panels_of_one_scale() -> None:
    sets = given()
    figure = plot_curve_sets(sets, columns=2, log=True)
    assert len(figure.axes) == 3
    for axes, (name, curves) in zip(figure.axes, sets.items(), strict=True):
        *thin, thick = axes.get_lines()
        for line, curve in zip(thin, curves, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), curve.x)
            np.testing.assert_array_equal(line.get_ydata(), curve["train/loss"])
        np.testing.assert_allclose(thick.get_ydata(), np.mean([c["train/loss"] for c in curves], axis=0))
        assert thick.get_linewidth() > 2 * thin[0].get_linewidth()
        assert axes.get_title("left").replace("\n", " ") == name
        assert axes.get_ylim() == figure.axes[0].get_ylim()
        assert axes.get_yscale() == "log"
    low, high = figure.axes[0].get_ylim()
    assert low < 0.02
    assert high > 12
    said = figure.get_supxlabel().replace("\n", " ")
    assert "1 = the norm of the weights, filter by filter" in said
    assert "one scale for all" in said
    assert "seed" not in said


def test_the_asked_channel_is_drawn() -> None:
    axes = plot_curve_sets({"a": [examples.line()]}, "val/accuracy").axes[0]
    np.testing.assert_array_equal(axes.get_lines()[0].get_ydata(), examples.line()["val/accuracy"])
    assert axes.get_ylabel() == "val/accuracy"


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ({}, "no curves"),
        ({"a": []}, "no curve of 'a'"),
        ({"a": [examples.bowl()]}, "one of 'a' is over a plane"),
        ({"a": [examples.line(51), examples.line(21)]}, "curves of 'a' have different points"),
        ({"a": [examples.line(), examples.huge()]}, "over a plane"),
    ],
)
def test_what_cannot_be_drawn_is_refused(sets: dict[str, list[Surface]], words: str) -> None:
    with pytest.raises(RecordError, match=words):
        plot_curve_sets(sets)


@pytest.mark.parametrize("columns", [2, 4])
def test_nothing_is_cut_off_and_nothing_overlaps(assert_well_laid_out: Callable[[Figure], None], columns: int) -> None:
    assert_well_laid_out(plot_curve_sets(given(), columns=columns, title="Test errors, and the loss along directions"))
