"""Two surfaces that others published, computed anew from their checkpoints, directions and data."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_landscape import Grid, Plane, Surface, compute_surface, weights_of
from lightning_landscape.geometry.weights import Weights

IMAGES = 60_000

NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "small_dense_margin": (
        lambda: nn.Sequential(
            OrderedDict(flatten=nn.Flatten(), fc1=nn.Linear(784, 128), act=nn.ReLU(), fc2=nn.Linear(128, 10))
        ),
        nn.MultiMarginLoss,
    ),
    "cnn_nll": (
        lambda: nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(1, 3, 3),
                act1=nn.ReLU(),
                pool1=nn.MaxPool2d(3),
                conv2=nn.Conv2d(3, 5, 3),
                act2=nn.ReLU(),
                pool2=nn.MaxPool2d(3),
                flatten=nn.Flatten(),
                fc1=nn.Linear(20, 10),
            )
        ),
        nn.NLLLoss,
    ),
}


@pytest.fixture(scope="module")
def mnist(dataset_dir: Path) -> DataLoader[Any]:
    if not (dataset_dir / "mnist/train.npz").exists():
        pytest.skip(f"MNIST not found in {dataset_dir}")
    with np.load(dataset_dir / "mnist/train.npz") as file:
        images, labels = torch.from_numpy(file["images"]), torch.from_numpy(file["labels"]).long()
    inputs = ((images.float() / 255 - 0.5) / 0.5).unsqueeze(1)
    return DataLoader(TensorDataset(inputs, labels), batch_size=1000)


def recomputed(folder: Path, loader: DataLoader[Any], resolution: int) -> Surface:
    network, criterion = (make() for make in NETWORKS[folder.name])
    network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    origin = weights_of(network)
    directions = []
    with h5py.File(folder / "directions.h5") as file:
        for group in (file["xdirection"], file["ydirection"]):
            tensors = [torch.from_numpy(group[str(position)][()]) for position in range(len(group))]
            directions.append(Weights(zip(origin, tensors, strict=True)))

    def step(module: nn.Module, batch: list[Tensor]) -> dict[str, Tensor]:
        outputs = module(batch[0])
        return {"loss": criterion(outputs, batch[1]), "right": (outputs.argmax(1) == batch[1]).double().mean()}

    axis = (-1, 1, resolution)
    return compute_surface(network, loader, Plane(origin, *directions), Grid(x=axis, y=axis), step, progress=False)


def deviations(folder: Path, loader: DataLoader[Any], resolution: int) -> tuple[float, float]:
    """The largest relative deviation of the loss, and that of the number of images classified correctly."""
    published = Surface.load(folder / "surface.h5")
    every = (len(published.x) - 1) // (resolution - 1)
    found = recomputed(folder, loader, resolution)
    np.testing.assert_allclose(found.x, published.x[::every], atol=1e-7)
    expected = published["train_loss"][::every, ::every]
    images = published["train_acc"][::every, ::every] / 100 * IMAGES
    assert found["loss"].shape == expected.shape
    return float(np.abs(found["loss"] / expected - 1).max()), float(np.abs(found["right"] * IMAGES - images).max())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("resolution", [3, pytest.param(15, marks=pytest.mark.slow)])
def test_every_point_agrees(name: str, resolution: int, shared: Path, mnist: DataLoader[Any]) -> None:
    """The loss to one millionth, the accuracy to one image of 60,000."""
    loss, images = deviations(shared / "surfaces" / name, mnist, resolution)
    print(f"{name}, {resolution} x {resolution}: loss within {loss:.2g} relative, accuracy within {images:.2g} images")
    assert loss < 1e-6
    assert images < 1 + 1e-3
