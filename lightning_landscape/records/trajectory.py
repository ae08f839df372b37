"""The trajectory of a training run: its weights, step after step, in a file that is appended to and read lazily."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import h5py
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_landscape.errors import RecordError
from lightning_landscape.geometry.weights import Role, Weights, as_weights
from lightning_landscape.records.hdf5 import dataset_names
from lightning_landscape.records.rows import Column, Rows, RowsFile, shape_of, storage_dtype


class Trajectory(Rows):
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
        lr: The learning rate at each checkpoint, float64 [T], NaN where none was given; None if none ever was. It is
            that of the step that follows: Lightning steps schedules (but those of a plateau) before an epoch ends.
        attrs: Facts that were kept with it.
    """

    FORMAT = "trajectory 1"
    GROUP = "weights"

    def __init__(self, path: Path, file: h5py.File) -> None:
        super().__init__(path, file)
        self._dtypes = {name: getattr(torch, column.attrs["dtype"]) for name, column in self._columns.items()}
        self._shapes = {name: shape_of(column) for name, column in self._columns.items()}
        self._roles = {name: Role(**json.loads(column.attrs["role"])) for name, column in self._columns.items()}
        self.names = list(self._columns)

    def __getitem__(self, index: int) -> Weights:
        if not -len(self) <= index < len(self):
            raise IndexError(f"there is no checkpoint {index} in a trajectory of {len(self)}")
        row = index % len(self)
        with self._reading():
            tensors = {name: self._tensor(name, column[row]) for name, column in self._columns.items()}
        return Weights({name: tensor.reshape(self._shapes[name]) for name, tensor in tensors.items()}, self._roles)

    def __iter__(self) -> Iterator[Weights]:
        return (self[index] for index in range(len(self)))

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
        if name not in self._columns:
            raise RecordError(f"there is no tensor {name!r} in {self.path}; the first ones are {self.names[:5]}")
        with self._reading():
            return self._tensor(name, self._columns[name][: len(self), start:stop])


class TrajectoryFile(RowsFile):
    """A trajectory being recorded: the only writer of its file, which each `append` makes one checkpoint longer.

    Use `create` or `resume`, as context managers.
    """

    READER = Trajectory

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
        if dtype not in {None, "float32", "float16"}:
            raise RecordError(f"weights are stored as 'float32', 'float16' or None (their own dtype), not {dtype!r}")
        weights = as_weights(weights)
        stored = dataset_names(weights)
        columns = [
            Column(
                dataset=stored[name],
                size=tensor.numel(),
                dtype=storage_dtype(tensor.dtype, None if weights.roles[name].buffer else dtype),
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
        return cls._create(path, columns, capacity, attrs or {})
