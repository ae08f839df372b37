"""Labelled images in memory, served in whole batches, and the data module that the image sets share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from lightning_landscape.data.splits import Batch, Split, SplitDataModule
from lightning_landscape.errors import ObjectiveError


def crop_and_flip(images: Tensor, padding: int = 4) -> Tensor:
    """Shift each image by a random number of pixels, filling with zeros, and mirror every second one on average.

    The standard augmentation of CIFAR-10: pad by ``padding`` on each side, cut a window of the original size at a
    uniformly drawn place, flip left to right with probability 1/2. Each image has its own draw, from PyTorch's global
    generator.

    Args:
        images: ``[N, C, H, W]``, any dtype.
        padding: Pixels on each side.

    Returns:
        Images of the same shape and dtype.

    Example:
        >>> image = torch.arange(3).view(1, 1, 1, 3)
        >>> seen = {tuple(crop_and_flip(image, padding=0).flatten().tolist()) for _ in range(50)}
        >>> sorted(seen)
        [(0, 1, 2), (2, 1, 0)]
    """
    count, channels, height, width = images.shape
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    top, left = torch.randint(2 * padding + 1, (2, count, 1))
    mirrored = torch.rand(count, 1) < 0.5
    columns = torch.arange(width)
    columns = left + torch.where(mirrored, columns.flip(0), columns)
    rows = top + torch.arange(height)
    example = torch.arange(count)[:, None, None, None]
    channel = torch.arange(channels)[:, None, None]
    return padded[example, channel, rows[:, None, :, None], columns[:, None, None, :]]


def pixel_statistics(pixels: Tensor, scale: float) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of the scaled pixels of each channel, exactly, from the histogram of their values.

    Args:
        pixels: uint8 ``[N, C, H, W]``.
        scale: The value of a white pixel.

    Returns:
        Means and (population) standard deviations, one number a channel.

    Example:
        >>> pixel_statistics(torch.tensor([0, 0, 16, 16], dtype=torch.uint8).view(1, 1, 2, 2), scale=16)
        ([0.5], [0.5])
    """
    values = torch.arange(256, dtype=torch.float64) / scale
    means, deviations = [], []
    for channel in range(pixels.shape[1]):
        shares = torch.bincount(pixels[:, channel].flatten(), minlength=256).double() / pixels[:, channel].numel()
        mean = (shares * values).sum()
        means.append(mean.item())
        deviations.append((shares * (values - mean) ** 2).sum().sqrt().item())
    return means, deviations


class Images(Dataset[Batch]):
    """Labelled images that are read, augmented and normalised a batch at a time.

    A ``DataLoader`` asks a data set with ``__getitems__`` for a whole batch; one indexing operation then takes the
    place of a Python call for each image. Pixels stay ``uint8`` until then.

    Args:
        pixels: uint8 ``[N, C, H, W]``.
        labels: int64 ``[N]``.
        scale: The value of a white pixel.
        mean: Mean of the scaled pixels, one number a channel.
        std: Standard deviation of the scaled pixels, one number a channel.
        augment: Whether to apply :func:`crop_and_flip`.

    Raises:
        ObjectiveError: There is not one mean and one standard deviation for each channel.

    Example:
        >>> images = Images(torch.full((3, 1, 2, 2), 255, dtype=torch.uint8), torch.arange(3), 255, [0.5], [0.25])
        >>> batch, labels = images.__getitems__([2, 0])
        >>> batch.shape, batch.unique(), labels
        (torch.Size([2, 1, 2, 2]), tensor([2.]), tensor([2, 0]))
    """

    def __init__(
        self,
        pixels: Tensor,
        labels: Tensor,
        scale: float,
        mean: Sequence[float],
        std: Sequence[float],
        augment: bool = False,
    ) -> None:
        channels = pixels.shape[1]
        for name, values in (("mean", mean), ("std", std)):
            if len(values) != channels:
                raise ObjectiveError(
                    f"{name} has {len(values)} values and the images {channels} channels: pass one value a channel"
                )
        self.pixels = pixels
        self.labels = labels
        self.augment = augment
        self._shift = scale * torch.tensor(list(mean)).view(-1, 1, 1)
        self._divisor = scale * torch.tensor(list(std)).view(-1, 1, 1)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Batch:
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: list[int]) -> Batch:
        pixels = self.pixels[indices]
        if self.augment:
            pixels = crop_and_flip(pixels)
        return (pixels - self._shift) / self._divisor, self.labels[indices]


def collate(batch: Batch | list[Batch]) -> Batch:
    """Pass on a batch that is whole already; stack a list of (image, label) pairs.

    A loader over :class:`Images`, or over a ``Subset`` of it, makes whole batches; other wrappers make lists.
    """
    if isinstance(batch, tuple):
        return batch
    images, labels = default_collate(batch)
    return images, labels


class ImageDataModule(SplitDataModule):
    """Data module of labelled images in memory; a subclass says where they come from in :meth:`read`.

    Inputs are uint8 pixels ``[N, C, H, W]`` and labels int64 ``[N]``, which the loaders augment, if asked, for training
    alone, and normalise. Making a batch is one indexing operation.

    Args:
        scale: The value of a white pixel.
        mean: Mean of the scaled pixels, one number a channel; None measures it on the training images.
        std: Standard deviation of the scaled pixels, one number a channel; None measures it on the training images.
        batch_size: Examples in a training batch.
        evaluation_batch_size: Examples in a batch of the other loaders.
        augment: Whether training images are shifted and flipped at random (:func:`crop_and_flip`).
    """

    def __init__(
        self,
        *,
        scale: float,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        batch_size: int,
        evaluation_batch_size: int,
        augment: bool = False,
    ) -> None:
        super().__init__(batch_size=batch_size, evaluation_batch_size=evaluation_batch_size, collate_fn=collate)
        self.scale = scale
        self.mean = mean
        self.std = std
        self.augment = augment
        self._statistics: tuple[list[float], list[float]] | None = None

    def images(self, split: Split, augment: bool = False) -> Images:
        """The images of a split as a data set.

        Args:
            split: "train", "val" or "test".
            augment: Whether they are shifted and flipped at random.

        Returns:
            The data set, normalised with the training images' statistics.
        """
        pixels, labels = self.examples(split)
        mean, std = self.mean, self.std
        if mean is None or std is None:
            if self._statistics is None:
                self._statistics = pixel_statistics(self.examples("train")[0], self.scale)
            mean, std = mean or self._statistics[0], std or self._statistics[1]
        return Images(pixels, labels, self.scale, mean, std, augment)

    def dataset(self, split: Split) -> Images:
        """The images of a split as a data set, without augmentation."""
        return self.images(split)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled training batches, augmented if the data module was told to."""
        images = self.images("train", augment=self.augment)
        return DataLoader(images, batch_size=self.batch_size, shuffle=True, collate_fn=collate)
