"""Texts have room at every resolution."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lightning_landscape.figures import style

WORDS = ["share", "of", "points", "where", "convex:", "1,280", "examples,", "|cos|", "0.0034", "ResNet-56", "WWW"]


@pytest.mark.parametrize("dpi", [72, 84, 96, 100, 130, 150, 200, 300])
@pytest.mark.parametrize(
    ("size", "weight"),
    [
        (style.TITLE_SIZE, "bold"),
        (style.PANEL_TITLE_SIZE, "bold"),
        (style.LABEL_SIZE, "normal"),
        (style.TICK_SIZE, "normal"),
        (style.CAPTION_SIZE, "normal"),
    ],
)
def test_no_line_is_drawn_wider_than_it_was_measured(dpi: float, size: float, weight: str) -> None:
    figure = style.new_figure(8, 4, layout=None)
    figure.set_dpi(dpi)
    FigureCanvasAgg(figure)
    generator = np.random.default_rng(0)
    for _ in range(20):
        line = " ".join(generator.choice(WORDS, 12))
        drawn = figure.text(0, 0, line, fontsize=size, fontweight=weight, parse_math=False)
        share = drawn.get_window_extent().width / dpi / style.text_width(line, size, weight=weight)
        assert 0.85 < share <= 1
