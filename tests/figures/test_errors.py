from __future__ import annotations

import numpy as np
import pytest

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import plot_errors
from tests.figures import examples


def test_the_cells_are_the_errors_in_percent_of_the_range() -> None:
    surface = examples.bowl()
    figure = plot_errors(surface)
    (mesh,) = figure.axes[0].collections
    expected = 100 * surface.error("val/loss") / np.ptp(surface["val/loss"])
    np.testing.assert_allclose(np.asarray(mesh.get_array()).reshape(surface.shape), expected)
    assert figure.axes[0].get_aspect() == 1.0


def test_the_caption_says_which_examples() -> None:
    figure = plot_errors(examples.bowl(examples=60_000, subset_examples=1000, coarse_points=[7, 7]))
    words = " ".join(text.get_text() for text in figure.texts).replace("\n", " ")
    assert "1,000 of 60,000 examples, corrected by 60,000 at 7 x 7 points" in words


def test_a_channel_without_errors_is_refused() -> None:
    with pytest.raises(RecordError, match="no standard errors"):
        plot_errors(examples.bowl(), "val/accuracy")


def test_values_without_a_range_are_refused() -> None:
    with pytest.raises(RecordError, match="have no range"):
        plot_errors(examples.bowl(curvature=0.0))
