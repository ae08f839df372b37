"""The life cycle of a surface that is being computed: created or resumed, written point by point, closed."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_landscape.errors import RecordError, RecordMismatchError
from lightning_landscape.geometry.path import Path
from lightning_landscape.records.hdf5 import (
    MARK,
    check_writable,
    creating,
    explaining_damage,
    explaining_failure,
    open_writer,
)
from lightning_landscape.records.point_rows import FOLDER, PointRows
from lightning_landscape.records.surface import FORMAT, Surface, channel_datasets, read_surface, write_surface

__all__ = ["SurfaceFile", "check_writable"]

_ONE_VALUE = h5py.h5s.create_simple((1,))


class SurfaceFile:
    """A surface on disk with one writer; every point that was written survives whatever happens to the process.

    The file is laid out whole when it is created. Writing a point puts its values in place, and only then marks it as
    done. So a process killed at any moment leaves a file that `Surface.load` reads and `open` resumes, and a surface
    that was interrupted is the same in every byte as one that was not.

    Use `open`, as a context manager:

        with SurfaceFile.open(path, x, y, ["loss"], attrs, identity=identity, loss="loss") as file:
            for index in np.flatnonzero(~file.done):
                file.write(index, {"loss": ...}, {"loss": ...})
    """

    def __init__(self, path: pathlib.Path, file: h5py.File) -> None:
        self.path = path
        self._file = file
        self._done: h5py.Dataset = file["done"]
        self._mask: NDArray[np.bool_] = self._done[()]
        self._space = self._done.id.get_space()
        self._channels, self._errors = channel_datasets(file)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        x: ArrayLike,
        y: ArrayLike | None,
        names: list[str],
        attrs: Mapping[str, Any],
        *,
        identity: Mapping[str, str],
        loss: str,
        path_projection: Path | None = None,
        rows: Mapping[str, Sequence[str]] | None = None,
    ) -> SurfaceFile:
        """Create the file, or resume it if it is there and was made of the same things.

        Args:
            path: The file; its folder is created if need be.
            x: Coordinates along the first direction [X].
            y: Coordinates along the second direction [Y]; None for a line.
            names: The channels.
            attrs: Facts to keep with the surface. A file that is resumed keeps those that it was created with.
            identity: What the values depend on (digests of weights, slice and sample, the step, ...), kept as
                attributes and compared on resuming.
            loss: Which of the channels is the loss.
            path_projection: The projection of a training trajectory onto the slice, kept with the surface. On
                resuming, another one replaces that in the file, and None leaves it.
            rows: What is to be kept of each point on the way to its value: by name the columns (`PointRows`).

        Raises:
            RecordError: If the file cannot be written, is damaged, or another process is writing it.
            RecordMismatchError: If the file was made of other things; it lists each difference.
        """
        path = pathlib.Path(path)
        if loss not in names:
            raise RecordError(f"the loss is to be {loss!r}, which is none of the channels {names}")
        shape = (np.size(x),) if y is None else (np.size(y), np.size(x))
        blank = Surface(
            x=np.asarray(x),
            y=None if y is None else np.asarray(y),
            channels={name: np.full(shape, np.nan) for name in names},
            errors={name: np.full(shape, np.nan) for name in names},
            done=np.zeros(shape, dtype=bool),
            attrs={**attrs, **identity, "loss": loss},
            path=path_projection,
        )
        if not path.exists():
            with creating(path, replace=False) as file:
                write_surface(file, blank)
                for name, columns in (rows or {}).items():
                    PointRows.lay_out(file, name, blank.done.size, columns)
        file = open_writer(path)
        try:
            with explaining_damage(path):
                found = _as_surface(path, file)
                _check_same(path, found, blank, [*identity, "loss"])
                _check_rows(path, file, rows or {})
                wanted = replace(
                    found,
                    errors={name: found.errors.get(name, nothing) for name, nothing in blank.errors.items()},
                    path=found.path if path_projection is None else path_projection,
                )
                if found.errors.keys() != wanted.errors.keys() or not _same_path(found.path, wanted.path):
                    # The values stay, but what is kept beside them takes another layout.
                    with creating(path, replace=True) as renewed:
                        write_surface(renewed, wanted)
                        if FOLDER in file:
                            file.copy(FOLDER, renewed)
                    file.close()
                    file = open_writer(path)
                return cls(path, file)
        except BaseException:
            file.close()
            raise

    @property
    def done(self) -> NDArray[np.bool_]:
        """Which points are written, a copy, of the surface's shape."""
        return self._mask.copy()

    def write(self, index: int, values: Mapping[str, float], errors: Mapping[str, float] | None = None) -> None:
        """Write one point: first its values, and when they are with the operating system, that it is done.

        A NaN or infinite value is a result like any other. A channel without a value here gets NaN.

        Args:
            index: The point's flat index in C order over the surface's shape: ``j * len(x) + i``.
            values: The channels' values.
            errors: Their standard errors, of those that have one.

        Raises:
            RecordError: If the index or a channel does not exist, the file is closed, or the disk is full.
        """
        errors = {} if errors is None else errors
        if not self._file:
            raise RecordError(f"{self.path} is closed: open it again to write to it")
        if not 0 <= index < self._mask.size:
            raise RecordError(f"there is no point {index} on a surface of {self._mask.size} points")
        if unknown := {*values, *errors} - set(self._channels):
            raise RecordError(f"there are no channels {sorted(unknown)} in {self.path}; it has {list(self._channels)}")
        place = np.unravel_index(index, self._mask.shape)
        with explaining_failure(self.path):
            for datasets, numbers in ((self._channels, values), (self._errors, errors)):
                for name, dataset in datasets.items():
                    self._put(dataset, place, np.float64(numbers.get(name, np.nan)))
            self._put(self._done, place, np.bool_(True))
        self._mask[place] = True

    def rows(self, name: str) -> PointRows:
        """The rows of that name, which the file was opened with."""
        return PointRows(self.path, self._file[FOLDER][name])

    def _put(self, dataset: h5py.Dataset, place: tuple[Any, ...], value: np.float64 | np.bool_) -> None:
        # As `dataset[place] = value`, whose many cases cost more time than the evaluation of a small network.
        self._space.select_hyperslab(place, (1,) * len(place))
        dataset.id.write(_ONE_VALUE, self._space, np.asarray(value).reshape(1))

    def surface(self) -> Surface:
        """The surface as it is on disk now, the file being open.

        Raises:
            RecordError: If the file is closed.
        """
        if not self._file:
            raise RecordError(f"{self.path} is closed: read it with Surface.load")
        return read_surface(self._file)

    def close(self) -> None:
        """Let go of the file, so that another process may write it. Closing twice does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_same(path: pathlib.Path, found: Surface, expected: Surface, identity: list[str]) -> None:
    """Refuse to resume a surface that was made of other things than the one that is to be computed.

    Raises:
        RecordMismatchError: If they differ; it lists each difference.
    """
    differences = [
        f"{key}: found {found.attrs.get(key)!r}, expected {expected.attrs[key]!r}"
        for key in identity
        if found.attrs.get(key) != expected.attrs[key]
    ]
    if found.names != expected.names:
        differences.append(f"channels: found {found.names}, expected {expected.names}")
    for name in ("x", "y"):
        one, other = getattr(found, name), getattr(expected, name)
        if not _same_array(one, other):
            differences.append(f"{name} axis: found {_in_words(one)}, expected {_in_words(other)}")
    if differences:
        raise RecordMismatchError(
            f"{path} was computed from something else and cannot be resumed: {'; '.join(differences)}. Delete it, or "
            "choose another path, to start anew"
        )


def _check_rows(path: pathlib.Path, file: h5py.File, expected: Mapping[str, Sequence[str]]) -> None:
    """Refuse to resume a surface that is computed in another way.

    Raises:
        RecordMismatchError: If the rows are others.
    """
    found = {name: PointRows(path, group).columns for name, group in file[FOLDER].items()} if FOLDER in file else {}
    if found != {name: list(columns) for name, columns in expected.items()}:
        raise RecordMismatchError(
            f"{path} was computed with other examples and cannot be resumed: it keeps {sorted(found) or 'no rows'} "
            f"where {sorted(expected) or 'none'} are expected. Delete it, or choose another path, to start anew"
        )


def _as_surface(path: pathlib.Path, file: h5py.File) -> Surface:
    if file.attrs.get(MARK) != FORMAT:
        raise RecordError(f"{path} is another kind of file: move it away, or choose another path")
    return read_surface(file)


def _same_array(one: NDArray[Any] | None, other: NDArray[Any] | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other, equal_nan=True)


def _same_path(one: Path | None, other: Path | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(_same_array(getattr(one, field.name), getattr(other, field.name)) for field in fields(Path))


def _in_words(axis: NDArray[np.float64] | None) -> str:
    return "none" if axis is None else f"{len(axis)} values from {axis[0]!r} to {axis[-1]!r}"
