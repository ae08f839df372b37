from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import plot_curves
from lightning_landscape.records.surface import Surface
from tests.figures import examples


def test_losses_are_on_the_left_and_accuracies_on_the_right() -> None:
    surface = examples.line()
    left, right = plot_curves(surface).axes
    for axes, names in ((left, ("train/loss", "val/loss")), (right, ("train/accuracy", "val/accuracy"))):
        lines = {line.get_label(): line for line in axes.get_lines()}
        for name in names:
            np.testing.assert_array_equal(lines[name].get_xdata(), surface.x)
            np.testing.assert_array_equal(lines[name].get_ydata(), surface[name])
        assert lines[names[0]].get_linestyle() == "-"
        assert lines[names[1]].get_linestyle() == "--"
        assert lines[names[0]].get_color() == lines[names[1]].get_color()
        assert axes.get_xlim() == (-1, 1)
    assert left.get_ylabel() == "loss (log scale)"
    assert right.get_ylabel() == "accuracy"
    assert left.get_yscale() == "log"
    assert to_hex(left.yaxis.label.get_color()) != to_hex(right.yaxis.label.get_color())


def test_bands_are_two_standard_errors_wide_on_either_side() -> None:
    surface = examples.line()
    figure = plot_curves(surface, ["train/loss"], log=False)
    (band,) = figure.axes[0].collections
    vertices = band.get_paths()[0].vertices
    for k, x in enumerate(surface.x):
        ends = vertices[np.isclose(vertices[:, 0], x), 1]
        value, error = surface["train/loss"][k], surface.error("train/loss")[k]
        np.testing.assert_allclose((ends.min(), ends.max()), (value - 2 * error, value + 2 * error))
    assert "bands: 2 standard errors" in figure.get_supxlabel().replace("\n", " ")


def test_between_two_networks_both_are_marked() -> None:
    figure = plot_curves(examples.between())
    left = figure.axes[0]
    marks = [line.get_xdata()[0] for line in left.get_lines() if len(set(line.get_xdata())) == 1]
    assert marks == [0.0, 1.0]
    assert {"first network", "second network"} <= {t.get_text() for t in left.texts}
    assert left.get_xlim() == (-0.5, 1.5)
    assert figure.axes[1].get_ylabel() == "accuracy (%)"


def test_other_lines_have_one_mark_and_none_outside_of_the_axes() -> None:
    axes = plot_curves(examples.line()).axes[0]
    assert [t.get_text() for t in axes.texts] == ["trained weights"]
    assert len(plot_curves(Surface([1, 2, 3], None, {"loss": [1, 2, 3]})).axes[0].texts) == 0


def test_values_that_are_missing_interrupt_the_curve_and_are_shaded() -> None:
    surface = examples.between()
    axes = plot_curves(surface).axes[0]
    line = next(line for line in axes.get_lines() if line.get_label() == "train/loss")
    np.testing.assert_array_equal(np.isnan(line.get_ydata()), ~np.isfinite(surface["train/loss"]))
    first_missing = np.flatnonzero(~np.isfinite(surface["train/loss"]))[0]
    (shade,) = axes.patches
    left = shade.get_x()
    assert left == pytest.approx((surface.x[first_missing - 1] + surface.x[first_missing]) / 2)
    assert left + shade.get_width() == pytest.approx(surface.x[-1])
    assert shade.get_hatch()
    assert "not finite" in {t.get_text() for t in axes.get_legend().get_texts()}


def test_several_surfaces_have_a_colour_each_and_a_panel_for_accuracies() -> None:
    surfaces = {"small batch": examples.line(), "large batch": examples.line(width=0.4)}
    upper, lower = plot_curves(surfaces).axes
    for axes, quantity in ((upper, "loss"), (lower, "accuracy")):
        lines = {line.get_label(): line for line in axes.get_lines()}
        for name, surface in surfaces.items():
            for split in ("train", "val"):
                np.testing.assert_array_equal(
                    lines[f"{name} {split}/{quantity}"].get_ydata(), surface[f"{split}/{quantity}"]
                )
        colours = {name: {lines[f"{name} {s}/{quantity}"].get_color() for s in ("train", "val")} for name in surfaces}
        assert all(len(c) == 1 for c in colours.values())
        assert len(set.union(*colours.values())) == 2
    assert [t.get_text() for t in lower.get_legend().get_texts()] == ["small batch", "large batch", "train", "val"]


def test_validation_and_test_curves_can_be_told_apart() -> None:
    x = [0.0, 1.0, 2.0]
    surface = Surface(x, None, {f"{s}/loss": [1, 2, 3] for s in ("train", "val", "test")})
    lines = plot_curves(surface).axes[0].get_lines()
    # Patterns, and not only their names: Matplotlib calls every broken line "--".
    assert len({str(line._dash_pattern) for line in lines if line.get_label() in surface.names}) == 3


def test_a_plane_is_drawn_by_its_cross_sections() -> None:
    surface = examples.bowl(31, 25)
    axes = plot_curves(surface).axes[0]
    lines = {line.get_label(): line for line in axes.get_lines()}
    np.testing.assert_array_equal(lines["along x (y = 0) val/loss"].get_ydata(), surface["val/loss"][12])
    np.testing.assert_array_equal(lines["along y (x = 0) val/loss"].get_ydata(), surface["val/loss"][:, 15])
    np.testing.assert_array_equal(lines["along y (x = 0) val/loss"].get_xdata(), surface.y)


def test_limits_come_from_the_curves_and_not_from_their_bands() -> None:
    surface = Surface([0, 1, 2], None, {"loss": [1e-3, 1, 10]}, {"loss": [1e3, 1e3, 1e3]})
    low, high = plot_curves(surface).axes[0].get_ylim()
    assert 1e-4 < low < 1e-3
    assert 10 < high < 100


def test_negative_losses_have_a_linear_axis() -> None:
    surface = Surface([0, 1, 2], None, {"loss": [-1, 1, 1000]})
    figure = plot_curves(surface, log=True)
    assert figure.axes[0].get_yscale() == "linear"
    assert "linear scale, because some losses are not positive" in figure.get_supxlabel().replace("\n", " ")


def test_refusals_name_what_is_wrong() -> None:
    with pytest.raises(RecordError, match="no surface"):
        plot_curves({})
    with pytest.raises(RecordError, match="'B' is over a plane"):
        plot_curves({"A": examples.line(), "B": examples.bowl()})
    with pytest.raises(RecordError, match="train/loss"):
        plot_curves(examples.line(), ["hinge"])


@pytest.mark.parametrize(
    "make",
    [
        examples.line,
        examples.between,
        examples.gappy,
        lambda: {"a": examples.line(), "a rather long name of a run": examples.line(width=0.5)},
        lambda: Surface([0.0], None, {"loss": [1.0]}),
        lambda: Surface([0.0, 1.0], None, {"loss": [np.nan, np.inf]}),
    ],
)
def test_nothing_is_cut_off_and_nothing_overlaps(
    make: Callable[[], Surface], assert_well_laid_out: Callable[[Figure], None]
) -> None:
    assert_well_laid_out(plot_curves(make()))


def test_a_curve_that_another_covers_is_drawn_wider() -> None:
    line = examples.line()
    moved = replace(line, channels={name: 2 * values for name, values in line.channels.items()})
    figure = plot_curves({"a": line, "b": moved, "c": line}, channels=[line.loss_name])
    widths = {drawn.get_label().split()[0]: drawn.get_linewidth() for drawn in figure.axes[0].get_lines()[:3]}
    assert widths["a"] > widths["b"] == widths["c"]
