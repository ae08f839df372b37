"""The stiffness of a run: what was measured at some moments of training, in one file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_landscape.errors import RecordError
from lightning_landscape.records.trajectory import Trajectory


@dataclass(frozen=True)
class StiffnessHistory:
    """Stiffness at T moments of training, of C classes, in B bins of the inputs' distance.

    Quantities are called ``<pairs>/<kind>`` with pairs "train" (training examples with each other) or "val" (training
    with validation examples), and kind "sign" or "cosine":

    - ``train/sign``: the class matrix ``[T, C, C]``, without pairs of an example with itself;
    - ``train/sign/distance/within`` and ``.../between``: pairs of one class and of two by their distance, ``[T, B]``;
    - ``train/sign/critical_length``: where the linear fit within classes crosses zero, ``[T]``.

    NaN stands where there was no pair, and for validation data that was not loaded yet.

    Attributes:
        steps: the global step of each moment, ``[T]``.
        epochs: epochs finished by then, ``[T]``.
        classes: the labels, ``[C]``.
        edges: of the bins, ``[B + 1]``.
        values: the quantities by name.
        attrs: facts about the measurement.
    """

    steps: NDArray[np.int64]
    epochs: NDArray[np.int64]
    classes: NDArray[np.int64]
    edges: NDArray[np.float64]
    values: Mapping[str, NDArray[np.float64]]
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> StiffnessHistory:
        """Read what a `Stiffness` callback wrote, also while it is writing.

        Raises:
            RecordError: if there is no such file, it is damaged, or it is something else.
        """
        with Trajectory.load(path) as rows:
            if rows.attrs.get("record") != "stiffness":
                raise RecordError(f"{Path(path)} holds no stiffness: give the file that the callback Stiffness wrote")
            values = {name: np.stack([row[name].numpy() for row in rows]) for name in rows.names} if len(rows) else {}
            attrs = {k: v for k, v in rows.attrs.items() if k not in {"classes", "edges", "record"}}
            return cls(
                rows.steps,
                rows.epochs,
                np.asarray(rows.attrs["classes"]),
                np.asarray(rows.attrs["edges"]),
                values,
                attrs,
            )

    def within(self, name: str) -> NDArray[np.float64]:
        """Mean of a class matrix's diagonal at each moment, ``[T]``; NaN entries are left out."""
        return _mean(self.values[name][:, np.eye(len(self.classes), dtype=bool)])

    def between(self, name: str) -> NDArray[np.float64]:
        """Mean of a class matrix off its diagonal at each moment, ``[T]``; NaN entries are left out."""
        return _mean(self.values[name][:, ~np.eye(len(self.classes), dtype=bool)])


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.isfinite(values)
    counts = known.sum(1)
    sums = np.where(known, values, 0.0).sum(1)
    return np.asarray(np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0))
