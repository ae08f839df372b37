"""Several surfaces side by side, on one scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.figure import Figure

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import style
from lightning_landscape.figures.captions import axis_label, caption, gap_handles, title_of_several, unit_notes
from lightning_landscape.figures.channels import channel_of, gaps, require_plane
from lightning_landscape.figures.contours import (
    colour_bar,
    draw_contours,
    mark_points,
    panel_size,
    proportion,
    scale_notes,
    scale_of,
)
from lightning_landscape.figures.initial_loss import draw_initial_loss
from lightning_landscape.figures.scale import Scale, distinct_labels
from lightning_landscape.figures.surface3d import draw_surface, keep_above
from lightning_landscape.figures.trajectory import draw_path, learning_rate_falls
from lightning_landscape.records.surface import Surface


def plot_comparison(
    surfaces: Mapping[str, Surface],
    channel: str | None = None,
    *,
    three_d: bool = False,
    levels: Sequence[float] | None = None,
    log: bool | None = None,
    zmax: float | None = None,
) -> Figure:
    """Draw surfaces side by side with the same colours, the same levels and, in three dimensions, the same heights.

    Every panel's axes end where its own grid ends. A surface that has a path is drawn with it.

    Args:
        surfaces: name -> surface over a plane.
        channel: the channel to draw of each; None for each one's loss.
        three_d: draw landscapes in three dimensions instead of coloured contours.
        levels: values to draw contours at; None for about ten round ones.
        log: a logarithmic scale; None where the largest loss of all exceeds 50 times the smallest.
        zmax: draw values above it as if they were this one.

    Returns:
        A new figure; the first axes are the panels, in order, the last is the colour bar.

    Raises:
        RecordError: if there is no surface, or one is over a line or lacks the channel.
    """
    if not surfaces:
        raise RecordError("plot_comparison was given no surface")
    for surface in surfaces.values():
        require_plane(surface, "plot_comparison")
    names = [channel_of(s, channel) for s in surfaces.values()]
    scale = scale_of(list(surfaces.values()), names, log=log, levels=levels, zmax=zmax)
    label = names[0] if len(set(names)) == 1 else "loss"
    first = next(iter(surfaces.values()))
    notes = [*unit_notes(first), *scale_notes(scale, label, log=log)]
    notes += ["one scale for all"] * (len(surfaces) > 1) + [_marks(surfaces)] * (not three_d)
    texts = title_of_several(surfaces, names), caption(surfaces, names, notes)
    draw = _landscapes if three_d else _contours
    return draw(surfaces, names, scale, label, texts)


def _contours(
    surfaces: Mapping[str, Surface], names: Sequence[str], scale: Scale, label: str, texts: tuple[str, str]
) -> Figure:
    rows, columns = _arrangement(len(surfaces))
    shapes = [proportion(s.x, require_plane(s, "plot_comparison"))[0] for s in surfaces.values()]
    size = panel_size(sorted(shapes)[len(shapes) // 2], height=3.3 if columns < 3 else 2.9)
    figure = style.new_figure(columns * (size[0] + 0.7) + 1.0, rows * (size[1] + 0.8) + 1.0)
    grid = figure.subplots(rows, columns, squeeze=False)
    panels = list(grid.flat)
    for spare in panels[len(surfaces) :]:
        spare.remove()
    panels = panels[: len(surfaces)]
    legend: dict[str, Artist] = {}
    for position, (panel, (name, surface), channel) in enumerate(zip(panels, surfaces.items(), names, strict=True)):
        mappable = draw_contours(panel, surface, channel, scale, filled=True)
        if surface.path is not None and surface.path.dim == 2:
            draw_path(panel, surface.path, size=0.75)
        else:
            mark_points(panel, surface, channel)
        style.set_panel_title(panel, name, size[0])
        x, y = axis_label(surface, "x", short=True), axis_label(surface, "y", short=True)
        below = position + columns >= len(surfaces)
        style.label_axes(panel, x if below else "", y if position % columns == 0 else "", size)
        shown = [*draw_initial_loss(panel, surface, channel, scale), *gap_handles(gaps(surface, channel))]
        legend |= {str(handle.get_label()): handle for handle in shown}
    style.legend_below(panels[-1], list(legend.values()), size[0])
    place = panels[min(columns, len(panels)) - 1].inset_axes((1.03, 0, 0.16 / size[0], 1))
    colour_bar(figure, mappable, place, scale, label)
    style.fit(figure, panels[0], size, columns=columns, rows=rows)
    style.set_texts(figure, *texts)
    style.fit(figure, panels[0], size, columns=columns, rows=rows)
    return figure


def _landscapes(
    surfaces: Mapping[str, Surface], names: Sequence[str], scale: Scale, label: str, texts: tuple[str, str]
) -> Figure:
    rows, columns = _arrangement(len(surfaces))
    side, head = 4.3, 0.3
    labels = max(style.text_width(text, style.TICK_SIZE) for text in distinct_labels(scale.ticks))
    # The vertical axis of the last panel has the labels of the colour bar, and reaches over the panel's edge by them.
    width = columns * side + 0.75 + 2 * labels
    lines = style.wrap(texts[1], width - 2 * style.MARGIN, style.CAPTION_SIZE).count("\n") + 1
    whole = rows * (side * 0.86 + head) + 0.75 + 0.155 * lines
    figure = style.new_figure(width, whole, layout=None)
    floor, top = style.place_texts(figure, *texts)
    bottom = floor + 0.15 / whole
    height = (top - bottom) / rows
    drawn: list[list[Any]] = [[] for _ in range(rows)]
    for position, ((name, surface), channel) in enumerate(zip(surfaces.items(), names, strict=True)):
        row, column = divmod(position, columns)
        corner = column * side / width, top - (row + 1) * height
        panel = figure.add_axes((*corner, (side - 0.1) / width, height - head / whole), projection="3d")
        mappable = draw_surface(panel, surface, channel, scale)
        style.set_panel_title(panel, name, side - 0.4)
        drawn[row].append(panel)
    for row, panels in enumerate(drawn):
        keep_above(panels, floor if row == rows - 1 else top - (row + 1) * height)
    right = (columns * side + labels) / width
    place = figure.add_axes((right, bottom + 0.2 * (top - bottom), 0.15 / width, 0.6 * (top - bottom)))
    colour_bar(figure, mappable, place, scale, label)
    return figure


def _marks(surfaces: Mapping[str, Surface]) -> str:
    paths = [surface.path for surface in surfaces.values() if surface.path is not None]
    if not paths:
        return "cross: trained weights, triangle: the lowest point, where that is another"
    falls = any(len(learning_rate_falls(path.lr)) for path in paths)
    return "circle: start of training, " + "diamond: the learning rate falls, " * falls + "star: end"


def _arrangement(count: int) -> tuple[int, int]:
    """Rows and columns for so many panels: up to three side by side, four two by two."""
    columns = count if count <= 3 else 2 if count == 4 else 3 if count <= 9 else 4
    return math.ceil(count / columns), columns
