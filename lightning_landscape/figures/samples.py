"""Samples of a generative model: points of the plane, or a grid of images; and their change over training."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import style

Array = NDArray[Any]
Panels = Mapping[str, Array]

_PANEL = 2.9  # inches
_SHOWN = 2000  # points of one cloud


def plot_samples(
    samples: Array | Panels,
    *,
    modes: Array | None = None,
    extent: float | None = None,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw samples as points, where they have two coordinates, or as a grid of images.

    Args:
        samples: ``[N, 2]``, or images ``[N, C, H, W]`` with one or three channels; or name -> such samples, which are
            drawn side by side.
        modes: centres of the true distribution ``[K, 2]``, marked by rings.
        extent: half the width of the planes shown; None for what holds the modes, else the samples.
        title: of the figure.
        caption: small lines under it.

    Returns:
        A new figure with one panel for each set of samples.

    Raises:
        RecordError: if there are no samples, or they are neither points of the plane nor images.
    """
    panels = samples if isinstance(samples, Mapping) else {"": samples}
    if not panels or any(len(values) == 0 for values in panels.values()):
        raise RecordError("plot_samples was given no samples")
    figure = style.new_figure(_PANEL * len(panels) + 0.4, _PANEL + 0.5)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    if extent is None:
        extent = _extent(panels, modes)
    for panel, (name, values) in zip(axes, panels.items(), strict=True):
        _draw(panel, np.asarray(values), modes, extent)
        if name:
            style.set_panel_title(panel, name, _PANEL)
    style.set_texts(figure, title, caption)
    style.fit(figure, axes[0], (_PANEL - 0.3, _PANEL - 0.3), columns=len(panels))
    return figure


def animate_samples(
    frames: Mapping[str, Panels],
    path: str | os.PathLike[str],
    *,
    modes: Array | None = None,
    extent: float | None = None,
    title: str = "",
    fps: float = 4.0,
    dpi: float = 75.0,
) -> pathlib.Path:
    """Write a GIF of the samples over training, with the same axes in every frame.

    Args:
        frames: heading of a frame -> its panels, as for `plot_samples`.
        path: the file, ending in ".gif"; its folder is created if need be.
        modes: centres of the true distribution.
        extent: half the width of the planes shown; None for what holds the modes, else the last frame's samples.
        title: stands before each frame's heading.
        fps: frames a second.
        dpi: pixels an inch.

    Returns:
        The path of the file.

    Raises:
        RecordError: if there is no frame, or the path is no ".gif".
    """
    path = pathlib.Path(path)
    if path.suffix.lower() != ".gif":
        raise RecordError(f"animate_samples writes GIF files, and {path.name!r} does not end in .gif")
    if not frames:
        raise RecordError("animate_samples was given no frame")
    if extent is None:
        extent = _extent(list(frames.values())[-1], modes)
    images = []
    for heading, panels in frames.items():
        words = ", ".join(filter(None, (title, heading)))
        figure = plot_samples(panels, modes=modes, extent=extent, title=words)
        figure.set_dpi(dpi)
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
        images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3].copy()))
    # One palette for all frames, so that nothing flickers.
    palette = images[-1].quantize(32)
    pictures = [image.resize(images[0].size).quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0, optimize=True)
    return path


def _extent(panels: Panels, modes: Array | None) -> float:
    if modes is not None:
        return 1.5 * float(np.abs(modes).max())
    points = [np.abs(v[np.isfinite(v)]) for v in map(np.asarray, panels.values()) if v.ndim == 2]
    return 1.1 * max((float(np.quantile(p, 0.995)) for p in points if p.size), default=1.0) or 1.0


def _draw(panel: Any, samples: Array, modes: Array | None, extent: float) -> None:
    if samples.ndim == 2 and samples.shape[1] == 2:
        _draw_points(panel, samples, modes, extent)
    elif samples.ndim == 4 and samples.shape[1] in {1, 3}:
        panel.imshow(_grid(samples), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        panel.set_axis_off()
    else:
        raise RecordError(
            f"samples of shape {list(samples.shape)} are neither points of the plane [N, 2] nor images [N, C, H, W] "
            "with one or three channels"
        )


def _draw_points(panel: Any, samples: Array, modes: Array | None, extent: float) -> None:
    style.style_axes(panel, frame=True)
    shown = samples[:_SHOWN]
    inside = np.isfinite(shown).all(1) & (np.abs(shown) <= extent).all(1)
    if modes is not None:
        panel.plot(
            *modes.T,
            linestyle="none",
            marker="o",
            markersize=9 if len(modes) <= 20 else 4,
            markerfacecolor="none",
            markeredgecolor=style.MUTED,
            markeredgewidth=0.7,
        )
    panel.plot(
        *shown[inside].T,
        linestyle="none",
        marker="o",
        markersize=1.8,
        markeredgewidth=0,
        color=style.SERIES[0],
        alpha=0.5,
    )
    outside = 1 - inside.mean()
    if outside > 0.005:
        panel.text(
            0.5, 0.02, f"{outside:.0%} of the samples lie outside", ha="center", va="bottom",
            transform=panel.transAxes, fontsize=style.TICK_SIZE, color=style.HIGHLIGHT,
        )  # fmt: skip
    panel.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal")


def _grid(images: Array, gap: int = 1) -> Array:
    """One picture of all images ``[N, C, H, W]``, scaled together from their smallest to their largest value."""
    count, channels, height, width = images.shape
    low, high = np.nanmin(images), np.nanmax(images)
    scaled = (images - low) / max(float(high - low), 1e-12)
    columns = ceil(sqrt(count))
    rows = ceil(count / columns)
    picture = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, channels))
    for number, image in enumerate(scaled):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        picture[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return picture.squeeze()


def headings(steps: Sequence[int]) -> list[str]:
    """The heading of each frame of `animate_samples` from the iteration that it shows."""
    return [f"iteration {step:,}" for step in steps]
