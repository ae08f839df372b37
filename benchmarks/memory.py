"""What memory a surface takes beside the module, against the formula of `plan=true`.

::

    python benchmarks/memory.py

Perceptrons of several sizes, each in a process of its own, on one thread. What is measured is by how much the largest
resident size of the process grows, from before the plane is made to after the surface. A small surface, computed
before, keeps out of the number what torch sets up once.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from interleaved import save
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lightning_landscape import Grid, Plane, compute_surface, weights_of
from lightning_landscape.engine.survey import survey

CASES = [(512, 1024), (1024, 1024), (2048, 1024), (512, 16_384), (512, 65_536)]  # hidden units, examples
LAYERS, BATCH = 12, 128
GRID = Grid.square(1.0, 3)


class Images(Dataset[tuple[Tensor, int]]):
    """Images that take no memory until they are asked for."""

    def __init__(self, features: int, count: int) -> None:
        self.features = features
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((self.features,), index / self.count), index % 10


def step(module: nn.Module, batch: list[Tensor]) -> Tensor:
    return nn.functional.cross_entropy(module(batch[0]), batch[1])


def network(hidden: int) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(LAYERS):
        layers += [nn.Linear(hidden, hidden), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden, 10))


def data(hidden: int, examples: int) -> DataLoader[Any]:
    return DataLoader(Images(hidden, examples), batch_size=BATCH)


def surface(module: nn.Module, loader: DataLoader[Any]) -> None:
    plane = Plane.random(weights_of(module))
    compute_surface(module, loader, plane, GRID, step, progress=False, shortcuts=[])


def largest() -> int:
    """The largest resident size of this process so far, in bytes (Linux)."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert found is not None
    return 1024 * int(found.group(1))


def measured(hidden: int, examples: int) -> int:
    surface(network(16), data(16, 256))
    module = network(hidden)
    before = largest()
    surface(module, data(hidden, examples))
    return largest() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs=2, type=int, metavar=("HIDDEN", "EXAMPLES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.measure:
        print(measured(*options.measure))
        return
    rows = []
    for hidden, examples in CASES:
        command = [sys.executable, __file__, "--measure", str(hidden), str(examples)]
        found = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        module = network(hidden)
        plane = Plane.random(weights_of(module))
        formula = survey(module, data(hidden, examples), plane, GRID, step, seconds=1.0).footprint(None)
        row = {
            "hidden": hidden,
            "examples": examples,
            "parameters": 4 * sum(p.numel() for p in module.parameters()),
            "measured": found,
            "formula": formula.memory,
            "weights": formula.weights,
            "kept": formula.examples,
            "activations": formula.activations,
        }
        rows.append(row)
        megabytes = ", ".join(f"{name} {value / 1e6:,.1f} MB" for name, value in list(row.items())[2:])
        print(f"{hidden} hidden units, {examples} examples: {megabytes}", flush=True)
    print(save("memory", {"rows": rows}))


if __name__ == "__main__":
    main()
