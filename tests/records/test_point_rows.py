"""Rows of numbers on the way to a surface, in the surface's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_landscape.errors import RecordError, RecordMismatchError
from lightning_landscape.geometry.path import Path as Projection
from lightning_landscape.records.surface import Surface
from lightning_landscape.records.surface_file import SurfaceFile

ROWS = {"subset": ["loss", "loss, batch 0"], "reference": ["loss", "loss, error"]}


def opened(path: Path, **options: Any) -> SurfaceFile:
    arguments: dict[str, Any] = {"identity": {"weights": "abc"}, "loss": "loss", "rows": ROWS, **options}
    return SurfaceFile.open(path, [0.0, 1.0, 2.0], [0.0, 1.0], ["loss"], {}, **arguments)


def test_rows_come_back_when_the_file_is_opened_again(tmp_path: Path) -> None:
    with opened(tmp_path / "s.h5") as file:
        file.rows("subset").write(4, {"loss": 1.5, "loss, batch 0": 2.5})
        file.rows("reference").write(1, {"loss": 3.0}, {"loss": 0.25})
    with opened(tmp_path / "s.h5") as file:
        values, done = file.rows("subset").read()
        assert done.tolist() == [False] * 4 + [True, False]
        assert values[4].tolist() == [1.5, 2.5]
        assert np.isnan(values[:4]).all()
        assert file.rows("reference").read()[0][1].tolist() == [3.0, 0.25]
    surface = Surface.load(tmp_path / "s.h5")
    assert surface.names == ["loss"]
    assert not surface.done.any()


def test_other_rows_are_another_computation(tmp_path: Path) -> None:
    opened(tmp_path / "s.h5").close()
    before = (tmp_path / "s.h5").read_bytes()
    for rows in ({}, {"subset": ["loss", "loss, batch 0", "loss, batch 1"]}):
        with pytest.raises(RecordMismatchError, match="computed with other examples"):
            opened(tmp_path / "s.h5", rows=rows)
    assert (tmp_path / "s.h5").read_bytes() == before


def test_a_new_path_leaves_the_rows(tmp_path: Path) -> None:
    with opened(tmp_path / "s.h5") as file:
        file.rows("subset").write(0, {"loss": 1.0, "loss, batch 0": 2.0})
    along = {name: np.zeros(3) for name in ("residual", "steps", "epochs", "lr", "distance_from_origin")}
    with opened(tmp_path / "s.h5", path_projection=Projection(np.zeros((3, 2)), **along)) as file:
        values, done = file.rows("subset").read()
        assert done[0]
        assert values[0].tolist() == [1.0, 2.0]


def test_a_row_without_all_its_numbers_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "s.h5") as file:
        with pytest.raises(RecordError, match="no value for"):
            file.rows("reference").write(0, {"loss": 1.0})
        assert not file.rows("reference").read()[1].any()
