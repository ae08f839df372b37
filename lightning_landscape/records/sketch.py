"""The sketch of a training run: its weights at every step, projected to a few thousand numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_landscape.errors import GeometryError, RecordError
from lightning_landscape.geometry.principal import principal_directions
from lightning_landscape.geometry.sketch import Estimate, Projection
from lightning_landscape.records.rows import Column, Rows, RowsFile, storage_dtype

_SKETCH, _NORM = "sketch", "squared_norm"
# Principal directions are found from so many rows, evenly spaced: their cost grows with the square.
_ROWS_OF_A_PLANE = 500


class Sketch(Rows):
    r"""A recorded sketch: what can be said about the path of a training without its weights.

    Distances, inner products and angles are estimates; each comes with its standard error over the choice of the
    projection. One projection serves the whole record, so errors of neighbouring steps are alike, and curves are
    smoother than their errors. A model with no more parameters than the sketch has numbers has errors of 0.

    Use `load`, which gives a context manager.

    Attributes:
        path: The file.
        projection: The projection, by which points that were not recorded can be sketched alike.
        entries: The number of parameters that are projected.
        steps: The global step of each row, int64 [T].
        epochs: The epoch of each row, int64 [T].
        lr: The learning rate at each row, float64 [T], NaN where none was given; None if none ever was.
        attrs: Facts that were kept with it.
    """

    FORMAT = "sketch 1"
    GROUP = "projected"

    def __init__(self, path: Path, file: h5py.File) -> None:
        super().__init__(path, file)
        self.projection = Projection(int(self._columns[_SKETCH].shape[1]), self.attrs.pop("seed"))
        self.entries: int = self.attrs.pop("entries")

    @property
    def error(self) -> float:
        r"""The relative standard error of a squared distance, at most :math:`\sqrt{2 / k}`; a distance has half."""
        return self.projection.error(self.entries)

    @cached_property
    def sketches(self) -> NDArray[np.float64]:
        """The sketches of the weights, float64 [T, k]; they are added and subtracted as the weights are."""
        with self._reading():
            return np.asarray(self._columns[_SKETCH][: len(self)])

    @cached_property
    def squared_norms(self) -> NDArray[np.float64]:
        """The squared norms of the weights, which are exact, float64 [T]."""
        with self._reading():
            return np.asarray(self._columns[_NORM][: len(self), 0])

    def distance_from_start(self) -> Estimate:
        """The distance of each row's weights from the first row's, [T]."""
        return self._lengths(self.sketches - self.sketches[:1])

    def step_lengths(self) -> Estimate:
        """The distance between the weights of neighbouring rows, [T - 1]."""
        return self._lengths(np.diff(self.sketches, axis=0))

    def distances(self) -> Estimate:
        """The distances between the weights of all rows, [T, T]."""
        rows = torch.from_numpy(self.sketches)
        # Not by inner products, which lose what is much smaller than the distance from the origin.
        value = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").numpy()
        return Estimate(value, value * self.error / 2)

    def gram(self) -> Estimate:
        r"""Inner products of all displacements from the start, :math:`\langle w_s - w_0, w_t - w_0 \rangle`, [T, T].

        The standard error is :math:`\sqrt{(G_{ss} G_{tt} + G_{st}^2) / k}`.
        """
        rows = self.sketches - self.sketches[:1]
        value = rows @ rows.T
        squares = np.diagonal(value)
        return Estimate(value, np.sqrt((np.outer(squares, squares) + value**2) * self._inverse_dimension))

    def angles(self) -> Estimate:
        r"""The angle between each update and the next one, in radians, [T - 2]; NaN beside an update of 0.

        The standard error is :math:`\sin(\alpha) / \sqrt{k}`, to first order.
        """
        updates = np.diff(self.sketches, axis=0)
        lengths = np.linalg.norm(updates, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            cosines = (updates[1:] * updates[:-1]).sum(axis=1) / (lengths[1:] * lengths[:-1])
        value = np.arccos(np.clip(cosines, -1, 1))
        return Estimate(value, np.sin(value) * np.sqrt(self._inverse_dimension))

    def principal_path(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The path on its principal plane, as far as the sketch shows it.

        The plane is that of the sketches (of at most 500 rows, evenly spaced); distances and angles between its points
        are those of the projected sketches.

        Returns:
            Coordinates about the mean, float64 [T, 2], in units of weight space, and the shares of the variance along
            both directions, [2].

        Raises:
            GeometryError: If the rows span no plane, or are not finite.
        """
        if not np.isfinite(self.sketches).all():
            raise GeometryError(f"the weights in {self.path} are not finite at some step: leave these steps out")
        chosen = np.unique(np.linspace(0, len(self) - 1, min(len(self), _ROWS_OF_A_PLANE)).round().astype(int))
        rows = torch.from_numpy(self.sketches)
        found = principal_directions([{_SKETCH: row} for row in rows[torch.from_numpy(chosen)]], k=2)
        axes = torch.stack([direction[_SKETCH] for direction in found.directions], dim=1)
        return ((rows - rows[torch.from_numpy(chosen)].mean(dim=0)) @ axes).numpy(), found.explained_variance

    @property
    def _inverse_dimension(self) -> float:
        return 1 / self.projection.dimension if self.error else 0.0

    def _lengths(self, rows: NDArray[np.float64]) -> Estimate:
        value = np.linalg.norm(rows, axis=1)
        return Estimate(value, value * self.error / 2)


class SketchFile(RowsFile):
    """A sketch being recorded: the only writer of its file, which each `append` makes one row longer.

    A row takes 8 (k + 1) bytes, and some for its step, epoch and learning rate, whatever the size of the model.

    Use `create` or `resume`, as context managers.
    """

    READER = Sketch

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        projection: Projection,
        entries: int,
        capacity: int,
        attrs: Mapping[str, Any] | None = None,
    ) -> SketchFile:
        """Start a new sketch.

        Args:
            path: The file, which must not exist; its folder is created if need be.
            projection: The projection.
            entries: How many parameters it projects.
            capacity: How many rows are expected. More may come.
            attrs: Facts to keep with the sketch.

        Raises:
            RecordError: If the file exists or cannot be written.
        """
        shapes: dict[str, list[int]] = {_SKETCH: [projection.dimension], _NORM: []}
        columns = [
            Column(
                name, int(np.prod(shape)), storage_dtype(torch.float64), {"name": name, "position": i, "shape": shape}
            )
            for i, (name, shape) in enumerate(shapes.items())
        ]
        return cls._create(path, columns, capacity, {**(attrs or {}), "seed": projection.seed, "entries": entries})

    def require(self, projection: Projection, entries: int) -> None:
        """Refuse to go on with another projection than that of the rows before.

        Raises:
            RecordError: If the projection or the number of parameters is another one.
        """
        found = (
            Projection(self._layout[_SKETCH].numel(), int(self._file.attrs["seed"])),
            int(self._file.attrs["entries"]),
        )
        if found != (projection, entries):
            self.close()
            raise RecordError(
                f"{self.path} holds sketches of {found[1]} parameters by {found[0]}, and is to go on with {entries} by "
                f"{projection}: go on with the same, or record under another name"
            )

    @staticmethod
    def row(projection: Projection, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The values to append for these weights."""
        sketch, squared_norm = projection.with_norm(weights)
        return {_SKETCH: sketch, _NORM: squared_norm}
