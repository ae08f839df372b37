"""Handwritten digits that need no download."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits

from lightning_landscape.data.images import ImageDataModule
from lightning_landscape.data.splits import Batch, Split, hold_out


class Digits(ImageDataModule):
    """The 1,797 handwritten digits inside scikit-learn: 8 x 8 pixels with values 0 to 16, ten classes.

    The test and validation images are drawn with ``split_seed``; by default 1,280 images are left for training. Images
    are ``[N, 1, 8, 8]`` float32, normalised with the mean and standard deviation of the training images.

    Args:
        batch_size: Examples in a training batch.
        evaluation_batch_size: Examples in a batch of the other loaders.
        val_size: Images held out for validation.
        test_size: Images held out for testing.
        split_seed: Of the draw of these images.

    Example:
        >>> digits = Digits()
        >>> [len(digits.images(split)) for split in ("train", "val", "test")]
        [1280, 256, 261]
    """

    def __init__(
        self,
        batch_size: int = 64,
        evaluation_batch_size: int = 512,
        val_size: int = 256,
        test_size: int = 261,
        split_seed: int = 0,
    ) -> None:
        super().__init__(
            scale=16, mean=None, std=None, batch_size=batch_size, evaluation_batch_size=evaluation_batch_size
        )
        self.val_size = val_size
        self.test_size = test_size
        self.split_seed = split_seed

    def read(self) -> dict[Split, Batch]:
        """Read the digits from scikit-learn and split them."""
        images, labels = load_digits(return_X_y=True)
        pixels = torch.from_numpy(images).to(torch.uint8).view(-1, 1, 8, 8)
        rest, test = hold_out(pixels, torch.from_numpy(labels).long(), self.test_size, self.split_seed)
        train, val = hold_out(*rest, self.val_size, self.split_seed)
        return {"train": train, "val": val, "test": test}
