from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import animate, animation
from lightning_landscape.figures.scale import Scale
from lightning_landscape.records.surface import Surface
from tests.figures import examples

FRAMES = [examples.bowl(13, 11, curvature=c, epoch=k) for k, c in enumerate((9.0, 3.0, 1.0))]


def test_one_frame_a_surface_and_one_scale_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scales: list[Scale] = []
    limits = []
    original = animation.draw_contours

    def record(axes, surface, channel, scale, *, filled):
        scales.append(scale)
        result = original(axes, surface, channel, scale, filled=filled)
        limits.append((axes.get_xlim(), axes.get_ylim(), axes.get_position().bounds))
        return result

    monkeypatch.setattr(animation, "draw_contours", record)
    path = animate(FRAMES, tmp_path / "new" / "training.gif")
    assert path == tmp_path / "new" / "training.gif"
    with Image.open(path) as film:
        assert film.n_frames == len(FRAMES)
        assert film.is_animated
        assert film.info["duration"] == 500
    assert all(scale == scales[0] for scale in scales)
    assert scales[0].low == min(s["loss"].min() for s in FRAMES)
    assert scales[0].high == max(s["loss"].max() for s in FRAMES)
    assert all(limit == limits[0] for limit in limits)


def test_a_value_has_the_same_colour_in_every_frame(tmp_path: Path) -> None:
    # The same values three times: apart from the heading, all frames are the same pixels.
    path = animate([examples.bowl(13, 11, epoch=k) for k in range(3)], tmp_path / "same.gif")
    with Image.open(path) as film:
        pictures = []
        for k in range(film.n_frames):
            film.seek(k)
            pictures.append(np.asarray(film.convert("RGB"))[60:])
    assert len(pictures) == 3
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])


def test_landscapes_and_names(tmp_path: Path) -> None:
    path = animate({"before": FRAMES[0], "after": FRAMES[2]}, tmp_path / "a.gif", three_d=True, fps=4)
    with Image.open(path) as film:
        assert film.n_frames == 2
        assert film.info["duration"] == 250


def test_headings() -> None:
    assert animation._headings(FRAMES) == ["epoch 0", "epoch 1", "epoch 2"]
    steps = [Surface([0, 1], None, {"loss": [0, 1]}, attrs={"global_step": k}) for k in (5, 10)]
    assert animation._headings(steps) == ["step 5", "step 10"]
    assert animation._headings([examples.oblong()] * 2) == ["1 of 2", "2 of 2"]


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="gif"):
        animate(FRAMES, tmp_path / "film.mp4")
    with pytest.raises(RecordError, match="no surface"):
        animate([], tmp_path / "film.gif")
    with pytest.raises(RecordError, match="over a line"):
        animate([examples.line()], tmp_path / "film.gif")
