"""torchvision's image sets, from files in their own formats that the tests write; nothing is downloaded."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from lightning_landscape.data import TorchvisionImages
from lightning_landscape.errors import RecordError


def write_idx(path: Path, array: np.ndarray) -> None:
    """The format of MNIST: two zero bytes, 8 for unsigned bytes, the dimensions, their sizes (big endian), the data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes())


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_mnist_files(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, 28, 28), dtype=np.uint8)
    labels = rng.integers(0, 10, 50, dtype=np.uint8)
    for prefix, part in (("train", slice(0, 40)), ("t10k", slice(40, 50))):
        write_idx(tmp_path / name / "raw" / f"{prefix}-images-idx3-ubyte", images[part])
        write_idx(tmp_path / name / "raw" / f"{prefix}-labels-idx1-ubyte", labels[part])
    data = TorchvisionImages(name, root=tmp_path, val_size=8, mean=[0.5], std=[0.5])
    data.prepare_data()  # everything is there, so that nothing is downloaded
    assert [len(data.images(split)) for split in ("train", "val", "test")] == [32, 8, 10]
    batch, found = next(iter(data.test_dataloader()))
    torch.testing.assert_close(batch, (torch.from_numpy(images[40:])[:, None] / 255 - 0.5) / 0.5)
    assert found.tolist() == labels[40:].tolist()


def test_cifar_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checksums of the real files are switched off: None means that a file need only exist."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = [f"data_batch_{i}" for i in range(1, 6)]
    rows, labels = {}, {}
    for name in [*names, "test_batch"]:
        rows[name] = rng.integers(0, 256, (6, 3072), dtype=np.uint8)
        labels[name] = rng.integers(0, 10, 6).tolist()
        (folder / name).write_bytes(pickle.dumps({"data": rows[name], "labels": labels[name]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [str(i) for i in range(10)]}))
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [[name, None] for name in names])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", None]])
    monkeypatch.setattr(datasets.CIFAR10, "meta", datasets.CIFAR10.meta | {"md5": None})
    data = TorchvisionImages("CIFAR10", root=tmp_path, val_size=0)
    data.prepare_data()
    batch, found = next(iter(data.test_dataloader()))
    pixels = torch.from_numpy(rows["test_batch"]).view(6, 3, 32, 32)
    mean, std = torch.tensor([125.3, 123.0, 113.9]), torch.tensor([63.0, 62.1, 66.7])
    torch.testing.assert_close(batch, (pixels - mean[:, None, None]) / std[:, None, None])
    assert found.tolist() == labels["test_batch"]
    assert torch.equal(data.images("train").pixels[8], torch.from_numpy(rows["data_batch_2"][2]).view(3, 32, 32))


def test_a_missing_set_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"does not hold MNIST: call prepare_data\(\)"):
        TorchvisionImages("MNIST", root=tmp_path).setup()


def test_an_unknown_set_is_refused() -> None:
    with pytest.raises(RecordError, match="no image set 'EMNIST': choose from MNIST, FashionMNIST, CIFAR10"):
        TorchvisionImages("EMNIST")  # type: ignore[arg-type]
