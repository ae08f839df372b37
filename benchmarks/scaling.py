"""How the time of a surface grows with points, examples, parameters and ranks, and what the cost model says of it.

::

    python benchmarks/scaling.py

A perceptron on random images, in float32 on one thread a process. One thing is varied at a time; each time is the
median of three interleaved surfaces. The line is the cost model's prediction from a survey of the smallest case, which
is extrapolated beyond the last measurement (dashed). Numbers go to ``results/scaling.json``, the figure to
``docs/images/scaling.png``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from interleaved import interleave, save
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_landscape import Grid, Plane, compute_surface, weights_of
from lightning_landscape.engine.survey import survey
from lightning_landscape.sampling.cost import surface_seconds

PICTURE = Path(__file__).parents[1] / "docs/images/scaling.png"
RESOLUTION, EXAMPLES, HIDDEN, BATCH = 9, 512, 256, 128
VARIED: dict[str, list[int]] = {
    "points": [5, 9, 15, 21],  # along each axis
    "examples": [256, 512, 2048, 8192],
    "hidden": [64, 256, 1024],
    "ranks": [1, 2],
}
FURTHER = {"points": 101, "examples": 60_000, "hidden": 4096, "ranks": 64}
LABELS = {"points": "points", "examples": "examples", "hidden": "parameters", "ranks": "ranks"}


def step(module: nn.Module, batch: list[Tensor]) -> Tensor:
    return nn.functional.cross_entropy(module(batch[0]), batch[1])


def network(hidden: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def data(examples: int) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(examples, 784, generator=generator)
    return DataLoader(TensorDataset(images, torch.randint(0, 10, (examples,), generator=generator)), batch_size=BATCH)


def problem(points: int = RESOLUTION, examples: int = EXAMPLES, hidden: int = HIDDEN, **_: int) -> tuple[Any, ...]:
    module = network(hidden)
    return module, data(examples), Plane.random(weights_of(module)), Grid.square(1.0, points), step


def timed(kind: str) -> dict[int, float]:
    """Median seconds of a surface for each value of what is varied, without shortcuts."""
    problems = {str(value): problem(**{kind: value}) for value in VARIED[kind]}
    jobs = {
        name: lambda made=made: compute_surface(*made, progress=False, shortcuts=[])  # type: ignore[misc]
        for name, made in problems.items()
    }
    return {int(name): timing.median for name, timing in interleave(jobs, runs=3).items()}


def timed_ranks() -> dict[int, float]:
    """The same for processes that share the points, each with one thread."""
    seconds = {}
    for ranks in VARIED["ranks"]:
        command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}", "--standalone", __file__]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([*command, "--rank"], capture_output=True, text=True, env=environment, check=True)
        seconds[ranks] = float(done.stdout.split()[-1])
    return seconds


def rank() -> None:
    """One of these processes: rank zero prints the median seconds."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    made, times = problem(points=25), []
    for _ in range(4):
        dist.barrier()
        started = time.perf_counter()
        compute_surface(*made, progress=False, shortcuts=[])
        times.append(time.perf_counter() - started)
    if dist.get_rank() == 0:
        print(float(np.median(times[1:])))
    dist.destroy_process_group()


def predictions() -> dict[str, dict[int, float]]:
    """The cost model's seconds, from one survey for each network and of nothing else."""
    found = {h: survey(*problem(hidden=h), seconds=1.0).pilot.costs for h in [*VARIED["hidden"], FURTHER["hidden"]]}
    costs, fine = found[HIDDEN], 25**2

    def of(kind: str, value: int) -> float:
        points = value**2 if kind == "points" else fine if kind == "ranks" else RESOLUTION**2
        examples = value if kind == "examples" else EXAMPLES
        chosen = found[value] if kind == "hidden" else costs
        return surface_seconds(
            replace(chosen, batch_size=BATCH), points, [examples], ranks=value if kind == "ranks" else 1
        )

    return {kind: {value: of(kind, value) for value in [*values, FURTHER[kind]]} for kind, values in VARIED.items()}


def figure(measured: dict[str, dict[int, float]], predicted: dict[str, dict[int, float]]) -> Figure:
    made = Figure(figsize=(9.6, 6.4), layout="constrained")
    for axes, (kind, times) in zip(made.subplots(2, 2).flat, measured.items(), strict=True):

        def place(value: int, kind: str = kind) -> int:
            if kind == "points":
                return value**2
            return sum(p.numel() for p in network(value).parameters()) if kind == "hidden" else value

        line = predicted[kind]
        inside = [v for v in line if v <= max(times)]
        beyond = [v for v in line if v >= max(times)]
        axes.loglog([place(v) for v in inside], [line[v] for v in inside], color="#3b6ea8", label="cost model")
        axes.loglog([place(v) for v in beyond], [line[v] for v in beyond], "--", color="#3b6ea8", label="extrapolated")
        axes.loglog([place(v) for v in times], list(times.values()), "o", color="#c4552d", label="measured")
        axes.set_xlabel(LABELS[kind])
        axes.set_ylabel("seconds")
        axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.7)
    made.axes[0].legend(frameon=False)
    made.suptitle(
        f"Time of an exact surface ({RESOLUTION} x {RESOLUTION} points, {EXAMPLES:,} examples, {HIDDEN} hidden units; "
        "ranks at 25 x 25)",
        fontsize=11,
    )
    return made


def main() -> None:
    torch.set_num_threads(1)
    predicted = predictions()
    measured = {kind: timed(kind) for kind in VARIED if kind != "ranks"} | {"ranks": timed_ranks()}
    for kind, times in measured.items():
        for value, seconds in times.items():
            print(f"{kind:10} {value:6}  measured {seconds:8.3f} s  predicted {predicted[kind][value]:8.3f} s")
    figure(measured, predicted).savefig(PICTURE, dpi=110)
    print(save("scaling", {"measured": measured, "predicted": predicted}))


if __name__ == "__main__":
    rank() if "--rank" in sys.argv else main()
