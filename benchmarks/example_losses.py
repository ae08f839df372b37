"""The loss and the correctness of every single example at many points of a plane, kept for `estimation.py`.

From these every estimator can be judged without another forward pass: a subset's mean, the whole data set's, and the
errors that would be reported, for any choice of examples and of the coarse grid. ::

    python benchmarks/example_losses.py small_dense_margin cnn_nll --shared ../shared/data
    python benchmarks/example_losses.py resnet56 resnet56_noshort --shared ../shared/data --minutes 60

What a job that was stopped has finished stays, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_module
from torch import Tensor, nn

from lightning_landscape import Grid, Plane, weights_of
from lightning_landscape.geometry.weights import Weights, place
from lightning_landscape.models import ResNet
from lightning_landscape.sampling.coarse_grid import nodes_of
from lightning_landscape.tasks.build import Run, build_run

CACHE = Path(os.environ.get("LANDSCAPE_DATA", Path.home() / ".cache/lightning_landscape/data")).parent
DATA, LOSSES = CACHE / "data", CACHE / "example_losses"

MEAN, STD = torch.tensor([125.3, 123.0, 113.9]), torch.tensor([63.0, 62.1, 66.7])
POPULATION = 1024  # CIFAR-10 images, standing for the whole data set
RESNET_GRID = Grid.square(1.0, 25)
MNIST_GRID = Grid.square(1.0, 51)
DIGITS_GRID = Grid.square(1.0, 25)
DIGITS = {"digits_plain": (False, 1), "digits_shortcuts": (True, 1), "digits_shortcuts_2": (True, 2)}
NAMES = ["resnet56", "resnet56_noshort", "small_dense_margin", "cnn_nll", *DIGITS]

At = Callable[[float, float], tuple[Tensor, Tensor]]
"""Coordinates to the loss of every example and whether it is classified correctly."""


class Losses:
    """Values of every example at the points of a grid, in memory-mapped files: ``[points, examples]``.

    Attributes:
        loss: float32, NaN where a point is not done.
        right: whether the example is classified correctly.
        labels: the class of every example.
    """

    def __init__(self, name: str, grid: Grid, labels: np.ndarray) -> None:
        folder = LOSSES / name
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "labels.npy", labels)
        shape = (grid.size, len(labels))
        self.loss = _mapped(folder / "loss.npy", shape, np.float32, np.nan)
        self.right = _mapped(folder / "right.npy", shape, np.bool_, False)
        self.labels = labels

    def fill(self, grid: Grid, at: At, indices: np.ndarray) -> Iterator[int]:
        """Evaluate the points of `indices` that are missing, and yield after each."""
        for index in indices[np.isnan(self.loss[indices, -1])]:
            loss, right = at(*grid.point(int(index)))
            self.right[index] = right.numpy()
            self.loss[index] = loss.numpy()
            yield int(index)


def _mapped(path: Path, shape: tuple[int, int], dtype: type, value: float) -> np.memmap:
    if not path.exists():
        np.lib.format.open_memmap(path, "w+", dtype, shape)[:] = value
    return np.lib.format.open_memmap(path, "r+")


def cifar(count: int) -> tuple[Tensor, Tensor]:
    with np.load(DATA / "cifar10/train.npz") as file:
        chosen = np.random.default_rng(0).permutation(len(file["labels"]))[:count]
        images, labels = torch.from_numpy(file["images"][chosen]), torch.from_numpy(file["labels"][chosen]).long()
    return ((images.float() - MEAN) / STD).permute(0, 3, 1, 2), labels


def mnist() -> tuple[Tensor, Tensor]:
    with np.load(DATA / "mnist/train.npz") as file:
        images, labels = torch.from_numpy(file["images"]), torch.from_numpy(file["labels"]).long()
    return ((images.float() / 255 - 0.5) / 0.5).unsqueeze(1), labels


def paper_network(name: str, shared: Path) -> tuple[ResNet, Plane]:
    """The paper's ResNet-56, and its random filter-normalised directions."""
    network = ResNet(56, shortcuts=name == "resnet56")
    network.load_state_dict(torch.load(shared / "nets" / f"{name}.pt", weights_only=True))
    return network, Plane.random(weights_of(network), seed=0)


def resnet(name: str, shared: Path) -> tuple[Losses, Grid, At, np.ndarray]:
    """The paper's ResNet-56; the points of the coarse grids come first."""
    network, plane = paper_network(name, shared)
    network.eval().to(memory_format=torch.channels_last)
    images, labels = cifar(POPULATION)
    batches = [part.contiguous(memory_format=torch.channels_last) for part in images.split(128)]
    compiled = torch.compile(network)

    def at(a: float, b: float) -> tuple[Tensor, Tensor]:
        place(network, plane.at(a, b))
        with torch.inference_mode():
            logits = torch.cat([compiled(batch) for batch in batches])
            return F.cross_entropy(logits, labels, reduction="none"), logits.argmax(1) == labels

    numbers = np.arange(RESNET_GRID.size).reshape(RESNET_GRID.shape)
    lattices = [*(nodes_of(25, count) for count in (8, 7, 9)), range(0, 25, 4), range(0, 25, 3)]
    coarse = [numbers[np.ix_(nodes, nodes)].ravel() for nodes in lattices]
    others = np.random.default_rng(1).permutation(RESNET_GRID.size)
    order = np.array(list(dict.fromkeys(np.concatenate([*coarse, others]).tolist())))
    return Losses(name, RESNET_GRID, labels.numpy()), RESNET_GRID, at, order


def published_plane(name: str, shared: Path) -> Plane:
    """The plane of a published surface."""
    origin = Weights(torch.load(shared / "surfaces" / name / "weights.pt", weights_only=True))
    directions = []
    with h5py.File(shared / "surfaces" / name / "directions.h5") as file:
        for group in (file["xdirection"], file["ydirection"]):
            values = [torch.from_numpy(group[str(position)][()]) for position in range(len(group))]
            directions.append(Weights(zip(origin, values, strict=True)))
    return Plane(origin, *directions)


def published(name: str, shared: Path) -> tuple[Losses, Grid, At, np.ndarray]:
    """A published surface's network. What comes before its first ReLU is linear in the plane's coordinates."""
    plane = published_plane(name, shared)
    images, labels = mnist()
    dense = name == "small_dense_margin"
    forward = _dense if dense else _convolutional
    weights = [
        (w["fc1.weight" if dense else "conv1.weight"], w["fc1.bias" if dense else "conv1.bias"])
        for w in (plane.origin, *plane.directions)
    ]
    first = _first_dense if dense else _first_convolutional
    parts = [[first(x, weight, bias) for weight, bias in weights] for x in images.split(500)]
    criterion = nn.MultiMarginLoss(reduction="none") if dense else nn.NLLLoss(reduction="none")

    def at(a: float, b: float) -> tuple[Tensor, Tensor]:
        w = plane.at(a, b)
        with torch.inference_mode():
            hidden = (torch.add(zero, x, alpha=a).add_(y, alpha=b) for zero, x, y in parts)
            outputs = torch.cat([forward(h, w) for h in hidden])
            return criterion(outputs, labels), outputs.argmax(1) == labels

    return Losses(name, MNIST_GRID, labels.numpy()), MNIST_GRID, at, np.arange(MNIST_GRID.size)


def _first_dense(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.linear(images.flatten(1), weight, bias)


def _dense(hidden: Tensor, w: Weights) -> Tensor:
    return F.linear(hidden.relu_(), w["fc2.weight"], w["fc2.bias"])


def _first_convolutional(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The first layer's outputs with the nine members of each pooling window in front: ``[9, N, 3, 8, 8]``."""
    out = F.conv2d(images, weight, bias)[..., :24, :24]
    return torch.stack([out[..., i::3, j::3] for i in range(3) for j in range(3)])


def _convolutional(windows: Tensor, w: Weights) -> Tensor:
    hidden = F.max_pool2d(F.conv2d(windows.amax(0).relu_(), w["conv2.weight"], w["conv2.bias"]), 3)
    return F.linear(hidden.flatten(1).relu_(), w["fc1.weight"], w["fc1.bias"])


def main_job(name: str) -> Run:
    """A network as the main job trains it, on scikit-learn's digits; trained here if it is not there yet."""
    shortcuts, seed = DIGITS[name]
    with initialize_config_module("conf", version_base="1.3"):
        overrides = [f"model.shortcuts={shortcuts}".lower(), f"seed={seed}", f"output_dir={LOSSES / name}"]
        quiet = ["callbacks=none", "logger=none", "trainer.enable_progress_bar=false", "+trainer.logger=false"]
        cfg = compose("config", [*overrides, *quiet, "+trainer.enable_checkpointing=false"])
    weights = LOSSES / name / "weights.pt"
    cfg.weights = str(weights) if weights.exists() else None
    run = build_run(cfg)
    if not weights.exists():
        run.trainer.fit(run.module, datamodule=run.data)
        weights.parent.mkdir(parents=True, exist_ok=True)
        torch.save(run.module.state_dict(), weights)
    run.data.prepare_data()
    return run


def digits(name: str) -> tuple[Losses, Grid, At, np.ndarray]:
    """A network of the main job in random filter-normalised directions."""
    run = main_job(name)
    batches = list(run.data.evaluation_dataloader("train"))
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    module = run.module.eval()
    plane = Plane.random(weights_of(module), seed=0)

    def at(a: float, b: float) -> tuple[Tensor, Tensor]:
        place(module, plane.at(a, b))
        with torch.inference_mode():
            logits = module(images)
            return F.cross_entropy(logits, labels, reduction="none"), logits.argmax(1) == labels

    return Losses(name, DIGITS_GRID, labels.numpy()), DIGITS_GRID, at, np.arange(DIGITS_GRID.size)


def prepared(name: str, shared: Path) -> tuple[Losses, Grid, At, np.ndarray]:
    if name in DIGITS:
        return digits(name)
    return resnet(name, shared) if name.startswith("resnet") else published(name, shared)


def main() -> None:
    """Fill the files of the networks that are named, a point of each in turn, for as long as there is time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=NAMES)
    parser.add_argument("--shared", type=Path, required=True, help="the folder with published networks and surfaces")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    args = parser.parse_args()
    started = time.perf_counter()
    jobs = []
    for name in args.names:
        losses, grid, at, order = prepared(name, args.shared)
        jobs.append(losses.fill(grid, at, order))
    done = 0
    while jobs and time.perf_counter() - started < 60 * args.minutes:
        jobs = [job for job in jobs if next(job, None) is not None]
        done += len(jobs)
    print(f"{done} points in {(time.perf_counter() - started) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
