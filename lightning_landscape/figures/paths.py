"""Several trainings on one surface: their paths on the plane that holds most of all of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import style
from lightning_landscape.figures.captions import axis_label, caption, gap_handles, percent, title_of
from lightning_landscape.figures.channels import channel_of, gaps, require_plane
from lightning_landscape.figures.contours import (
    colour_bar,
    draw_contours,
    panel_size,
    proportion,
    scale_notes,
    scale_of,
)
from lightning_landscape.figures.trajectory import draw_path
from lightning_landscape.geometry.path import Path
from lightning_landscape.records.surface import Surface

# Colours that stand out from viridis, which colours the plane.
_COLOURS = ("#d1402f", "#111111", "#ff8fd0", "#39c6ff", "#ff9d2e", "#8b5a2b")


def plot_paths(
    surface: Surface,
    paths: Mapping[str, Path],
    channel: str | None = None,
    *,
    log: bool | None = None,
    zmax: float | None = None,
) -> Figure:
    """Draw the paths of several trainings over one plane, with how much of each lies off it.

    Args:
        surface: a surface over a plane.
        paths: name -> path of two coordinates on that plane; six at most can be told apart.
        channel: one of its channels; None for its loss.
        log: logarithmic levels and colours; None where the largest loss exceeds 50 times the smallest.
        zmax: draw values above it as if they were this one.

    Returns:
        A new figure; `figure.axes[0]` is the plane.

    Raises:
        RecordError: if the surface is over a line, there is no path or more than six, or one has not two coordinates.
    """
    y = require_plane(surface, "plot_paths")
    if not 0 < len(paths) <= len(_COLOURS):
        raise RecordError(f"plot_paths was given {len(paths)} paths: give one to {len(_COLOURS)}")
    for name, path in paths.items():
        if path.dim != 2 or not len(path):
            raise RecordError(
                f"the path {name!r} has {len(path)} points of dimension {path.dim}: give points of a plane"
            )
    drawn = channel_of(surface, channel)
    scale = scale_of([surface], [drawn], log=log, zmax=zmax)
    size = panel_size(proportion(surface.x, y)[0], height=4.6)
    figure = style.new_figure(size[0] + 2.2, size[1] + 2.5)
    axes = figure.add_subplot()
    mappable = draw_contours(axes, surface, drawn, scale, filled=True)
    style.label_axes(axes, axis_label(surface, "x"), axis_label(surface, "y"), size)
    handles = []
    for (name, path), colour in zip(paths.items(), _COLOURS, strict=False):
        draw_path(axes, path, size=0.8, colour=colour)
        away = float(np.median(path.distance_from_origin))
        off = float(np.median(path.residual)) / away if away else 0.0
        label = f"{name} ({percent(off)} off the plane)"
        handles.append(Line2D([], [], color=colour, lw=2, marker="*", ms=11, mec="black", mew=0.5, label=label))
    style.legend_below(axes, [*handles, *gap_handles(gaps(surface, drawn))], size[0])
    colour_bar(figure, mappable, axes.inset_axes((1.025, 0, 0.16 / size[0], 1)), scale, drawn)
    style.fit(figure, axes, size)
    notes = [
        "dots are projections; off the plane: the median distance of a path from the plane over that from its origin",
        *scale_notes(scale, drawn, log=log),
    ]
    style.set_texts(figure, title_of(surface, drawn), caption({"": surface}, [drawn], notes))
    style.fit(figure, axes, size)
    return figure
