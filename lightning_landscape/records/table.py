"""Tables of an experiment: rows of numbers in a CSV file, each on disk as soon as it is known."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_landscape.errors import RecordError, RecordMismatchError
from lightning_landscape.records.hdf5 import check_writable

Cell = str | int | float


class Table:
    """Rows that are told apart by their keys; a row that the file holds already is not computed again.

    The first line of the file is a digest of the settings that the rows belong to. A last line that a killed process
    left unfinished is dropped.

    Args:
        path: the CSV file; made if need be.
        keys: the columns that tell rows apart.
        columns: the columns of numbers.
        settings: what all rows depend on.

    Raises:
        RecordError: if the file cannot be written or is no table of these columns; RecordMismatchError, one of these,
            if it was made with other settings.
    """

    def __init__(self, path: Path, keys: Sequence[str], columns: Sequence[str], settings: str) -> None:
        self.path = path
        self._keys, self._columns = list(keys), list(columns)
        self._rows: dict[tuple[str, ...], dict[str, str]] = {}
        check_writable(path.parent)
        head = f"# settings {hashlib.sha256(settings.encode()).hexdigest()}\n{','.join([*keys, *columns])}\n"
        found = path.read_text(encoding="utf-8") if path.exists() else ""
        if found and not found.startswith(head):
            first = found.splitlines()[0]
            if first.startswith("# settings "):
                raise RecordMismatchError(
                    f"{path} was made with other settings: choose another output_dir, or delete it"
                )
            raise RecordError(f"{path} is no table of this experiment: choose another output_dir, or delete it")
        whole = found[len(head) : found.rfind("\n") + 1]
        for values in csv.reader(whole.splitlines()):
            row = dict(zip([*keys, *columns], values, strict=True))
            self._rows[tuple(row[key] for key in keys)] = row
        path.write_text(head + whole, encoding="utf-8")

    def row(self, keys: Sequence[Cell], compute: Callable[[], Mapping[str, float]]) -> dict[str, float]:
        """Return the numbers of one row: those of the file, or else what `compute` gives, which is then in the file.

        Args:
            keys: values of the key columns.
            compute: gives the numbers by column.
        """
        key = tuple(str(value) for value in keys)
        if key not in self._rows:
            values = compute()
            numbers = {column: repr(float(values[column])) for column in self._columns}
            self._rows[key] = dict(zip(self._keys, key, strict=True)) | numbers
            with self.path.open("a", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow(self._rows[key].values())
                file.flush()
                os.fsync(file.fileno())
        return {column: float(self._rows[key][column]) for column in self._columns}

    def column(self, name: str, /, **chosen: Cell) -> NDArray[np.float64]:
        """Return one column of numbers, or of keys that are numbers, over the rows whose keys are the chosen ones."""
        rows = [row for row in self._rows.values() if all(row[key] == str(value) for key, value in chosen.items())]
        return np.array([float(row[name]) for row in rows])
