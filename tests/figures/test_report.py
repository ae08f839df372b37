from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import Report, RunSummary, write_report
from tests.figures import examples

NASTY = "<img src=http://evil.example/x onerror=alert(1)> & \"quotes\" 'too'"


class Page(HTMLParser):
    """What a browser makes of a page: its elements, its scripts and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.tags: dict[str, list[dict[str, str]]] = {}
        self.scripts: list[tuple[str, str]] = []
        self.styles: list[str] = []
        self.visible = ""
        self._inside: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {k: v or "" for k, v in attrs}
        self.tags.setdefault(tag, []).append(found)
        if tag in {"script", "style"}:
            self._inside.append(tag)
            if tag == "script":
                self.scripts.append((found.get("type", ""), ""))

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.visible += data
        elif self._inside[-1] == "script":
            kind, text = self.scripts[-1]
            self.scripts[-1] = kind, text + data
        else:
            self.styles.append(data)


def assert_self_contained(page: Page) -> None:
    """No element, style sheet or link of the page refers to anything outside of it."""
    for tag, elements in page.tags.items():
        for attributes in elements:
            for name in ("src", "href", "srcset", "action", "data", "poster"):
                value = attributes.get(name, "")
                assert not re.match(r"\s*(\w+:)?//", value), f"<{tag} {name}={value[:80]!r}>"
                if name == "src":
                    assert value == "" or value.startswith("data:")
    assert "link" not in page.tags
    assert "iframe" not in page.tags
    for sheet in page.styles:
        assert "url(" not in sheet
        assert "@import" not in sheet


def full_report() -> Report:
    return Report(
        title=f"Landscapes {NASTY}",
        introduction=f"Two networks {NASTY}",
        runs=[
            RunSummary("smooth", 853018, {"test loss": 0.2883, "test accuracy": 0.9366}),
            RunSummary(NASTY, None, {"test loss": 0.4327, "train loss": float("nan")}),
        ],
        planes={"smooth": examples.bowl(11, 9, initial_loss=2.5), NASTY: examples.rough(initial_loss=2.5)},
        trajectories={"smooth": examples.trajectory()},
        curves={"smooth": examples.line(), NASTY: examples.line(width=0.5), "between": examples.between()},
        settings=f"model: {NASTY}\nseed: 0",
        files={f"record {NASTY}": "a folder/surface #1.h5"},
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("report") / "new" / "report.html"
    assert write_report(path, full_report()) == path
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_needs_no_network(page: Page) -> None:
    assert_self_contained(page)
    libraries = [text for _, text in page.scripts if len(text) > 1_000_000]
    assert len(libraries) == 1


def test_text_is_escaped(page: Page) -> None:
    assert page.visible.count(NASTY) >= 6
    assert not any("onerror" in a for elements in page.tags.values() for a in elements)
    assert all(a["src"].startswith("data:image/png;base64,") for a in page.tags["img"])
    assert "<img src=http" not in page.text


def test_every_image_is_whole_and_described(page: Page) -> None:
    # Landscapes for print, contours, one trajectory, the two runs' curves together, the interpolation alone.
    assert len(page.tags["img"]) == 5
    for image in page.tags["img"]:
        assert len(image["alt"]) > 30
        with Image.open(io.BytesIO(base64.b64decode(image["src"].removeprefix("data:image/png;base64,")))) as picture:
            assert picture.format == "PNG"
            assert picture.width > 800
    landscapes = [a for a in page.tags["div"] if a.get("class") == "landscape"]
    assert len(landscapes) == 2
    assert all("val/loss" in a["aria-label"] or "loss" in a["aria-label"] for a in landscapes)


def test_sections_come_in_order(page: Page) -> None:
    headings = re.findall(r"<h2>(.*?)</h2>", page.text)
    assert headings == ["Landscapes", "Contours", "Trajectories", "Curves", "Numbers", "Settings", "Files"]
    assert page.text.count("How to read this page") == 1


def cells(page: Page, caption: str) -> dict[str, list[str]]:
    table = next(t for t in re.findall(r"<table>.*?</table>", page.text, re.S) if f"<caption>{caption}</caption>" in t)
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.S)
    found = {}
    for row in rows:
        label, *values = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)
        found[re.sub(r"<small>.*?</small>", "", label)] = values
    return found


def test_the_runs_numbers_are_in_the_table(page: Page) -> None:
    table = cells(page, "Runs")
    assert table["run"] == ["parameters", "test loss", "test accuracy", "train loss"]
    assert table["smooth"] == ["853,018", "0.2883", "0.9366", ""]
    assert len(table) == 3


def test_the_surfaces_measures_are_in_the_table(page: Page) -> None:
    table = cells(page, "Planes")
    assert table["loss at the centre"] == ["0.03", "0.02"]
    assert table["share not convex"][0] == "0 %"
    assert table["roughness"][0] == "0"
    assert float(table["roughness"][1]) > 1
    assert table["share finite"] == ["100 %", "100 %"]
    assert table["examples"] == ["1,000 of 60,000 examples"] * 2
    assert table["slice"][0] == "random directions, filter-normalised, seed 0"
    assert table["angle of the directions"] == ["|cos| of the directions 0.0012"] * 2
    principal = cells(page, "Principal planes")
    assert principal["slice"] == ["the plane holds 73 % + 12 % = 86 % of the variance"]
    assert "off the plane" in principal["distance from the plane"][0]
    assert "share above initialisation" not in principal


def test_links_are_relative_and_quoted(page: Page) -> None:
    assert [a["href"] for a in page.tags["a"]] == ["a%20folder/surface%20%231.h5"]


@pytest.mark.parametrize("target", ["https://example.org/x", "//example.org/x", "/etc/passwd", "javascript:alert(1)"])
def test_links_to_elsewhere_are_refused(tmp_path: Path, target: str) -> None:
    with pytest.raises(RecordError, match="no relative path"):
        write_report(tmp_path / "report.html", Report("t", files={"x": target}))


def test_every_part_may_be_missing(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path / "report.html", Report("Nothing yet")).read_text(encoding="utf-8"))
    assert "Nothing yet" in page.visible
    assert "h2" not in page.tags
    assert "script" not in page.tags
