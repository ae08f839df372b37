"""One page about several runs: their surfaces, curves and trajectories on common scales, and their numbers."""

from __future__ import annotations

import html
import math
import os
import pathlib
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import page
from lightning_landscape.figures.captions import percent, statements
from lightning_landscape.figures.comparison import plot_comparison
from lightning_landscape.figures.curves import plot_curves
from lightning_landscape.figures.interactive import surfaces_html
from lightning_landscape.figures.scale import number
from lightning_landscape.figures.trajectory import plot_trajectory
from lightning_landscape.records.measures import SurfaceMeasures, measure
from lightning_landscape.records.surface import Surface

_GUIDE = (
    "Each picture shows a slice of the loss: its values on a line or a plane through weight space, which has as many "
    "dimensions as the network has weights. Along filter-normalised directions a step is measured by the size of the "
    "weights, so that widths may be compared between networks. A slice that is not convex proves that the loss is not; "
    "one that looks convex proves nothing, for the plane averages the curvature of all other directions. A trajectory "
    "is drawn by its shadow on the plane: where the distance from the plane is large, the loss at the dot is not the "
    "loss of the checkpoint. Differences smaller than a few standard errors are noise of the sample. Losses that are "
    "not finite, or not computed, are left blank."
)
_NONE = "\N{EN DASH}"


@dataclass(frozen=True)
class RunSummary:
    """The numbers of one run for the report's first table.

    Attributes:
        name: of the run.
        parameters: how many the network has; None if unknown.
        metrics: name -> value, such as "train loss", "test accuracy"; a column each, in the order of appearance.
    """

    name: str
    parameters: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What a report shows; every part may be missing.

    Attributes:
        title: heading of the page.
        introduction: a sentence or two under it.
        runs: the runs' numbers.
        planes: name -> surface over a plane, drawn side by side on one scale.
        ceiling: draw the contours of the planes linearly up to this loss, as the paper does; None for a scale that
            suits the values.
        trajectories: name -> surface over a plane with a path.
        curves: name -> surface over a line; those over the same kind of line are drawn together.
        settings: the configuration, as YAML text.
        files: label -> path, relative to the page, of the files beside it.
    """

    title: str
    introduction: str = ""
    runs: Sequence[RunSummary] = ()
    planes: Mapping[str, Surface] = field(default_factory=dict)
    ceiling: float | None = None
    trajectories: Mapping[str, Surface] = field(default_factory=dict)
    curves: Mapping[str, Surface] = field(default_factory=dict)
    settings: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


def write_report(path: str | os.PathLike[str], report: Report) -> pathlib.Path:
    """Write a report as one page that needs no network: images and the library for the landscapes are inside of it.

    Args:
        path: the file, usually "report.html"; its folder is created if need be.
        report: what to show.

    Returns:
        The path of the file.

    Raises:
        RecordError: if a surface does not fit its part of the report, or a file's path is not relative.
    """
    sections = [
        _head(report),
        _landscapes(report),
        _contours(report),
        _trajectories(report),
        _curves(report),
        _tables(report),
        _settings(report),
        _files(report),
    ]
    body = "\n".join(filter(None, sections))
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page.document(report.title, body, plotly=bool(report.planes)), encoding="utf-8")
    return path


def _head(report: Report) -> str:
    lead = f'<p class="lead">{html.escape(report.introduction)}</p>' if report.introduction else ""
    return (
        f"<header><h1>{html.escape(report.title)}</h1>{lead}</header>\n"
        f'<aside class="guide"><p><strong>How to read this page.</strong> {_GUIDE}</p></aside>'
    )


def _section(title: str, text: str, content: str) -> str:
    note = f"<p>{text}</p>" if text else ""
    return f"<section><h2>{title}</h2>{note}\n{content}\n</section>"


def _landscapes(report: Report) -> str:
    if not report.planes:
        return ""
    still = page.image(
        plot_comparison(report.planes, three_d=True),
        f"Landscapes in three dimensions of {_described(report.planes)}",
        css="card print",
    )
    return _section(
        "Landscapes",
        "All on one scale; turning one turns all.",
        f'<div class="screen">{surfaces_html(report.planes)}</div>\n{still}',
    )


def _contours(report: Report) -> str:
    if not report.planes:
        return ""
    alt = f"Contours on one scale of {_described(report.planes)}"
    log = None if report.ceiling is None else False
    drawn = plot_comparison(report.planes, log=log, zmax=report.ceiling)
    return _section("Contours", "", page.image(drawn, alt, css="card"))


def _trajectories(report: Report) -> str:
    if not report.trajectories:
        return ""
    images = []
    for name, surface in report.trajectories.items():
        alt = f"Path of the training of {name} over contours of its loss, and the checkpoints' distances from the plane"
        drawn = page.image(plot_trajectory(surface), f"{alt}. {_described({name: surface})}")
        images.append(f'<div class="card"><h3>{html.escape(name)}</h3>{drawn}</div>')
    return _section(
        "Trajectories",
        "Each on the plane of its own principal directions; the scales differ.",
        f'<div class="wide">{"".join(images)}</div>',
    )


def _curves(report: Report) -> str:
    if not report.curves:
        return ""
    alike: dict[tuple[str, str], dict[str, Surface]] = {}
    for name, surface in report.curves.items():
        kind = str(surface.attrs.get("kind", "")), str(surface.attrs.get("normalize", ""))
        alike.setdefault(kind, {})[name] = surface
    images = []
    for group in alike.values():
        (name, surface), *others = group.items()
        figure = plot_curves(group) if others else plot_curves(surface)
        heading = "" if others else f"<h3>{html.escape(name)}</h3>"
        drawn = page.image(figure, f"Curves over a line of {_described(group)}")
        images.append(f'<div class="card">{heading}{drawn}</div>')
    return _section("Curves", "", f'<div class="wide">{"".join(images)}</div>')


def _tables(report: Report) -> str:
    tables = [_runs_table(report.runs)] if report.runs else []
    tables += [
        _surfaces_table(caption, surfaces)
        for caption, surfaces in (
            ("Planes", report.planes),
            ("Principal planes", report.trajectories),
            ("Lines", report.curves),
        )
        if surfaces
    ]
    return _section("Numbers", "", "\n".join(tables)) if tables else ""


def _runs_table(runs: Sequence[RunSummary]) -> str:
    columns = list(dict.fromkeys(key for run in runs for key in run.metrics))
    rows = [
        [run.name, "" if run.parameters is None else f"{run.parameters:,}"]
        + [_cell(run.metrics.get(key)) for key in columns]
        for run in runs
    ]
    return _table("Runs", ["run", "parameters", *columns], [[(cell, "") for cell in row] for row in rows])


def _surfaces_table(caption: str, surfaces: Mapping[str, Surface]) -> str:
    measures = {name: measure(surface) for name, surface in surfaces.items()}
    lines: list[tuple[str, str, Callable[[SurfaceMeasures], str]]] = [
        ("loss at the centre", "", lambda m: _cell(m.centre)),
        ("least loss", "", lambda m: _cell(m.minimum)),
        ("largest loss", "", lambda m: _cell(m.maximum)),
        (
            "share not convex",
            "of the interior points, curving downwards in some direction",
            lambda m: _share(m.nonconvex_share),
        ),
        ("roughness", "ups and downs beyond one valley; 0 for a convex slice", lambda m: _cell(round(m.roughness, 3))),
        ("share above initialisation", "near 100 %: shattered", lambda m: _share(m.share_above_initial)),
        ("share finite", "of the computed points", lambda m: _share(m.finite_share)),
    ]
    rows = [[(label, hint), *((get(m), "") for m in measures.values())] for label, hint, get in lines]
    said = {name: statements(s, measures[name].channel) for name, s in surfaces.items()}
    for topic, label in (
        ("examples", "examples"),
        ("centre", "loss and standard error"),
        ("slice", "slice"),
        ("cosine", "angle of the directions"),
        ("residual", "distance from the plane"),
        ("batch norm", "batch norm"),
        ("gaps", "left out"),
    ):
        rows.append([(label, ""), *((s.get(topic, ""), "") for s in said.values())])
    rows = [row for row in rows if any(cell for cell, _ in row[1:])]
    return _table(caption, ["", *surfaces], rows)


def _table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[tuple[str, str]]]) -> str:
    head = "".join(f'<th scope="col">{html.escape(c)}</th>' for c in columns)
    body = []
    for row in rows:
        (label, hint), *cells = row
        small = f"<small>{html.escape(hint)}</small>" if hint else ""
        values = "".join(f"<td>{html.escape(value)}</td>" for value, _ in cells)
        body.append(f'<tr><th scope="row">{html.escape(label)}{small}</th>{values}</tr>')
    return (
        f'<div class="scroll"><table><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _settings(report: Report) -> str:
    if not report.settings:
        return ""
    text = html.escape(report.settings)
    return _section("Settings", "", f"<details><summary>The whole configuration</summary><pre>{text}</pre></details>")


def _files(report: Report) -> str:
    if not report.files:
        return ""
    items = []
    for label, target in report.files.items():
        parts = urllib.parse.urlsplit(target)
        if parts.scheme or parts.netloc or target.startswith(("/", "\\")):
            raise RecordError(f"the report links to the files beside it, and {target!r} is no relative path")
        items.append(f'<li><a href="{html.escape(urllib.parse.quote(target))}">{html.escape(label)}</a></li>')
    return _section("Files", "", f"<ul>{''.join(items)}</ul>")


def _described(surfaces: Mapping[str, Surface]) -> str:
    """The figures' content for those who do not see it."""
    parts = []
    for name, surface in surfaces.items():
        found = measure(surface)
        least, largest, centre = map(_cell, (found.minimum, found.maximum, found.centre))
        parts.append(f"{name}: {found.channel} from {least} to {largest}, {centre} at the centre")
    return "; ".join(parts)


def _cell(value: float | None, digits: int = 4) -> str:
    return "" if value is None else _NONE if math.isnan(value) else number(value, digits)


def _share(value: float | None) -> str:
    return "" if value is None else _NONE if math.isnan(value) else percent(value)
