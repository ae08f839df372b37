"""A loss surface: the values of a run's objective over a line or a plane in weight space."""

from __future__ import annotations

import os
import pathlib
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lightning_landscape.errors import RecordError
from lightning_landscape.geometry.path import Path
from lightning_landscape.records.hdf5 import (
    MARK,
    creating,
    dataset_names,
    explaining_damage,
    read_attributes,
    reading,
    write_attributes,
)
from lightning_landscape.records.legacy import is_legacy, read_legacy

Array = NDArray[np.float64]

FORMAT = "surface 1"

# Dataset names of a projected trajectory, and the axis that they share.
_CHECKPOINT = "checkpoint"
_COORDINATES = ("trajectory_x", "trajectory_y")
_ALONG_PATH = {
    "residual": "trajectory_residual",
    "distance_from_origin": "trajectory_distance",
    "steps": "trajectory_step",
    "epochs": "trajectory_epoch",
    "lr": "trajectory_lr",
}
_RESERVED = ("x", "y", "done", _CHECKPOINT, *_COORDINATES, *_ALONG_PATH.values())


@dataclass(frozen=True, eq=False)
class Surface:
    """Values over a grid of points, with their errors, what is done, and where they come from.

    Rows are y and columns are x: ``surface["loss"][j, i]`` is the loss at the point (x[i], y[j]). A value that was not
    computed is NaN where `done` is False; a NaN or infinite value where `done` is True is a result.

    >>> surface = Surface(x=[-1, 0, 1], y=[0, 1], channels={"loss": [[1, 0, 1], [2, 1, 2]]}, attrs={"seed": 3})
    >>> float(surface["loss"][1, 0]), surface.shape, surface.complete
    (2.0, (2, 3), True)

    Attributes:
        x: Coordinates along the first direction, float64 [X].
        y: Coordinates along the second direction, float64 [Y]; None for a line.
        channels: For each quantity its values, float64 [Y, X], or [X] for a line.
        errors: Standard errors of the channels that have one, of the same shape.
        done: Which points were computed, bool, of the same shape. One value for all is spread over the grid.
        attrs: Where the surface comes from: text, numbers, truth values and flat lists of these.
        path: The projection of a training trajectory onto the slice, if there is one.

    Raises:
        RecordError: If an array does not have the shape that the axes give, or an error has no channel.
    """

    x: Array
    y: Array | None
    channels: dict[str, Array]
    errors: dict[str, Array] = field(default_factory=dict)
    done: NDArray[np.bool_] = field(default_factory=lambda: np.array(True))
    attrs: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None

    def __post_init__(self) -> None:
        # Anything array-like is accepted, and kept as the arrays that the attributes promise.
        self._set("x", _axis("x", self.x))
        if self.y is not None:
            self._set("y", _axis("y", self.y))
        self._set("channels", {name: self._values(name, values) for name, values in self.channels.items()})
        if not self.channels:
            raise RecordError("a surface needs at least one channel, none was given")
        if unknown := set(self.errors) - set(self.channels):
            raise RecordError(f"errors of {sorted(unknown)} have no channel: the channels are {self.names}")
        self._set(
            "errors",
            {name: self._values(f"{name}, error", self.errors[name]) for name in self.channels if name in self.errors},
        )
        done = np.asarray(self.done, dtype=bool)
        if done.shape not in {(), self.shape}:
            raise RecordError(f"done has shape {done.shape}, the axes make {self.shape} (rows are y, columns are x)")
        self._set("done", np.broadcast_to(done, self.shape).copy())
        if not self.done.all():
            # Half of a point's values may be there when its computation was interrupted.
            for arrays in (self.channels, self.errors):
                arrays.update({name: np.where(self.done, values, np.nan) for name, values in arrays.items()})
        self._set("attrs", dict(self.attrs))
        if self.path is not None and self.path.dim != self.dim:
            raise RecordError(f"the path has {self.path.dim} coordinates and the surface {self.dim}")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _values(self, name: str, values: Any) -> Array:
        array = np.asarray(values, dtype=np.float64)
        if array.shape != self.shape:
            raise RecordError(f"{name} has shape {array.shape}, the axes make {self.shape} (rows are y, columns are x)")
        return array

    @property
    def dim(self) -> int:
        """1 for a line, 2 for a plane."""
        return 1 if self.y is None else 2

    @property
    def shape(self) -> tuple[int, ...]:
        """(Y, X), or (X,) for a line."""
        return (len(self.x),) if self.y is None else (len(self.y), len(self.x))

    @property
    def names(self) -> list[str]:
        """The channels' names, in the order in which they were given."""
        return list(self.channels)

    @property
    def complete(self) -> bool:
        """Whether every point is done."""
        return bool(self.done.all())

    @property
    def loss_name(self) -> str:
        """The channel that is the loss.

        The one that ``attrs["loss"]`` names, else "loss", else the first with "loss" in its name, else the first.
        """
        for name in (self.attrs.get("loss"), "loss", *(name for name in self.channels if "loss" in name.lower())):
            if name in self.channels:
                return str(name)
        return self.names[0]

    def __getitem__(self, name: str) -> Array:
        """The values of a channel; "loss" is the loss channel whatever its name (`loss_name`).

        Raises:
            RecordError: If there is no such channel.
        """
        return self.channels[self._known(name)]

    def error(self, name: str) -> Array:
        """The standard errors of a channel's values.

        Raises:
            RecordError: If there is no such channel, or no errors are stored with it.
        """
        name = self._known(name)
        if name not in self.errors:
            raise RecordError(f"channel {name!r} has no standard errors stored; those with one: {list(self.errors)}")
        return self.errors[name]

    def _known(self, name: str) -> str:
        if name in self.channels:
            return name
        if name == "loss":
            return self.loss_name
        raise RecordError(f"there is no channel {name!r} in this surface; its channels: {self.names}")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the surface to an HDF5 file, replacing what is there only when the new file is complete.

        Args:
            path: The file; its folder is created if need be.

        Raises:
            RecordError: If the file cannot be written, or an attribute cannot be stored.
        """
        with creating(pathlib.Path(path), replace=True) as file:
            write_surface(file, self)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Surface:
        """Read a surface, finished or not, also while it is being computed, and those of the original tool.

        The original tool is tomgoldstein/loss-landscape (Li et al. 2018).

        Args:
            path: The HDF5 file.

        Raises:
            RecordError: If there is no such file, it is damaged, or it is something else.
        """
        path = pathlib.Path(path)
        with explaining_damage(path), reading(path) as file:
            if file.attrs.get(MARK) == FORMAT:
                return read_surface(file)
            if is_legacy(file):
                return cls(**read_legacy(file, path))
            raise RecordError(
                f"{path} holds no surface: its attribute {MARK!r} is {file.attrs.get(MARK)!r} where {FORMAT!r} is "
                f"expected; it holds {sorted(file)[:8]}"
            )


def _axis(name: str, values: Any) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise RecordError(f"axis {name} has shape {array.shape}: an axis has one dimension and at least one value")
    return array


def write_surface(file: h5py.File, surface: Surface) -> None:
    """Lay out a surface: a contiguous dataset for each array, labelled with its axes."""
    write_attributes(file, surface.attrs)
    file.attrs[MARK] = FORMAT
    scales = {"x": surface.x} if surface.y is None else {"y": surface.y, "x": surface.x}
    for name, values in scales.items():
        file.create_dataset(name, data=values).make_scale(name)

    stored = dataset_names(surface.names, taken=_RESERVED)
    stored_errors = dataset_names(
        (f"{stored[name]}_error" for name in surface.errors), taken=(*_RESERVED, *stored.values())
    )
    for position, (name, values) in enumerate(surface.channels.items()):
        dataset = _labelled(file, stored[name], values, list(scales))
        write_attributes(dataset, {"name": name, "position": position})
    for name, values in surface.errors.items():
        dataset = _labelled(file, stored_errors[f"{stored[name]}_error"], values, list(scales))
        write_attributes(dataset, {"error_of": name})
    _labelled(file, "done", surface.done, list(scales))
    if surface.path is not None:
        _write_path(file, surface.path)


def _write_path(file: h5py.File, path: Path) -> None:
    file.create_dataset(_CHECKPOINT, data=np.arange(len(path))).make_scale(_CHECKPOINT)
    for name, values in zip(_COORDINATES, path.coordinates.T, strict=False):
        _labelled(file, name, values, [_CHECKPOINT])
    for attribute, name in _ALONG_PATH.items():
        if (values := getattr(path, attribute)) is not None:
            _labelled(file, name, values, [_CHECKPOINT])


def _labelled(file: h5py.File, name: str, values: Any, scales: list[str]) -> h5py.Dataset:
    dataset = file.create_dataset(name, data=values)
    for axis, scale in enumerate(scales):
        dataset.dims[axis].attach_scale(file[scale])
    return dataset


def channel_datasets(file: h5py.File) -> tuple[dict[str, h5py.Dataset], dict[str, h5py.Dataset]]:
    """The datasets of the channels, in their order, and those of their errors, both by channel name."""
    datasets = [item for item in file.values() if isinstance(item, h5py.Dataset)]
    channels = sorted((d for d in datasets if "position" in d.attrs), key=lambda d: int(d.attrs["position"]))
    errors = [d for d in datasets if "error_of" in d.attrs]
    return {d.attrs["name"]: d for d in channels}, {d.attrs["error_of"]: d for d in errors}


def read_surface(file: h5py.File) -> Surface:
    """Read a surface from a file that this package laid out."""
    channels, errors = channel_datasets(file)
    attrs = read_attributes(file)
    del attrs[MARK]
    return Surface(
        x=file["x"][()],
        y=file["y"][()] if "y" in file else None,
        channels={name: dataset[()] for name, dataset in channels.items()},
        errors={name: errors[name][()] for name in channels if name in errors},
        done=file["done"][()],
        attrs=attrs,
        path=_read_path(file),
    )


def _read_path(file: h5py.File) -> Path | None:
    if _CHECKPOINT not in file:
        return None
    along: dict[str, Any] = {
        attribute: file[name][()] if name in file else None for attribute, name in _ALONG_PATH.items()
    }
    coordinates = np.stack([file[name][()] for name in _COORDINATES if name in file], axis=1)
    return Path(coordinates=coordinates, **along)
