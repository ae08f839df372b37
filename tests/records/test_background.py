"""Writing on a thread: nothing is lost, nothing is mixed up, memory is bounded, and failures reach the user."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_landscape.errors import GeometryError, RecordError
from lightning_landscape.records import SurfaceFile, Trajectory, TrajectoryFile
from lightning_landscape.records.background import BackgroundWriter
from lightning_landscape.records.rows import RowsFile
from tests.records import children
from tests.records.children import STEPS, open_surface, surface_values, weights_at
from tests.records.nursery import Nursery
from tests.records.test_trajectory import assert_equal, assert_partial


class Gate(RowsFile):
    """A file whose disk waits for permission to write, and may be full."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.full_at: int | None = None
        self.rows: list[tuple[int, list[float]]] = []
        self.buffers: set[int] = set()
        self.closed = False

    def append(self, values: Mapping[str, Tensor], step: int, epoch: int, lr: float | None = None) -> None:
        self.buffers.add(values["w"].data_ptr())
        assert self.open.wait(30)
        if step == self.full_at:
            raise RecordError("the disk is full")
        self.rows.append((step, values["w"].tolist()))

    def close(self) -> None:
        self.closed = True


def test_rows_are_those_of_the_moment_in_their_order() -> None:
    file = Gate()
    writer = BackgroundWriter(file)
    live = torch.zeros(3)
    writer.append({"w": live}, step=0, epoch=0)
    live += 1
    writer.append({"w": live}, step=1, epoch=0)
    live += 1
    file.open.set()
    for step in range(2, 50):
        writer.append({"w": live}, step=step, epoch=0)
        live += 1
    writer.close()
    assert file.rows == [(step, [float(step)] * 3) for step in range(50)]
    assert file.closed
    assert len(file.buffers) <= 2


def test_a_training_faster_than_the_disk_waits_for_it() -> None:
    file = Gate()
    writer = BackgroundWriter(file)
    for step in range(2):
        writer.append({"w": torch.zeros(3)}, step=step, epoch=0)
    third = threading.Thread(target=writer.append, args=({"w": torch.zeros(3)}, 2, 0))
    third.start()
    third.join(0.2)
    assert third.is_alive()
    file.open.set()
    third.join(30)
    assert not third.is_alive()
    writer.close()
    assert [step for step, _ in file.rows] == [0, 1, 2]


def test_flush_waits_for_all() -> None:
    file = Gate()
    writer = BackgroundWriter(file)
    writer.append({"w": torch.zeros(3)}, step=0, epoch=0)
    threading.Timer(0.05, file.open.set).start()
    writer.flush()
    assert len(file.rows) == 1
    writer.close()


@pytest.mark.parametrize("moment", ["append", "flush", "close"])
def test_a_failure_is_raised_at_the_next_occasion_and_leaves_no_gap(moment: str) -> None:
    file = Gate()
    file.full_at = 1
    writer = BackgroundWriter(file)
    writer.append({"w": torch.zeros(3)}, step=0, epoch=0)
    # Queued behind the one that will fail: it is not written either.
    writer.append({"w": torch.zeros(3)}, step=1, epoch=0)
    file.open.set()
    act = {
        "append": lambda: [writer.append({"w": torch.zeros(3)}, step=step, epoch=0) for step in (2, 3, 4)],
        "flush": writer.flush,
        "close": writer.close,
    }[moment]
    with pytest.raises(RecordError, match="the disk is full"):
        act()
    with pytest.raises(RecordError, match="the disk is full"):
        writer.close()
    assert file.closed
    assert [step for step, _ in file.rows] == [0]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    writer = BackgroundWriter(TrajectoryFile.create(tmp_path / "t.h5", {"w": torch.zeros(2)}, capacity=2))
    writer.append({"w": torch.zeros(3)}, step=0, epoch=0)
    with pytest.raises(GeometryError, match=r"append to .*t\.h5"):
        writer.close()


def test_surfaces_are_written_and_trajectories_read_at_the_same_time(tmp_path: Path) -> None:
    """HDF5 has one lock for all files of a process: nobody waits for it while holding another one."""
    rows = 60
    writer = BackgroundWriter(TrajectoryFile.create(tmp_path / "t.h5", weights_at(0), capacity=2))

    def surfaces(number: int) -> None:
        with open_surface(tmp_path / f"s{number}.h5") as file:
            for index in range(15):
                file.write(index, surface_values(index), {"loss": 0.5})
                with Trajectory.load(tmp_path / "t.h5") as trajectory:
                    for weights in trajectory:
                        assert weights["layer.weight"].shape == (4, 3)

    others = [threading.Thread(target=surfaces, args=(number,), daemon=True) for number in range(2)]
    for thread in others:
        thread.start()
    for step in range(rows):
        writer.append(weights_at(step), step=step, epoch=0)
    writer.close()
    for thread in others:
        thread.join(60)
        assert not thread.is_alive()
    assert assert_partial(tmp_path / "t.h5") == rows
    for number in range(2):
        with open_surface(tmp_path / f"s{number}.h5") as file:
            assert isinstance(file, SurfaceFile)
            assert file.done.all()


def reference(folder: Path) -> bytes:
    children.write_in_background(str(folder / "reference.h5"))
    assert assert_partial(folder / "reference.h5") == STEPS
    return (folder / "reference.h5").read_bytes()


def test_killed_at_any_moment(tmp_path: Path, nursery: Nursery) -> None:
    whole, path = reference(tmp_path), tmp_path / "t.h5"
    rng = np.random.default_rng(2)
    recorded = 0
    for _ in range(10):
        assert nursery.run_for(rng.uniform(0, 0.2), "write_in_background", path=str(path), pause=0.001) in {-9, 0}
        if path.exists():
            found = assert_partial(path)
            assert found >= recorded - 2
            recorded = found
    assert nursery.run("write_in_background", path=str(path)) == 0
    assert path.read_bytes() == whole


def test_killed_before_each_touch_of_the_file(tmp_path: Path, nursery: Nursery) -> None:
    whole = reference(tmp_path)
    deaths = 0
    for touch in range(3, 2000, 37):
        path = tmp_path / "t.h5"
        status = nursery.run("die_at", touch=touch, victim="write_in_background", path=str(path))
        if path.exists():
            assert_partial(path)
        children.write_in_background(str(path))
        assert path.read_bytes() == whole
        path.unlink()
        if status == 0:
            break
        assert status == -9
        deaths += 1
    assert deaths > (STEPS * 7 + 4 * 30) / 37


def test_a_full_disk(tmp_path: Path, nursery: Nursery) -> None:
    pytest.importorskip("resource")
    path, report = tmp_path / "t.h5", tmp_path / "report"
    assert nursery.run("fill_disk_in_background", path=str(path), ready=str(report)) == 0
    messages = report.read_text().split("\n---\n")
    assert len(messages) == 4
    # The first row that does not fit is one of the first; it is reported two rows later at most.
    assert int(messages[0].partition(":")[0]) <= 5
    for message in messages:
        assert "cannot write to" in message
        assert "what was written to it before is safe" in message
    with Trajectory.load(path) as trajectory:
        assert 0 < len(trajectory) < 10
        assert trajectory.steps.tolist() == list(range(len(trajectory)))
    with TrajectoryFile.resume(path, after_step=100) as file:
        file.append({"w": torch.zeros(1000)}, step=100, epoch=0)


def test_a_script_that_ends_without_closing(tmp_path: Path) -> None:
    code = "import sys; from tests.records import nursery; nursery.import_children().leave_without_closing(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "t.h5")], check=True, cwd=Path(__file__).parents[2])
    assert assert_partial(tmp_path / "t.h5") == 5
    with Trajectory.load(tmp_path / "t.h5") as trajectory:
        assert_equal(trajectory[4], weights_at(4))
