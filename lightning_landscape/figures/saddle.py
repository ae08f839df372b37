"""The bilinear saddle: paths of the iterations, and the factor by which each iteration shrinks or grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lightning_landscape.figures import style

Array = NDArray[Any]


def plot_saddle(
    paths: Mapping[str, Array],
    products: Array,
    moduli: Mapping[str, Array],
    limits: Mapping[str, float],
    *,
    title: str,
    caption: str,
) -> Figure:
    """Draw the path of each method around the saddle, and below them the moduli over the product of the step sizes.

    Args:
        paths: name of a method -> its points (u, v) ``[iterations + 1, 2]``.
        products: the horizontal axis of the moduli.
        moduli: name of a method -> its modulus at each product.
        limits: name of a method -> the product from which on it diverges; marked where it lies within the axis.
        title: of the figure.
        caption: small lines under it.

    Returns:
        A new figure; its first axes hold the paths, the last one the moduli.
    """
    figure = style.new_figure(3 * 2.7 + 0.5, 6.6)
    grid = figure.add_gridspec(2, len(paths), height_ratios=(1.0, 1.05))
    colours = dict(zip(paths, style.SERIES[1::-1] + style.SERIES[2:], strict=False))
    reach = 1.1 * max(float(np.abs(path[0]).max()) for path in paths.values()) * np.sqrt(2)
    panels = []
    for column, (name, path) in enumerate(paths.items()):
        panel = figure.add_subplot(grid[0, column])
        style.style_axes(panel)
        panel.axhline(0, color=style.RULE, linewidth=0.8, zorder=0)
        panel.axvline(0, color=style.RULE, linewidth=0.8, zorder=0)
        panel.plot(*path.T, color=colours[name], linewidth=1.0, marker="o", markersize=2.2)
        panel.plot(*path[0], marker="s", markersize=5, color=style.INK, zorder=3)
        panel.plot(0, 0, marker="+", markersize=8, color=style.INK, zorder=3)
        panel.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        panel.locator_params(nbins=5)
        style.label_axes(panel, "u", "v" if column == 0 else "", (2.3, 2.3))
        style.set_panel_title(panel, name, 2.3)
        panels.append(panel)

    below = figure.add_subplot(grid[1, :])
    style.style_axes(below, grid=True, frame=False)
    below.axhline(1, color=style.INK, linewidth=0.9)
    top = 1.6
    for name, values in moduli.items():
        below.plot(products, values, color=colours[name], linewidth=1.8, label=name)
        if products[0] < limits[name] < products[-1]:
            below.axvline(limits[name], color=colours[name], linewidth=1.0, linestyle=(0, (2, 2)))
            left = limits[name] > products[-1] / 2
            below.text(
                limits[name] + (-0.04 if left else 0.04),
                0.06,
                f"{name} diverges\nfrom {limits[name]:.3g} on",
                fontsize=style.TICK_SIZE,
                color=colours[name],
                ha="right" if left else "left",
                va="bottom",
            )
    below.set(xlim=(0, products[-1]), ylim=(0, top))
    style.label_axes(below, "s: product of both step sizes and of the squared slope", "modulus", (7.5, 2.2))
    handles, _ = below.get_legend_handles_labels()
    style.legend_below(below, handles, 7.5)
    style.set_texts(figure, title, caption)
    return figure
