"""The contour at the loss before training: beyond it, a point of the plane is no better than the untrained network."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.lines import Line2D

from lightning_landscape.figures import style
from lightning_landscape.figures.channels import drawn_values, require_plane
from lightning_landscape.figures.scale import Scale
from lightning_landscape.records.measures import initial_loss
from lightning_landscape.records.surface import Surface

_LOOK: dict[str, Any] = {"linewidth": 1.9, "linestyle": (0, (4.0, 1.6))}
_HALO = [patheffects.withStroke(linewidth=3.6, foreground="white")]


def draw_initial_loss(axes: Any, surface: Surface, channel: str, scale: Scale) -> list[Line2D]:
    """Draw the contour at ``attrs["initial_loss"]`` over a plane's other contours, dashed and broader than they.

    It is interpolated as they are, linearly in the heights of the scale, and never crosses one of them.

    Args:
        axes: an Axes with the plane's contours.
        surface: a surface over a plane.
        channel: the channel that is drawn.
        scale: its scale.

    Returns:
        Its legend entry; nothing where the record does not tell that loss, another channel than the loss is drawn, or
        the plane does not reach it.

    Source: Li et al., arXiv 1712.09913; the authors' talks call it the shattering contour, because in deep networks
    without shortcuts it lies at the border between the basin and rough terrain.
    """
    y = require_plane(surface, "draw_initial_loss")
    before = initial_loss(surface, channel)
    if before is None:
        return []
    ceiling = scale.high if scale.clipped else np.inf
    heights = np.ma.masked_invalid(scale.forward(np.minimum(drawn_values(surface, channel), ceiling)))
    level = float(scale.forward([before])[0])
    if not heights.count() or not heights.min() < level < heights.max():
        return []
    lines = axes.contour(
        surface.x,
        y,
        heights,
        levels=[level],
        colors=style.INK,
        linewidths=_LOOK["linewidth"],
        linestyles=[_LOOK["linestyle"]],
        corner_mask=False,
        zorder=4,
    )
    lines.set_path_effects(_HALO)
    return [Line2D([], [], color=style.INK, path_effects=_HALO, label="loss before training", **_LOOK)]
