"""Tables of numbers, from scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from sklearn import datasets
from torch import Tensor

from lightning_landscape.data.splits import Batch, Split, SplitDataModule, hold_out
from lightning_landscape.errors import RecordError

_LOADERS: dict[str, Callable[..., Any]] = {
    "diabetes": datasets.load_diabetes,
    "california_housing": datasets.fetch_california_housing,
    "breast_cancer": datasets.load_breast_cancer,
    "wine": datasets.load_wine,
}


class Tabular(SplitDataModule):
    """One of scikit-learn's tables.

    ``diabetes`` and ``california_housing`` are for regression, ``breast_cancer`` has 2 classes and ``wine`` 3.
    ``california_housing`` (20,640 rows) is downloaded where it is missing, the others are part of scikit-learn.

    Features ``[N, F]`` are float32. Labels are classes, int64 ``[N]``, or for regression numbers, float32 ``[N, 1]``.
    The test and validation rows are drawn with ``split_seed``; features and the numbers of regression have mean 0 and
    standard deviation 1 on the training rows, and the same shift and scale apply to the others.

    Args:
        name: Of the table.
        batch_size: Rows in a training batch.
        evaluation_batch_size: Rows in a batch of the other loaders.
        val_share: Share of all rows held out for validation.
        test_share: Share of all rows held out for testing.
        split_seed: Of the draw of these rows.

    Raises:
        RecordError: The table is none of these.

    Example:
        >>> table = Tabular("diabetes")
        >>> [len(table.dataset(split)) for split in ("train", "val", "test")]
        [310, 66, 66]
    """

    def __init__(
        self,
        name: Literal["diabetes", "california_housing", "breast_cancer", "wine"] = "diabetes",
        batch_size: int = 32,
        evaluation_batch_size: int = 512,
        val_share: float = 0.15,
        test_share: float = 0.15,
        split_seed: int = 0,
    ) -> None:
        if name not in _LOADERS:
            raise RecordError(f"there is no table {name!r}: choose from {', '.join(_LOADERS)}")
        super().__init__(batch_size=batch_size, evaluation_batch_size=evaluation_batch_size)
        self.table_name = name
        self.val_share = val_share
        self.test_share = test_share
        self.split_seed = split_seed

    def prepare_data(self) -> None:
        """Download the table if it is missing. A trainer calls this, in one process of each machine."""
        self._load()

    def read(self) -> dict[Split, Batch]:
        """Read the table from scikit-learn, split it, and standardise it by its training rows.

        Raises:
            RecordError: It has to be downloaded and cannot be.
        """
        features, targets = map(torch.from_numpy, self._load())
        count, numbers = len(features), targets.is_floating_point()
        labels = targets.double()[:, None] if numbers else targets.long()
        rest, test = hold_out(features, labels, int(self.test_share * count), self.split_seed)
        train, val = hold_out(*rest, int(self.val_share * count), self.split_seed)
        scales = [_scale(train[0]), _scale(train[1]) if numbers else None]
        splits: dict[Split, Batch] = {"train": train, "val": val, "test": test}
        return {name: (_scaled(x, scales[0]), _scaled(y, scales[1])) for name, (x, y) in splits.items()}

    def _load(self) -> Any:
        try:
            return _LOADERS[self.table_name](return_X_y=True)
        except OSError as error:
            raise RecordError(f"scikit-learn cannot download or read the table {self.table_name}: {error}") from error


def _scale(values: Tensor) -> tuple[Tensor, Tensor]:
    return values.mean(0), values.std(0, correction=0)


def _scaled(values: Tensor, scale: tuple[Tensor, Tensor] | None) -> Tensor:
    return values if scale is None else ((values - scale[0]) / scale[1]).float()
