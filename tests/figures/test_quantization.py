"""Figures of low-bit training: what is drawn is what was given."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import plot_distributions, plot_error_floors, plot_training_errors


def test_error_floors_are_drawn_with_the_prediction() -> None:
    figure = plot_error_floors(
        [0.1, 0.2], {"a": [1.0, 2.0], "b": [0.1, 0.1]}, {"a": [0.1, 0.1], "b": [0, 0]}, lambda d: 10 * d
    )
    axes = figure.axes[0]
    drawn = {tuple(line.get_ydata()) for line in axes.get_lines()}
    assert {(1.0, 2.0), (1.1, 2.1)} <= drawn
    assert axes.get_ylim()[0] == 0
    assert [text.get_text() for text in axes.get_legend().get_texts()][:2] == ["limit law of stochastic rounding", "a"]


def test_distributions_have_a_column_a_method_and_a_row_a_rate() -> None:
    points = np.linspace(-1.0, 1.0, 5)
    figure = plot_distributions(
        [0.1, 0.01],
        {"a": [np.array([0.0, 0.4]), np.array([0.5])], "b": [np.array([0.0]), np.array([0.2])]},
        0.5,
        (points, points**2),
        {"b": (points, np.full(5, 0.2))},
    )
    panels = figure.axes
    assert len(panels) == 6
    heights = {round(bar.get_x() + bar.get_width() / 2, 6): bar.get_height() for bar in panels[2].patches}
    assert heights == {-1.0: 0, -0.5: 0, 0.0: 0.5, 0.5: 0.5, 1.0: 0}
    assert [len(panel.get_lines()) for panel in panels[2:]] == [0, 1, 0, 1]
    with pytest.raises(RecordError, match="a has weights at 1 learning rates and 2 are to be drawn"):
        plot_distributions([0.1, 0.01], {"a": [points]}, 0.5, (points, points), {})


def test_training_errors_are_means_with_bands_and_the_test_errors_stand_in_the_legend() -> None:
    curves = {
        "a": {
            "train_accuracy": np.array([[0.5, 0.9], [0.7, 0.9]]),
            "val_accuracy": np.array([[0.5, 0.8], [0.5, 0.8]]),
            "weights_changed": np.array([[0.1, 0.0], [0.1, 0.0]]),
        }
    }
    figure = plot_training_errors(curves, {"a": [10.0, 12.0]})
    line = figure.axes[0].get_lines()[0]
    assert line.get_ydata() == pytest.approx([40, 10])
    assert [t.get_text() for t in figure.axes[3].get_legend().get_texts()] == ["a: 11.00 ± 1.41 %"]
    with pytest.raises(RecordError, match="no training"):
        plot_training_errors({}, {})
