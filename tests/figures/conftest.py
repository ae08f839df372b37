"""Helpers for looking at figures without looking at pixels."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from lightning_landscape.records.surface import Surface


def frozen(surface: Surface) -> Surface:
    """The same surface; writing into one of its arrays raises."""
    path = () if surface.path is None else (v for v in vars(surface.path).values() if v is not None)
    for array in (
        surface.x,
        surface.y,
        surface.done,
        *surface.channels.values(),
        *surface.errors.values(),
        *path,
    ):
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    return surface


def _written(figure: Figure) -> dict[str, tuple[Text, Bbox]]:
    """Every visible text outside of the panels' contents, with its box in pixels."""
    found: dict[str, tuple[Text, Bbox]] = {}

    def add(name: str, text: Text) -> None:
        if text.get_visible() and text.get_text().strip():
            found[name] = text, text.get_window_extent()

    for k, text in enumerate(figure.texts):
        add(f"figure text {k}", text)
    for k, axes in enumerate([*figure.axes, *(c for a in figure.axes for c in a.child_axes)]):
        for side, title in (("left", axes._left_title), ("middle", axes.title), ("right", axes._right_title)):
            add(f"title {side} of {k}", title)
        for axis in axes._axis_map.values():
            add(f"{axis.axis_name} label of {k}", axis.label)
            low, high = sorted(axis.get_view_interval())
            # In three dimensions tick labels have their places only while they are drawn: the border shows them.
            flat = axes.name != "3d"
            for n, (place, text) in enumerate(zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=False)):
                if flat and low <= place <= high:
                    add(f"{axis.axis_name} tick {n} of {k}", text)
        legend = axes.get_legend()
        for n, text in enumerate(legend.get_texts() if legend else ()):
            add(f"legend {n} of {k}", text)
    return found


@pytest.fixture
def assert_well_laid_out() -> Callable[[Figure], None]:
    """Check that no text is cut off at a figure's edges, and that titles, labels, legends and captions are apart."""

    def check(figure: Figure) -> None:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        picture = np.asarray(canvas.buffer_rgba())[:, :, :3]
        for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
            assert (edge == 255).all(), "something reaches the figure's edge"
        written = _written(figure)
        assert len(written) > 3
        for name, (text, box) in written.items():
            inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
            assert inside, f"{name} {text.get_text()!r} is cut off: {box} in {figure.bbox}"
        for (name, (one, a)), (other, (two, b)) in itertools.combinations(written.items(), 2):
            if not ("tick" in name and "tick" in other) and not (one.get_rotation() % 90 or two.get_rotation() % 90):
                apart = not a.padded(-1).overlaps(b.padded(-1))
                assert apart, f"{name} {one.get_text()!r} overlaps {other} {two.get_text()!r}"
        # Captions are clear of three-dimensional axes with all their labels.
        for axes in figure.axes:
            if axes.name == "3d":
                lowest = min(axis.get_tightbbox(canvas.get_renderer()).y0 for axis in axes._axis_map.values())
                captions = [box for text, box in written.values() if text in figure.texts and box.y0 < 100]
                assert all(box.y1 <= lowest + 1 for box in captions if axes.get_subplotspec() is None)

    return check
