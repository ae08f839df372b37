"""One page with the pictures of many experiments, each with what it took to make them."""

from __future__ import annotations

import html
import os
import pathlib
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from lightning_landscape.figures import page

PICTURES = (".png", ".gif")
_WIDE = 2.2  # width over height from which a picture takes a row for itself
_DENSITY = 1.5  # pixels of a picture for one of the page: figures are drawn at 130 to 160 dots an inch, pages have 96


@dataclass(frozen=True)
class Exhibit:
    """One experiment of a gallery.

    Attributes:
        name: of the experiment.
        title: of its configuration.
        command: what was run, to be run again.
        folder: that holds what it wrote.
        pictures: files in that folder, relative to it.
        seconds: the time it took.
        seed: of the experiment; None where it did not come to that.
        machine: that it ran on, in words.
        failure: the last lines that it printed, if it failed; None if it did not.
    """

    name: str
    title: str
    command: str
    folder: pathlib.Path
    pictures: Sequence[str]
    seconds: float
    seed: int | None
    machine: str
    failure: str | None = None


def write_gallery(
    path: str | os.PathLike[str], title: str, introduction: str, exhibits: Sequence[Exhibit]
) -> pathlib.Path:
    """Write a gallery as one page that needs no network; the pictures are inside of it.

    Args:
        path: the file; what the experiments wrote lies beside it.
        title: heading of the page.
        introduction: a sentence or two under it.
        exhibits: the experiments, in the order of the page.

    Returns:
        The path of the file.
    """
    path = pathlib.Path(path)
    lead = f'<p class="lead">{html.escape(introduction)}</p>' if introduction else ""
    parts = [f"<header><h1>{html.escape(title)}</h1>{lead}</header>", _table(exhibits)]
    parts += [_section(exhibit, path.parent) for exhibit in exhibits]
    path.write_text(page.document(title, "\n".join(parts), plotly=False), encoding="utf-8")
    return path


def _table(exhibits: Sequence[Exhibit]) -> str:
    rows = []
    for exhibit in exhibits:
        anchor = html.escape(urllib.parse.quote(exhibit.name))
        cells = (
            f"{exhibit.seconds:,.0f} s",
            "" if exhibit.seed is None else str(exhibit.seed),
            f"{len(exhibit.pictures)}" if exhibit.failure is None else "failed",
        )
        values = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        label = f'<a href="#{anchor}">{html.escape(exhibit.name)}</a><small>{html.escape(exhibit.title)}</small>'
        rows.append(f'<tr><th scope="row">{label}</th>{values}</tr>')
    head = "".join(f'<th scope="col">{word}</th>' for word in ("experiment", "time", "seed", "pictures"))
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _section(exhibit: Exhibit, beside: pathlib.Path) -> str:
    facts = [f"{exhibit.seconds:,.0f} s", exhibit.machine]
    facts += [] if exhibit.seed is None else [f"seed {exhibit.seed}"]
    note = html.escape(", ".join(facts))
    report = exhibit.folder / "report.html"
    if report.exists():
        target = html.escape(urllib.parse.quote(report.relative_to(beside).as_posix()))
        note += f'. <a href="{target}">Its report</a>'
    body = [f'<p class="note">{note}.</p>', f"<pre>{html.escape(exhibit.command)}</pre>"]
    if exhibit.failure is not None:
        body.append("<p><strong>It failed.</strong> The last lines that it printed:</p>")
        body.append(f"<pre>{html.escape(exhibit.failure)}</pre>")
    pictures = "".join(_picture(exhibit, name) for name in exhibit.pictures)
    body.append(f'<div class="wide">{pictures}</div>' if pictures else "")
    heading = f"<h2>{html.escape(exhibit.title)}</h2>"
    return f'<section id="{html.escape(exhibit.name)}">{heading}\n{"".join(body)}\n</section>'


def _picture(exhibit: Exhibit, name: str) -> str:
    file = exhibit.folder / name
    with Image.open(file) as picture:
        width, wide = round(picture.width / _DENSITY), picture.width > _WIDE * picture.height
    shown = page.embedded(file.read_bytes(), file.suffix.removeprefix("."), f"{exhibit.title}: {file.stem}", width)
    style = ' style="grid-column:1/-1"' if wide else ""
    return f'<figure class="card"{style}>{shown}<figcaption>{html.escape(name)}</figcaption></figure>'
