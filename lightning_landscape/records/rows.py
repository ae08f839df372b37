"""Records that grow with a training: one row of values at a time, appended, counted when it is whole, read lazily.

A trajectory and its sketch are such records. They differ in what a row means, not in how it comes to the disk.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_landscape.errors import RecordError
from lightning_landscape.geometry.weights import borrow, check_compatible
from lightning_landscape.records.hdf5 import (
    MARK,
    creating,
    explaining_damage,
    explaining_failure,
    open_writer,
    read_attributes,
    reading,
    write_attributes,
)

# HDF5 keeps a chunk's size in 32 bits.
_LARGEST_CHUNK = 2**28
# Other dtypes (bfloat16, float8) are stored as float32, which holds their values exactly.
_STORED: dict[torch.dtype, np.dtype[Any]] = {
    torch.float64: np.dtype("<f8"),
    torch.float32: np.dtype("<f4"),
    torch.float16: np.dtype("<f2"),
}
_LOADED = {stored: dtype for dtype, stored in _STORED.items()}


class Rows:
    """A record of rows, as its readers see it: those that were complete when it was opened, also during the run.

    Use `load`, which gives a context manager.

    Attributes:
        FORMAT: What its files say that they are.
        GROUP: The HDF5 group with the columns.
        path: The file.
        steps: The global step of each row, int64 [T].
        epochs: The epoch of each row, int64 [T].
        lr: The learning rate at each row, float64 [T], NaN where none was given; None if none ever was.
        attrs: Facts that were kept with it.
    """

    FORMAT: ClassVar[str]
    GROUP: ClassVar[str]

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._file = file
        self._close: Callable[[], object] = file.close
        count = int(file["count"][()])
        self._columns = columns_of(file[self.GROUP])
        self.steps: NDArray[np.int64] = file["step"][:count]
        self.epochs: NDArray[np.int64] = file["epoch"][:count]
        lr: NDArray[np.float64] = file["lr"][:count]
        self.lr = None if np.isnan(lr).all() else lr
        self.attrs = _attributes(file)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Open a record.

        Args:
            path: The HDF5 file.

        Raises:
            RecordError: If there is no such file, it is damaged, or it is something else.
        """
        path = Path(path)
        with ExitStack() as stack, explaining_damage(path):
            file = stack.enter_context(reading(path))
            _check_format(path, file, cls.FORMAT)
            record = cls(path, file)
            # A record that nobody closes is closed when nobody uses it any more.
            record._close = weakref.finalize(record, stack.pop_all().close)
        return record

    def __len__(self) -> int:
        return len(self.steps)

    def _reading(self) -> AbstractContextManager[None]:
        if not self._file:
            raise RecordError(f"{self.path} is closed: open it again with {type(self).__name__}.load")
        return explaining_damage(self.path)

    def close(self) -> None:
        """Close the file. Closing twice does nothing."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class Column:
    """How one tensor of a row is stored: as `size` values of one dtype in a dataset of its own.

    Args:
        dataset: The dataset's name.
        size: The number of values.
        dtype: Of the stored values.
        attrs: Its attributes, among them its `name`, `position` among the columns and `shape`.
    """

    dataset: str
    size: int
    dtype: np.dtype[Any]
    attrs: dict[str, Any]


class RowsFile:
    """A record being written: the only writer of its file, which each `append` makes one row longer.

    A row counts from the moment when all of it is with the operating system, so a process killed at any moment leaves a
    file that readers open and `resume` goes on with. Space for the expected number of rows is reserved (on file systems
    with sparse files it is not occupied until written), and doubled whenever it is used up.

    Use a subclass's `create`, or `resume`, as context managers.

    Attributes:
        READER: The class that reads what is written.
        path: The file.
    """

    READER: ClassVar[type[Rows]]

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._bind(file)

    def _bind(self, file: h5py.File) -> None:
        self._file = file
        self._columns = columns_of(file[self.READER.GROUP])
        self._layout = {name: torch.empty(shape_of(column), device="meta") for name, column in self._columns.items()}
        self._count = int(file["count"][()])
        self._last_step = int(file["step"][self._count - 1]) if self._count else None

    @classmethod
    def _create(
        cls, path: str | os.PathLike[str], columns: list[Column], capacity: int, attrs: Mapping[str, Any]
    ) -> Self:
        """Lay out a new file and open it.

        Raises:
            RecordError: If the file exists or cannot be written, or the columns cannot be stored.
        """
        path = Path(path)
        if path.exists():
            raise RecordError(
                f"there is a file at {path} already: resume it with {cls.__name__}.resume, delete it, or choose "
                "another path"
            )
        if capacity < 1:
            raise RecordError(f"the capacity of a record is at least 1 checkpoint, found {capacity}")
        with creating(path, replace=False) as file:
            _lay_out(file, cls.READER, capacity, attrs, columns)
        return cls(path, open_writer(path))

    @classmethod
    def resume(
        cls, path: str | os.PathLike[str], after_step: int, source: str | os.PathLike[str] | None = None
    ) -> Self:
        """Go on with a record, forgetting what came after a step.

        Args:
            path: The file.
            after_step: The global step of the checkpoint from which training goes on; later ones will be run again.
            source: Another run's file: `path`, which must not exist, becomes a copy that goes on, and the other run's
                file stays as it is. (A plain copy of the file would write out the space that is only reserved.)

        Raises:
            RecordError: If the file does not exist, is damaged, or another process is writing it.
        """
        path = Path(path)
        if source is not None:
            with explaining_damage(Path(source)), reading(Path(source)) as other:
                _check_format(Path(source), other, cls.READER.FORMAT)
                _copy(other, path, cls.READER, capacity=len(other["step"]), replace=False)
        file = open_writer(path)
        try:
            with explaining_damage(path):
                _check_format(path, file, cls.READER.FORMAT)
                steps = file["step"][: int(file["count"][()])]
                file["count"][()] = np.searchsorted(steps, after_step, side="right")
                return cls(path, file)
        except BaseException:
            file.close()
            raise

    def __len__(self) -> int:
        return self._count

    @property
    def last_step(self) -> int | None:
        """The global step of the last row; None before the first."""
        return self._last_step

    def append(self, values: Mapping[str, Tensor], step: int, epoch: int, lr: float | None = None) -> None:
        """Record a row; when this returns, it survives the process.

        Args:
            values: Tensors with the names and shapes that the file was created for.
            step: The global step, not before the last one's.
            epoch: The epoch.
            lr: The learning rate.

        Raises:
            GeometryError: If names or shapes differ from those that the file was created for.
            RecordError: If the step is before the last one, a value is too large for the stored precision, the file is
                closed, or the disk is full.
        """
        if not self._file:
            raise RecordError(f"{self.path} is closed: go on with {type(self).__name__}.resume")
        if self._last_step is not None and step < self._last_step:
            raise RecordError(
                f"step {step} comes before step {self._last_step}, the last in {self.path}: reopen it with "
                f"{type(self).__name__}.resume(path, after_step={step - 1}) to forget what came after"
            )
        values = borrow(values)
        check_compatible(values, self._layout, what=f"the values to append to {self.path}")
        if self._count == len(self._file["step"]):
            self._grow()
        row = self._count
        with explaining_failure(self.path):
            for name, column in self._columns.items():
                if column.shape[1]:
                    column.write_direct(_storable(name, values[name], column.dtype), dest_sel=np.s_[row])
            self._file["step"][row] = step
            self._file["epoch"][row] = epoch
            self._file["lr"][row] = np.nan if lr is None else lr
            self._file["count"][()] = row + 1
        self._count, self._last_step = row + 1, step

    def _grow(self) -> None:
        """Double the space: copy what is there to a new file, and put that in the old one's place."""
        _copy(self._file, self.path, self.READER, capacity=2 * self._count, replace=True)
        self._file.close()
        self._bind(open_writer(self.path))

    def close(self) -> None:
        """Let go of the file, so that another process may write it. Closing twice does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def columns_of(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """The columns of a record by name, in the order of their positions."""
    datasets = sorted(group.values(), key=lambda dataset: int(dataset.attrs["position"]))
    return {dataset.attrs["name"]: dataset for dataset in datasets}


def shape_of(column: h5py.Dataset) -> tuple[int, ...]:
    """The shape of the tensor that a row of this column holds."""
    return tuple(map(int, column.attrs["shape"]))


def storage_dtype(own: torch.dtype, wanted: str | None = None) -> np.dtype[Any]:
    """The narrower of a tensor's own precision and the one that is wanted."""
    dtype = _STORED.get(own, np.dtype("<f4"))
    narrow = dtype if wanted is None else np.dtype(wanted)
    return narrow if narrow.itemsize < dtype.itemsize else dtype


def _lay_out(
    file: h5py.File, reader: type[Rows], capacity: int, attrs: Mapping[str, Any], columns: list[Column]
) -> None:
    """Reserve space for `capacity` rows without writing it."""
    write_attributes(file, attrs)
    file.attrs[MARK] = reader.FORMAT
    file.create_dataset("count", data=np.int64(0))
    file.create_dataset("step", data=np.zeros(capacity, dtype=np.int64))
    file.create_dataset("epoch", data=np.zeros(capacity, dtype=np.int64))
    file.create_dataset("lr", data=np.full(capacity, np.nan))
    group = file.create_group(reader.GROUP)
    for column in columns:
        # All the space and its index now, no values: appending touches no metadata, and files are sparse.
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        properties.set_obj_track_times(False)
        if column.size:
            properties.set_chunk((1, min(column.size, _LARGEST_CHUNK)))
        dataset = h5py.h5d.create(
            group.id,
            column.dataset.encode(),
            h5py.h5t.py_create(column.dtype),
            h5py.h5s.create_simple((capacity, column.size)),
            properties,
        )
        write_attributes(h5py.Dataset(dataset), column.attrs)


def _copy(source: h5py.File, path: Path, reader: type[Rows], capacity: int, *, replace: bool) -> None:
    """Copy the rows of a file to a new one, with space for `capacity`."""
    count = int(source["count"][()])
    originals = columns_of(source[reader.GROUP])
    columns = [
        Column(Path(dataset.name).name, dataset.shape[1], dataset.dtype, read_attributes(dataset))
        for dataset in originals.values()
    ]
    with creating(path, replace=replace) as file:
        _lay_out(file, reader, capacity, _attributes(source), columns)
        for name, copy in columns_of(file[reader.GROUP]).items():
            for row in range(count):
                copy[row] = originals[name][row]
        for name in ("step", "epoch", "lr"):
            file[name][:count] = source[name][:count]
        file["count"][()] = count


def _attributes(file: h5py.File) -> dict[str, Any]:
    return {key: value for key, value in read_attributes(file).items() if key != MARK}


def _check_format(path: Path, file: h5py.File, expected: str) -> None:
    if file.attrs.get(MARK) != expected:
        raise RecordError(
            f"{path} holds no {expected.rpartition(' ')[0]}: its attribute {MARK!r} is {file.attrs.get(MARK)!r} where "
            f"{expected!r} is expected"
        )


def _storable(name: str, tensor: Tensor, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A tensor as the contiguous row that is written.

    Raises:
        RecordError: If a finite value becomes infinite in the stored precision.
    """
    row = tensor.detach().to(_LOADED[dtype]).reshape(-1)
    narrower = torch.finfo(row.dtype).max < torch.finfo(tensor.dtype).max
    if narrower and bool((row.isinf().sum() > tensor.isinf().sum()).item()):
        raise RecordError(
            f"{name} has values up to {tensor.abs().max().item():.3g}, too large for {row.dtype}: record the "
            "trajectory with a wider dtype"
        )
    return row.cpu().numpy()
