from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, Subset, TensorDataset

from lightning_landscape.engine.labels import labels_of


class Named(Dataset[int]):
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        raise AssertionError("no example may be loaded")


@pytest.mark.parametrize("labels", [[1, 0, 2, 1], np.array([1, 0, 2, 1]), torch.tensor([1, 0, 2, 1])])
@pytest.mark.parametrize("name", ["targets", "labels"])
def test_labels_by_name(labels: Any, name: str) -> None:
    found = labels_of(Named(**{name: labels}))
    assert found is not None
    assert found.tolist() == [1, 0, 2, 1]


def test_a_subset_has_those_of_its_examples() -> None:
    dataset = TensorDataset(torch.zeros(4, 2), torch.tensor([5, 6, 7, 8]))
    found = labels_of(Subset(Subset(dataset, [3, 2, 0]), [1, 2]))
    assert found is not None
    assert found.tolist() == [7, 5]


@pytest.mark.parametrize(
    "dataset",
    [
        TensorDataset(torch.zeros(4, 2)),
        TensorDataset(torch.zeros(4, 2), torch.zeros(4)),
        TensorDataset(torch.zeros(4, 2), torch.zeros(4, 2).long()),
        Named(targets=[0.5, 1.0, 0.0, 1.0]),
        Named(targets=[1, 2]),
        Named(targets=["a", "b", "c", "d"]),
        Named(labels=None),
        Named(labels=[[1], [2, 3], [4], [5]]),
    ],
)
def test_anything_else_has_none(dataset: Any) -> None:
    assert labels_of(dataset) is None
