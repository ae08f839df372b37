"""Images from .npz files: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_landscape.data import NpzImages
from lightning_landscape.data.npz import read_npz
from lightning_landscape.errors import RecordError


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_gray_and_colour_images_come_out_with_channels_first(tmp_path: Path) -> None:
    gray, colour = random_images(6, 5, 4), random_images(6, 5, 4, 3)
    labels = np.array([3, 1, 4, 1, 5, 9], dtype=np.uint8)
    np.savez(tmp_path / "gray.npz", images=gray, labels=labels)
    np.savez_compressed(tmp_path / "colour.npz", images=colour, labels=labels.astype(np.int32))
    pixels, found = read_npz(tmp_path / "gray.npz")
    assert torch.equal(pixels, torch.from_numpy(gray)[:, None])
    assert found.dtype == torch.int64
    assert found.tolist() == labels.tolist()
    pixels, _ = read_npz(tmp_path / "colour.npz")
    assert pixels.shape == (6, 3, 5, 4)
    assert pixels[2, 1, 3, 0] == colour[2, 3, 0, 1]
    assert pixels.is_contiguous()


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"images": random_images(4, 5, 5)}, "has no array 'labels', it has \\['images'\\]"),
        ({"labels": np.zeros(4, np.uint8)}, "has no array 'images'"),
        ({"images": random_images(4, 25), "labels": np.zeros(4, np.uint8)}, r"images in .* are uint8 \[4, 25\]"),
        ({"images": random_images(4, 3, 32, 32), "labels": np.zeros(4, np.uint8)}, r"are uint8 \[4, 3, 32, 32\]"),
        ({"images": random_images(0, 5, 5), "labels": np.zeros(0, np.uint8)}, r"are uint8 \[0, 5, 5\]"),
        ({"images": np.zeros((4, 5, 5)), "labels": np.zeros(4, np.uint8)}, r"are float64 \[4, 5, 5\]"),
        ({"images": random_images(4, 5, 5), "labels": np.zeros(3, np.uint8)}, r"labels in .* are uint8 \[3\] for 4"),
        ({"images": random_images(4, 5, 5), "labels": np.zeros((4, 10), np.uint8)}, r"labels in .* \[4, 10\]"),
        ({"images": random_images(4, 5, 5), "labels": np.zeros(4)}, "labels in .* are float64"),
        ({"images": random_images(4, 5, 5), "labels": np.array([0, 1, -1, 2])}, "from 0 upwards"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], sentence: str) -> None:
    path = tmp_path / "images.npz"
    np.savez(path, **arrays)
    with pytest.raises(RecordError, match=sentence):
        read_npz(path)


class Trap:
    """Unpickling this would touch a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_pickled_arrays_are_refused_and_never_loaded(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    path = tmp_path / "images.npz"
    np.savez(path, images=random_images(2, 5, 5), labels=np.array([Trap(sprung), Trap(sprung)], dtype=object))
    with pytest.raises(RecordError, match=r"cannot read images and labels from .*allow_pickle"):
        read_npz(path)
    assert not sprung.exists()


def test_a_bare_pickle_is_refused_and_never_loaded(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    path = tmp_path / "images.npz"
    np.array([Trap(sprung)], dtype=object).dump(path)
    with pytest.raises(RecordError, match="cannot read images and labels from"):
        read_npz(path)
    assert not sprung.exists()


@pytest.mark.parametrize("damage", ["text", "truncated", "flipped", "npy", "folder"])
def test_damaged_files_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "images.npz"
    np.savez_compressed(path, images=random_images(20, 5, 5), labels=np.zeros(20, np.uint8))
    content = path.read_bytes()
    if damage == "text":
        path.write_text("not an archive")
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        middle = len(content) // 4
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
    elif damage == "npy":
        with path.open("wb") as file:
            np.save(file, random_images(20, 5, 5))
    else:
        path.unlink()
        path.mkdir()
    with pytest.raises(RecordError, match="cannot read images and labels from"):
        read_npz(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"nothing\.npz does not exist"):
        read_npz(tmp_path / "nothing.npz")


def test_the_data_module_holds_validation_images_out_of_the_training_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", images=random_images(30, 8, 8, 3), labels=np.arange(30))
    np.savez(tmp_path / "test.npz", images=random_images(10, 8, 8, 3), labels=np.arange(10))
    data = NpzImages(str(tmp_path / "train.npz"), tmp_path / "test.npz", batch_size=7, val_size=5, augment=True)
    train, val, test = (data.images(split).labels.tolist() for split in ("train", "val", "test"))
    assert sorted(train + val) == list(range(30))
    assert len(val) == 5
    assert test == list(range(10))
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (7, 3, 8, 8)
    assert labels.shape == (7,)
    everything = torch.cat([images for images, _ in data.evaluation_dataloader("train")])
    torch.testing.assert_close(everything.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)


def test_files_of_different_data_sets_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", images=random_images(30, 8, 8, 3), labels=np.zeros(30, np.uint8))
    np.savez(tmp_path / "test.npz", images=random_images(10, 8, 8), labels=np.zeros(10, np.uint8))
    with pytest.raises(RecordError, match=r"\[3, 8, 8\] in .*train.npz and \[1, 8, 8\] in .*test.npz"):
        NpzImages(tmp_path / "train.npz", tmp_path / "test.npz", val_size=5).setup()


@pytest.mark.parametrize(
    ("name", "shape", "test_count"), [("cifar10", (3, 32, 32), 10_000), ("mnist", (1, 28, 28), 10_000)]
)
def test_the_real_files(dataset_dir: Path, name: str, shape: tuple[int, ...], test_count: int) -> None:
    """CIFAR-10 has 1,000 test images of each class, MNIST between 892 and 1,135."""
    pixels, labels = read_npz(dataset_dir / name / "test.npz")
    assert pixels.shape == (test_count, *shape)
    counts = labels.bincount()
    assert (counts.min(), counts.max()) == ((1000, 1000) if name == "cifar10" else (892, 1135))
