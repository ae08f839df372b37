"""Surfaces over planes as landscapes to turn in a browser."""

from __future__ import annotations

import html
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import plotly.graph_objects as go
from matplotlib.colors import to_hex
from numpy.typing import NDArray
from plotly.io import to_json

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import page, style
from lightning_landscape.figures.captions import axis_label, caption, statements, title_of_several, unit_notes
from lightning_landscape.figures.channels import channel_of, drawn_values, gaps, is_score, require_plane
from lightning_landscape.figures.contours import proportion, scale_notes, scale_of
from lightning_landscape.figures.scale import distinct_labels, number
from lightning_landscape.records.surface import Surface

_FONT = {"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "color": style.INK, "size": 12}
_CAMERA = {"eye": {"x": 1.06, "y": -1.48, "z": 0.97}, "center": {"x": 0, "y": 0, "z": -0.1}}
# Nothing on a page may reach out: Plotly's own default offers to send the data to its maker's server.
_CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "scrollZoom": True,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["tableRotation", "resetCameraLastSave3d"],
}


def interactive_surface(
    surface: Surface | Mapping[str, Surface],
    channel: str | None = None,
    *,
    log: bool | None = None,
    zmax: float | None = None,
) -> go.Figure:
    """Make a Plotly figure of one or more surfaces over planes, side by side, on one scale of heights and colours.

    Buttons switch between a logarithmic and a linear scale, and to a linear one that is cut off above the basin. Points
    that are not finite or not computed are holes. Pointing at the surface shows the coordinates and the true value.

    Args:
        surface: a surface, or name -> surface.
        channel: one of their channels; None for each one's loss.
        log: the scale to begin with; None for a logarithmic one where the largest loss exceeds 50 times the smallest.
        zmax: draw values above it as a plateau at this height, on every scale.

    Returns:
        The figure.

    Raises:
        RecordError: if there is no surface, or one is over a line, smaller than 2 x 2 points, or lacks the channel.
    """
    surfaces, names = _surfaces(surface, channel)
    modes = _modes(surfaces, names, log=log, zmax=zmax)
    figure = go.Figure(_traces(surfaces, names))
    keys = [f"scene{k or ''}" for k in (0, *range(2, len(surfaces) + 1))]
    first = next(iter(modes.values()))
    layout: dict[str, Any] = {"font": _FONT, "paper_bgcolor": "white", "margin": {"l": 10, "r": 10, "t": 110, "b": 20}}
    scenes = _scenes(surfaces)
    columns = len(surfaces)
    for k, (key, scene) in enumerate(zip(keys, scenes, strict=True)):
        layout[key] = {**scene, "domain": {"x": [k / columns, (k + 0.97) / columns], "y": [0, 1]}}
        figure.data[k].scene = key
    title = title_of_several(surfaces, names)
    lines = caption(surfaces, names, [*unit_notes(next(iter(surfaces.values()))), *_gap_notes(surfaces, names)])
    layout["title"] = {
        "text": html.escape(title, quote=False),
        "subtitle": {
            "text": html.escape(style.wrap(lines, 5.2 * columns + 1, 8.0), quote=False).replace("\n", "<br>"),
            "font": {"size": 11, "color": style.MUTED},
        },
        "x": 0.02,
        "xanchor": "left",
        "yanchor": "top",
        "y": 0.97,
    }
    layout["annotations"] = [
        {"text": html.escape(n, quote=False), "x": k / columns + 0.02, "xanchor": "left", "xref": "paper"}
        | {"y": 1.0, "yanchor": "top", "yref": "paper", "showarrow": False, "font": {"size": 14}}
        for k, n in enumerate(surfaces if columns > 1 else ())
    ]
    layout |= {"width": 620 * columns + 160, "height": 680}
    if len(modes) > 1:
        buttons = [
            {"label": label, "method": "update", "args": [mode["restyle"], _relayout(mode, keys)]}
            for label, mode in modes.items()
        ]
        layout["updatemenus"] = [
            {"type": "buttons", "direction": "right", "buttons": buttons, "x": 1.0, "xanchor": "right"}
            | {"y": 1.0, "yanchor": "bottom", "showactive": True, "bgcolor": "white", "bordercolor": style.RULE}
        ]
    figure.update_layout(layout)
    figure.update_traces(showscale=False)
    _apply(figure, first, keys)
    return figure


def write_html(
    surface: Surface | Mapping[str, Surface],
    path: str | os.PathLike[str],
    channel: str | None = None,
    *,
    log: bool | None = None,
    zmax: float | None = None,
) -> pathlib.Path:
    """Write one page with surfaces to turn, side by side where there is room; it needs no network and no other file.

    All share one scale, which buttons change for all, and turning one turns all.

    Args:
        surface: a surface over a plane, or name -> surface.
        path: the file; its folder is created if need be.
        channel: one of their channels; None for each one's loss.
        log: the scale to begin with; None for a logarithmic one where the largest loss exceeds 50 times the smallest.
        zmax: draw values above it as a plateau at this height, on every scale.

    Returns:
        The path of the file.

    Raises:
        RecordError: if there is no surface, or one is over a line, smaller than 2 x 2 points, or lacks the channel.
    """
    surfaces, names = _surfaces(surface, channel)
    title = title_of_several(surfaces, names)
    body = surfaces_html(surfaces, channel, log=log, zmax=zmax)
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page.document(title, f"<h1>{html.escape(title)}</h1>\n{body}", plotly=True), encoding="utf-8")
    return path


def surfaces_html(
    surfaces: Mapping[str, Surface], channel: str | None = None, *, log: bool | None = None, zmax: float | None = None
) -> str:
    """The part of a page with surfaces to turn, for a document with Plotly in it (`page.document`).

    Args:
        surfaces: name -> surface over a plane; a single one's name may be empty.
        channel: one of their channels; None for each one's loss.
        log: the scale to begin with.
        zmax: upper end of the heights.

    Returns:
        HTML.

    Raises:
        RecordError: as `write_html`.
    """
    surfaces, names = _surfaces(surfaces, channel)
    modes = _modes(surfaces, names, log=log, zmax=zmax)
    traces, scenes = _traces(surfaces, names), _scenes(surfaces)
    parts = []
    if len(modes) > 1:
        choices = "".join(
            f'<button type="button" data-mode="{k}" aria-pressed="{str(not k).lower()}">{html.escape(label)}</button>'
            for k, label in enumerate(modes)
        )
        parts.append(f'<div class="modes" role="group" aria-label="Scale of the heights">{choices}</div>')
    parts.append('<div class="grid">')
    for k, (name, surface) in enumerate(surfaces.items()):
        figure = go.Figure(traces[k])
        figure.update_layout(scene=scenes[k], font=_FONT, margin={"l": 0, "r": 0, "t": 0, "b": 0})
        figure.update_layout(paper_bgcolor="white", autosize=True)
        _apply(figure, _of_one(next(iter(modes.values())), k), ["scene"])
        each = [
            {"restyle": mode["restyle"], "relayout": _relayout(mode, ["scene"])}
            for mode in (_of_one(m, k) for m in modes.values())
        ]
        drawing = to_json(figure, engine="json")
        data = f'{{"figure":{drawing},"modes":{json.dumps(_plain(each))},"config":{json.dumps(_CONFIG)}}}'
        described = f"{names[k]} of {name or 'the network'}, as a landscape in three dimensions. "
        described += ". ".join(statements(surface, names[k]).values())
        parts.append(
            f'<figure class="card">{f"<h3>{html.escape(name)}</h3>" if name else ""}'
            f'<div class="landscape" role="img" aria-label="{html.escape(described)}"></div>'
            f'<script type="application/json">{page.safe_json(data)}</script>'
            "</figure>"
        )
    parts.append("</div>")
    first_scale = next(iter(modes.values()))["scale"]
    notes = [*unit_notes(next(iter(surfaces.values()))), *scale_notes(first_scale, names[0], log=log)]
    notes += ["one scale for all"] * (len(surfaces) > 1) + _gap_notes(surfaces, names)
    lines = "<br>".join(html.escape(line) for line in caption(surfaces, names, notes).split("\n"))
    parts.append(f'<p class="note">Drag to turn, scroll to zoom.<br>{lines}</p>')
    return "\n".join(parts)


def _surfaces(surface: Surface | Mapping[str, Surface], channel: str | None) -> tuple[dict[str, Surface], list[str]]:
    surfaces = {"": surface} if isinstance(surface, Surface) else dict(surface)
    if not surfaces:
        raise RecordError("no surface was given to draw")
    for one in surfaces.values():
        require_plane(one, "interactive_surface")
    return surfaces, [channel_of(s, channel) for s in surfaces.values()]


def _modes(
    surfaces: Mapping[str, Surface], names: Sequence[str], *, log: bool | None, zmax: float | None
) -> dict[str, dict[str, Any]]:
    """Button -> scale, heights and axis; the first is the one to begin with."""
    every = list(surfaces.values())
    begin = scale_of(every, names, log=log, zmax=zmax)
    other = scale_of(every, names, log=begin.kind == "linear" and not all(is_score(n) for n in names), zmax=zmax)
    scales = {begin.words() or "linear scale": begin}
    scales.setdefault(other.words() or "linear scale", other)
    if begin.kind != "linear" or other.kind != "linear":
        values = np.concatenate([drawn_values(s, n).ravel() for s, n in zip(every, names, strict=True)])
        middle = float(np.nanmedian(values))
        basin = next((v for v in begin.levels if v >= middle), None)
        if basin is not None and basin < 0.3 * begin.high:
            scales[f"linear, up to {number(basin)}"] = scale_of(every, names, log=False, zmax=basin)
    modes = {}
    for label, scale in scales.items():
        ceiling = scale.high if scale.clipped else np.inf
        heights = [
            _rounded(scale.forward(np.minimum(drawn_values(s, n), ceiling))) for s, n in zip(every, names, strict=True)
        ]
        span = scale.limits[1] - scale.limits[0]
        axis = {"tickvals": scale.forward(scale.ticks).tolist(), "ticktext": distinct_labels(scale.ticks)}
        modes[label] = {
            "scale": scale,
            "restyle": {"z": heights, "cmin": scale.limits[0], "cmax": scale.limits[1]},
            # A little room above and below: what lies on the limit itself would flicker.
            "axis": {**axis, "range": [scale.limits[0] - 0.02 * span, scale.limits[1] + 0.02 * span]},
        }
    return modes


def _of_one(mode: Mapping[str, Any], index: int) -> dict[str, Any]:
    return {**mode, "restyle": {**mode["restyle"], "z": [mode["restyle"]["z"][index]]}}


def _relayout(mode: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {f"{key}.zaxis.{name}": value for key in keys for name, value in mode["axis"].items()}


def _apply(figure: go.Figure, mode: Mapping[str, Any], keys: Sequence[str]) -> None:
    for trace, heights in zip(figure.data, mode["restyle"]["z"], strict=True):
        trace.update(z=heights, cmin=mode["restyle"]["cmin"], cmax=mode["restyle"]["cmax"])
    for key in keys:
        figure.layout[key].zaxis.update(mode["axis"])


def _traces(surfaces: Mapping[str, Surface], names: Sequence[str]) -> list[go.Surface]:
    colours = matplotlib.colormaps["viridis"]
    scale = [[k / 32, to_hex(colours(k / 32))] for k in range(33)]
    return [
        go.Surface(
            x=surface.x,
            y=require_plane(surface, "interactive_surface"),
            # No hovertemplate: Plotly looks a surface's %{text} and %{customdata} up with x and y exchanged.
            text=_labels(surface, channel),
            hoverinfo="x+y+text",
            hoverlabel={"bgcolor": "white", "bordercolor": style.RULE, "font": {"color": style.INK}},
            name=html.escape(name, quote=False),
            colorscale=scale,
            showscale=False,
            connectgaps=False,
            lighting={"ambient": 0.72, "diffuse": 0.55, "specular": 0.06, "roughness": 0.9, "fresnel": 0.05},
            lightposition={"x": -2000, "y": -3000, "z": 6000},
            contours={"z": {"highlightcolor": style.HIGHLIGHT, "highlightwidth": 2}},
        )
        for (name, surface), channel in zip(surfaces.items(), names, strict=True)
    ]


def _labels(surface: Surface, channel: str) -> NDArray[np.str_]:
    """What is shown on pointing at each point: the channel and its value."""
    name = html.escape(channel, quote=False)
    return np.array([[f"{name} {number(v)}" for v in row] for row in surface[channel].tolist()])


def _scenes(surfaces: Mapping[str, Surface]) -> list[dict[str, Any]]:
    common = {
        "gridcolor": style.RULE,
        "showbackground": False,
        "zeroline": False,
        "linecolor": style.MUTED,
        "tickangle": 0,
    }
    scenes = []
    for surface in surfaces.values():
        y = require_plane(surface, "interactive_surface")
        shape, _ = proportion(surface.x, y)
        scene: dict[str, Any] = {
            "aspectmode": "manual",
            "aspectratio": {"x": min(shape, 1.0), "y": min(1 / shape, 1.0), "z": 0.7},
            "camera": _CAMERA,
            "zaxis": {**common, "title": {"text": ""}, "tickmode": "array"},
        }
        for axis, ends in (("x", surface.x), ("y", y)):
            text = html.escape(axis_label(surface, axis, short=True), quote=False)  # type: ignore[arg-type]
            scene[f"{axis}axis"] = {**common, "title": {"text": text}, "range": [float(ends[0]), float(ends[-1])]}
        scenes.append(scene)
    return scenes


def _gap_notes(surfaces: Mapping[str, Surface], names: Sequence[str]) -> list[str]:
    missing = any(gaps(s, n).any.any() for s, n in zip(surfaces.values(), names, strict=True))
    return ["holes: points without a value"] if missing else []


def _rounded(heights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Heights to a hundred-thousandth of their range, which no eye can tell and which makes pages a third as long."""
    finite = heights[np.isfinite(heights)]
    spread = float(np.ptp(finite)) if finite.size else 0.0
    return np.round(heights, int(np.ceil(5 - np.log10(spread)))) if spread > 0 else heights


def _plain(value: Any) -> Any:
    """Arrays as nested lists, NaN as null, which JSON has."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
