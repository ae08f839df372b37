"""The trajectory of a training run: its weights, step after step, in a file that is appended to and read lazily."""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_landscape.errors import RecordError
from lightning_landscape.geometry.weights import Role, Weights, as_weights, check_compatible
from lightning_landscape.records.hdf5 import (
    MARK,
    creating,
    dataset_names,
    explaining_damage,
    explaining_failure,
    open_writer,
    read_attributes,
    reading,
    write_attributes,
)

FORMAT = "trajectory 1"

# HDF5 keeps a chunk's size in 32 bits.
_LARGEST_CHUNK = 2**28
# Other dtypes (bfloat16, float8) are stored as float32, which holds their values exactly.
_STORED: dict[torch.dtype, np.dtype[Any]] = {
    torch.float64: np.dtype("<f8"),
    torch.float32: np.dtype("<f4"),
    torch.float16: np.dtype("<f2"),
}
_LOADED = {stored: dtype for dtype, stored in _STORED.items()}


class Trajectory:
    """A recorded trajectory, read lazily: a sequence of `Weights`, one for each checkpoint.

    It shows the checkpoints that were complete when it was opened, and can be read while the run goes on. Tensors come
    back on the CPU, with the dtype and role that they had, whatever precision they were stored with.

    Use `load`, which gives a context manager. `names` and `block` let principal directions be computed from it without
    holding it in memory.

    Attributes:
        path: The file.
        names: The tensors' names, in the order of the model.
        steps: The global step of each checkpoint, int64 [T].
        epochs: The epoch of each checkpoint, int64 [T].
        lr: The learning rate at each checkpoint, float64 [T], NaN where none was given; None if none ever was.
        attrs: Facts that were kept with it.
    """

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._file = file
        self._close: Callable[[], object] = file.close
        count = int(file["count"][()])
        self._tensors = _tensors(file)
        self._dtypes = {name: getattr(torch, dataset.attrs["dtype"]) for name, dataset in self._tensors.items()}
        self._shapes = {name: tuple(map(int, dataset.attrs["shape"])) for name, dataset in self._tensors.items()}
        self._roles = {name: Role(**json.loads(dataset.attrs["role"])) for name, dataset in self._tensors.items()}
        self.names = list(self._tensors)
        self.steps: NDArray[np.int64] = file["step"][:count]
        self.epochs: NDArray[np.int64] = file["epoch"][:count]
        lr: NDArray[np.float64] = file["lr"][:count]
        self.lr = None if np.isnan(lr).all() else lr
        self.attrs = _attributes(file)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trajectory:
        """Open a recorded trajectory.

        Args:
            path: The HDF5 file.

        Raises:
            RecordError: If there is no such file, it is damaged, or it is something else.
        """
        path = Path(path)
        with ExitStack() as stack, explaining_damage(path):
            file = stack.enter_context(reading(path))
            _check_format(path, file)
            trajectory = cls(path, file)
            # A trajectory that nobody closes is closed when nobody uses it any more.
            trajectory._close = weakref.finalize(trajectory, stack.pop_all().close)
        return trajectory

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> Weights:
        if not -len(self) <= index < len(self):
            raise IndexError(f"there is no checkpoint {index} in a trajectory of {len(self)}")
        row = index % len(self)
        with self._reading():
            tensors = {name: self._tensor(name, dataset[row]) for name, dataset in self._tensors.items()}
        return Weights({name: tensor.reshape(self._shapes[name]) for name, tensor in tensors.items()}, self._roles)

    def __iter__(self) -> Iterator[Weights]:
        return (self[index] for index in range(len(self)))

    def _reading(self) -> AbstractContextManager[None]:
        if not self._file:
            raise RecordError(f"{self.path} is closed: open it again with Trajectory.load")
        return explaining_damage(self.path)

    def _tensor(self, name: str, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(self._dtypes[name])

    def block(self, name: str, start: int, stop: int) -> Tensor:
        """Some entries of one flattened tensor, at every checkpoint.

        Args:
            name: The tensor.
            start: The first entry, in C order.
            stop: The entry after the last.

        Returns:
            A tensor [T, stop - start], of the dtype that the tensor had.

        Raises:
            RecordError: If there is no such tensor, or the file is closed.
        """
        if name not in self._tensors:
            raise RecordError(f"there is no tensor {name!r} in {self.path}; the first ones are {self.names[:5]}")
        with self._reading():
            return self._tensor(name, self._tensors[name][: len(self), start:stop])

    def close(self) -> None:
        """Close the file. Closing twice does nothing."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class TrajectoryFile:
    """A trajectory being recorded: the only writer of its file, which each `append` makes one checkpoint longer.

    A checkpoint counts from the moment when all of it is with the operating system, so a process killed at any moment
    leaves a file that `Trajectory.load` reads and `resume` goes on with. Space for `capacity` checkpoints is reserved
    (on file systems with sparse files it is not occupied until written), and doubled whenever it is used up.

    Use `create` or `resume`, as context managers.
    """

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._bind(file)

    def _bind(self, file: h5py.File) -> None:
        self._file = file
        self._tensors = _tensors(file)
        self._layout = {
            name: torch.empty(tuple(map(int, dataset.attrs["shape"])), device="meta")
            for name, dataset in self._tensors.items()
        }
        self._count = int(file["count"][()])
        self._last_step = int(file["step"][self._count - 1]) if self._count else None

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        weights: Mapping[str, Tensor],
        capacity: int,
        attrs: Mapping[str, Any] | None = None,
        dtype: Literal["float32", "float16"] | None = None,
    ) -> TrajectoryFile:
        """Start a new trajectory.

        Args:
            path: The file, which must not exist; its folder is created if need be.
            weights: Weights that show the names, shapes, dtypes and roles to expect; their values are not recorded.
            capacity: How many checkpoints are expected. More may come.
            attrs: Facts to keep with the trajectory.
            dtype: The precision in which parameters are stored; None keeps each one's own (bfloat16 as float32, which
                loses nothing). Running statistics, which may be large numbers, always keep theirs.

        Raises:
            RecordError: If the file exists or cannot be written, or the weights cannot be stored.
        """
        path = Path(path)
        if path.exists():
            raise RecordError(
                f"there is a file at {path} already: resume it with TrajectoryFile.resume, delete it, or choose "
                "another path"
            )
        if capacity < 1:
            raise RecordError(f"the capacity of a trajectory is at least 1 checkpoint, found {capacity}")
        if dtype not in {None, "float32", "float16"}:
            raise RecordError(f"weights are stored as 'float32', 'float16' or None (their own dtype), not {dtype!r}")
        weights = as_weights(weights)
        stored = dataset_names(weights)
        tensors = [
            _Stored(
                dataset=stored[name],
                size=tensor.numel(),
                dtype=_storage_dtype(tensor.dtype, None if weights.roles[name].buffer else dtype),
                attrs={
                    "name": name,
                    "position": position,
                    "shape": list(tensor.shape),
                    "dtype": str(tensor.dtype).removeprefix("torch."),
                    "role": json.dumps(asdict(weights.roles[name])),
                },
            )
            for position, (name, tensor) in enumerate(weights.items())
        ]
        with creating(path, replace=False) as file:
            _lay_out(file, capacity, attrs or {}, tensors)
        return cls(path, open_writer(path))

    @classmethod
    def resume(
        cls, path: str | os.PathLike[str], after_step: int, source: str | os.PathLike[str] | None = None
    ) -> TrajectoryFile:
        """Go on with a trajectory, forgetting what came after a step.

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
                _check_format(Path(source), other)
                _copy(other, path, capacity=len(other["step"]), replace=False)
        file = open_writer(path)
        try:
            with explaining_damage(path):
                _check_format(path, file)
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
        """The global step of the last checkpoint; None before the first."""
        return self._last_step

    def append(self, weights: Mapping[str, Tensor], step: int, epoch: int, lr: float | None = None) -> None:
        """Record a checkpoint; when this returns, it survives the process.

        Args:
            weights: Weights with the names and shapes that the file was created for.
            step: The global step, not before the last one's.
            epoch: The epoch.
            lr: The learning rate.

        Raises:
            GeometryError: If names or shapes differ from those that the file was created for.
            RecordError: If the step is before the last one, a value is too large for the stored precision, the file is
                closed, or the disk is full.
        """
        if not self._file:
            raise RecordError(f"{self.path} is closed: go on with TrajectoryFile.resume")
        if self._last_step is not None and step < self._last_step:
            raise RecordError(
                f"step {step} comes before step {self._last_step}, the last in {self.path}: reopen it with "
                f"TrajectoryFile.resume(path, after_step={step - 1}) to forget what came after"
            )
        weights = as_weights(weights)
        check_compatible(weights, self._layout, what=f"the weights to append to {self.path}")
        if self._count == len(self._file["step"]):
            self._grow()
        row = self._count
        with explaining_failure(self.path):
            for name, dataset in self._tensors.items():
                if dataset.shape[1]:
                    dataset.write_direct(_storable(name, weights[name], dataset.dtype), dest_sel=np.s_[row])
            self._file["step"][row] = step
            self._file["epoch"][row] = epoch
            self._file["lr"][row] = np.nan if lr is None else lr
            self._file["count"][()] = row + 1
        self._count, self._last_step = row + 1, step

    def _grow(self) -> None:
        """Double the space: copy what is there to a new file, and put that in the old one's place."""
        _copy(self._file, self.path, capacity=2 * self._count, replace=True)
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


@dataclass(frozen=True)
class _Stored:
    """How one tensor is stored: a row of `size` values for each checkpoint."""

    dataset: str
    size: int
    dtype: np.dtype[Any]
    attrs: dict[str, Any]


def _lay_out(file: h5py.File, capacity: int, attrs: Mapping[str, Any], tensors: list[_Stored]) -> None:
    """Reserve space for `capacity` checkpoints without writing it."""
    write_attributes(file, attrs)
    file.attrs[MARK] = FORMAT
    file.create_dataset("count", data=np.int64(0))
    file.create_dataset("step", data=np.zeros(capacity, dtype=np.int64))
    file.create_dataset("epoch", data=np.zeros(capacity, dtype=np.int64))
    file.create_dataset("lr", data=np.full(capacity, np.nan))
    group = file.create_group("weights")
    for tensor in tensors:
        # All the space and its index now, no values: appending touches no metadata, and files are sparse.
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        properties.set_obj_track_times(False)
        if tensor.size:
            properties.set_chunk((1, min(tensor.size, _LARGEST_CHUNK)))
        dataset = h5py.h5d.create(
            group.id,
            tensor.dataset.encode(),
            h5py.h5t.py_create(tensor.dtype),
            h5py.h5s.create_simple((capacity, tensor.size)),
            properties,
        )
        write_attributes(h5py.Dataset(dataset), tensor.attrs)


def _copy(source: h5py.File, path: Path, capacity: int, *, replace: bool) -> None:
    """Copy the checkpoints of a file to a new one, with space for `capacity`."""
    count = int(source["count"][()])
    originals = _tensors(source)
    tensors = [
        _Stored(Path(dataset.name).name, dataset.shape[1], dataset.dtype, read_attributes(dataset))
        for dataset in originals.values()
    ]
    with creating(path, replace=replace) as file:
        _lay_out(file, capacity, _attributes(source), tensors)
        for name, copy in _tensors(file).items():
            for row in range(count):
                copy[row] = originals[name][row]
        for name in ("step", "epoch", "lr"):
            file[name][:count] = source[name][:count]
        file["count"][()] = count


def _tensors(file: h5py.File) -> dict[str, h5py.Dataset]:
    """The tensors' datasets by name, in the order of the model."""
    datasets = sorted(file["weights"].values(), key=lambda dataset: int(dataset.attrs["position"]))
    return {dataset.attrs["name"]: dataset for dataset in datasets}


def _attributes(file: h5py.File) -> dict[str, Any]:
    return {key: value for key, value in read_attributes(file).items() if key != MARK}


def _check_format(path: Path, file: h5py.File) -> None:
    if file.attrs.get(MARK) != FORMAT:
        raise RecordError(
            f"{path} holds no trajectory: its attribute {MARK!r} is {file.attrs.get(MARK)!r} where {FORMAT!r} is "
            "expected"
        )


def _storage_dtype(own: torch.dtype, wanted: str | None) -> np.dtype[Any]:
    """The narrower of a tensor's own precision and the one that is wanted."""
    dtype = _STORED.get(own, np.dtype("<f4"))
    narrow = dtype if wanted is None else np.dtype(wanted)
    return narrow if narrow.itemsize < dtype.itemsize else dtype


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
