"""The gallery: every experiment in a process of its own, one failing, none run twice."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from lightning_landscape import LandscapeError
from lightning_landscape.tasks import TASKS, gallery
from tests.tasks.test_tasks import CONF, configuration

EXPERIMENTS = "experiments=['gan_saddle saddle.iterations=8 saddle.table_iterations=8','goldilocks slices.draws=1']"


def gallery_in(folder: Path, *overrides: str) -> list[Path]:
    cfg = configuration(folder.parent, "experiment=gallery", *overrides)
    cfg.output_dir = str(folder)
    return gallery(cfg)


def test_it_goes_on_after_a_failure_and_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "it's here"
    (path,) = gallery_in(folder, EXPERIMENTS)
    assert path == folder / "gallery.html"
    page = path.read_text(encoding="utf-8")
    pictures = sorted(picture.name for picture in (folder / "gan_saddle").glob("*.png"))
    assert pictures
    assert all(name in page for name in pictures)
    assert page.count("data:image/") == len(pictures)
    assert "lightning-landscape experiment=gan_saddle saddle.iterations=8 saddle.table_iterations=8" in page
    assert "A saddle, with simultaneous and alternating steps and with prediction" in page
    assert "seed 1" in page
    assert "lightning-landscape: mode=goldilocks needs runs and slices.draws of at least 2" in page
    marker = json.loads((folder / "gan_saddle" / "gallery.json").read_text())
    assert marker["failure"] is None
    assert marker["seconds"] > 0
    assert "torch" in marker["machine"]

    started: list[str] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        started.append(command[3])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    gallery_in(folder, EXPERIMENTS)
    assert started == ["experiment=goldilocks"]  # what failed is tried again, what was finished is not
    assert path.read_text(encoding="utf-8").count("data:image/") == len(pictures)
    gallery_in(folder, "experiments=['gan_saddle saddle.iterations=9']")
    assert started[1:] == ["experiment=gan_saddle"]  # with other overrides it is another experiment


@pytest.mark.parametrize(
    ("listed", "words"),
    [("[]", "needs experiments"), ("[gan_saddle,'gan_saddle seed=2']", "gan_saddle more than once")],
)
def test_what_cannot_be_run_is_refused(tmp_path: Path, listed: str, words: str) -> None:
    with pytest.raises(LandscapeError, match=words):
        TASKS["gallery"](configuration(tmp_path, "experiment=gallery", f"experiments={listed}"))


def test_the_list_names_every_small_experiment(tmp_path: Path) -> None:
    listed = {line.split()[0] for line in configuration(tmp_path, "experiment=gallery").experiments}
    there = {path.stem for path in (CONF / "experiment").glob("*.yaml")}
    assert listed == {name for name in there if not name.startswith("paper_")} - {"gallery"}
