"""Figures of training with low-bit weights: error floors, distributions of weights, training curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import style

Array: TypeAlias = NDArray[np.floating[Any]]


def plot_error_floors(
    deltas: Sequence[float],
    floors: Mapping[str, Sequence[float]],
    errors: Mapping[str, Sequence[float]],
    prediction: tuple[Sequence[float], Sequence[float]],
) -> Figure:
    """Draw the error that each method is left with, against the resolution of the grid, on linear axes from zero.

    Args:
        deltas: the resolutions.
        floors: by method, what is left at each of them.
        errors: their standard errors.
        prediction: resolutions, and what theory says that stochastic rounding is left with at each.

    Returns:
        A new figure.
    """
    figure = style.new_figure(6.4, 4.6)
    axes = figure.add_subplot()
    style.style_axes(axes, grid=True, frame=False)
    axes.plot(*prediction, color=style.INK, linestyle=(0, (4, 2)), zorder=3, label="limit law of stochastic rounding")
    for colour, (name, left) in zip(style.SERIES[1:], floors.items(), strict=False):
        axes.errorbar(
            deltas,
            left,
            yerr=2 * np.asarray(errors[name]),
            color=colour,
            marker="o",
            markersize=5,
            linewidth=1.4,
            label=name,
        )
    axes.set_xlim(0, 1.05 * max(deltas))
    axes.set_ylim(bottom=0)
    style.label_axes(axes, "resolution of the grid, delta", "mean of f - f*, at the end", (5.2, 3.2))
    handles, _ = axes.get_legend_handles_labels()
    style.legend_below(axes, handles, 5.2)
    style.set_texts(figure, "What is left on a convex quadratic", "bars: two standard errors on either side")
    style.fit(figure, axes, (5.2, 3.2))
    return figure


def plot_distributions(
    rates: Sequence[float],
    weights: Mapping[str, Sequence[Array]],
    delta: float,
    function: tuple[Array, Array],
    laws: Mapping[str, tuple[Array, Array]],
) -> Figure:
    """Draw histograms of weights: a column for each method, under the function, and a row for each learning rate.

    Args:
        rates: the learning rates, from the largest.
        weights: by method, the weights at each rate.
        delta: the width of a bar, which is centred on a multiple of it.
        function: points and the function's values there.
        laws: by method, the points of a grid and their probabilities, drawn as dots in every row.

    Returns:
        A new figure; its axes are in rows, the function's first.

    Raises:
        RecordError: if a method has not one set of weights for each rate.
    """
    for name, found in weights.items():
        if len(found) != len(rates):
            raise RecordError(f"{name} has weights at {len(found)} learning rates and {len(rates)} are to be drawn")
    points, values = function
    columns, rows = len(weights), len(rates) + 1
    figure = style.new_figure(3.0 * columns + 0.6, 1.25 * rows + 1.0)
    panels = figure.subplots(rows, columns, sharex=True, sharey="row", squeeze=False)
    centres = np.arange(np.ceil(points[0] / delta), np.floor(points[-1] / delta) + 1) * delta
    edges = np.append(centres - delta / 2, centres[-1] + delta / 2)
    for column, (name, found) in enumerate(weights.items()):
        colour = style.SERIES[column]
        for row in range(rows):
            panel = panels[row, column]
            style.style_axes(panel, frame=False)
            if row == 0:
                panel.plot(points, values, color=style.INK, linewidth=1.4)
                panel.set_ylim(0, 6)
                style.set_panel_title(panel, name, 2.6)
                continue
            sample = np.asarray(found[row - 1], dtype=np.float64)
            shares = np.histogram(sample, edges)[0] / max(len(sample), 1)
            panel.bar(centres, shares, width=0.92 * delta, color=colour, linewidth=0)
            if name in laws:
                grid, law = laws[name]
                panel.plot(grid, law, linestyle="", marker="o", markersize=3.5, color=style.INK, zorder=3)
            panel.text(
                0.03,
                0.88,
                f"rate {rates[row - 1]:g}",
                transform=panel.transAxes,
                ha="left",
                va="top",
                fontsize=style.TICK_SIZE,
                color=style.INK,
            )
    for row in range(rows):
        panels[row, 0].set_ylabel("f(w)" if row == 0 else "share", fontsize=style.LABEL_SIZE, color=style.INK)
    for panel in panels[-1]:
        panel.set_xlabel("w", fontsize=style.LABEL_SIZE, color=style.INK)
    panels[0, 0].set_xlim(points[0], points[-1])
    style.set_texts(
        figure,
        "Where the weights are, as the learning rate falls",
        f"bars: share of the chains within {delta / 2:g} of a multiple of {delta:g}; dots: the law that stochastic "
        "rounding tends to as the rate goes to 0",
    )
    return figure


def plot_training_errors(
    curves: Mapping[str, Mapping[str, Array]], test_errors: Mapping[str, Sequence[float]]
) -> Figure:
    """Draw the training of several methods: training and validation error, and the share of weights that move.

    Lines are means over the seeds, bands reach from the lowest to the highest; test errors stand in the legend as mean
    and standard deviation. A method that moves no weight has no line in the third panel.

    Args:
        curves: by method and by the metric that was logged, ``[seeds, epochs]``.
        test_errors: by method, the final test error of each seed in per cent.

    Returns:
        A new figure; its first three axes are the panels, the last holds the legend.

    Raises:
        RecordError: if there is no method.
    """
    if not curves:
        raise RecordError("plot_training_errors was given no training")
    figure = style.new_figure(11.0, 4.6)
    grid = figure.add_gridspec(2, 3, height_ratios=[1, 0.16])
    shown: list[tuple[str, str, Callable[[Array], Array]]] = [
        ("train_accuracy", "training error (%)", lambda accuracy: 100 * (1 - accuracy)),
        ("val_accuracy", "validation error (%)", lambda accuracy: 100 * (1 - accuracy)),
        ("weights_changed", "weights changed by a step (%)", lambda share: 100 * share),
    ]
    for column, (metric, words, scaled) in enumerate(shown):
        panel = figure.add_subplot(grid[0, column])
        style.style_axes(panel, grid=True, frame=False)
        panel.set_yscale("log")
        for colour, (name, found) in zip(style.SERIES, curves.items(), strict=False):
            values = scaled(np.asarray(found[metric], dtype=np.float64))
            if not values.any():
                continue  # no weight has moved, or nothing was validated: there is no such line on a log scale
            epochs = np.arange(1, values.shape[1] + 1)
            panel.plot(epochs, values.mean(0), color=colour, linewidth=1.6, label=name)
            panel.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.16, linewidth=0)
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if column < 2 else (1,), numticks=12))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_locator(NullLocator())
        style.label_axes(panel, "epoch", words, (3.0, 3.0))
    below = figure.add_subplot(grid[1, :])
    below.set_axis_off()
    handles = [
        Line2D([], [], color=colour, linewidth=2.0, label=f"{name}: {_mean_and_spread(test_errors[name])} %")
        for colour, name in zip(style.SERIES, curves, strict=False)
    ]
    below.legend(
        handles=handles, loc="center left", ncols=3, frameon=False, fontsize=style.TICK_SIZE, labelcolor=style.INK
    )
    style.set_texts(
        figure,
        "Training with binary weights",
        "lines: mean over the seeds, bands: lowest to highest; legend: final test error, mean ± standard deviation",
    )
    return figure


def _mean_and_spread(values: Sequence[float]) -> str:
    mean = float(np.mean(values))
    return f"{mean:.2f} ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else f"{mean:.2f}"
