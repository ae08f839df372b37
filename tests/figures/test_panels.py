"""Panels of lines and the figures of stiffness: what is drawn is what was given."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_landscape import RecordError
from lightning_landscape.figures import (
    Panel,
    Series,
    plot_class_stiffness,
    plot_panels,
    plot_stiffness,
    plot_stiffness_distance,
)
from lightning_landscape.records.stiffness import StiffnessHistory


def panel(**options: object) -> Panel:
    series = [
        Series("measured", [1, 10, 100], [1.0, np.nan, 3.0], [0.1, 0.1, np.nan], look="points"),
        Series("predicted", [1, 10, 100], [1.0, 2.0, 3.0], [0.1, 0.1, 0.1], look="dashed", colour=1),
    ]
    return Panel("Title", "batch size", "eigenvalue", series, **options)  # type: ignore[arg-type]


def test_lines_have_the_given_values_and_one_legend_entry() -> None:
    figure = plot_panels([panel(), panel(log_x=True, log_y=True, levels={"goal": 2.0}, marks={"here": 10.0})], "T", "c")
    figure.draw_without_rendering()
    first, second = figure.axes
    drawn = {tuple(line.get_ydata()) for line in first.lines}
    assert (1.0, 2.0, 3.0) in drawn
    legend = first.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["measured", "predicted"]
    assert {text.get_text().strip() for text in second.texts} == {"goal", "here"}
    assert second.get_xscale() == second.get_yscale() == "log"
    assert first.get_xlabel() == "batch size"


def test_several_rows_and_none() -> None:
    assert len(plot_panels([panel()] * 4, "T").axes) == 4
    assert len(plot_panels([panel()] * 5, "T").axes) == 5
    with pytest.raises(RecordError, match="no panel"):
        plot_panels([], "T")


def history(moments: int = 3, *, val: bool = True) -> StiffnessHistory:
    rng = np.random.default_rng(0)
    values = {}
    for pairs in ("train", "val"):
        for kind in ("sign", "cosine"):
            scale = 1.0 if val or pairs == "train" else np.nan
            values[f"{pairs}/{kind}"] = scale * rng.uniform(-1, 1, (moments, 3, 3))
            for which in ("within", "between"):
                values[f"{pairs}/{kind}/distance/{which}"] = scale * rng.uniform(-1, 1, (moments, 4))
            values[f"{pairs}/{kind}/critical_length"] = scale * rng.uniform(0, 1, moments)
    steps = np.arange(moments) * 10
    attrs = {"train_examples": 7, "val_examples": 5, "step_name": "M.training_step"}
    return StiffnessHistory(steps, steps // 10, np.arange(3), np.linspace(0, 2, 5), values, attrs)


def test_the_class_matrix_is_drawn_as_it_is() -> None:
    record = history()
    figure = plot_class_stiffness(record, "sign", moment=1)
    figure.draw_without_rendering()
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), record.values["train/sign"][1])
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), record.values["val/sign"][1])
    assert len([axes for axes in plot_class_stiffness(history(val=False)).axes if axes.images]) == 1


def test_curves_over_training_are_the_means_of_the_matrices() -> None:
    record = history()
    figure = plot_stiffness(record)
    drawn = [np.asarray(line.get_ydata()) for line in figure.axes[1].lines]
    diagonal = record.values["train/cosine"][:, np.arange(3), np.arange(3)].mean(1)
    assert any(len(line) == 3 and np.allclose(line, diagonal) for line in drawn)
    assert len(plot_stiffness(history(val=False)).axes[0].lines) == 3  # within, between, zero


def test_the_distance_is_drawn_at_a_few_moments() -> None:
    figure = plot_stiffness_distance(history(20))
    assert len([line for line in figure.axes[0].lines if len(line.get_xdata()) == 4]) == 5


@pytest.mark.parametrize("plot", [plot_class_stiffness, plot_stiffness, plot_stiffness_distance])
def test_nothing_measured_is_refused(plot: object) -> None:
    with pytest.raises(RecordError, match="nothing of the stiffness"):
        plot(history(0))  # type: ignore[operator]
