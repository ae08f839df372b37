"""The curvature of a run: what was measured at some moments of training, in one file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lightning_landscape.errors import RecordError
from lightning_landscape.records.trajectory import Trajectory

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CurvatureHistory:
    """Measurements of the Hessian at T moments of a training.

    What `HessianSpectrum` writes (`record` "spectrum"), with k eigenvalues and R quadratures of m nodes:

    - ``largest`` and ``largest_residual`` ``[T, k]``, ``smallest`` and ``smallest_residual`` ``[T, 1]``;
    - ``nodes`` and ``weights`` ``[T, R, m]`` of the spectral density;
    - ``trace``, ``trace_error``, ``frobenius_norm``, ``frobenius_norm_error``, ``loss``, ``gradient_norm`` ``[T]``.

    What `GradientSubspace` writes (`record` "subspace"):

    - ``largest`` and ``largest_residual`` ``[T, k]``, ``share`` ``[T, k]`` of the gradient in the first j eigenvectors;
    - ``overlap_previous`` and ``overlap_first`` ``[T]`` of the leading subspace, NaN at the first moment;
    - ``loss``, ``gradient_norm`` ``[T]``.

    Attributes:
        steps: the global step of each moment, ``[T]``.
        epochs: epochs finished by then, ``[T]``.
        lr: the learning rate then, ``[T]``; NaN where there was none.
        values: the quantities by name.
        attrs: facts about the measurement.
    """

    steps: NDArray[np.int64]
    epochs: NDArray[np.int64]
    lr: Array
    values: Mapping[str, Array]
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what a callback wrote, also while it is writing.

        Raises:
            RecordError: if there is no such file, it is damaged, or it is something else.
        """
        with Trajectory.load(path) as rows:
            if rows.attrs.get("record") not in {"spectrum", "subspace"}:
                raise RecordError(
                    f"{Path(path)} holds no curvature of a run: give the file that HessianSpectrum or "
                    "GradientSubspace wrote"
                )
            values = {name: np.stack([row[name].numpy() for row in rows]) for name in rows.names} if len(rows) else {}
            lr = np.full(len(rows), np.nan) if rows.lr is None else rows.lr
            return cls(rows.steps, rows.epochs, lr, values, rows.attrs)

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, name: str) -> Array:
        if name not in self.values:
            raise RecordError(f"there is no {name!r} in this record; it has {sorted(self.values)}")
        return self.values[name]
