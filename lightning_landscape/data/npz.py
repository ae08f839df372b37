"""Images and labels from .npz files."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lightning_landscape.data.images import ImageDataModule
from lightning_landscape.data.splits import Batch, Split, hold_out
from lightning_landscape.errors import RecordError


def read_npz(path: str | Path) -> Batch:
    """Read labelled images from a file written with ``numpy.savez``; nothing in it is ever unpickled.

    Args:
        path: A file with ``images``, uint8 ``[N, H, W]`` or ``[N, H, W, C]`` with C up to 4, and ``labels``, whole
            numbers from 0 upwards ``[N]``.

    Returns:
        uint8 images ``[N, C, H, W]`` and int64 labels ``[N]``.

    Raises:
        RecordError: The file is missing or is no .npz file, lacks one of the arrays, holds pickled objects, or the
            arrays have another type or shape.
    """
    path = Path(path).expanduser()
    arrays = {}
    try:
        with zipfile.ZipFile(path):
            pass  # numpy takes whatever is not a zip archive for an array or a pickle, with a misleading message
        with np.load(path, allow_pickle=False) as file:
            for name in ("images", "labels"):
                if name not in file:
                    raise RecordError(f"{path} has no array {name!r}, it has {sorted(file)}: write images and labels")
                arrays[name] = file[name]
    except FileNotFoundError as error:
        raise RecordError(f"{path} does not exist: write it with numpy.savez(path, images=..., labels=...)") from error
    except RecordError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RecordError(f"cannot read images and labels from {path}: {error}") from error
    images, labels = arrays["images"], arrays["labels"]
    if images.dtype != np.uint8 or images.ndim not in {3, 4} or images.shape[3:] > (4,) or 0 in images.shape:
        raise RecordError(
            f"images in {path} are {images.dtype} {list(images.shape)}: "
            "write uint8 [N, H, W] or [N, H, W, C] with C up to 4"
        )
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1] or labels.min() < 0:
        raise RecordError(
            f"labels in {path} are {labels.dtype} {list(labels.shape)} for {len(images)} images: "
            "write one whole number from 0 upwards for each image"
        )
    if images.ndim == 3:
        images = images[..., None]
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return pixels, torch.from_numpy(labels.astype(np.int64))


class NpzImages(ImageDataModule):
    """Labelled images from two ``.npz`` files, such as CIFAR-10 or a set of one's own, read by :func:`read_npz`.

    Args:
        train: File of the training images.
        test: File of the test images.
        mean: Mean of the pixels scaled to [0, 1], one number a channel; None measures it on the training images.
        std: Their standard deviation; None measures it on the training images.
        batch_size: Examples in a training batch.
        evaluation_batch_size: Examples in a batch of the other loaders.
        val_size: Training images held out for validation.
        split_seed: Of the draw of these images.
        augment: Whether training images are shifted by up to 4 pixels and flipped at random.
    """

    def __init__(
        self,
        train: str | Path,
        test: str | Path,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        batch_size: int = 128,
        evaluation_batch_size: int = 500,
        val_size: int = 5000,
        split_seed: int = 0,
        augment: bool = False,
    ) -> None:
        super().__init__(
            scale=255,
            mean=mean,
            std=std,
            batch_size=batch_size,
            evaluation_batch_size=evaluation_batch_size,
            augment=augment,
        )
        self.train_path = Path(train)
        self.test_path = Path(test)
        self.val_size = val_size
        self.split_seed = split_seed

    def read(self) -> dict[Split, Batch]:
        """Read both files and hold out the validation images.

        Raises:
            RecordError: A file cannot be read, or the images of the two differ in shape.
        """
        pixels, labels = read_npz(self.train_path)
        test = read_npz(self.test_path)
        if pixels.shape[1:] != test[0].shape[1:]:
            raise RecordError(
                f"images [C, H, W] are {list(pixels.shape[1:])} in {self.train_path} and {list(test[0].shape[1:])} in "
                f"{self.test_path}: pass two files of one data set"
            )
        train, val = hold_out(pixels, labels, self.val_size, self.split_seed)
        return {"train": train, "val": val, "test": test}
