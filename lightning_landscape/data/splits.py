"""Examples in memory in three splits, and what the tasks ask of any data module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lightning_landscape.errors import ObjectiveError

Split = Literal["train", "val", "test"]
Batch = tuple[Tensor, Tensor]


@runtime_checkable
class EvaluationData(Protocol):
    """A data module that says what to evaluate a loss surface on; any that has these two methods is one."""

    def prepare_data(self) -> None:
        """Download what is missing; every data module of Lightning has this."""

    def evaluation_dataloader(self, split: Split) -> DataLoader[Any]:
        """Every example of a split ("train" or "test" at least), in order and without augmentation."""
        ...


def hold_out(inputs: Tensor, labels: Tensor, size: int, seed: int) -> tuple[Batch, Batch]:
    """Split labelled examples into the rest and a random part of ``size``, both in the original order.

    Args:
        inputs: ``[N, ...]``.
        labels: ``[N, ...]``.
        size: Examples in the part, from 0 up to N - 1.
        seed: Of the draw. PyTorch's global generator is not touched.

    Returns:
        The rest and the part, each as inputs and labels.

    Raises:
        ObjectiveError: The part would be negative, or would leave nothing.
    """
    if not 0 <= size < len(inputs):
        raise ObjectiveError(f"cannot hold out {size} of {len(inputs)} examples: choose from 0 to {len(inputs) - 1}")
    held = torch.zeros(len(inputs), dtype=torch.bool)
    held[torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))[:size]] = True
    return (inputs[~held], labels[~held]), (inputs[held], labels[held])


class SplitDataModule(LightningDataModule):
    """Data module of labelled examples in memory; a subclass says where they come from in :meth:`read`.

    ``train_dataloader`` shuffles. What a loss surface should be evaluated on comes from :meth:`evaluation_dataloader`:
    in order, complete, never augmented. There are no worker processes, since the examples are in memory.

    Args:
        batch_size: Examples in a training batch.
        evaluation_batch_size: Examples in a batch of the other loaders.
        collate_fn: Makes a batch of what the data set gives; None for PyTorch's own.
    """

    def __init__(
        self, *, batch_size: int, evaluation_batch_size: int, collate_fn: Callable[[Any], Batch] | None = None
    ) -> None:
        super().__init__()
        self.collate_fn = collate_fn
        self.batch_size = batch_size
        self.evaluation_batch_size = evaluation_batch_size
        self._splits: dict[Split, Batch] = {}

    def read(self) -> dict[Split, Batch]:
        """Read the inputs ``[N, ...]`` and labels ``[N, ...]`` of every split. For the subclass to define."""
        raise NotImplementedError(f"{type(self).__name__} does not define read()")

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002
        """Read the examples, once. A trainer calls this; so does every loader, for use without a trainer."""
        if not self._splits:
            self._splits = self.read()

    def examples(self, split: Split) -> Batch:
        """All inputs and labels of a split, as they were read.

        Args:
            split: "train", "val" or "test".

        Raises:
            ObjectiveError: There is no such split, or it is empty.
        """
        self.setup()
        if split not in self._splits:
            raise ObjectiveError(f"there is no split {split!r}: choose from {', '.join(self._splits)}")
        if not len(self._splits[split][0]):
            raise ObjectiveError(f"the {split} split holds no examples: hold some out for it, or use another split")
        return self._splits[split]

    def dataset(self, split: Split) -> Dataset[Any]:
        """The examples of a split as a data set, without augmentation."""
        return TensorDataset(*self.examples(split))

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled training batches."""
        return DataLoader(self.dataset("train"), batch_size=self.batch_size, shuffle=True, collate_fn=self.collate_fn)

    def evaluation_dataloader(self, split: Split = "train") -> DataLoader[Any]:
        """Every example of a split, in order and without augmentation: what to evaluate a loss surface on.

        Args:
            split: "train", "val" or "test".

        Returns:
            A loader with batches of ``evaluation_batch_size``.
        """
        return DataLoader(self.dataset(split), batch_size=self.evaluation_batch_size, collate_fn=self.collate_fn)

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """The validation examples; no loader if none were held out."""
        self.setup()
        return self.evaluation_dataloader("val") if len(self._splits["val"][0]) else []

    def test_dataloader(self) -> DataLoader[Any]:
        """The test examples."""
        return self.evaluation_dataloader("test")
