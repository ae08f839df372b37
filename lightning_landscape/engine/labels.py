"""The labels of a data set, where they can be had without loading its examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.utils.data import Subset, TensorDataset


def labels_of(dataset: Any) -> npt.NDArray[np.int64] | None:
    """Find the class of every example: ``dataset.targets`` or ``labels``, or the last tensor of a `TensorDataset`.

    A `Subset` is looked through. Nothing is loaded.

    Returns:
        Labels ``[N]``; None where there are none, or no whole numbers.

    >>> import torch
    >>> labels_of(TensorDataset(torch.zeros(3, 2), torch.tensor([1, 0, 1]))).tolist()
    [1, 0, 1]
    """
    if isinstance(dataset, Subset):
        inner = labels_of(dataset.dataset)
        return None if inner is None else inner[np.asarray(dataset.indices, dtype=np.int64)]
    if isinstance(dataset, TensorDataset):
        return _whole(dataset.tensors[-1], len(dataset)) if len(dataset.tensors) > 1 else None
    for name in ("targets", "labels"):
        if (found := _whole(getattr(dataset, name, None), len(dataset))) is not None:
            return found
    return None


def _whole(values: Any, count: int) -> npt.NDArray[np.int64] | None:
    if isinstance(values, Tensor):
        values = None if values.is_floating_point() else values.detach().cpu().numpy()
    if not isinstance(values, list | tuple | np.ndarray):
        return None
    try:
        array = np.asarray(values)
    except ValueError:
        return None
    if array.shape != (count,) or not (np.issubdtype(array.dtype, np.integer) or array.dtype == bool):
        return None
    return array.astype(np.int64)
