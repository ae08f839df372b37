"""MNIST, Fashion-MNIST and CIFAR-10 through torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torchvision import datasets

from lightning_landscape.data.images import ImageDataModule
from lightning_landscape.data.splits import Batch, Split, hold_out
from lightning_landscape.errors import RecordError

# Mean and standard deviation of the training pixels scaled to [0, 1]; CIFAR-10's are those of the paper's networks.
STATISTICS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "MNIST": ((0.1307,), (0.3081,)),
    "FashionMNIST": ((0.2860,), (0.3530,)),
    "CIFAR10": ((125.3 / 255, 123.0 / 255, 113.9 / 255), (63.0 / 255, 62.1 / 255, 66.7 / 255)),
}


class TorchvisionImages(ImageDataModule):
    """One of torchvision's image sets, downloaded where it is missing.

    Args:
        name: torchvision's name of the set.
        root: Folder that the set is, or will be, in.
        mean: Mean of the pixels scaled to [0, 1], one number a channel; None is the set's customary one.
        std: Their standard deviation; None is the set's customary one.
        batch_size: Examples in a training batch.
        evaluation_batch_size: Examples in a batch of the other loaders.
        val_size: Training images held out for validation.
        split_seed: Of the draw of these images.
        augment: Whether training images are shifted by up to 4 pixels and flipped at random; meant for CIFAR-10.

    Raises:
        RecordError: The set is none of the three.
    """

    def __init__(
        self,
        name: Literal["MNIST", "FashionMNIST", "CIFAR10"],
        root: str | Path = "~/.cache/lightning_landscape/torchvision",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        batch_size: int = 128,
        evaluation_batch_size: int = 500,
        val_size: int = 5000,
        split_seed: int = 0,
        augment: bool = False,
    ) -> None:
        if name not in STATISTICS:
            raise RecordError(f"there is no image set {name!r}: choose from {', '.join(STATISTICS)}")
        super().__init__(
            scale=255,
            mean=STATISTICS[name][0] if mean is None else mean,
            std=STATISTICS[name][1] if std is None else std,
            batch_size=batch_size,
            evaluation_batch_size=evaluation_batch_size,
            augment=augment,
        )
        self.dataset_name = name
        self.root = Path(root).expanduser()
        self.val_size = val_size
        self.split_seed = split_seed

    def prepare_data(self) -> None:
        """Download the set unless it is there. A trainer calls this, in one process of each machine."""
        for train in (True, False):
            getattr(datasets, self.dataset_name)(self.root, train=train, download=True)

    def read(self) -> dict[Split, Batch]:
        """Read the set from the folder and hold out the validation images.

        Raises:
            RecordError: The folder does not hold the set.
        """
        train, val = hold_out(*self._read(train=True), self.val_size, self.split_seed)
        return {"train": train, "val": val, "test": self._read(train=False)}

    def _read(self, train: bool) -> tuple[Tensor, Tensor]:
        try:
            dataset = getattr(datasets, self.dataset_name)(self.root, train=train)
        except RuntimeError as error:
            raise RecordError(
                f"{self.root} does not hold {self.dataset_name}: call prepare_data() to download it"
            ) from error
        pixels = torch.as_tensor(dataset.data)
        # CIFAR-10 comes as [N, H, W, C], the others as [N, H, W].
        pixels = pixels.permute(0, 3, 1, 2).contiguous() if pixels.ndim == 4 else pixels[:, None]
        return pixels, torch.as_tensor(dataset.targets)
