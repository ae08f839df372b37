"""Surfaces in the layout of the original tool, tomgoldstein/loss-landscape (Li et al. 2018)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lightning_landscape.errors import RecordError

FORMAT = "tomgoldstein/loss-landscape"
_NOT_COMPUTED = -1.0


def is_legacy(file: h5py.File) -> bool:
    """Whether a file has the original tool's axes."""
    return "xcoordinates" in file


def read_legacy(file: h5py.File, path: Path) -> dict[str, Any]:
    """Read axes, channels and mask from a file of the original tool.

    That tool marks a point that it has not computed by -1 in the loss and in the accuracy. Here a point counts as
    missing only where *both* are -1, so negative losses, and a loss of exactly -1, survive. Its files hold one value a
    point in the order of ``numpy.meshgrid(x, y)``, x fastest, even where a grid that is not square gave the array the
    shape ``[len(x), len(y)]``; the values are read in that order, so [j, i] is the point (x[i], y[j]).

    Args:
        file: The open file.
        path: What errors call it.

    Returns:
        The arguments of `Surface`. A pair of loss and accuracy (of the train or the test set) that was never computed
        anywhere is left out, unless it is the only one; a point is done when every remaining pair is.

    Raises:
        RecordError: If the file holds no loss or accuracy, or one of another size than its axes.
    """
    x = file["xcoordinates"][()]
    y = file["ycoordinates"][()] if "ycoordinates" in file else None
    shape = (len(x),) if y is None else (len(y), len(x))

    pairs: list[tuple[dict[str, Any], Any]] = []
    for part in ("train", "test"):
        pair = {name: file[name][()] for name in (f"{part}_loss", f"{part}_acc") if name in file}
        for name, values in pair.items():
            if values.size != np.prod(shape):
                raise RecordError(
                    f"{path}: {name} holds {values.size} values, the axes make {np.prod(shape)} points: the "
                    "file is inconsistent and must be computed again"
                )
        pair = {name: values.astype(np.float64).reshape(shape) for name, values in pair.items()}
        if not pair:
            continue
        # With one of the two alone, -1 could be a value: nothing is taken for missing.
        missing = np.full(shape, len(pair) == 2)
        for values in pair.values():
            missing &= values == _NOT_COMPUTED
        pairs.append(({name: np.where(missing, np.nan, values) for name, values in pair.items()}, ~missing))

    if not pairs:
        raise RecordError(f"{path} has axes, but none of train_loss, train_acc, test_loss, test_acc: nothing to show")
    computed = [(pair, done) for pair, done in pairs if done.any()] or pairs[:1]
    channels = {name: values for pair, _ in computed for name, values in pair.items()}
    done = np.logical_and.reduce([done for _, done in computed])
    return {
        "x": x,
        "y": y,
        "channels": channels,
        "done": done,
        "attrs": {"source_format": FORMAT},
    }
