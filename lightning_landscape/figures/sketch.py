"""What the sketch of a training shows: how far it goes, in how long steps, how straight, and along which path."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import style
from lightning_landscape.figures.captions import percent
from lightning_landscape.figures.scale import number
from lightning_landscape.figures.trajectory import learning_rate_falls
from lightning_landscape.records.sketch import Sketch

_SIZE = (4.4, 2.7)
_BAND = 2.0  # standard errors on either side of a curve
# With more values than these, a running median shows what single values hide.
_CROWD = 60


def plot_sketch(sketch: Sketch) -> Figure:
    """Draw the distance from the start, the path on its principal plane, the step lengths, and the turns of the path.

    Bands are two standard errors wide on either side; the standard error is that of the random projection. The angle
    between one update and the next is 0 where the path goes straight on, and 90 degrees where an update has nothing to
    do with the one before. Where there are many steps, a running median is drawn over the single values.

    Args:
        sketch: a sketch of three rows at least.

    Returns:
        A new figure; `figure.axes` are the distances, the path, the lengths and the angles.

    Raises:
        RecordError: if the sketch has fewer than three rows.
        GeometryError: if its rows span no plane.
    """
    if len(sketch) < 3:
        raise RecordError(f"plot_sketch draws a path of 3 rows at least, and {sketch.path} has {len(sketch)}")
    coordinates, shares = sketch.principal_path()
    steps = sketch.steps.astype(np.float64)
    falls = learning_rate_falls(sketch.lr)
    figure = style.new_figure(2 * _SIZE[0] + 1.6, 2 * _SIZE[1] + 2.4)
    (distances, plane), (lengths, turns) = figure.subplots(2, 2)

    start = sketch.distance_from_start()
    _over_steps(distances, "distance from the start", steps)
    _band(distances, steps, start.value, start.error)
    distances.plot(steps, start.value, "-", color=style.HIGHLIGHT, lw=1.6, zorder=4)
    distances.set_ylim(0, 1.08 * float((start.value + _BAND * start.error).max()) or 1.0)
    style.set_panel_title(distances, "How far", _SIZE[0])

    _path(plane, coordinates, falls)
    labels = [f"{order} direction ({percent(share)})" for order, share in zip(("first", "second"), shares, strict=True)]
    style.label_axes(plane, labels[0], labels[1], _SIZE)
    style.set_panel_title(plane, "The path on its principal plane", _SIZE[0])

    step = sketch.step_lengths()
    _over_steps(lengths, "distance from one record to the next", steps)
    _values(lengths, steps[1:], step.value)
    if step.value.min() > 0:
        lengths.set_yscale("log")
    style.set_panel_title(lengths, "Length of the steps", _SIZE[0])

    turn = sketch.angles()
    _over_steps(turns, "angle to the update before, degrees", steps)
    _band(turns, steps[2:], np.degrees(turn.value), np.degrees(turn.error))
    _values(turns, steps[2:], np.degrees(turn.value))
    turns.axhline(90, color=style.MUTED, lw=0.9, ls=(0, (4, 2)), zorder=1)
    turns.set_ylim(0, 180)
    turns.set_yticks([0, 45, 90, 135, 180])
    style.set_panel_title(turns, "How straight", _SIZE[0])

    for axes in (distances, lengths, turns):
        for index in falls:
            axes.axvline(steps[index], color=style.MUTED, lw=0.9, ls=(0, (2, 2)), zorder=1)
    style.fit(figure, distances, _SIZE, columns=2, rows=2)
    style.set_texts(figure, "The path of the training, from sketches of its weights", _caption(sketch, len(falls) > 0))
    style.fit(figure, distances, _SIZE, columns=2, rows=2)
    return figure


def _caption(sketch: Sketch, falls: bool) -> str:
    projection = sketch.projection
    apart = np.abs((sketch.sketches**2).sum(axis=1) / sketch.squared_norms - 1).max()
    notes = [
        f"{len(sketch)} records of {number(sketch.entries, 12)} parameters, projected to "
        f"{number(projection.dimension, 12)} numbers (seed {projection.seed})",
        f"standard error of a distance {percent(sketch.error / 2)}; bands are two standard errors"
        if sketch.error
        else "exact, for the model has no more parameters than the sketch has numbers",
        f"squared norms of the weights, which are known exactly, come out within {percent(float(apart))}",
    ]
    if falls:
        notes.append("dotted lines and diamonds: the learning rate falls")
    return "; ".join(notes) + "."


def _over_steps(axes: Any, label: str, steps: NDArray[np.float64]) -> None:
    style.style_axes(axes, grid=True, frame=False)
    axes.set_xlim(steps[0], max(steps[-1], steps[0] + 1))
    axes.xaxis.get_major_locator().set_params(integer=True)
    style.label_axes(axes, "optimizer step", label, _SIZE)


def _band(axes: Any, x: NDArray[np.float64], y: NDArray[np.float64], error: NDArray[np.float64]) -> None:
    low, high = y - _BAND * error, y + _BAND * error
    axes.fill_between(x, low, high, color=style.HIGHLIGHT, alpha=0.2, linewidth=0, zorder=2)


def _values(axes: Any, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    if len(y) <= _CROWD:
        axes.plot(x, y, "-o", color=style.HIGHLIGHT, lw=1.4, ms=2.8, zorder=4)
        return
    axes.plot(x, y, ".", color=style.HIGHLIGHT, ms=5, alpha=0.35, mew=0, zorder=3, label="single steps")
    window = max(3, round(len(y) / 40))
    # Whole windows only: a median of few values at the ends would promise more than it holds.
    medians = np.median(np.lib.stride_tricks.sliding_window_view(y, window), axis=1)
    middle = np.convolve(x, np.full(window, 1 / window), mode="valid")
    axes.plot(middle, medians, "-", color=style.INK, lw=1.6, zorder=4, label=f"median of {window}")
    style.legend_below(axes, axes.get_legend_handles_labels()[0], _SIZE[0])


def _path(axes: Any, coordinates: NDArray[np.float64], falls: NDArray[np.intp]) -> None:
    style.style_axes(axes)
    a, b = coordinates.T
    axes.plot(a, b, "-", color=style.HIGHLIGHT, lw=1.3, zorder=3)
    marks: dict[str, Any] = {"linestyle": "none", "zorder": 5}
    first = {"markerfacecolor": "white", "markeredgecolor": style.HIGHLIGHT, "mew": 1.8, "ms": 8}
    handles: list[Line2D] = [*axes.plot(a[:1], b[:1], "o", label="start", **first, **marks)]
    if len(falls):
        handles += axes.plot(
            a[falls], b[falls], "D", ms=7, color=style.INK, mec="white", label="learning rate falls", **marks
        )
    handles += axes.plot(a[-1:], b[-1:], "*", ms=14, color=style.HIGHLIGHT, mec="white", label="end", **marks)
    # One unit is as long on either axis: lengths and angles can be read off.
    axes.set_aspect("equal", adjustable="datalim")
    style.legend_below(axes, handles, _SIZE[0])
