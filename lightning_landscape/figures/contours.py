"""Contours of a surface over a plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lightning_landscape.figures import style
from lightning_landscape.figures.captions import axis_label, caption, gap_handles, origin_name, title_of
from lightning_landscape.figures.channels import (
    Gaps,
    centre_index,
    channel_of,
    drawn_values,
    gaps,
    is_score,
    require_plane,
)
from lightning_landscape.figures.initial_loss import draw_initial_loss
from lightning_landscape.figures.scale import Scale, distinct_labels, number
from lightning_landscape.records.surface import Surface

_SHADES = 160


def plot_contours(
    surface: Surface,
    channel: str | None = None,
    *,
    levels: Sequence[float] | None = None,
    filled: bool = False,
    log: bool | None = None,
    zmax: float | None = None,
) -> Figure:
    """Draw a surface over a plane as labelled contours.

    Contours are interpolated linearly between the computed points, on the logarithm of the values where the scale is
    logarithmic. The axes end where the grid ends. Cells with a corner that is not finite are hatched, cells with a
    corner that is not computed are grey: nothing is filled in. A cross marks the origin, a triangle the lowest point of
    a loss where that is another one, a dashed contour the loss before training where the record tells it
    (``attrs["initial_loss"]``).

    Args:
        surface: a surface over a plane.
        channel: one of its channels; None for its loss.
        levels: values to draw contours at; None for about ten round ones, spaced by the logarithm where the range is
            large.
        filled: colour the plane and add a colour bar.
        log: logarithmic levels and colours; None where the largest loss exceeds 50 times the smallest.
        zmax: draw values above it as if they were this one.

    Returns:
        A new figure; `figure.axes[0]` is the plane.

    Raises:
        RecordError: if the surface is over a line, has fewer than 2 x 2 points, or has no such channel.
    """
    y = require_plane(surface, "plot_contours")
    name = channel_of(surface, channel)
    scale = scale_of([surface], [name], log=log, levels=levels, zmax=zmax)
    shape, to_scale = proportion(surface.x, y)
    size = panel_size(shape)
    figure = style.new_figure(size[0] + (2.1 if filled else 1.3), size[1] + 2.0)
    axes = figure.add_subplot()
    mappable = draw_contours(axes, surface, name, scale, filled=filled)
    style.label_axes(axes, axis_label(surface, "x"), axis_label(surface, "y"), size)
    marks = [*mark_points(axes, surface, name), *draw_initial_loss(axes, surface, name, scale)]
    handles = [*marks, *gap_handles(gaps(surface, name))]
    style.legend_below(axes, handles, size[0])
    if filled:
        colour_bar(figure, mappable, axes.inset_axes((1.025, 0, 0.16 / size[0], 1)), scale, name)
    style.fit(figure, axes, size)
    notes = scale_notes(scale, name, log=log, lines=not filled)
    if not to_scale:
        notes.append("x and y are not drawn to one scale")
    style.set_texts(figure, title_of(surface, name), caption({"": surface}, [name], notes))
    style.fit(figure, axes, size)
    if to_scale:  # the panel has this shape already; should the figure be resized, it keeps it
        axes.set_aspect("equal")
    return figure


def scale_of(
    surfaces: Sequence[Surface],
    channels: Sequence[str],
    *,
    log: bool | None = None,
    levels: Sequence[float] | None = None,
    zmax: float | None = None,
) -> Scale:
    """One scale for one channel of each surface; an accuracy is on a logarithmic one only if asked for."""
    if log is None and all(is_score(c) for c in channels):
        log = False
    return Scale.covering(
        *(drawn_values(s, c) for s, c in zip(surfaces, channels, strict=True)), log=log, levels=levels, zmax=zmax
    )


def proportion(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, bool]:
    """Width over height of a plane as it is drawn, and whether that is to scale.

    A plane up to 2.5 times as long as wide is drawn to scale; a longer one in that proportion.
    """
    ratio = float(abs(x[-1] - x[0]) / abs(y[-1] - y[0]))
    drawn = min(max(ratio, 0.4), 2.5)
    return drawn, drawn == ratio


def panel_size(proportion: float, height: float = 4.3) -> tuple[float, float]:
    """Width and height in inches of a panel of a proportion, neither too narrow for its labels nor too wide."""
    width = min(max(height * proportion, 0.75 * height), 1.75 * height)
    return width, min(1.4 * height, width / proportion)


def draw_contours(axes: Any, surface: Surface, channel: str, scale: Scale, *, filled: bool) -> ScalarMappable:
    """Draw the contours of one channel into an Axes, whose limits become the grid's ends.

    Args:
        axes: a two-dimensional Axes.
        surface: a surface over a plane.
        channel: one of its channels.
        scale: colours and levels.
        filled: colour the plane.

    Returns:
        What a colour bar needs.
    """
    y = require_plane(surface, "draw_contours")
    style.style_axes(axes)
    colours = style.colour_map(lines=not filled)
    mappable = ScalarMappable(norm=scale.norm, cmap=colours)
    heights = np.ma.masked_invalid(scale.forward(np.minimum(drawn_values(surface, channel), _ceiling(scale))))
    _draw_gaps(axes, surface.x, y, gaps(surface, channel), np.ma.getmaskarray(heights))
    drawable = not _masked_cells(np.ma.getmaskarray(heights)).all()
    if filled and drawable:
        shades = np.linspace(*scale.limits, _SHADES + 1)
        body = axes.contourf(
            surface.x, y, heights, levels=shades, cmap=colours, norm=scale.norm, corner_mask=False, extend="both"
        )
        body.set_rasterized(True)
    span = (heights.min(), heights.max()) if drawable else (0.0, 0.0)
    levels = [v for v in scale.drawn_levels if span[0] < scale.forward(v) < span[1]]
    if drawable and levels:
        marks = scale.forward(levels)
        tones = [_tone(tone) if filled else tone for tone in map(tuple, mappable.to_rgba(marks))]
        lines = axes.contour(
            surface.x,
            y,
            heights,
            levels=marks,
            colors=tones,
            linewidths=0.8 if filled else 1.3,
            linestyles="solid",
            corner_mask=False,
        )
        texts = dict(zip(lines.levels, distinct_labels(levels), strict=True))
        for text in axes.clabel(lines, fmt=texts, fontsize=8, inline=True, inline_spacing=3, colors=tones):
            text.set_parse_math(False)
            if _at_edge(text.get_position()[0], surface.x) or _at_edge(text.get_position()[1], y):
                text.remove()  # the panel would cut it
    axes.set_xlim(surface.x[0], surface.x[-1])
    axes.set_ylim(y[0], y[-1])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
    return mappable


def _at_edge(place: float, axis: NDArray[np.float64]) -> bool:
    share = (place - axis[0]) / (axis[-1] - axis[0])
    return not 0.03 < float(share) < 0.97


def colour_bar(figure: Figure, mappable: ScalarMappable, place: Any, scale: Scale, channel: str) -> None:
    """Draw a colour bar labelled with the scale's own values.

    Args:
        figure: the figure.
        mappable: from `draw_contours`.
        place: the Axes to draw it in.
        scale: its scale.
        channel: what the values are.
    """
    bar = figure.colorbar(mappable, cax=place, extend="max" if scale.clipped else "neither", extendfrac=0.03)
    bar.set_ticks(scale.forward(scale.ticks).tolist(), labels=distinct_labels(scale.ticks))
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=style.TICK_SIZE, labelcolor=style.INK, color=style.MUTED, width=0.8, length=3)
    words = f"{channel} ({scale.words()})" if scale.words() else channel
    bar.set_label(words, fontsize=style.LABEL_SIZE, color=style.INK, parse_math=False)
    bar.outline.set_visible(False)


def mark_points(axes: Any, surface: Surface, channel: str) -> list[Line2D]:
    """Mark the origin, and a loss's lowest point where that is elsewhere; returns the marks as legend entries."""
    y = require_plane(surface, "mark_points")
    values = drawn_values(surface, channel)
    centre = centre_index(surface)
    halo: list[patheffects.AbstractPathEffect] = [patheffects.withStroke(linewidth=3.2, foreground="white")]
    marks: list[Line2D] = []
    if surface.x[0] <= 0 <= surface.x[-1] and y[0] <= 0 <= y[-1]:
        value = "" if centre is None or not np.isfinite(values[centre]) else f": {number(float(values[centre]))}"
        marks += axes.plot([0], [0], "+", ms=10, mew=1.8, color=style.HIGHLIGHT, label=f"{origin_name(surface)}{value}")
    if not is_score(channel) and np.isfinite(values).any():
        lowest = np.unravel_index(int(np.nanargmin(values)), values.shape)
        elsewhere = centre is None or not values[lowest] >= values[centre]
        if elsewhere and values[lowest] < np.nanmax(values):
            at = (float(surface.x[lowest[1]]), float(y[lowest[0]]))
            place = f"({number(at[0], 3)}, {number(at[1], 3)})"
            marks += axes.plot(
                *([v] for v in at),
                "v",
                ms=6.5,
                mfc="white",
                mec=style.HIGHLIGHT,
                mew=1.4,
                clip_on=False,
                label=f"lowest computed: {number(float(values[lowest]))} at {place}",
            )
    for mark in marks:
        mark.set_linestyle("none")
        mark.set_zorder(6)
        if mark.get_marker() == "+":
            mark.set_path_effects(halo)
    return marks


def scale_notes(scale: Scale, channel: str, *, log: bool | None, lines: bool = False) -> list[str]:
    """What a reader must know about the scale, in words."""
    notes = []
    if lines and scale.words():
        notes.append(f"contours on a {scale.words()}")
    if scale.clipped:
        notes.append(f"values above {number(scale.high)} are drawn as {number(scale.high)}")
    if log and scale.kind != "log" and scale.low <= 0:
        notes.append(f"{scale.words() or 'linear scale'}, because some values of {channel} are not positive")
    if scale.flat:
        notes.append(f"every value is {number(scale.low)}")
    return notes


def _ceiling(scale: Scale) -> float:
    return scale.high if scale.clipped else np.inf


def _masked_cells(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cells of the grid with a masked corner."""
    return mask[:-1, :-1] | mask[1:, :-1] | mask[:-1, 1:] | mask[1:, 1:]


def _draw_gaps(axes: Any, x: NDArray[np.float64], y: NDArray[np.float64], found: Gaps, mask: NDArray[np.bool_]) -> None:
    """Grey for every cell that no contour is drawn in, hatched where a value is not finite."""
    empty = _masked_cells(mask)
    hatched = empty & ~_masked_cells(found.not_computed)
    for cells, hatch in ((empty & ~hatched, None), (hatched, "////")):
        if cells.any():
            axes.add_collection(
                PolyCollection(
                    _rows(x, y, cells),
                    facecolor=style.GAP,
                    edgecolor=style.GAP_HATCH if hatch else style.GAP,
                    hatch=hatch,
                    linewidth=0,
                    zorder=0.5,
                ),
                autolim=False,
            )


def _rows(x: NDArray[np.float64], y: NDArray[np.float64], cells: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """One rectangle for every run of adjacent cells in a row."""
    rectangles = []
    for j, row in enumerate(cells):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(np.int8)))
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            a, b, c, d = x[start], x[stop], y[j], y[j + 1]
            rectangles.append(np.array([[a, c], [b, c], [b, d], [a, d]]))
    return rectangles


def _tone(colour: tuple[float, ...]) -> tuple[float, ...]:
    """White on dark colours, dark on bright ones."""
    red, green, blue, _ = colour
    bright = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45
    return (0.08, 0.09, 0.11, 0.85) if bright else (1.0, 1.0, 1.0, 0.85)
