"""The standard errors of a surface, as a picture of their own."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import style
from lightning_landscape.figures.captions import axis_label, caption, title_of
from lightning_landscape.figures.channels import channel_of, drawn_values, require_plane
from lightning_landscape.figures.contours import panel_size, proportion
from lightning_landscape.figures.scale import number
from lightning_landscape.records.surface import Surface


def plot_errors(surface: Surface, channel: str | None = None) -> Figure:
    """Draw the standard error of every point of a plane, in percent of the range of the values.

    An estimated surface shows its coarse grid: there the error is smallest.

    Args:
        surface: a surface over a plane.
        channel: one of its channels; None for its loss.

    Returns:
        A new figure; `figure.axes[0]` is the plane.

    Raises:
        RecordError: if the surface is over a line, has fewer than 2 x 2 points, no such channel, or no errors with it.
    """
    y = require_plane(surface, "plot_errors")
    name = channel_of(surface, channel)
    errors, values = surface.error(name), drawn_values(surface, name)
    finite = values[np.isfinite(values)]
    span = float(np.ptp(finite)) if finite.size else 0.0
    if not np.isfinite(errors).any() or not span:
        raise RecordError(
            f"the standard errors of {name!r} cannot be drawn: none of them is known, or its values have no range"
        )
    share = np.ma.masked_invalid(100 * errors / span)
    shape, to_scale = proportion(surface.x, y)
    size = panel_size(shape)
    figure = style.new_figure(size[0] + 2.1, size[1] + 2.0)
    axes = figure.add_subplot()
    style.style_axes(axes)
    axes.set_facecolor(style.GAP)
    # A point is a cell here: between points nothing is known of the error.
    cells = axes.pcolormesh(surface.x, y, share, shading="nearest", cmap=style.colour_map(), vmin=0, rasterized=True)
    style.label_axes(axes, axis_label(surface, "x"), axis_label(surface, "y"), size)
    bar = figure.colorbar(cells, cax=axes.inset_axes((1.025, 0, 0.16 / size[0], 1)))
    bar.ax.tick_params(labelsize=style.TICK_SIZE, labelcolor=style.INK, color=style.MUTED, width=0.8, length=3)
    bar.set_label("standard error, % of the range", fontsize=style.LABEL_SIZE, color=style.INK, parse_math=False)
    bar.outline.set_visible(False)
    notes = [f"range of {name}: {number(span)}", f"largest error: {number(float(share.max()), 2)} % of it"]
    if not to_scale:
        notes.append("x and y are not drawn to one scale")
    title = title_of(surface, name)
    style.set_texts(figure, f"Standard error: {title[:1].lower()}{title[1:]}", caption({"": surface}, [name], notes))
    style.fit(figure, axes, size)
    if to_scale:
        axes.set_aspect("equal")
    return figure
