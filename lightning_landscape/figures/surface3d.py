"""A surface over a plane as a landscape in three dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LightSource
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from numpy.typing import NDArray

from lightning_landscape.figures import style
from lightning_landscape.figures.captions import axis_label, caption, title_of, unit_notes
from lightning_landscape.figures.channels import channel_of, drawn_values, gaps, is_score, require_plane
from lightning_landscape.figures.contours import colour_bar, proportion, scale_notes, scale_of
from lightning_landscape.figures.scale import Scale, distinct_labels, number
from lightning_landscape.records.surface import Surface

Array = NDArray[np.float64]

_VIEW = (34.0, -60.0)  # degrees above the plane and around it
_FACETS = 60  # at least so many along the longer side, for smooth colours


def plot_surface(
    surface: Surface,
    channel: str | None = None,
    *,
    log: bool | None = True,
    zmax: float | None = None,
) -> Figure:
    """Draw a surface over a plane in three dimensions, every computed point a corner of its mesh.

    Heights are logarithms of the losses, as in the figures of Li et al. (2018), section 5. Losses that are not positive
    have none: values of both signs that span decades are then drawn on a symmetric logarithmic scale, others on a
    linear one, and the caption says so. Cells with a corner that is not finite or not computed are holes.

    Args:
        surface: a surface over a plane.
        channel: one of its channels; None for its loss.
        log: logarithmic heights; an accuracy's are always linear; None to choose by the range.
        zmax: draw values above it as a plateau at this height.

    Returns:
        A new figure; `figure.axes[0]` is the three-dimensional Axes.

    Raises:
        RecordError: if the surface is over a line, has fewer than 2 x 2 points, or has no such channel.
    """
    require_plane(surface, "plot_surface")
    name = channel_of(surface, channel)
    wanted = False if is_score(name) else log
    scale = scale_of([surface], [name], log=wanted, zmax=zmax)
    figure = style.new_figure(7.6, 6.4, layout=None)
    notes = [*unit_notes(surface), *scale_notes(scale, name, log=wanted)]
    if gaps(surface, name).any.any():
        notes.append("holes: no value")
    bottom, top = style.place_texts(figure, title_of(surface, name), caption({"": surface}, [name], notes))
    floor, bottom = bottom, bottom + 0.12 / 6.4
    labels = max(style.text_width(text, style.TICK_SIZE) for text in distinct_labels(scale.ticks))
    right = 1 - (0.62 + labels) / 7.6  # the colour bar's place; the vertical axis has the same labels
    axes: Any = figure.add_axes((0.0, bottom, right - max(0.0, labels - 0.25) / 7.6, top - bottom), projection="3d")
    mappable = draw_surface(axes, surface, name, scale)
    if labels > 0.6:
        axes.set_zticklabels([])  # too long to stand twice: the colour bar has them
    place = figure.add_axes((right, bottom + 0.2 * (top - bottom), 0.02, 0.6 * (top - bottom)))
    colour_bar(figure, mappable, place, scale, name)
    keep_above([axes], floor)
    return figure


def keep_above(panels: Sequence[Any], floor: float) -> None:
    """Raise the lower edges of landscapes until their labels, which hang out of their boxes, are above a line.

    Args:
        panels: three-dimensional Axes, placed by hand, of one figure.
        floor: the line's height, in fractions of the figure's.
    """
    figure = panels[0].figure
    for _ in range(3):  # lower boxes have their labels elsewhere
        figure.draw_without_rendering()  # labels have no place before
        below = [floor - panel.get_tightbbox().y0 / figure.bbox.height for panel in panels]
        if max(below) <= 0:
            return
        for panel, missing in zip(panels, np.maximum(below, 0.0), strict=True):
            box = panel.get_position()
            panel.set_position((box.x0, box.y0 + missing, box.width, box.height - missing))


def draw_surface(axes: Any, surface: Surface, channel: str, scale: Scale) -> ScalarMappable:
    """Draw one channel's mesh into a three-dimensional Axes, whose limits become the grid's ends.

    Args:
        axes: an Axes with Matplotlib's "3d" projection.
        surface: a surface over a plane.
        channel: one of its channels.
        scale: heights and colours.

    Returns:
        What a colour bar needs.
    """
    y = require_plane(surface, "draw_surface")
    ceiling = scale.high if scale.clipped else np.inf
    heights = scale.forward(np.minimum(drawn_values(surface, channel), ceiling))
    mappable = ScalarMappable(norm=scale.norm, cmap=style.colour_map())
    corners = _subdivided(_cells(surface.x, y, heights), math.ceil(_FACETS / max(heights.shape)))
    low, high = scale.limits
    if len(corners):
        # Light falls on the landscape as it is seen: each axis scaled to its length in the figure.
        normals = _normals(corners, (surface.x[-1] - surface.x[0], y[-1] - y[0], (high - low) / 0.72))
        light = LightSource(azdeg=225, altdeg=50)
        colours = mappable.to_rgba(corners[:, :, 2].mean(axis=1))
        colours[:, :3] *= (0.72 + 0.28 * np.clip(normals @ light.direction, 0, 1))[:, None]
        mesh = Poly3DCollection(corners, facecolors=colours, edgecolors=colours, linewidths=0.3)
        axes.add_collection3d(mesh, autolim=False)
    _style_3d(axes)
    axes.set_xlim(surface.x[0], surface.x[-1], view_margin=0)
    axes.set_ylim(y[0], y[-1], view_margin=0)
    axes.set_zlim(low, high, view_margin=0)
    for ends, write, side in (
        ((surface.x[0], surface.x[-1]), axes.set_xticks, "right"),
        ((y[0], y[-1]), axes.set_yticks, "left"),
    ):
        # Five marks at most, their labels turned away from the corner where both axes meet.
        ticks = [v for v in MaxNLocator(nbins=4, steps=[1, 2, 5, 10]).tick_values(*ends) if ends[0] <= v <= ends[1]]
        write(ticks, labels=[number(v) for v in ticks], horizontalalignment=side)
    heights_marked = scale.forward(scale.ticks).tolist()
    axes.set_zticks(heights_marked, labels=distinct_labels(scale.ticks), horizontalalignment="left")
    axes.view_init(*_VIEW)
    shape, _ = proportion(surface.x, y)
    axes.set_box_aspect((min(shape, 1.0), min(1 / shape, 1.0), 0.72), zoom=0.98)
    for axis, write in (("x", axes.set_xlabel), ("y", axes.set_ylabel)):
        text = style.wrap(axis_label(surface, axis, short=True), 1.3, style.TICK_SIZE)  # type: ignore[arg-type]
        write(text, fontsize=style.TICK_SIZE, color=style.INK, labelpad=8, parse_math=False)
    return mappable


def _cells(x: Array, y: Array, heights: Array) -> Array:
    """Corners [cells, 4, 3] of the mesh's cells, those with a missing corner left out."""
    mesh = np.stack([*np.meshgrid(x, y), heights], axis=-1)
    corners = np.stack([mesh[:-1, :-1], mesh[:-1, 1:], mesh[1:, 1:], mesh[1:, :-1]], axis=2).reshape(-1, 4, 3)
    return np.asarray(corners[np.isfinite(corners).all(axis=(1, 2))])


def _subdivided(corners: Array, times: int) -> Array:
    """Each cell as times x times facets of its bilinear surface, so that colours on coarse grids change smoothly."""
    if times <= 1:
        return corners
    ends = np.linspace(0, 1, times + 1)
    v, u = (m[:, :, None] for m in np.meshgrid(ends, ends, indexing="ij"))
    a, b, c, d = (corners[:, k, None, None, :] for k in range(4))
    mesh = (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * d + u * c)
    facets = [mesh[:, :-1, :-1], mesh[:, :-1, 1:], mesh[:, 1:, 1:], mesh[:, 1:, :-1]]
    return np.stack(facets, axis=3).reshape(-1, 4, 3)


def _normals(corners: Array, lengths: tuple[float, float, float]) -> Array:
    """Unit normals, upwards, of cells whose axes are scaled by these lengths."""
    scaled = corners / np.array(lengths)
    normals = np.cross(scaled[:, 2] - scaled[:, 0], scaled[:, 3] - scaled[:, 1])
    return np.asarray(normals / np.linalg.norm(normals, axis=1, keepdims=True))


def _style_3d(axes: Any) -> None:
    axes.set_facecolor("white")
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((1.0, 1.0, 1.0, 0.0))
        axis.line.set_color(style.MUTED)
        axis.line.set_linewidth(0.8)
        axis.gridlines.set_color(style.RULE)
        axis.gridlines.set_linewidth(0.6)
        axis.set_tick_params(labelsize=style.TICK_SIZE - 0.5, labelcolor=style.INK, color=style.MUTED, pad=2)
