from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import write_vtk
from tests.figures import examples


@pytest.mark.parametrize("suffix", [".vts", ".vtk"])
def test_points_and_values_come_back(tmp_path: Path, suffix: str) -> None:
    pyvista = pytest.importorskip("pyvista")
    surface = examples.bowl(7, 4)
    path = write_vtk(surface, tmp_path / "new" / f"surface{suffix}")
    grid = pyvista.read(path)
    assert grid.dimensions == (7, 4, 1)
    points = np.asarray(grid.points).reshape(4, 7, 3)
    x, y = np.meshgrid(surface.x, surface.y)
    np.testing.assert_array_equal(points[..., 0], x)
    np.testing.assert_array_equal(points[..., 1], y)
    np.testing.assert_array_equal(points[..., 2], surface["val/loss"])
    for name in surface.names:
        np.testing.assert_array_equal(np.asarray(grid.point_data[name]).reshape(4, 7), surface[name])
    np.testing.assert_array_equal(
        np.asarray(grid.point_data["val/loss_error"]).reshape(4, 7), surface.error("val/loss")
    )
    assert np.asarray(grid.point_data["done"]).all()


def test_points_without_a_value_are_hidden_and_their_data_kept(tmp_path: Path) -> None:
    pyvista = pytest.importorskip("pyvista")
    surface = examples.gappy()
    grid = pyvista.read(write_vtk(surface, tmp_path / "gaps.vts"))
    values = surface["val/loss"].ravel()
    missing = ~np.isfinite(values)
    np.testing.assert_array_equal(np.asarray(grid.point_data["val/loss"]), values)
    np.testing.assert_array_equal(np.asarray(grid.point_data["vtkGhostType"]) > 0, missing)
    heights = np.asarray(grid.points)[:, 2]
    np.testing.assert_array_equal(heights[~missing], values[~missing])
    np.testing.assert_array_equal(heights[missing], np.nanmin(values[~missing]))


def test_another_channel_makes_the_heights(tmp_path: Path) -> None:
    pyvista = pytest.importorskip("pyvista")
    surface = examples.bowl(7, 4)
    grid = pyvista.read(write_vtk(surface, tmp_path / "a.vts", "val/accuracy"))
    np.testing.assert_array_equal(np.asarray(grid.points)[:, 2], surface["val/accuracy"].ravel())


def test_without_pyvista_the_error_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvista", None)
    with pytest.raises(RecordError, match=r'pip install "lightning-landscape\[vtk\]"'):
        write_vtk(examples.bowl(), tmp_path / "a.vts")


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="over a line"):
        write_vtk(examples.line(), tmp_path / "a.vts")
    with pytest.raises(RecordError, match=r"\.vts and \.vtk"):
        write_vtk(examples.bowl(), tmp_path / "a.stl")
