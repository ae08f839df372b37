from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import plot_sketch
from lightning_landscape.geometry import Projection
from lightning_landscape.records import Sketch, SketchFile


def sketch_of(folder: Path, rows: int, entries: int = 500, lr: float | None = 0.1) -> Sketch:
    """A path that turns and slows down, the learning rate falling after two thirds of it."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(rows, entries, dtype=torch.float64, generator=generator)
    points = torch.cumsum(noise * torch.logspace(0, -3, rows, dtype=torch.float64)[:, None], dim=0)
    project = Projection(64)
    with SketchFile.create(folder / "s.h5", project, entries, rows) as file:
        for step, point in enumerate(points):
            rate = None if lr is None else lr / 10 ** (step >= 2 * rows // 3)
            file.append(SketchFile.row(project, {"w": point}), step=10 * step, epoch=0, lr=rate)
    return Sketch.load(folder / "s.h5")


def test_what_is_drawn_is_what_the_sketch_tells(tmp_path: Path) -> None:
    sketch = sketch_of(tmp_path, 30)
    figure = plot_sketch(sketch)
    distances, plane, lengths, turns = figure.axes
    start, step, turn = sketch.distance_from_start(), sketch.step_lengths(), sketch.angles()
    np.testing.assert_array_equal(distances.get_lines()[0].get_xydata(), np.c_[sketch.steps, start.value])
    band = distances.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx((start.value + 2 * start.error).max())
    coordinates, shares = sketch.principal_path()
    np.testing.assert_array_equal(plane.get_lines()[0].get_xydata(), coordinates)
    assert plane.get_xlabel().startswith("first direction (")
    assert f"{100 * shares[0]:.0f} %" in plane.get_xlabel()
    np.testing.assert_array_equal(lengths.get_lines()[0].get_xydata(), np.c_[sketch.steps[1:], step.value])
    assert lengths.get_yscale() == "log"
    np.testing.assert_array_equal(turns.get_lines()[0].get_xydata(), np.c_[sketch.steps[2:], np.degrees(turn.value)])
    said = figure.get_supxlabel().replace("\n", " ")
    assert "30 records of 500 parameters, projected to 64 numbers (seed 0)" in said
    assert f"standard error of a distance {100 * sketch.error / 2:.2g} %" in said
    assert "the learning rate falls" in said
    falls = [line for line in plane.get_lines() if line.get_label() == "learning rate falls"]
    np.testing.assert_array_equal(falls[0].get_xydata(), coordinates[[20]])


def test_a_crowd_of_steps_has_a_running_median(tmp_path: Path) -> None:
    sketch = sketch_of(tmp_path, 200, lr=None)
    _, _, lengths, _ = plot_sketch(sketch).axes
    values = sketch.step_lengths().value
    median = next(line for line in lengths.get_lines() if line.get_label() == "median of 5")
    assert median.get_xydata()[0].tolist() == [30.0, float(np.median(values[:5]))]


def test_a_small_model_is_exact(tmp_path: Path) -> None:
    figure = plot_sketch(sketch_of(tmp_path, 5, entries=20))
    assert "exact, for the model has no more parameters" in figure.get_supxlabel().replace("\n", " ")


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"a path of 3 rows at least, and .*s\.h5 has 2"):
        plot_sketch(sketch_of(tmp_path, 2))


@pytest.mark.parametrize("rows", [4, 150])
def test_nothing_is_cut_off_and_nothing_overlaps(
    rows: int, tmp_path: Path, assert_well_laid_out: Callable[[Figure], None]
) -> None:
    assert_well_laid_out(plot_sketch(sketch_of(tmp_path, rows)))
