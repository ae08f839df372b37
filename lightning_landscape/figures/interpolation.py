"""Lines between two networks, pair under pair, each beside how the weights of its two networks are distributed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import style
from lightning_landscape.figures.captions import axis_label, caption
from lightning_landscape.figures.channels import drawn_values
from lightning_landscape.figures.curves import draw_gaps, limit_values
from lightning_landscape.figures.scale import Scale, number
from lightning_landscape.records.surface import Surface

Array: TypeAlias = NDArray[np.floating[Any]]

_SIZE = (4.0, 2.4)
_BINS = 81
_DASHES: dict[str, Any] = {"train": "-", "test": (0, (4.5, 1.8))}
_LOSS, _ACCURACY, _FIRST, _SECOND = style.SERIES[:4]


def plot_interpolations(
    lines: Mapping[str, Surface],
    weights: Mapping[str, Mapping[str, Array]],
    *,
    title: str = "",
    log: bool | None = None,
) -> Figure:
    """Draw lines between two networks under one another, and beside each the weights of both as histograms.

    The first network is at 0, the second at 1. All lines share one scale, and so do all histograms, which show the
    share of a network's weights in each of 81 bins on a logarithmic axis.

    Args:
        lines: name -> surface over the line, with the channels "train/loss", "test/loss", "train/accuracy" and
            "test/accuracy".
        weights: name -> the weights of the two networks by the networks' names, the first one first.
        title: of the figure.
        log: a logarithmic axis of the loss; None where the largest exceeds 50 times the smallest.

    Returns:
        A new figure; its axes are line and histogram in turn, then those of the accuracies.

    Raises:
        RecordError: if there is no line, one is over a plane or lacks a channel, or there are not two networks' weights
            for each.
    """
    if not lines:
        raise RecordError("plot_interpolations was given no line")
    for name, line in lines.items():
        if line.dim != 1:
            raise RecordError(f"plot_interpolations draws surfaces over lines; {name!r} is over a plane")
        if len(weights.get(name, {})) != 2:
            raise RecordError(f"plot_interpolations needs the weights of two networks for {name!r}")
    losses = [f"{split}/loss" for split in _DASHES]
    scale = Scale.covering(*(drawn_values(line, loss) for line in lines.values() for loss in losses), log=log)
    largest = max(float(np.abs(values).max()) for pair in weights.values() for values in pair.values())
    edges = np.linspace(-largest, largest, _BINS + 1)
    count = len(lines)
    figure = style.new_figure(2 * _SIZE[0] + 2.2, count * (_SIZE[1] + 0.9) + 1.4)
    grid = figure.subplots(count, 2, squeeze=False)
    gaps: dict[str, Patch] = {}
    for (left, right), (name, line) in zip(grid, lines.items(), strict=True):
        lowest = left is grid[-1, 0]
        _draw_line(left, line, scale, list(weights[name]))
        gaps |= {str(handle.get_label()): handle for handle in draw_gaps([left], {name: line}, {name: losses})}
        style.set_panel_title(left, name, _SIZE[0])
        words = f"loss ({scale.words()})" if scale.words() else "loss"
        style.label_axes(left, axis_label(line, "x", short=True) if lowest else "", words, _SIZE)
        _draw_weights(right, weights[name], edges)
        style.label_axes(right, "weight" if lowest else "", "share of the weights (log scale)", _SIZE)
    ends = [axes.get_ylim() for axes in grid[:, 1]]
    for axes in grid[:, 1]:
        axes.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
    handles = [
        Line2D([], [], color=colour, linestyle=dash, linewidth=1.8, label=f"{split}/{quantity}")
        for quantity, colour in (("loss", _LOSS), ("accuracy", _ACCURACY))
        for split, dash in _DASHES.items()
    ]
    style.legend_below(grid[-1, 0], [*handles, *gaps.values()], _SIZE[0])
    style.fit(figure, grid[0, 0], _SIZE, columns=2, rows=count)
    notes = ["one scale for all lines, one for all histograms"]
    style.set_texts(figure, title, caption(lines, ["train/loss"] * count, notes))
    style.fit(figure, grid[0, 0], _SIZE, columns=2, rows=count)
    return figure


def _draw_line(axes: Any, line: Surface, scale: Scale, names: list[str]) -> None:
    style.style_axes(axes, grid=True, frame=False)
    other = axes.twinx()
    style.style_axes(other, frame=True)
    other.patch.set_visible(False)
    for side in ("top", "left", "bottom"):
        other.spines[side].set_visible(False)
    for split, dash in _DASHES.items():
        shared: dict[str, Any] = {"linestyle": dash, "linewidth": 1.8}
        axes.plot(line.x, drawn_values(line, f"{split}/loss"), color=_LOSS, **shared)
        other.plot(line.x, drawn_values(line, f"{split}/accuracy"), color=_ACCURACY, **shared)
    limit_values(axes, scale)
    other.set_ylim(0, 1.02)
    other.set_ylabel("accuracy", fontsize=style.LABEL_SIZE, color=_ACCURACY)
    axes.set_xlim(float(line.x.min()), float(line.x.max()))
    inner = [at for at in (-0.5, 0.5, 1.5) if line.x.min() <= at <= line.x.max()]
    axes.set_xticks([*inner, 0.0, 1.0], labels=[*map(number, inner), *(f"{k}: {name}" for k, name in enumerate(names))])
    for at, colour in ((0.0, _FIRST), (1.0, _SECOND)):
        axes.axvline(at, color=colour, linewidth=1.1, linestyle=(0, (2, 2)), zorder=1)


def _draw_weights(axes: Any, weights: Mapping[str, Array], edges: NDArray[np.float64]) -> None:
    style.style_axes(axes, grid=True, frame=False)
    for colour, (name, values) in zip((_FIRST, _SECOND), weights.items(), strict=True):
        shares = np.histogram(values, edges)[0] / max(values.size, 1)
        size = number(float(np.linalg.norm(values.astype(np.float64))), 3)
        label = f"{name}: norm {size}"
        axes.stairs(np.where(shares > 0, shares, np.nan), edges, color=colour, linewidth=1.5, label=label)
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.set_xlim(edges[0], edges[-1])
    legend = axes.legend(
        loc="upper left", frameon=False, fontsize=style.TICK_SIZE, labelcolor=style.INK, borderaxespad=0.2
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
