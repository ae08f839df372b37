"""Figures of GANs: samples, their animation, sweeps and the saddle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_landscape.errors import RecordError
from lightning_landscape.figures.gan_runs import plot_gan_runs
from lightning_landscape.figures.saddle import plot_saddle
from lightning_landscape.figures.samples import animate_samples, headings, plot_samples
from lightning_landscape.records.gan_runs import GANRun

POINTS = np.random.default_rng(0).normal(size=(50, 2))
MODES = np.array([[1.0, 0.0], [0.0, 1.0]])


def test_points_are_drawn_where_they_are_with_the_modes() -> None:
    figure = plot_samples({"a": POINTS, "b": POINTS + 10}, modes=MODES)
    first, second = figure.axes
    assert first.get_title(loc="left") == "a"
    assert first.get_xlim() == second.get_xlim() == (-1.5, 1.5)
    rings, points = first.get_lines()
    np.testing.assert_array_equal(np.transpose(rings.get_data()), MODES)
    inside = (np.abs(POINTS) <= 1.5).all(1)
    np.testing.assert_array_equal(np.transpose(points.get_data()), POINTS[inside])
    assert [text.get_text() for text in second.texts] == ["100% of the samples lie outside"]


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_laid_out_in_rows(channels: int) -> None:
    images = np.stack([np.full((channels, 4, 4), value) for value in (-1.0, 0.0, 1.0)])
    (panel,) = plot_samples(images).axes
    picture = panel.images[0].get_array()
    assert picture.shape[:2] == (9, 9)
    assert picture[0, 0].max() == 0
    assert picture[0, 8].min() == 0.5
    assert picture[8, 0].min() == 1


@pytest.mark.parametrize("samples", [np.zeros((0, 2)), np.zeros((5, 3)), np.zeros((5, 2, 8, 8)), {}])
def test_what_is_no_sample_is_refused(samples: object) -> None:
    with pytest.raises(RecordError, match="samples"):
        plot_samples(samples)  # type: ignore[arg-type]


def test_animation_has_a_frame_for_each_moment(tmp_path: Path) -> None:
    frames = {heading: {"a": POINTS * scale} for heading, scale in zip(headings([1, 2000]), (1, 2), strict=True)}
    path = animate_samples(frames, tmp_path / "deep/samples.gif", modes=MODES, title="ring")
    with Image.open(path) as picture:
        assert picture.n_frames == 2
    with pytest.raises(RecordError, match=r"\.gif"):
        animate_samples(frames, tmp_path / "samples.png")
    with pytest.raises(RecordError, match="no frame"):
        animate_samples({}, tmp_path / "samples.gif")
    assert headings([2000]) == ["iteration 2,000"]


def runs() -> list[GANRun]:
    return [
        GANRun(rate, beta1, kind, seed, 700 if rate == 0.01 and kind == "neither" else None, {"modes": 2.0 * seed})
        for rate in (0.001, 0.01)
        for beta1 in (0.5, 0.9)
        for kind in ("neither", "generator")
        for seed in (0, 1)
    ]


def test_sweep_shows_every_run_and_which_collapsed() -> None:
    figure = plot_gan_runs(runs(), ["modes"], best=8, title="sweep")
    assert figure.axes[0].get_ylabel() == "modes"
    assert len(figure.axes) == 2
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["beta1 = 0.5", "beta1 = 0.9"]
    markers = [line.get_marker() for line in figure.axes[0].get_lines()]
    assert markers.count("x") == 2
    assert markers.count("o") == 6
    with pytest.raises(RecordError, match="no measure 'good'"):
        plot_gan_runs(runs(), ["good"])
    with pytest.raises(RecordError, match="no runs"):
        plot_gan_runs([], ["modes"])


def test_saddle_marks_the_limits_of_stability() -> None:
    products = np.linspace(0.1, 4.5, 20)
    paths = {"alternating": POINTS, "prediction": POINTS}
    figure = plot_saddle(
        paths,
        products,
        {"alternating": products, "prediction": products},
        {"alternating": 4.0, "prediction": 4 / 3},
        title="saddle",
        caption="",
    )
    assert len(figure.axes) == 3
    words = " ".join(text.get_text() for text in figure.axes[-1].texts)
    assert "1.33" in words
    assert "4 on" in words
