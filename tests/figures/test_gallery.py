"""The page of the gallery: whole, escaped, and with nothing outside of it but links to its neighbours."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from lightning_landscape.figures import Exhibit, write_gallery
from tests.figures.test_report import NASTY, Page, assert_self_contained


def exhibits(folder: Path) -> list[Exhibit]:
    for name in ("good", "bad"):
        (folder / name).mkdir()
    (folder / "good" / "report.html").write_text("a report")
    Image.new("RGB", (30, 20), "red").save(folder / "good" / "red.png")
    frames = [Image.new("P", (12, 9), colour) for colour in (0, 1)]
    frames[0].save(folder / "good" / "moving.gif", save_all=True, append_images=frames[1:])
    common = {"machine": "2 cores of X, torch 3", "command": f"lightning-landscape experiment=good {NASTY}"}
    good = Exhibit("good", f"Good {NASTY}", folder=folder / "good", pictures=["red.png", "moving.gif"], seconds=61.4,
                   seed=7, **common)  # fmt: skip
    bad = Exhibit("bad", "Bad", folder=folder / "bad", pictures=[], seconds=0.2, seed=None, failure=f"oh {NASTY}",
                  **common)  # fmt: skip
    return [good, bad]


def test_the_page_holds_the_pictures_and_says_how_they_were_made(tmp_path: Path) -> None:
    path = write_gallery(tmp_path / "gallery.html", f"All {NASTY}", f"Some {NASTY}", exhibits(tmp_path))
    page = Page(path.read_text(encoding="utf-8"))
    assert_self_contained(page)
    pictures = [element["src"].partition(",") for element in page.tags["img"]]
    assert [kind for kind, _, _ in pictures] == ["data:image/png;base64", "data:image/gif;base64"]
    for (_, _, data), size in zip(pictures, [(30, 20), (12, 9)], strict=True):
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert picture.size == size
    for words in ("61 s, 2 cores of X, torch 3, seed 7", "red.png", "It failed.", f"oh {NASTY}"):
        assert words in page.visible
    assert page.visible.count(NASTY) >= 6
    assert not any("onerror" in a for elements in page.tags.values() for a in elements)
    assert [a["href"] for a in page.tags["a"]] == ["#good", "#bad", "good/report.html"]
    assert {a["id"] for a in page.tags["section"]} == {"good", "bad"}
    assert "script" not in page.tags
