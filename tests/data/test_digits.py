"""The digits inside scikit-learn."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits

from lightning_landscape.data import Digits
from lightning_landscape.data.splits import Split

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def test_the_splits_are_disjoint_and_complete() -> None:
    """As multisets of images with their labels, the three together are scikit-learn's 1,797."""
    data = Digits()
    found = []
    for split in SPLITS:
        images = data.images(split)
        found += [(*p.flatten().tolist(), int(t)) for p, t in zip(images.pixels, images.labels, strict=True)]
    images, labels = load_digits(return_X_y=True)
    assert len(found) == 1797
    assert len(set(found)) == 1797  # no digit occurs twice, so equal sets mean disjoint splits
    assert set(found) == {
        (*image.astype(int).tolist(), int(label)) for image, label in zip(images, labels, strict=True)
    }


def test_the_seed_and_the_sizes_fix_the_splits() -> None:
    first, again, other = Digits(), Digits(), Digits(split_seed=1)
    for split in SPLITS:
        assert torch.equal(first.images(split).pixels, again.images(split).pixels)
        assert not torch.equal(first.images(split).pixels, other.images(split).pixels)
    assert [len(Digits(val_size=0, test_size=97).images(split)) for split in ("train", "test")] == [1700, 97]


def test_training_images_have_mean_0_and_standard_deviation_1() -> None:
    images = torch.cat([images for images, _ in Digits().evaluation_dataloader("train")])
    assert images.shape == (1280, 1, 8, 8)
    assert images.dtype == torch.float32
    assert images.mean().item() == pytest.approx(0, abs=1e-5)
    assert images.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_every_split_has_every_class() -> None:
    for split in SPLITS:
        labels = Digits().images(split).labels
        assert labels.dtype == torch.int64
        assert labels.unique().tolist() == list(range(10))
