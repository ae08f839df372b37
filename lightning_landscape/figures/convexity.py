"""Convexity maps: the ratio of the extreme eigenvalues of the Hessian over a plane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import style
from lightning_landscape.figures.captions import axis_label
from lightning_landscape.figures.channels import drawn_values, require_plane
from lightning_landscape.figures.scale import number
from lightning_landscape.records.surface import Surface

_SIDE = 3.4  # inches


def plot_convexity(surfaces: Surface | Mapping[str, Surface], *, top: float = 0.5) -> Figure:
    r"""Draw :math:`|\lambda_{\min} / \lambda_{\max}|` over one plane or several, one coloured cell for each point.

    The scale is the paper's: linear from 0 (convex: dark) to 0.5, and the same for all. Points without a value, where
    the loss overflows or that are not computed yet, are grey. Nothing is interpolated, for maps have few points.

    Args:
        surfaces: from `convexity_map`; or several by name.
        top: upper end of the scale.

    Raises:
        RecordError: if there is none, or one has no channel "ratio" or no plane.

    Source: Li et al., arXiv 1712.09913, figure 7.
    """
    shown = {"": surfaces} if isinstance(surfaces, Surface) else dict(surfaces)
    if not shown:
        raise RecordError("plot_convexity was given no surface")
    figure = style.new_figure(len(shown) * (_SIDE + 0.9) + 0.9, _SIDE + 1.9)
    panels = list(figure.subplots(1, len(shown), squeeze=False).flat)
    image: Any = None
    for axes, (name, surface) in zip(panels, shown.items(), strict=True):
        y = require_plane(surface, "plot_convexity")
        if "ratio" not in surface.names:
            raise RecordError(f"this surface has no channel 'ratio', only {surface.names}: compute it by convexity_map")
        style.style_axes(axes)
        axes.set_facecolor(style.GAP)
        values = np.ma.masked_invalid(drawn_values(surface, "ratio"))
        image = axes.pcolormesh(
            surface.x, y, values, cmap=style.colour_map(), norm=Normalize(0, top), shading="nearest", rasterized=True
        )
        axes.set_aspect("equal")
        style.label_axes(axes, axis_label(surface, "x"), axis_label(surface, "y"), (_SIDE, _SIDE))
        style.set_panel_title(axes, name, _SIDE)
    bar = figure.colorbar(image, ax=panels, extend="max", shrink=0.85, pad=0.02)
    bar.ax.tick_params(labelsize=style.TICK_SIZE, labelcolor=style.INK, color=style.MUTED)
    bar.set_label("|smallest / largest eigenvalue|", fontsize=style.LABEL_SIZE, color=style.INK)
    bar.outline.set_visible(False)
    style.set_texts(figure, "Convexity of the loss surface", "\n".join(_words(n, s, top) for n, s in shown.items()))
    return figure


def _words(name: str, surface: Surface, top: float) -> str:
    ratio = drawn_values(surface, "ratio")
    known = ratio[np.isfinite(ratio)]
    if not known.size:
        return f"{name}: no point computed"
    error = surface.error("ratio")
    worst = float(np.nanmax(error)) if np.isfinite(error).any() else float("nan")
    facts = [
        f"median {number(float(np.median(known)))}",
        f"largest {number(float(known.max()))}",
        f"{int((known > top).sum())} of {known.size} points above {number(top)}",
        f"each within {number(worst, 2)}",
    ]
    examples = f", {surface.attrs['examples']} examples" if "examples" in surface.attrs else ""
    missing = ratio.size - known.size
    gaps = f"; {missing} points without a value" if missing else ""
    return f"{name + ': ' if name else ''}{', '.join(facts)}{examples}{gaps}"
