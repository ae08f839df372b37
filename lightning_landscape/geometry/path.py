"""The path of a training, seen from a line or a plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lightning_landscape.errors import GeometryError


@dataclass(frozen=True, eq=False)
class Path:
    """Checkpoints projected on a slice; one entry for each of T checkpoints.

    Args:
        coordinates: Where the nearest point of the slice is, in units of its directions, float64 [T, dim].
        residual: Euclidean distance from the slice, in weight space, float64 [T].
        steps: Optimizer steps taken, int64 [T].
        epochs: Epochs finished, int64 [T], or None.
        lr: Learning rates, float64 [T], or None.
        distance_from_origin: Euclidean distance from the origin of the slice, float64 [T].

    Raises:
        GeometryError: If the shapes do not fit together.
    """

    coordinates: npt.NDArray[np.float64]
    residual: npt.NDArray[np.float64]
    steps: npt.NDArray[np.int64]
    epochs: npt.NDArray[np.int64] | None
    lr: npt.NDArray[np.float64] | None
    distance_from_origin: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        coordinates = np.asarray(self.coordinates, dtype=np.float64)
        if coordinates.ndim != 2:
            raise GeometryError(f"the coordinates of a path have shape {coordinates.shape}: give [checkpoints, dim]")
        object.__setattr__(self, "coordinates", coordinates)
        dtypes: dict[str, Any] = {
            "residual": np.float64,
            "steps": np.int64,
            "epochs": np.int64,
            "lr": np.float64,
            "distance_from_origin": np.float64,
        }
        for name, dtype in dtypes.items():
            value = getattr(self, name)
            if value is None and name in {"epochs", "lr"}:
                continue
            array = np.asarray(value, dtype=dtype)
            if array.shape != (len(coordinates),):
                raise GeometryError(
                    f"{name} of a path has shape {array.shape}: give one value for each of its "
                    f"{len(coordinates)} checkpoints"
                )
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.coordinates)

    @property
    def dim(self) -> int:
        """Dimension of the slice, 1 or 2."""
        return int(self.coordinates.shape[1])


def turning_angles(coordinates: npt.ArrayLike, window: int = 1) -> npt.NDArray[np.float64]:
    r"""By how much a path turns at each of its points: the angle between what it travels before and after.

    .. math:: \angle(c_t - c_{t-k},\; c_{t+k} - c_t)

    Args:
        coordinates: Points in an orthonormal basis, [T, dim].
        window: k, the number of points before and after.

    Returns:
        Degrees from 0 (straight on) to 180 (back), float64 [T]; NaN within a window of the ends, and where the path
        rests.

    Example:
        >>> turning_angles([[0, 0], [1, 0], [2, 0], [2, 3]])
        array([nan,  0., 90., nan])
    """
    points = np.asarray(coordinates, dtype=np.float64)
    angles = np.full(len(points), np.nan)
    if len(points) <= 2 * window:
        return angles
    travelled = points[window:] - points[:-window]
    before, after = travelled[:-window], travelled[window:]
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    cosines = np.full(len(lengths), np.nan)
    np.divide((before * after).sum(axis=1), lengths, out=cosines, where=lengths > 0)
    angles[window:-window] = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    return angles
