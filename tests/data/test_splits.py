"""What the tasks ask of a data module, and the data module of examples in memory."""

from __future__ import annotations

import pytest
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from lightning_landscape.data import Digits, EvaluationData, GaussianRing, SplitDataModule
from lightning_landscape.data.splits import Batch, Split
from lightning_landscape.errors import ObjectiveError


class Counted(SplitDataModule):
    def read(self) -> dict[Split, Batch]:
        inputs = torch.arange(10.0)
        return {"train": (inputs[:7], inputs[:7]), "val": (inputs[7:7], inputs[7:7]), "test": (inputs[7:], inputs[7:])}


class Foreign(LightningDataModule):
    def evaluation_dataloader(self, split: Split) -> DataLoader[int]:
        return DataLoader([1, 2])  # type: ignore[arg-type]


def test_training_batches_are_shuffled_and_evaluation_batches_in_order() -> None:
    torch.manual_seed(0)
    data = Counted(batch_size=3, evaluation_batch_size=4)
    assert [inputs.tolist() for inputs, _ in data.evaluation_dataloader("train")] == [[0, 1, 2, 3], [4, 5, 6]]
    assert [inputs.tolist() for inputs, _ in data.test_dataloader()] == [[7, 8, 9]]
    seen = torch.cat([inputs for inputs, _ in data.train_dataloader()])
    assert seen.tolist() != sorted(seen.tolist()) == [0, 1, 2, 3, 4, 5, 6]


def test_without_validation_examples_there_is_no_loader() -> None:
    data = Counted(batch_size=3, evaluation_batch_size=4)
    assert data.val_dataloader() == []
    with pytest.raises(ObjectiveError, match="the val split holds no examples"):
        data.evaluation_dataloader("val")


def test_a_data_module_that_offers_evaluation_loaders_is_enough() -> None:
    assert isinstance(Foreign(), EvaluationData)
    assert isinstance(Digits(), EvaluationData)
    assert not isinstance(GaussianRing(), EvaluationData)
