"""Timing that can be trusted on noisy machines: jobs take turns in one run, and what counts is the ratio of medians.

Used by the other scripts of this folder; each is one command, and keeps what it measured in ``results/<name>.json``
together with the machine that it was measured on.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Timing:
    """The seconds that each run of one job took, in the order of the runs."""

    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def interleave(jobs: Mapping[str, Callable[[], object]], runs: int = 7, warmup: int = 1) -> dict[str, Timing]:
    """Run the jobs in turn, A B C A B C ..., so that a machine that slows down slows all of them.

    Args:
        jobs: what to time, by name.
        runs: how often each job is timed.
        warmup: how often each job runs before that.
    """
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for run in range(warmup + runs):
        for name, job in jobs.items():
            started = time.perf_counter()
            job()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if run >= warmup:
                seconds[name].append(time.perf_counter() - started)
    return {name: Timing(values) for name, values in seconds.items()}


def paired_ratio(job: Timing, reference: Timing) -> float:
    """The median over the runs of job / reference, each pair measured next to each other."""
    return statistics.median(a / b for a, b in zip(job.seconds, reference.seconds, strict=True))


def environment(*packages: str) -> dict[str, Any]:
    """What the numbers depend on: processor, threads, device, versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "lightning", "lightning-landscape", *packages)},
    }


def save(name: str, results: Mapping[str, Any], *packages: str) -> Path:
    """Write ``results/<name>.json``: what was measured, and where."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"environment": environment(*packages), **results}, indent=2) + "\n", encoding="utf-8")
    return path


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    details = Path("/proc/cpuinfo")
    lines = details.read_text(encoding="utf-8").splitlines() if details.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
