"""The path of a training on the plane that it was projected to, with its distance from that plane."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import style
from lightning_landscape.figures.captions import axis_label, caption, gap_handles, origin_name, title_of
from lightning_landscape.figures.channels import channel_of, gaps, require_plane
from lightning_landscape.figures.contours import (
    colour_bar,
    draw_contours,
    panel_size,
    proportion,
    scale_notes,
    scale_of,
)
from lightning_landscape.figures.initial_loss import draw_initial_loss
from lightning_landscape.figures.scale import number
from lightning_landscape.geometry.path import Path
from lightning_landscape.records.surface import Surface

_HALO = [patheffects.withStroke(linewidth=3.4, foreground="white")]


def plot_trajectory(
    surface: Surface,
    channel: str | None = None,
    *,
    filled: bool = True,
    log: bool | None = None,
    zmax: float | None = None,
) -> Figure:
    """Draw a surface's path over its contours, and beside it how far each checkpoint lies off the plane.

    The dots are the checkpoints' projections, not the checkpoints: the loss of one is the loss under its dot only where
    its distance from the plane is small. That distance is drawn together with the distance from the origin (usually the
    final weights), both Euclidean and from zero, so that its share can be read off.

    Args:
        surface: a surface over a plane with a path.
        channel: one of its channels; None for its loss.
        filled: colour the plane and add a colour bar.
        log: logarithmic levels and colours; None where the largest loss exceeds 50 times the smallest.
        zmax: draw values above it as if they were this one.

    Returns:
        A new figure; `figure.axes[0]` is the plane, `figure.axes[1]` the distances.

    Raises:
        RecordError: if the surface has no path, is over a line, or has no such channel.
    """
    y = require_plane(surface, "plot_trajectory")
    path = surface.path
    if path is None or len(path) == 0 or path.dim != 2:
        raise RecordError(
            "plot_trajectory draws a surface's path, and this one has none: compute it over a plane that a recorded "
            "trajectory is projected to, or use plot_contours"
        )
    name = channel_of(surface, channel)
    scale = scale_of([surface], [name], log=log, zmax=zmax)
    shape, _ = proportion(surface.x, y)
    size = panel_size(shape, height=3.8)
    # Distances stand beside a plane as wide as high, and under a wider one.
    under = shape > 1.2
    other = (size[0], 0.5 * size[1]) if under else (0.85 * size[0], size[1])
    share = {"rows": 1.5} if under else {"columns": 1.85}
    figure = style.new_figure(size[0] * share.get("columns", 1) + 2.0, size[1] * share.get("rows", 1) + 2.5)
    if under:
        axes, beside = figure.subplots(2, 1, height_ratios=(1, 0.5))
    else:
        axes, beside = figure.subplots(1, 2, width_ratios=(1, 0.85))
    mappable = draw_contours(axes, surface, name, scale, filled=filled)
    style.label_axes(axes, axis_label(surface, "x"), axis_label(surface, "y"), size)
    border = draw_initial_loss(axes, surface, name, scale)
    handles = [*draw_path(axes, path, end=origin_name(surface)), *border]
    style.legend_below(axes, [*handles, *gap_handles(gaps(surface, name))], size[0])
    if filled:
        colour_bar(figure, mappable, axes.inset_axes((1.025, 0, 0.16 / size[0], 1)), scale, name)
    _draw_distances(beside, path, other)
    style.fit(figure, axes, size, **share)
    notes = ["dots are projections", *scale_notes(scale, name, log=log, lines=not filled)]
    outside = int((~_inside(path.coordinates, surface.x, y)).sum())
    if outside:
        notes.append(f"{outside} of {len(path)} checkpoints lie beyond the axes")
    style.set_texts(figure, title_of(surface, name), caption({"": surface}, [name], notes))
    style.fit(figure, axes, size, **share)
    return figure


def draw_path(
    axes: Any, path: Path, *, end: str = "end", size: float = 1.0, colour: str = style.HIGHLIGHT
) -> list[Line2D]:
    """Draw a projected trajectory: a line, a dot for each checkpoint, start and end, and falls of the learning rate.

    Args:
        axes: an Axes with the plane's contours; its limits stay.
        path: a path with two coordinates.
        end: what the last checkpoint is called.
        size: factor of all marks, for small panels.
        colour: of the line and its marks.

    Returns:
        Legend entries.
    """
    limits = axes.get_xlim(), axes.get_ylim()
    a, b = path.coordinates.T
    axes.plot(a, b, "-", color=colour, lw=1.5 * size, path_effects=_HALO, zorder=5, solid_joinstyle="round")
    marks: dict[str, Any] = {"linestyle": "none", "markeredgecolor": "white", "zorder": 6, "color": colour}
    dots = axes.plot(a, b, "o", ms=4.2 * size, mew=0.6 * size, label="checkpoints", **marks)
    falls = learning_rate_falls(path.lr)
    handles = [*dots]
    if len(falls):
        handles += axes.plot(
            # Above the star, which is larger: at a low rate the path hardly moves any more.
            a[falls],
            b[falls],
            "D",
            ms=6.5 * size,
            label="learning rate falls",
            **{**marks, "color": style.INK, "zorder": 8},
        )
    first = {**marks, "color": "white", "markeredgecolor": colour, "zorder": 7}
    handles += axes.plot(a[:1], b[:1], "o", ms=8 * size, mew=1.8 * size, label="start", **first)
    handles += axes.plot(a[-1:], b[-1:], "*", ms=15 * size, mew=1.0 * size, label=end, **{**marks, "zorder": 7})
    axes.set_xlim(limits[0])
    axes.set_ylim(limits[1])
    return handles


def learning_rate_falls(lr: NDArray[np.float64] | None) -> NDArray[np.intp]:
    """Checkpoints at which a stepwise schedule has lowered the learning rate.

    Args:
        lr: learning rates of the checkpoints, or None.

    Returns:
        Indices of the first checkpoint with each lower rate; none for a schedule that falls at more than a quarter of
        the checkpoints, which has no steps to mark.

    Examples:
        >>> learning_rate_falls(np.array([0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01]))
        array([4])
        >>> len(learning_rate_falls(np.linspace(0.1, 0.0, 9)))
        0
    """
    if lr is None or len(lr) < 2:
        return np.empty(0, dtype=np.intp)
    falls = np.flatnonzero(lr[1:] < (1 - 1e-6) * lr[:-1]) + 1
    return falls if len(falls) <= max(1, len(lr) / 4) else np.empty(0, dtype=np.intp)


def _inside(points: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    low, high = np.array([x[0], y[0]]), np.array([x[-1], y[-1]])
    margin = 1e-9 * (high - low)
    return np.asarray(((points >= low - margin) & (points <= high + margin)).all(axis=1))


def _draw_distances(axes: Any, path: Path, size: tuple[float, float]) -> None:
    style.style_axes(axes, grid=True, frame=False)
    when = path.steps if path.epochs is None else path.epochs
    axes.fill_between(when, 0, path.residual, color=style.HIGHLIGHT, alpha=0.25, linewidth=0, zorder=2)
    off = axes.plot(
        when,
        path.residual,
        "-o",
        color=style.HIGHLIGHT,
        lw=1.8,
        ms=3.2,
        zorder=4,
        label="from the plane, not visible in it",
    )
    whole = axes.plot(
        when, path.distance_from_origin, "-", color=style.INK, lw=1.6, zorder=3, label="from the plane's origin"
    )
    top = float(np.nanmax([*path.residual, *path.distance_from_origin, 0.0])) or 1.0
    axes.set_ylim(0, 1.12 * top)
    ends = float(when.min()), float(when.max())
    axes.set_xlim(*ends if ends[0] < ends[1] else (ends[0] - 0.5, ends[0] + 0.5))
    axes.xaxis.get_major_locator().set_params(integer=True)
    falls = learning_rate_falls(path.lr)
    for index in falls:
        assert path.lr is not None
        axes.axvline(float(when[index]), color=style.MUTED, lw=0.9, ls=(0, (2, 2)), zorder=1)
        axes.text(
            float(when[index]),
            0.985,
            f" lr {number(float(path.lr[index]), 3)}",
            transform=axes.get_xaxis_transform(),
            ha="left" if when[index] < ends[0] + 0.8 * (ends[1] - ends[0]) else "right",
            va="top",
            fontsize=style.TICK_SIZE - 0.5,
            color=style.MUTED,
        )
    style.label_axes(axes, "optimizer step" if path.epochs is None else "epoch", "distance in weight space", size)
    style.set_panel_title(axes, "Distance of each checkpoint", size[0])
    style.legend_below(axes, [*whole, *off], size[0])
