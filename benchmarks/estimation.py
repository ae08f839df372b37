"""How far estimated surfaces are off, what they cost, and whether their errors can be trusted.

Against the values of every example that `example_losses.py` has stored::

    python benchmarks/example_losses.py small_dense_margin cnn_nll digits_plain digits_shortcuts digits_shortcuts_2 \
        --shared ../shared/data
    python benchmarks/example_losses.py resnet56 resnet56_noshort --shared ../shared/data
    python benchmarks/estimation.py --shared ../shared/data

Two tables are printed and kept in ``results/estimation.json``:

- choices: for fixed numbers of examples and coarse points, over ten random subsets. ResNet-56 stands on 1,024 images
  and 25 x 25 points; the subset is the one whose sampling error is that of n of all 50,000 images.
- auto: ``compute_surface(examples="auto")`` as a user calls it, one run for each published surface (51 x 51 points,
  60,000 images) and each network of the main job (25 x 25, 1,280 images). For ResNet-56 the choice that "auto" makes
  for 51 x 51 points and 50,000 images, and the error of that choice as in the first table.
"""

from __future__ import annotations

import argparse
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from example_losses import DIGITS, LOSSES, MEAN, STD, main_job, mnist, paper_network, published_plane
from interleaved import save
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_landscape import Grid, Plane, compute_surface, weights_of
from lightning_landscape.engine.survey import survey
from lightning_landscape.figures import plot_errors
from lightning_landscape.sampling.coarse_grid import CoarseGrid
from lightning_landscape.sampling.control_variate import Sizes, estimate
from lightning_landscape.sampling.plan import SUBSET_BATCHES, Plan
from lightning_landscape.sampling.subset import balanced_order

PICTURES = Path(__file__).parents[1] / "docs/images"
WHOLE = {"resnet56": 50_000, "resnet56_noshort": 50_000}
CHOICES = [(500, 7), (1000, 7), (770, 8), (440, 9)]
SEEDS = 10


@dataclass(frozen=True)
class Row:
    """One line of a table; errors in percent of the surface's range, the largest and the root of the mean square."""

    network: str
    channel: str
    examples: int
    coarse: int
    share: float
    largest: float
    largest_of_all: float
    typical: float
    reported: float
    covered: float
    covered_least: float


class Stored:
    """The values of every example of one network at the points that are done."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.labels = np.load(LOSSES / name / "labels.npy")
        self.values = {c: np.load(LOSSES / name / f"{c}.npy", mmap_mode="r") for c in ("loss", "right")}
        self.side = round(len(self.values["loss"]) ** 0.5)
        self.grid = Grid.square(1.0, self.side)
        self.done = ~np.isnan(self.values["loss"][:, -1])
        self.exact = {channel: self._mean(channel) for channel in self.values}

    def of(self, channel: str, examples: np.ndarray) -> np.ndarray:
        columns = np.sort(examples)
        found = np.asarray(self.values[channel][:, columns], dtype=np.float64)[:, np.searchsorted(columns, examples)]
        return np.where(self.done[:, None], found, np.nan)

    def _mean(self, channel: str) -> np.ndarray:
        rows = self.values[channel]
        mean = np.concatenate([rows[i : i + 100].mean(axis=1, dtype=np.float64) for i in range(0, len(rows), 100)])
        return np.where(self.done, mean, np.nan).reshape(self.side, self.side)


def trials(stored: Stored, channel: str, examples: int, count: int) -> Row:
    """Estimate with several random subsets, and compare with the exact values where they are known."""
    population, whole = len(stored.labels), WHOLE.get(stored.name, len(stored.labels))
    # The subset of these examples whose variance is that of `examples` of the whole data set.
    subset = round(1 / (1 / examples - 1 / whole + 1 / population))
    coarse, exact = CoarseGrid.of(stored.grid, count), stored.exact[channel]
    span = np.nanmax(exact) - np.nanmin(exact)
    tested = stored.done.reshape(exact.shape) & ~coarse.mask
    found = []
    for seed in range(SEEDS):
        parts = np.array_split(balanced_order(stored.labels, seed)[:subset], SUBSET_BATCHES)
        values = stored.of(channel, np.concatenate(parts))
        cuts = np.cumsum([0, *(len(part) for part in parts)])
        means = [values[:, a:b].mean(axis=1).reshape(exact.shape) for a, b in pairwise(cuts)]
        sizes = Sizes(tuple(len(part) for part in parts), population, population)
        mean = values.mean(axis=1).reshape(exact.shape)
        known = coarse.take(exact)
        made = estimate(mean, np.stack(means), known, 0 * known, coarse, sizes)
        off, error = np.abs(made.values - exact)[tested], made.errors[tested]
        within = (off <= 2 * error + 1e-9 * span).mean()
        found.append((off.max(), np.sqrt(np.mean(off**2)), error.max(), within))
    largest, typical, reported, covered = np.array(found).T
    plan = Plan((examples,), (whole,), count)
    fine = Grid.square(1.0, 51)
    return Row(
        stored.name,
        {"loss": "loss", "right": "accuracy"}[channel],
        examples,
        count,
        plan.work(fine) / (fine.size * whole),
        100 * largest.mean() / span,
        100 * largest.max() / span,
        100 * typical.mean() / span,
        100 * reported.mean() / span,
        covered.mean(),
        covered.min(),
    )


def step_of(criterion: nn.Module) -> Callable[[nn.Module, Any], Tensor]:
    return lambda module, batch: criterion(module(batch[0]), batch[1])


def problem(name: str, shared: Path) -> tuple[nn.Module, Plane, DataLoader[Any], nn.Module]:
    """A module, its plane, its data and its loss."""
    if name in DIGITS:
        run = main_job(name)
        loader = run.data.evaluation_dataloader("train")  # type: ignore[attr-defined]
        return run.module, Plane.random(weights_of(run.module), seed=0), loader, nn.CrossEntropyLoss()
    dense = name == "small_dense_margin"
    layers = (
        {"flatten": nn.Flatten(), "fc1": nn.Linear(784, 128), "act": nn.ReLU(), "fc2": nn.Linear(128, 10)}
        if dense
        else {
            "conv1": nn.Conv2d(1, 3, 3),
            "act1": nn.ReLU(),
            "pool1": nn.MaxPool2d(3),
            "conv2": nn.Conv2d(3, 5, 3),
            "act2": nn.ReLU(),
            "pool2": nn.MaxPool2d(3),
            "flatten": nn.Flatten(),
            "fc1": nn.Linear(20, 10),
        }
    )
    network = nn.Sequential(OrderedDict(layers))
    loader = DataLoader(TensorDataset(*mnist()), batch_size=1000)
    return network, published_plane(name, shared), loader, nn.MultiMarginLoss() if dense else nn.NLLLoss()


def auto(stored: Stored, shared: Path) -> dict[str, Any]:
    """Compute the surface with examples="auto", and compare it with the exact one."""
    module, plane, loader, criterion = problem(stored.name, shared)
    started = time.perf_counter()
    surface = compute_surface(module, loader, plane, stored.grid, step_of(criterion), examples="auto", progress=False)
    seconds = time.perf_counter() - started
    exact, span = stored.exact["loss"], np.ptp(stored.exact["loss"])
    off = np.abs(surface["loss"] - exact)
    subset = surface.attrs.get("plan_subset", [len(stored.labels)])
    work = 1.0
    if "plan_subset" in surface.attrs:
        plan = Plan(tuple(subset), tuple(surface.attrs["plan_reference"]), surface.attrs["plan_coarse"])
        work = plan.work(stored.grid) / (stored.grid.size * len(stored.labels))
        if stored.name == "small_dense_margin":
            plot_errors(surface).savefig(PICTURES / "estimation_errors.png", dpi=110)
    return {
        "network": stored.name,
        "points": stored.grid.size,
        "examples": subset[0],
        "coarse": surface.attrs.get("coarse_points"),
        "share": work,
        "largest": 100 * float(off.max() / span),
        "covered": float((off <= 2 * surface.error("loss") + 1e-6 * span).mean()),
        "seconds": seconds,
    }


def auto_resnet(stored: Stored, shared: Path) -> dict[str, Any]:
    """What "auto" chooses for 51 x 51 points and all training images, and how far such a choice is off."""
    module, plane = paper_network(stored.name, shared)
    with np.load(LOSSES.parent / "data/cifar10/train.npz") as file:
        images, labels = torch.from_numpy(file["images"]), torch.from_numpy(file["labels"]).long()

    class Images(TensorDataset):
        targets = labels

        def __getitem__(self, index: int) -> tuple[Tensor, ...]:
            return ((images[index].float() - MEAN) / STD).permute(2, 0, 1), labels[index]

    loader = DataLoader(Images(images, labels), batch_size=128)
    grid = Grid.square(1.0, 51)
    found = survey(module, loader, plane, grid, step_of(nn.CrossEntropyLoss()), seconds=1e9)
    plan = found.plan("auto")
    assert plan is not None
    row = trials(stored, "loss", plan.subset[0], plan.coarse)
    return {
        "network": stored.name,
        "points": grid.size,
        "examples": plan.subset[0],
        "reference": plan.reference[0],
        "coarse": [plan.coarse, plan.coarse],
        "share": plan.work(grid) / (grid.size * 50_000),
        "largest": row.largest,
        "covered": row.covered,
        "seconds": found.seconds(plan, 1),
        "seconds_exact": found.seconds(None, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="the folder with published networks and surfaces")
    args = parser.parse_args()
    torch.set_num_threads(1)
    names = ("small_dense_margin", "cnn_nll", *WHOLE, *DIGITS)
    networks = {name: Stored(name) for name in names if (LOSSES / name).is_dir()}
    print("nothing is stored of:", ", ".join(name for name in names if name not in networks) or "none")
    rows = []
    for name, stored in networks.items():
        choices = [(128, 7), (256, 7)] if name in DIGITS else CHOICES
        for channel in ("loss", "right"):
            for examples, count in choices:
                row = trials(stored, channel, examples, count)
                rows.append(row)
                print(
                    f"{name:20} {row.channel:9} n={examples:5} {count} x {count}  share {row.share:.4f}  "
                    f"largest {row.largest:.3f} % ({row.largest_of_all:.3f})  rms {row.typical:.3f} %  "
                    f"reported {row.reported:.3f} %  covered {row.covered:.3f} (least {row.covered_least:.3f})",
                    flush=True,
                )
    made = []
    for name, stored in networks.items():
        made.append((auto_resnet if name in WHOLE else auto)(stored, args.shared))
        print("auto:", made[-1], flush=True)
    points = {name: int(stored.done.sum()) for name, stored in networks.items()}
    print(save("estimation", {"choices": [asdict(row) for row in rows], "auto": made, "points": points}))


if __name__ == "__main__":
    main()
