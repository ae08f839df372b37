from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import plot_paths
from lightning_landscape.geometry.path import Path
from lightning_landscape.records.surface import Surface
from tests.figures import examples


def given() -> tuple[Surface, dict[str, Path]]:
    surface = examples.trajectory()
    assert surface.path is not None
    path = replace(surface.path, residual=0.25 * surface.path.distance_from_origin)
    return surface, {"SGD": path, "Adam": replace(path, coordinates=0.5 * path.coordinates)}


def test_each_path_is_drawn_and_says_how_far_it_lies_off_the_plane() -> None:
    surface, paths = given()
    figure = plot_paths(surface, paths)
    drawn = [line.get_xydata() for line in figure.axes[0].get_lines() if line.get_linestyle() == "-"]
    for line, path in zip(drawn, paths.values(), strict=True):
        np.testing.assert_array_equal(line, path.coordinates)
    legend = figure.axes[0].get_legend()
    assert legend is not None
    said = [text.get_text() for text in legend.get_texts()]
    assert said[:2] == ["SGD (25 % off the plane)", "Adam (25 % off the plane)"]
    assert "dots are projections" in figure.get_supxlabel().replace("\n", " ")


def test_what_cannot_be_drawn_is_refused() -> None:
    surface, paths = given()
    with pytest.raises(RecordError, match="was given 0 paths"):
        plot_paths(surface, {})
    path = paths["SGD"]
    line = replace(path, coordinates=path.coordinates[:, :1])
    with pytest.raises(RecordError, match="the path 'line' has 41 points of dimension 1"):
        plot_paths(surface, {"line": line})


def test_nothing_is_cut_off_and_nothing_overlaps(assert_well_laid_out: Callable[[Figure], None]) -> None:
    assert_well_laid_out(plot_paths(*given()))
