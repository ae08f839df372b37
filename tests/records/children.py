"""What the processes do that the tests kill."""

from __future__ import annotations

import os
import pathlib
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from lightning_landscape.geometry.weights import Role, Weights
from lightning_landscape.records import SurfaceFile, TrajectoryFile
from lightning_landscape.records.background import BackgroundWriter

X, Y = np.linspace(-1, 1, 5), np.linspace(0, 1, 3)
NAMES = ["loss", "accuracy"]


def surface_values(index: int) -> dict[str, float]:
    """The result at a point; one is NaN, one infinite, one -1."""
    return {"loss": [np.nan, np.inf, -1.0][index] if index < 3 else index**2 / 7, "accuracy": -index}


def open_surface(path: str | Path) -> SurfaceFile:
    """The surface file that all children write."""
    identity = {"weights_sha256": "ab12", "step": "validation_step"}
    return SurfaceFile.open(path, X, Y, NAMES, {"seed": 0, "title": "é"}, identity=identity, loss="loss")


def write_surface(path: str, log: str | None = None, pause: float = 0.0) -> None:
    """Write every point that is not done, and note it in the log before it is written."""
    if pause:
        _slow_down(pause)
    with open_surface(path) as file:
        for index in np.flatnonzero(~file.done).tolist():
            time.sleep(pause)
            if log is not None:
                with Path(log).open("a") as lines:
                    lines.write(f"{index}\n")
            file.write(index, surface_values(index), {"loss": 0.5})


def hold_surface(path: str, ready: str) -> None:
    """Keep a surface open for writing until killed."""
    with open_surface(path) as file:
        file.write(4, surface_values(4))
        Path(ready).touch()
        time.sleep(600)


def weights_at(step: int) -> Weights:
    """The weights of an imagined training."""
    generator = torch.Generator().manual_seed(step)
    return Weights(
        {
            "layer.weight": torch.randn(4, 3, generator=generator),
            "layer.scale": torch.randn((), generator=generator).double(),
            "layer.empty": torch.zeros(0, 3),
            "norm/bias": torch.randn(5, generator=generator).bfloat16(),
        },
        {"layer.weight": Role(filter_dim=1, groups=2), "norm/bias": Role(filter_dim=None, trainable=False)},
    )


STEPS = 11


def write_trajectory(path: str, pause: float = 0.0) -> None:
    """Record a training of 11 steps that saves a checkpoint every third step, and goes on from the last one."""
    if pause:
        _slow_down(pause)
    if Path(path).exists():
        with TrajectoryFile.resume(path, after_step=10**9) as file:
            last = file.last_step
        checkpoint = -1 if last is None else last // 3 * 3
        file = TrajectoryFile.resume(path, after_step=checkpoint)
    else:
        checkpoint = -1
        file = TrajectoryFile.create(path, weights_at(0), capacity=2, attrs={"seed": 0})
    with file:
        for step in range(checkpoint + 1, STEPS):
            time.sleep(pause)
            file.append(weights_at(step), step=step, epoch=step // 3, lr=0.1 / (step + 1))


def hold_trajectory(path: str, ready: str) -> None:
    """Keep a trajectory open for recording until killed."""
    with TrajectoryFile.create(path, weights_at(0), capacity=2) as file:
        file.append(weights_at(0), step=0, epoch=0)
        Path(ready).touch()
        time.sleep(600)


_TOUCHING_FILES = [
    (h5py.Group, "create_dataset"),
    (h5py.Group, "create_group"),
    (h5py.AttributeManager, "__setitem__"),
    (h5py.Dataset, "__setitem__"),
    (h5py.Dataset, "write_direct"),
    (SurfaceFile, "_put"),
    (h5py.File, "close"),
    (os, "fsync"),
    (pathlib.Path, "replace"),
]


def _before_each_touch(act: Callable[[], None]) -> None:
    for owner, name in _TOUCHING_FILES:
        original = getattr(owner, name)

        def wrapped(*args: Any, _original: Callable[..., Any] = original, **kwargs: Any) -> Any:
            act()
            return _original(*args, **kwargs)

        setattr(owner, name, wrapped)


def _slow_down(pause: float) -> None:
    _before_each_touch(lambda: time.sleep(pause))


def die_at(touch: int, victim: str, **arguments: Any) -> None:
    """Run another of these functions, and die by SIGKILL just before it touches a file for the n-th time."""
    left = touch

    def count() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    _before_each_touch(count)
    globals()[victim](**arguments)


def fill_disk(path: str, ready: str) -> None:
    """Append to a trajectory and write a surface until files may not become longer."""
    import resource

    from lightning_landscape.errors import RecordError

    big = Weights({"w": torch.ones(1000)})
    with TrajectoryFile.create(path, big, capacity=10) as file, open_surface(path + ".surface") as surface:
        file.append(big, step=0, epoch=0)
        surface.write(3, surface_values(3))
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, resource.RLIM_INFINITY))
        messages = []
        for _ in range(2):
            try:
                for step in range(1, 10):
                    file.append(big, step=step, epoch=0)
            except RecordError as error:
                messages.append(str(error))
            try:
                surface.write(14, surface_values(14), {"loss": 0.5})
            except RecordError as error:
                messages.append(str(error))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    Path(ready).write_text("\n---\n".join(messages))


def write_in_background(path: str, pause: float = 0.0) -> None:
    """Do as `write_trajectory`, with the thread between the training and the file."""
    if pause:
        _slow_down(pause)
    if Path(path).exists():
        with TrajectoryFile.resume(path, after_step=10**9) as file:
            last = file.last_step
        checkpoint = -1 if last is None else last // 3 * 3
        file = TrajectoryFile.resume(path, after_step=checkpoint)
    else:
        checkpoint = -1
        file = TrajectoryFile.create(path, weights_at(0), capacity=2, attrs={"seed": 0})
    writer = BackgroundWriter(file)
    for step in range(checkpoint + 1, STEPS):
        writer.append(weights_at(step), step=step, epoch=step // 3, lr=0.1 / (step + 1))
    writer.close()


def leave_without_closing(path: str) -> None:
    """Record in the background and end like a script whose last line is reached."""
    writer = BackgroundWriter(TrajectoryFile.create(path, weights_at(0), capacity=2))
    _slow_down(0.002)
    for step in range(5):
        writer.append(weights_at(step), step=step, epoch=0)


def fill_disk_in_background(path: str, ready: str) -> None:
    """Record in the background until files may not become longer."""
    import resource

    from lightning_landscape.errors import RecordError

    big = Weights({"w": torch.ones(1000)})
    writer = BackgroundWriter(TrajectoryFile.create(path, big, capacity=10))
    writer.append(big, step=0, epoch=0)
    writer.flush()
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, resource.RLIM_INFINITY))
    messages = []
    try:
        for step in range(1, 10):
            writer.append(big, step=step, epoch=0)
    except RecordError as error:
        messages.append(f"{step}: {error}")
    # Room again: the failure stays, for what it lost cannot be brought back.
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    for act in (lambda: writer.append(big, step=20, epoch=0), writer.flush, writer.close):
        try:
            act()
        except RecordError as error:
            messages.append(str(error))
    Path(ready).write_text("\n---\n".join(messages))
