"""What is computed on the way to a surface: a row of numbers for each point, kept in the surface's own file."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import h5py
import numpy as np
from numpy.typing import NDArray

from lightning_landscape.errors import RecordError
from lightning_landscape.records.hdf5 import explaining_failure

FOLDER = "estimation"
"""The HDF5 group of all rows; readers of the surface do not look into it."""


class PointRows:
    """A row of numbers for each point of a grid, written once, with a mask of those that are.

    As in the file around it, a row is marked as done after its numbers are in place, and nothing but raw values is
    written after the layout.

    Args:
        path: the file, for messages.
        group: the group that `lay_out` made.
    """

    def __init__(self, path: pathlib.Path, group: h5py.Group) -> None:
        self._path = path
        self._values: h5py.Dataset = group["values"]
        self._done: h5py.Dataset = group["done"]
        self._columns = [str(name) for name in group.attrs["columns"]]

    @staticmethod
    def lay_out(file: h5py.File, name: str, points: int, columns: Sequence[str]) -> None:
        """Make the datasets of rows in a file that is being created.

        Args:
            file: the file.
            name: of the rows.
            points: how many there are.
            columns: what the numbers of a row are; the name of a value, or ``<name>, error``.
        """
        group = file.require_group(FOLDER).create_group(name)
        group.attrs["columns"] = np.asarray(columns, dtype=h5py.string_dtype())
        group.create_dataset("values", data=np.full((points, len(columns)), np.nan))
        group.create_dataset("done", data=np.zeros(points, dtype=bool))

    @property
    def columns(self) -> list[str]:
        """What the numbers of a row are."""
        return list(self._columns)

    def read(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return what is on disk: values ``[points, columns]`` and which points are done ``[points]``."""
        return self._values[()], self._done[()]

    def write(self, index: int, values: Mapping[str, float], errors: Mapping[str, float] | None = None) -> None:
        """Write one point's row, and then that it is done.

        Args:
            index: the point.
            values: numbers by column.
            errors: numbers of the columns ``<name>, error``, by name.

        Raises:
            RecordError: if the disk is full.
        """
        known = {**values, **{f"{name}, error": error for name, error in (errors or {}).items()}}
        if missing := [name for name in self._columns if name not in known]:
            raise RecordError(f"point {index} in {self._path} has no value for {missing}")
        with explaining_failure(self._path):
            self._values[index] = [known[name] for name in self._columns]
            self._done[index] = True
