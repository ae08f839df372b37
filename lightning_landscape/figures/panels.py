"""Panels of lines: measurements with their errors against one quantity, beside what is predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import ArrayLike

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import style

Look: TypeAlias = Literal["solid", "dashed", "dotted", "points"]

_DASHES: dict[str, Any] = {"solid": "-", "dashed": (0, (4.5, 1.8)), "dotted": (0, (1.2, 1.6)), "points": "none"}
_BAND = 2.0  # standard errors on either side


@dataclass(frozen=True)
class Series:
    """One line of a panel.

    Attributes:
        label: its entry in the legend; empty for none.
        x: ``[N]``.
        y: ``[N]``; NaN leaves a gap.
        error: standard errors of y, ``[N]``, drawn as bars for points and as a band for lines; None for none.
        look: "points" for measurements at single places, lines for the rest.
        colour: index into the palette; series with the same index belong together.
    """

    label: str
    x: ArrayLike
    y: ArrayLike
    error: ArrayLike | None = None
    look: Look = "solid"
    colour: int = 0


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: above it.
        x_label: the quantity on the horizontal axis, with its unit.
        y_label: the quantity on the vertical axis, with its unit.
        series: the lines.
        log_x: a logarithmic horizontal axis.
        log_y: a logarithmic vertical axis.
        levels: horizontal lines by what they mean.
        marks: vertical lines by what they mean.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False
    levels: Mapping[str, float] = field(default_factory=dict)
    marks: Mapping[str, float] = field(default_factory=dict)


def plot_panels(
    panels: Sequence[Panel], title: str, caption: str = "", *, size: tuple[float, float] = (3.7, 2.9)
) -> Figure:
    """Draw panels side by side, up to three in a row, each with its legend unless an earlier one has the same entries.

    Args:
        panels: what to draw.
        title: of the figure.
        caption: the lines under it that say how far to trust it.
        size: width and height of a panel in inches.

    Returns:
        A new figure, whose axes are the panels in order.

    Raises:
        RecordError: if there is no panel.
    """
    if not panels:
        raise RecordError("plot_panels was given no panel")
    columns = min(len(panels), 3) if len(panels) != 4 else 2
    rows = -(-len(panels) // columns)
    width = columns * (size[0] + 0.8)
    lines = style.wrap(caption, width, style.CAPTION_SIZE).count("\n") + 1
    figure = style.new_figure(width, rows * (size[1] + 0.8) + 0.16 * lines + 0.9)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in grid[len(panels) :]:
        spare.remove()
    explained: set[str] = set()
    for axes, panel in zip(grid, panels, strict=False):
        style.style_axes(axes, grid=True, frame=False)
        axes.margins(y=0.09)  # room for the names of levels at the edge
        entries: dict[str, Line2D] = {}
        for series in panel.series:
            entries.setdefault(series.label, _draw(axes, series))
        entries.pop("", None)
        _lines_across(axes, panel)
        if panel.log_x:
            axes.set_xscale("log")
            _tick(axes.xaxis, np.concatenate([np.ravel(s.x) for s in panel.series]))
        if panel.log_y:
            axes.set_yscale("log")
            _tick(axes.yaxis, np.concatenate([np.ravel(s.y) for s in panel.series]))
        style.label_axes(axes, panel.x_label, panel.y_label, size)
        style.set_panel_title(axes, panel.title, size[0])
        if not entries.keys() <= explained:
            style.legend_below(axes, list(entries.values()), size[0])
            explained |= entries.keys()
    style.set_texts(figure, title, caption)
    return figure


def _draw(axes: Any, series: Series) -> Line2D:
    colour = style.SERIES[series.colour % len(style.SERIES)]
    x, y = np.asarray(series.x, dtype=np.float64), np.asarray(series.y, dtype=np.float64)
    points = series.look == "points"
    shared: dict[str, Any] = {"color": colour, "linestyle": _DASHES[series.look], "linewidth": 1.7}
    shared |= {"marker": "o", "markersize": 4.5} if points else {}
    if series.error is not None:
        error = _BAND * np.nan_to_num(np.asarray(series.error, dtype=np.float64))
        if points:
            axes.errorbar(x, y, error, color=colour, linestyle="none", elinewidth=1.0, capsize=0)
        else:
            axes.fill_between(x, y - error, y + error, color=colour, alpha=0.18, linewidth=0)
    axes.plot(x, y, **shared)
    return Line2D([], [], label=series.label, **shared)


def _tick(axis: Any, values: Any) -> None:
    """Plain numbers on a logarithmic axis: 1, 2 and 5 of every decade where there are few, else the powers of ten."""
    positive = values[np.isfinite(values) & (values > 0)]
    decades = np.log10(positive.max() / positive.min()) if len(positive) else 0.0
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.5 else (1.0,), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _lines_across(axes: Any, panel: Panel) -> None:
    """Lines that stand for a value, named where they are."""
    common: dict[str, Any] = {"color": style.MUTED, "fontsize": style.TICK_SIZE - 0.5, "parse_math": False}
    for words, value in panel.levels.items():
        axes.axhline(value, color=style.MUTED, linewidth=0.9, linestyle=_DASHES["dotted"], zorder=1)
        axes.text(0.01, value, words, ha="left", va="bottom", transform=axes.get_yaxis_transform(), zorder=1, **common)
    for words, value in panel.marks.items():
        axes.axvline(value, color=style.MUTED, linewidth=0.9, linestyle=_DASHES["dotted"], zorder=1)
        axes.text(
            value, 0.02, f" {words}", ha="left", va="bottom", transform=axes.get_xaxis_transform(), zorder=1, **common
        )
