"""The change of a surface over training, as an animated picture."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from PIL import Image

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import style
from lightning_landscape.figures.captions import axis_label, caption, title_of, unit_notes
from lightning_landscape.figures.channels import channel_of, require_plane
from lightning_landscape.figures.contours import (
    colour_bar,
    draw_contours,
    mark_points,
    panel_size,
    proportion,
    scale_of,
)
from lightning_landscape.figures.surface3d import draw_surface
from lightning_landscape.records.surface import Surface


def animate(
    surfaces: Sequence[Surface] | Mapping[str, Surface],
    path: str | os.PathLike[str],
    channel: str | None = None,
    *,
    three_d: bool = False,
    log: bool | None = None,
    zmax: float | None = None,
    fps: float = 2.0,
) -> pathlib.Path:
    """Write a GIF with one frame for each surface, all on one scale and with the same axes.

    Args:
        surfaces: surfaces over planes, in order; or name -> surface. A frame's heading is the name, else the record's
            epoch (its attribute "epoch" or "current_epoch") or step, else its number.
        path: the file, ending in ".gif"; its folder is created if need be.
        channel: the channel to draw of each; None for each one's loss.
        three_d: draw landscapes in three dimensions instead of coloured contours.
        log: a logarithmic scale; None where the largest loss of all exceeds 50 times the smallest.
        zmax: draw values above it as if they were this one.
        fps: frames a second.

    Returns:
        The path of the file.

    Raises:
        RecordError: if there is no surface, one is over a line or lacks the channel, or the path is no ".gif".
    """
    path = pathlib.Path(path)
    if path.suffix.lower() != ".gif":
        raise RecordError(f"animate writes GIF files, and {path.name!r} does not end in .gif")
    frames = list(surfaces.values()) if isinstance(surfaces, Mapping) else list(surfaces)
    if not frames:
        raise RecordError("animate was given no surface")
    headings = list(surfaces) if isinstance(surfaces, Mapping) else _headings(frames)
    names = [channel_of(s, channel) for s in frames]
    axes_of = [(s.x, require_plane(s, "animate")) for s in frames]
    scale = scale_of(frames, names, log=log, zmax=zmax)
    x = np.array([min(a[0] for a, _ in axes_of), max(a[-1] for a, _ in axes_of)])
    y = np.array([min(b[0] for _, b in axes_of), max(b[-1] for _, b in axes_of)])

    # Every frame has the same places: all captions are given the height of the tallest.
    flat = not three_d
    size = panel_size(proportion(x, y)[0]) if flat else (5.6, 4.9)
    inches = size[0] + 2.2
    captions = [
        caption({"": s}, [n], [*unit_notes(s), "one scale for all frames"]) for s, n in zip(frames, names, strict=True)
    ]
    captions = [style.wrap(c, inches - 2 * style.MARGIN, style.CAPTION_SIZE) for c in captions]
    tallest = max(c.count("\n") for c in captions)
    figure = style.new_figure(inches, size[1] + 1.15 + 0.155 * (tallest + 1), layout=None)
    canvas: Any = FigureCanvasAgg(figure)
    height = float(figure.get_size_inches()[1])
    pictures = []
    for heading, surface, name, text in zip(headings, frames, names, captions, strict=True):
        figure.clear()
        text += "\n" * (tallest - text.count("\n"))
        bottom, _ = style.place_texts(figure, f"{title_of(surface, name)}: {heading}", text)
        bottom += 0.6 / height if flat else 0.35 / height
        box = ((0.85 if flat else 0.0) / inches, bottom, size[0] / inches, size[1] / height)
        axes: Any = figure.add_axes(box, projection=None if flat else "3d")
        if flat:
            mappable = draw_contours(axes, surface, name, scale, filled=True)
            mark_points(axes, surface, name)
            axes.set(xlim=x, ylim=y)
            style.label_axes(axes, axis_label(surface, "x", short=True), axis_label(surface, "y", short=True), size)
            place = axes.inset_axes((1.025, 0, 0.16 / size[0], 1))
        else:
            mappable = draw_surface(axes, surface, name, scale)
            axes.set_xlim(*x, view_margin=0)
            axes.set_ylim(*y, view_margin=0)
            place = figure.add_axes(((size[0] + 0.5) / inches, bottom + 0.2 * box[3], 0.16 / inches, 0.6 * box[3]))
        colour_bar(figure, mappable, place, scale, name)
        canvas.draw()
        pictures.append(np.asarray(canvas.buffer_rgba())[:, :, :3].copy())
    palette = _palette((1.0,) if flat else (0.76, 0.82, 0.88, 0.94, 1.0))
    images = [Image.fromarray(p).quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures]
    path.parent.mkdir(parents=True, exist_ok=True)
    images[0].save(path, save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0)
    return path


def _palette(shades: Sequence[float]) -> Image.Image:
    """The 256 colours of a GIF, the same in every frame, so that a value keeps its colour.

    Most are the colour map's, at each of the landscape's shades; the rest are greys and blends for lines and letters.
    """
    ink, mark = np.array(to_rgb(style.INK)), np.array(to_rgb(style.HIGHLIGHT))
    colours = style.colour_map()(np.linspace(0, 1, 180 // len(shades)))[:, :3]
    few = style.colour_map()(np.linspace(0, 1, 16))[:, :3]
    part = np.linspace(0, 1, 32)[:, None]
    blocks = [*(shade * colours for shade in shades), part + (1 - part) * ink, (few + 1) / 2, (few + ink) / 2]
    blocks.append(part[::4] + (1 - part[::4]) * mark)
    rows = np.concatenate(blocks)
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.rint(255 * rows).astype(np.uint8).ravel().tolist())
    return palette


def _headings(frames: Sequence[Surface]) -> list[str]:
    for key in ("epoch", "current_epoch", "global_step"):
        if all(key in s.attrs for s in frames):
            return [f"{key.replace('current_', '').replace('global_', '')} {s.attrs[key]}" for s in frames]
    return [f"{number} of {len(frames)}" for number in range(1, len(frames) + 1)]
