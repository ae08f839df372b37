"""What recording costs: a ResNet-20 trained with and without a TrajectoryRecorder, in turn.

    python benchmarks/trajectories.py [--runs 7] [--steps 40] [--threads 2]

Images are random, of CIFAR-10's size, in batches of 128. Each run is one epoch of so many steps, shorter than a real
one (391), so what is paid once an epoch weighs ten times as much here. Beside the ratio of the runs' times, which holds
the noise of the machine, stands the share of the time that passed inside of the recorder's hooks.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from interleaved import Timing, interleave, paired_ratio, save
from torch.utils.data import DataLoader, TensorDataset

from lightning_landscape import TrajectoryRecorder
from lightning_landscape.models import ResNet
from lightning_landscape.modules import Classifier

BATCH = 128
RECORDERS: dict[str, dict[str, Any] | None] = {
    "no recorder": None,
    "weights, every epoch": {},
    "weights, every step": {"every_n_steps": 1},
    "sketch of 4,096 numbers, every step": {"every_n_steps": 1, "sketch": 4096},
}


class Timed(TrajectoryRecorder):
    """Adds up the time that passes inside of the hooks that record."""

    seconds = 0.0

    def record(self, *arguments: Any) -> None:
        started = time.perf_counter()
        super().record(*arguments)
        self.seconds += time.perf_counter() - started


def training(
    data: TensorDataset, options: dict[str, Any] | None, folder: Path, shares: list[float]
) -> Callable[[], None]:
    """An epoch with or without a recorder; the share of the time in its hooks is appended to `shares`."""

    def run() -> None:
        pl.seed_everything(0, verbose=False)
        module = Classifier(ResNet(20), partial(torch.optim.SGD, lr=0.1, momentum=0.9))
        with tempfile.TemporaryDirectory(dir=folder) as output:
            recorder = None if options is None else Timed(**options, dirpath=output)
            trainer = pl.Trainer(
                max_epochs=1,
                accelerator="cpu",
                callbacks=[recorder] if recorder else [],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            started = time.perf_counter()
            trainer.fit(module, DataLoader(data, BATCH))
            if recorder is not None:
                shares.append(recorder.seconds / (time.perf_counter() - started))

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    examples = BATCH * arguments.steps
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(examples, 3, 32, 32, generator=generator)
    data = TensorDataset(images, torch.randint(10, (examples,), generator=generator))
    shares: dict[str, list[float]] = {name: [] for name in RECORDERS}
    with tempfile.TemporaryDirectory() as folder:
        jobs = {name: training(data, options, Path(folder), shares[name]) for name, options in RECORDERS.items()}
        timings = interleave(jobs, arguments.runs)
    results = _results(timings, shares, arguments.steps)
    for name, result in results.items():
        print(name, *(f"{key}={value:.4g}" for key, value in result.items()), sep="  ")
    print(save("trajectories", {"settings": vars(arguments), "jobs": results}))


def _results(timings: dict[str, Timing], shares: dict[str, list[float]], steps: int) -> dict[str, dict[str, float]]:
    plain = timings["no recorder"]
    return {
        name: {
            "seconds_a_step": timing.median / steps,
            "ratio": timing.median / plain.median,
            "paired_ratio": paired_ratio(timing, plain),
            "share_in_hooks": statistics.median(shares[name]) if shares[name] else 0.0,
        }
        for name, timing in timings.items()
    }


if __name__ == "__main__":
    main()
