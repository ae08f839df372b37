"""Curves through one network along several directions, network beside network on one scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import style
from lightning_landscape.figures.captions import axis_label, statements, unit_notes
from lightning_landscape.figures.channels import channel_of, drawn_values
from lightning_landscape.figures.curves import limit_values
from lightning_landscape.figures.scale import Scale
from lightning_landscape.records.surface import Surface

_SIZE = (2.3, 1.8)


def plot_curve_sets(
    sets: Mapping[str, Sequence[Surface]],
    channel: str | None = None,
    *,
    title: str = "",
    columns: int = 4,
    log: bool | None = None,
) -> Figure:
    """Draw sets of curves in small panels with the same axes: each curve thinly, and the mean of a set thickly.

    Args:
        sets: name -> surfaces over lines with the same points, such as those along ten random directions.
        channel: the channel to draw of each; None for each one's loss.
        title: of the figure.
        columns: panels side by side.
        log: a logarithmic vertical axis; None where the largest value of all exceeds 50 times the smallest.

    Returns:
        A new figure, whose axes are the panels in order.

    Raises:
        RecordError: if there is no set or an empty one, a surface is over a plane or lacks the channel, or two of a set
            have other points.
    """
    if not sets:
        raise RecordError("plot_curve_sets was given no curves")
    values = {name: _rows(name, curves, channel) for name, curves in sets.items()}
    scale = Scale.covering(*values.values(), log=log)
    first = next(iter(sets.values()))[0]
    drawn = channel_of(first, channel)
    columns = min(columns, len(sets))
    rows = math.ceil(len(sets) / columns)
    figure = style.new_figure(columns * (_SIZE[0] + 0.4) + 0.6, rows * (_SIZE[1] + 0.8) + 1.2)
    panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for spare in panels[len(sets) :]:
        spare.remove()
    quantity = drawn + (f" ({words})" if (words := scale.words()) else "")
    for position, (panel, (name, curves)) in enumerate(zip(panels, sets.items(), strict=False)):
        style.style_axes(panel, grid=True, frame=False)
        x = curves[0].x
        for row in values[name]:
            panel.plot(x, row, color=style.SERIES[0], linewidth=0.7, alpha=0.6)
        panel.plot(x, values[name].mean(axis=0), color=style.INK, linewidth=1.8)
        panel.set_xlim(float(x.min()), float(x.max()))
        style.set_panel_title(panel, name, _SIZE[0])
        lowest, leftmost = position + columns >= len(sets), position % columns == 0
        panel.tick_params(labelbottom=lowest)
        label = axis_label(first, "x", short=True) if lowest else ""
        style.label_axes(panel, label, quantity if leftmost else "", _SIZE)
    limit_values(panels[0], scale)
    counts = sorted({len(curves) for curves in sets.values()})
    thin = Line2D([], [], color=style.SERIES[0], linewidth=0.9, alpha=0.8, label="one direction")
    thick = Line2D([], [], color=style.INK, linewidth=1.8, label=f"mean of {' or '.join(map(str, counts))}")
    style.legend_below(panels[columns * (rows - 1)], [thin, thick], columns * _SIZE[0])
    style.fit(figure, panels[0], _SIZE, columns=columns, rows=rows)
    said = statements(first, drawn)
    notes = [*(said[topic] for topic in ("examples", "batch norm") if topic in said), *unit_notes(first)]
    notes += ["one scale for all"] * (len(sets) > 1)
    style.set_texts(figure, title, " · ".join(notes))
    style.fit(figure, panels[0], _SIZE, columns=columns, rows=rows)
    return figure


def _rows(name: str, curves: Sequence[Surface], channel: str | None) -> NDArray[np.float64]:
    """Return the values of a set, [curves, points].

    Raises:
        RecordError: as in `plot_curve_sets`.
    """
    if not curves:
        raise RecordError(f"plot_curve_sets was given no curve of {name!r}")
    for curve in curves:
        if curve.dim != 1:
            raise RecordError(f"plot_curve_sets draws surfaces over lines; one of {name!r} is over a plane")
        if not np.array_equal(curve.x, curves[0].x):
            raise RecordError(f"the curves of {name!r} have different points, so that they have no mean curve")
    return np.stack([drawn_values(curve, channel_of(curve, channel)) for curve in curves])
