"""The progress bar: none, tqdm's, or a task in the display of rich that the Trainer shows already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar, TQDMProgressBar

from lightning_landscape import LossLandscape
from lightning_landscape.engine.progress import progress_bar
from tests.modules_under_test import Delicate, loaders, trainer


def test_without_a_trainer(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(9, 4, "Surface", None, show=True) as advance:
        advance(2)
        advance(3)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Surface: 100%" in err
    assert "9/9" in err


def test_a_rank_that_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(9, 0, "Surface", None, show=False) as advance:
        advance(2)
    assert capsys.readouterr() == ("", "")


class OwnBar(ProgressBar):
    """A bar of a user's, which need not know more than its base."""


@pytest.mark.parametrize(
    ("callbacks", "shown"),
    [([TQDMProgressBar()], True), ([TQDMProgressBar(refresh_rate=0)], False), ([OwnBar()], True), ([], False)],
)
def test_the_trainers_bar_decides(
    callbacks: list[Any], shown: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trainer(tmp_path, callbacks, enable_progress_bar=bool(callbacks))
    capsys.readouterr()
    with progress_bar(3, 0, "Surface", run, show=True) as advance:
        advance(3)
    out, err = capsys.readouterr()
    assert ("Surface" in out) == shown
    assert err == ""


def test_richs_display_that_is_not_live(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trainer(tmp_path, [RichProgressBar()], enable_progress_bar=True)
    with progress_bar(3, 0, "Surface", run, show=True) as advance:
        advance(3)
    assert "Surface" in capsys.readouterr().out


@pytest.mark.parametrize("kind", [RichProgressBar, TQDMProgressBar])
def test_training_with_a_bar(kind: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Surfaces in the middle and at the end of training; two live displays would exclude each other."""
    finished: list[tuple[str, float]] = []
    bar = kind()
    if kind is RichProgressBar:
        from rich.progress import Progress

        remove = Progress.remove_task

        def removed(progress: Any, task: Any) -> None:
            assert progress is bar.progress
            finished.extend((t.description, t.completed) for t in progress.tasks if t.id == task)
            remove(progress, task)

        monkeypatch.setattr(Progress, "remove_task", removed)
    landscape = LossLandscape(resolution=3, examples=8, every_n_epochs=1)
    run = trainer(tmp_path, [bar, landscape], enable_progress_bar=True, max_epochs=2)
    run.fit(Delicate(), **loaders())
    assert len(landscape.surfaces) == 2
    if kind is RichProgressBar:
        assert finished == [("Loss surface", 9.0)] * 2
