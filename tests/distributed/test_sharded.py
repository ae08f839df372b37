"""FSDP and FSDP2 in two processes, against one: the checks inside of both processes are in `sharded.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_landscape import Grid, Plane, Surface, compute_surface, weights_from_checkpoint, weights_of
from lightning_landscape.geometry.weights import place
from tests.distributed.sharded import NAMES, Tensors, line_from, loader, loss_of
from tests.modules_under_test import Delicate

IDENTITY = ("weights_sha256", "slice_sha256", "sample_sha256", "batch_norm", "sample_seed", "autocast")


def assert_surface_of_one_process(sharded: Surface, single: Surface, *, leave_out: str = "") -> None:
    """The same numbers, and the same identity: a record of one is continued by the other."""
    assert sharded.complete
    for key in IDENTITY:
        assert sharded.attrs[key] == single.attrs[key], key
    assert sharded.attrs["direction_norms"] == pytest.approx(single.attrs["direction_norms"], rel=1e-12)
    for name in single.names:
        if name != leave_out:
            np.testing.assert_allclose(sharded[name], single[name], rtol=1e-6, err_msg=name)
            np.testing.assert_allclose(sharded.error(name), single.error(name), rtol=1e-5, err_msg=name)


def surface_of(module: Any, checkpoint: Path) -> Surface:
    """Compute in one process what the callback computed at the end of training."""
    place(module, weights_from_checkpoint(checkpoint, module, buffers=True))
    plane = Plane.random(weights_of(module), seed=0)
    return compute_surface(module, loader(8), plane, Grid(x=(-1, 1, 3), y=(-1, 1, 3)), progress=False)


@pytest.mark.parametrize("name", NAMES)
def test_the_callbacks_surface(folder: Path, name: str) -> None:
    """The weights come from the consolidated checkpoint, which Lightning wrote; the null test is in both processes."""
    records = sorted((folder / name).glob("*.h5"))
    assert len(records) == 2
    single = surface_of(Delicate(), folder / f"{name}.ckpt")
    # Random numbers go through the batches in one stream, of which each rank has its own.
    assert_surface_of_one_process(Surface.load(records[-1]), single, leave_out="val_noise")


@pytest.mark.parametrize("name", NAMES)
def test_a_line_with_statistics_and_a_step_of_the_users(folder: Path, name: str) -> None:
    module = Delicate()
    line = line_from(weights_from_checkpoint(folder / f"{name}.ckpt", module, buffers=True))
    single = compute_surface(
        module, loader(8), line, Grid(x=(0, 1, 3)), loss_of, batch_norm="interpolate", examples=20, progress=False
    )
    assert_surface_of_one_process(Surface.load(folder / f"{name}-line.h5"), single)


def test_tensor_parallelism(folder: Path) -> None:
    module = Tensors()
    single = surface_of(module, folder / "tensors.ckpt")
    (record,) = (folder / "tensors").glob("*.h5")
    assert_surface_of_one_process(Surface.load(record), single)
