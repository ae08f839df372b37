"""Curves over a line in weight space: losses on the left axis, accuracies on the right one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import style
from lightning_landscape.figures.captions import axis_label, caption, gap_handles, origin_name, title_of
from lightning_landscape.figures.channels import (
    channel_of,
    drawn_values,
    gaps,
    is_loss,
    is_score,
    quantity_of,
    split_of,
)
from lightning_landscape.figures.scale import Scale, distinct_labels, number
from lightning_landscape.records.surface import Surface

_DASHES: dict[str, Any] = {"": "-", "train": "-", "val": (0, (4.5, 1.8)), "test": (0, (4.5, 1.8))}
_DOTS: Any = (0, (1.2, 1.6))
_BAND = 2.0  # standard errors on either side of a curve


def plot_curves(
    surface: Surface | Mapping[str, Surface],
    channels: Sequence[str] | None = None,
    *,
    log: bool | None = None,
) -> Figure:
    """Draw the channels of a surface over a line: losses against the left axis, accuracies against the right one.

    Curves on training data are solid, on validation or test data dashed, as a channel's name tells ("train/loss",
    "val_accuracy" ...). Bands are two standard errors wide on either side. Between two networks this is the figure of
    Goodfellow et al. (2015) and Keskar et al. (2017): the first network is at 0, the second at 1. Points without a
    value interrupt the curves and are hatched (not finite) or grey (not computed).

    Several surfaces get a colour each and, if they have accuracies, a second panel for these. A surface over a plane is
    drawn by its two cross sections through the point nearest to the origin.

    Args:
        surface: a surface, or name -> surface over lines.
        channels: what to draw; None for every loss and accuracy.
        log: a logarithmic left axis; None where the largest loss exceeds 50 times the smallest.

    Returns:
        A new figure; `figure.axes[0]` holds the losses, `figure.axes[1]`, if there are any, the accuracies.

    Raises:
        RecordError: if there is no surface, one of several is over a plane, or a channel is missing.
    """
    if isinstance(surface, Surface):
        curves = {"": surface} if surface.dim == 1 else _cross_sections(surface)
    else:
        curves = dict(surface)
    if not curves:
        raise RecordError("plot_curves was given no surface")
    for name, one in curves.items():
        if one.dim != 1:
            raise RecordError(f"plot_curves draws several surfaces over lines; {name!r} is over a plane: give it alone")
    drawn = {name: _drawn(one, channels) for name, one in curves.items()}
    every = [(one, c) for name, one in curves.items() for c in drawn[name]]
    losses = [(s, c) for s, c in every if not is_score(c)]
    scores = [(s, c) for s, c in every if is_score(c)]
    scale = Scale.covering(*(drawn_values(s, c) for s, c in losses or scores), log=log if losses else False)

    apart = len(curves) > 1 and bool(losses) and bool(scores)
    size = (6.0, 2.5 if apart else 3.6)
    figure = style.new_figure(7.4, 7.2 if apart else 5.4)
    panels = list(figure.subplots(2, 1, sharex=True)) if apart else [figure.add_subplot()]
    for panel in panels:
        style.style_axes(panel, grid=True, frame=False)
    left = panels[0]
    right = panels[-1] if apart else left.twinx() if losses and scores else left
    _draw(curves, drawn, left, right)
    if not apart and right is not left:
        style.style_axes(right, frame=True)
        right.patch.set_visible(False)
        for side in ("top", "left", "bottom"):
            right.spines[side].set_visible(False)
    if losses:
        limit_values(left, scale)
    first = next(iter(curves.values()))
    ends = min(s.x[0] for s in curves.values()), max(s.x[-1] for s in curves.values())
    for panel in panels:
        panel.set_xlim(*ends if ends[0] < ends[1] else (ends[0] - 0.5, ends[0] + 0.5))
    axis_labels = {axis_label(s, "x") for s in curves.values()}
    text = axis_labels.pop() if len(axis_labels) == 1 else axis_label(first, "x", short=True)
    style.label_axes(panels[-1], text, "", size)
    words = " (log scale)" if losses and scale.kind == "log" else ""
    for panel, pairs in ((left, losses), (right, scores)):
        if pairs:
            _label_values(panel, pairs, words if pairs is losses else "", coloured=len(curves) == 1, height=size[1])
    _marks(panels, first)
    missing = draw_gaps(panels, curves, drawn)
    style.legend_below(panels[-1], [*_legend(curves, drawn), *missing], size[0])
    style.fit(figure, left, size, rows=len(panels))
    banded = any(c in s.errors and np.isfinite(s.errors[c]).any() for s, c in every)
    notes = ["bands: 2 standard errors on either side"] if banded else []
    if log and losses and scale.kind != "log" and scale.low <= 0:
        notes.append("linear scale, because some losses are not positive")
    names = [s.loss_name if s.loss_name in drawn[n] else drawn[n][0] for n, s in curves.items()]
    titles = {title_of(s, *drawn[n]) for n, s in curves.items()}
    shown = {"": surface} if isinstance(surface, Surface) else curves
    style.set_texts(
        figure,
        titles.pop() if len(titles) == 1 else ", ".join(curves),
        caption(shown, names[: len(shown)], notes),
    )
    style.fit(figure, left, size, rows=len(panels))
    return figure


def _drawn(surface: Surface, channels: Sequence[str] | None) -> list[str]:
    if channels is not None:
        return [channel_of(surface, c) for c in channels]
    # A surface without any of these is drawn whole.
    wanted = [c for c in surface.names if is_loss(c) or is_score(c) or c == surface.loss_name]
    return wanted or surface.names


def _cross_sections(surface: Surface) -> dict[str, Surface]:
    assert surface.y is not None
    row, column = int(np.argmin(np.abs(surface.y))), int(np.argmin(np.abs(surface.x)))
    attrs = {k: v for k, v in surface.attrs.items() if k not in {"kind", "direction_norms", "explained_variance"}}

    def cut(axis: NDArray[np.float64], index: Any) -> Surface:
        return Surface(
            axis,
            None,
            {n: v[index] for n, v in surface.channels.items()},
            {n: v[index] for n, v in surface.errors.items()},
            surface.done[index],
            attrs,
        )

    return {
        f"along x (y = {number(float(surface.y[row]))})": cut(surface.x, (row, slice(None))),
        f"along y (x = {number(float(surface.x[column]))})": cut(surface.y, (slice(None), column)),
    }


def _label_values(
    panel: Any, pairs: Sequence[tuple[Surface, str]], words: str, *, coloured: bool, height: float
) -> None:
    """Name the quantities on a vertical axis, in their colour if they have one of their own."""
    quantities = list(dict.fromkeys(quantity_of(c) for _, c in pairs))
    text = ", ".join(quantities) + words
    if all(is_score(c) for _, c in pairs) and max(float(np.nanmax(np.append(s[c], 0))) for s, c in pairs) > 1.5:
        text += " (%)"
    colour = panel.get_lines()[0].get_color() if coloured and len(quantities) == 1 else style.INK
    panel.set_ylabel(
        style.wrap(text, height, style.LABEL_SIZE), fontsize=style.LABEL_SIZE, color=colour, parse_math=False
    )


def _looks(curves: Mapping[str, Surface], drawn: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], tuple[str, Any]]:
    """Colour by surface, or by quantity where there is one surface; dashes by the data that it was measured on."""
    quantities = list(dict.fromkeys(quantity_of(c) for names in drawn.values() for c in names))
    # Losses take the first colours and accuracies the second, so that the usual pair is blue and vermilion.
    quantities.sort(key=lambda q: is_score(q))
    splits = {split_of(c) for names in drawn.values() for c in names}
    looks = {}
    for position, name in enumerate(curves):
        for channel in drawn[name]:
            index = position if len(curves) > 1 else quantities.index(quantity_of(channel))
            split = split_of(channel)
            dash = _DOTS if split == "test" and "val" in splits else _DASHES[split]
            looks[name, channel] = style.SERIES[index % len(style.SERIES)], dash
    return looks


def _draw(curves: Mapping[str, Surface], drawn: Mapping[str, Sequence[str]], left: Any, right: Any) -> None:
    looks = _looks(curves, drawn)
    lines = [(curves[name], channel) for name, channel in looks]
    for position, ((name, channel), (colour, dash)) in enumerate(looks.items()):
        surface = curves[name]
        panel = right if is_score(channel) else left
        values = drawn_values(surface, channel)
        lonely = np.isfinite(values).sum() <= 2
        covered = sum(_coincide((surface, channel), later) for later in lines[position + 1 :])
        panel.plot(
            surface.x,
            values,
            color=colour,
            linestyle=dash,
            linewidth=1.8 + 2.2 * covered,  # so that its edges show under those that cover it
            marker="o" if lonely else None,
            markersize=4,
            label=" ".join(filter(None, (name, channel))),
        )
        if channel in surface.errors:
            half = _BAND * surface.errors[channel]
            panel.fill_between(
                surface.x, values - half, values + half, color=colour, alpha=0.16, linewidth=0, zorder=1.5
            )


def _coincide(one: tuple[Surface, str], other: tuple[Surface, str]) -> bool:
    """Whether two lines look like one: the same places, and values that differ by less than a line's width."""
    (first, channel), (second, another) = one, other
    same = is_score(channel) == is_score(another) and np.array_equal(first.x, second.x)
    return same and np.allclose(drawn_values(first, channel), drawn_values(second, another), rtol=5e-3, equal_nan=True)


def limit_values(panel: Any, scale: Scale) -> None:
    """Set limits and ticks of a vertical axis.

    They come from the curves, not from their bands, which may reach below zero.

    Args:
        panel: an Axes.
        scale: of the curves.
    """
    low, high = scale.limits
    margin = 0.05 * (high - low)
    ends = (low - margin, high + margin)
    if scale.kind != "log":
        panel.set_ylim(*ends)
        return
    panel.set_yscale("log")
    panel.set_ylim(*(10**end for end in ends))
    panel.set_yticks(scale.ticks, labels=distinct_labels(scale.ticks))
    panel.minorticks_off()


def _marks(panels: Sequence[Any], surface: Surface) -> None:
    """Vertical lines at the networks that the line goes through."""
    places = {0.0: origin_name(surface)}
    if surface.attrs.get("kind") == "between":
        places[1.0] = "second network"
    for position, panel in enumerate(panels):
        low, high = panel.get_xlim()
        for at, words in places.items():
            if not low <= at <= high:
                continue
            panel.axvline(at, color=style.MUTED, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
            if position == 0:
                share = (at - low) / (high - low)
                panel.text(
                    at,
                    1.015,
                    words,
                    transform=panel.get_xaxis_transform(),
                    ha="left" if share < 0.1 else "right" if share > 0.9 else "center",
                    va="bottom",
                    fontsize=style.TICK_SIZE - 0.5,
                    color=style.MUTED,
                )


def draw_gaps(panels: Sequence[Any], curves: Mapping[str, Surface], drawn: Mapping[str, Sequence[str]]) -> list[Patch]:
    """Shade the stretches where a curve has no value.

    Args:
        panels: the Axes to shade.
        curves: surfaces over lines by name.
        drawn: by the same names, the channels that are drawn of each.

    Returns:
        One legend entry for each kind of gap.
    """
    handles: dict[str, Patch] = {}
    for name, surface in curves.items():
        for channel in drawn[name]:
            found = gaps(surface, channel)
            for handle in gap_handles(found):
                handles[str(handle.get_label())] = handle
            edges = np.concatenate([surface.x[:1], (surface.x[:-1] + surface.x[1:]) / 2, surface.x[-1:]])
            for mask, hatch in ((found.not_computed, None), (found.not_finite, "////")):
                turns = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
                for start, stop in zip(turns[::2], turns[1::2], strict=True):
                    for panel in panels:
                        panel.axvspan(
                            edges[start],
                            edges[stop],
                            facecolor=style.GAP,
                            edgecolor=style.GAP_HATCH if hatch else style.GAP,
                            hatch=hatch,
                            linewidth=0,
                            zorder=0.5,
                        )
    return list(handles.values())


def _legend(curves: Mapping[str, Surface], drawn: Mapping[str, Sequence[str]]) -> list[Line2D]:
    looks = _looks(curves, drawn)
    if len(curves) == 1:
        return [
            Line2D([], [], color=colour, linestyle=dash, linewidth=1.8, label=channel)
            for (_, channel), (colour, dash) in looks.items()
        ]
    entries = [
        Line2D([], [], color=next(look[0] for key, look in looks.items() if key[0] == name), linewidth=2.4, label=name)
        for name in curves
    ]
    dashes = {split_of(channel): dash for (_, channel), (_, dash) in looks.items()}
    if len(dashes) > 1:
        entries += [
            Line2D([], [], color=style.INK, linestyle=dash, linewidth=1.4, label=split or "all data")
            for split, dash in dashes.items()
        ]
    return entries
