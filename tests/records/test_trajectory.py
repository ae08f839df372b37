from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_landscape.errors import GeometryError, RecordError
from lightning_landscape.geometry import Checkpoints, Plane, Role, Weights, weights_of
from lightning_landscape.records import Surface, Trajectory, TrajectoryFile
from tests.records import children
from tests.records.children import STEPS, weights_at
from tests.records.nursery import Nursery
from tests.records.test_surface_file import wait_for


def record(path: Path, steps: int, **arguments: Any) -> Path:
    with TrajectoryFile.create(path, weights_at(0), **{"capacity": steps, **arguments}) as file:
        for step in range(steps):
            file.append(weights_at(step), step=10 * step, epoch=step, lr=0.1 if step % 2 else None)
    return path


def assert_equal(found: Weights, expected: Weights) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert torch.equal(found[name], tensor)
    assert found.roles == expected.roles


@pytest.mark.parametrize("capacity", [1, 2, 3, 7, 100])
def test_what_is_recorded_comes_back(tmp_path: Path, capacity: int) -> None:
    path = record(tmp_path / "t.h5", 7, capacity=capacity, attrs={"name": "Weg", "seed": 1})
    with Trajectory.load(path) as trajectory:
        assert len(trajectory) == 7
        for step, weights in enumerate(trajectory):
            assert_equal(weights, weights_at(step))
        assert_equal(trajectory[-1], weights_at(6))
        assert trajectory.names == list(weights_at(0))
        assert trajectory.steps.tolist() == [0, 10, 20, 30, 40, 50, 60]
        assert trajectory.epochs.tolist() == list(range(7))
        np.testing.assert_array_equal(trajectory.lr, [np.nan, 0.1, np.nan, 0.1, np.nan, 0.1, np.nan])
        assert trajectory.attrs == {"name": "Weg", "seed": 1}
        for index in (7, -8):
            with pytest.raises(IndexError):
                trajectory[index]
    assert [p.name for p in tmp_path.iterdir()] == ["t.h5"]


def test_blocks_are_columns_of_the_flattened_tensors(tmp_path: Path) -> None:
    with Trajectory.load(record(tmp_path / "t.h5", 5, capacity=8)) as trajectory:
        assert isinstance(trajectory, Checkpoints)
        for name, tensor in weights_at(0).items():
            rows = torch.stack([weights_at(step)[name].flatten() for step in range(5)])
            for start, stop in [(0, tensor.numel()), (1, 4), (5, 7), (0, 0)]:
                block = trajectory.block(name, start, stop)
                assert block.dtype == tensor.dtype
                assert torch.equal(block, rows[:, start:stop])
        with pytest.raises(RecordError, match=r"no tensor 'gone'.*'layer\.weight'"):
            trajectory.block("gone", 0, 1)


def test_the_plane_of_a_recorded_trajectory(tmp_path: Path) -> None:
    # Points of an ellipse in a plane through the origin of R^6: the plane is found, and the residuals vanish.
    angles = torch.linspace(0, 3, 8, dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    points = torch.stack([3 * angles.cos(), angles.sin()], dim=1) @ basis.T
    with TrajectoryFile.create(tmp_path / "t.h5", {"w": points[0].reshape(2, 3)}, capacity=8) as file:
        for step, point in enumerate(points):
            file.append({"w": point.reshape(2, 3)}, step=step, epoch=step)
    with Trajectory.load(tmp_path / "t.h5") as trajectory:
        plane = Plane.principal(trajectory)
        path = plane.project(trajectory)
    np.testing.assert_allclose(path.residual, 0, atol=1e-12)
    np.testing.assert_allclose(path.coordinates[-1], 0, atol=1e-12)
    distances = (points - points[-1]).norm(dim=1)
    np.testing.assert_allclose(np.linalg.norm(path.coordinates, axis=1), distances, atol=1e-12)
    assert path.steps.tolist() == list(range(8))


@pytest.mark.parametrize(
    ("own", "dtype", "stored"),
    [
        (torch.float32, None, "<f4"),
        (torch.float64, None, "<f8"),
        (torch.float16, None, "<f2"),
        (torch.bfloat16, None, "<f4"),
        (torch.float32, "float16", "<f2"),
        (torch.float64, "float32", "<f4"),
        (torch.float16, "float32", "<f2"),
        (torch.bfloat16, "float16", "<f2"),
    ],
)
def test_precision(tmp_path: Path, own: torch.dtype, dtype: Any, stored: str) -> None:
    exact = torch.tensor([1.0, -0.5, 2.0**-14, float("inf")], dtype=own)
    rounded = torch.tensor([1 / 3, 0.1, 1e-3, 1.0], dtype=torch.float64).to(own)
    with TrajectoryFile.create(tmp_path / "t.h5", {"a": exact}, capacity=2, dtype=dtype) as file:
        file.append({"a": exact}, step=0, epoch=0)
        file.append({"a": rounded}, step=1, epoch=0)
    with h5py.File(tmp_path / "t.h5", "r") as raw:
        assert raw["weights/a"].dtype == np.dtype(stored)
    storage = {"<f2": torch.float16, "<f4": torch.float32, "<f8": torch.float64}[stored]
    with Trajectory.load(tmp_path / "t.h5") as trajectory:
        assert torch.equal(trajectory[0]["a"], exact)
        assert torch.equal(trajectory[1]["a"], rounded.to(storage).to(own))
        assert trajectory.lr is None


def test_half_precision_is_for_parameters_that_fit(tmp_path: Path) -> None:
    module = torch.nn.BatchNorm1d(2)
    module.running_var = torch.tensor([1e6, 1.0])
    weights = weights_of(module, buffers=True)
    with TrajectoryFile.create(tmp_path / "t.h5", weights, capacity=1, dtype="float16") as file:
        file.append(weights, step=0, epoch=0)
        weights["weight"] = torch.tensor([1.0, 1e5])
        with pytest.raises(RecordError, match=r"weight has values up to 1e\+05, too large for torch\.float16"):
            file.append(weights, step=1, epoch=0)
        assert len(file) == 1
    with Trajectory.load(tmp_path / "t.h5") as trajectory:
        assert trajectory[0]["running_var"].tolist() == [1e6, 1.0]
        assert len(trajectory) == 1


def test_append_refuses_what_does_not_fit(tmp_path: Path) -> None:
    file = TrajectoryFile.create(tmp_path / "t.h5", {"a": torch.zeros(2, 3)}, capacity=2)
    file.append({"a": torch.ones(2, 3)}, step=5, epoch=0)
    wrong: list[dict[str, Tensor]] = [{"a": torch.zeros(3, 2)}, {"b": torch.zeros(2, 3)}]
    for weights in wrong:
        with pytest.raises(GeometryError, match=r"append to .*t\.h5"):
            file.append(weights, step=6, epoch=0)
    with pytest.raises(RecordError, match="step 4 comes before step 5"):
        file.append({"a": torch.zeros(2, 3)}, step=4, epoch=0)
    file.append({"a": torch.full((2, 3), 2.0)}, step=5, epoch=1)
    assert len(file) == 2
    assert file.last_step == 5
    file.close()
    file.close()
    with pytest.raises(RecordError, match="closed"):
        file.append({"a": torch.zeros(2, 3)}, step=6, epoch=0)
    with Trajectory.load(tmp_path / "t.h5") as trajectory:
        assert trajectory.block("a", 0, 1).flatten().tolist() == [1.0, 2.0]


def test_create_refuses(tmp_path: Path) -> None:
    record(tmp_path / "t.h5", 2)
    before = (tmp_path / "t.h5").read_bytes()
    with pytest.raises(RecordError, match=r"a file at .*t\.h5 already"):
        TrajectoryFile.create(tmp_path / "t.h5", weights_at(0), capacity=1)
    assert (tmp_path / "t.h5").read_bytes() == before
    with pytest.raises(RecordError, match="at least 1 checkpoint, found 0"):
        TrajectoryFile.create(tmp_path / "u.h5", weights_at(0), capacity=0)
    with pytest.raises(RecordError, match="not 'int8'"):
        TrajectoryFile.create(tmp_path / "u.h5", weights_at(0), capacity=1, dtype="int8")  # type: ignore[arg-type]


@pytest.mark.parametrize(("after_step", "kept"), [(-1, 0), (0, 1), (29, 3), (30, 4), (1000, 5)])
def test_resume_forgets_what_came_after(tmp_path: Path, after_step: int, kept: int) -> None:
    path = record(tmp_path / "t.h5", 5)
    with TrajectoryFile.resume(path, after_step=after_step) as file:
        assert len(file) == kept
        assert file.last_step == (10 * (kept - 1) if kept else None)
        file.append(weights_at(99), step=999, epoch=9)
    with Trajectory.load(path) as trajectory:
        assert trajectory.steps.tolist() == [*range(0, 10 * kept, 10), 999]
        assert trajectory.epochs.tolist() == [*range(kept), 9]
        for step in range(kept):
            assert_equal(trajectory[step], weights_at(step))
        assert_equal(trajectory[-1], weights_at(99))


def test_resume_in_a_copy(tmp_path: Path) -> None:
    source, path = record(tmp_path / "a.h5", 5, capacity=8, dtype="float16", attrs={"seed": 1}), tmp_path / "b.h5"
    before = source.read_bytes()
    with TrajectoryFile.resume(path, after_step=20, source=source) as file:
        assert len(file) == 3
        file.append(weights_at(7), step=70, epoch=7)
    assert source.read_bytes() == before
    with Trajectory.load(path) as copy, Trajectory.load(source) as original:
        assert copy.steps.tolist() == [0, 10, 20, 70]
        assert copy.attrs == {"seed": 1}
        for row in range(3):
            assert_equal(copy[row], original[row])
    with pytest.raises(RecordError, match="already"):
        TrajectoryFile.resume(path, after_step=20, source=source)


def test_reserved_space_is_not_occupied(tmp_path: Path) -> None:
    weights = {"w": torch.zeros(1000, 1000)}
    with TrajectoryFile.create(tmp_path / "t.h5", weights, capacity=100) as file:
        file.append(weights, step=0, epoch=0)
    status = (tmp_path / "t.h5").stat()
    assert status.st_size > 400e6
    if status.st_blocks * 512 > status.st_size:
        pytest.skip("this file system has no sparse files")
    assert status.st_blocks * 512 < 10e6


def test_readers_while_it_is_written(tmp_path: Path) -> None:
    with TrajectoryFile.create(tmp_path / "t.h5", weights_at(0), capacity=2) as file:
        with Trajectory.load(tmp_path / "t.h5") as empty:
            assert len(empty) == 0
            assert empty.block("layer.weight", 0, 12).shape == (0, 12)
            with pytest.raises(IndexError):
                empty[0]
        file.append(weights_at(0), step=0, epoch=0)
        with Trajectory.load(tmp_path / "t.h5") as first:
            # The file is full after the second, and the third makes it another file.
            for step in (1, 2, 3, 4):
                file.append(weights_at(step), step=step, epoch=0)
            with Trajectory.load(tmp_path / "t.h5") as second:
                assert (len(first), len(second)) == (1, 5)
                assert_equal(first[0], weights_at(0))
                assert_equal(second[0], first[0])
                assert_equal(second[4], weights_at(4))
    with pytest.raises(RecordError, match="closed"):
        first[0]
    with pytest.raises(RecordError, match="closed"):
        first.block("layer.weight", 0, 1)


def test_a_trajectory_that_nobody_closes(tmp_path: Path) -> None:
    # An open file that is left to the garbage collector would be a ResourceWarning, which is an error here.
    assert_equal(Trajectory.load(record(tmp_path / "t.h5", 2))[1], weights_at(1))


def test_many_tensors_keep_their_order(tmp_path: Path) -> None:
    names = [f"layers.{k}.w" for k in range(60)]
    weights = Weights({name: torch.tensor([float(k)]) for k, name in enumerate(names)}, {names[7]: Role(blocks=3)})
    with TrajectoryFile.create(tmp_path / "t.h5", weights, capacity=1) as file:
        file.append(weights, step=0, epoch=0)
    with Trajectory.load(tmp_path / "t.h5") as trajectory:
        assert_equal(trajectory[0], weights)
        assert trajectory[0].roles[names[7]].blocks == 3


def test_other_files_are_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no file at"):
        Trajectory.load(tmp_path / "gone.h5")
    with pytest.raises(RecordError, match="no file at"):
        TrajectoryFile.resume(tmp_path / "gone.h5", after_step=0)
    Surface(x=[0], y=None, channels={"loss": [0]}).save(tmp_path / "s.h5")
    for read in (Trajectory.load, lambda path: TrajectoryFile.resume(path, after_step=0)):
        with pytest.raises(RecordError, match=r"s\.h5 holds no trajectory.*'surface 1'"):
            read(tmp_path / "s.h5")
    whole = record(tmp_path / "t.h5", 3).read_bytes()
    for length in np.linspace(0, len(whole) - 1, 30).astype(int):
        (tmp_path / "u.h5").write_bytes(whole[:length])
        with pytest.raises(RecordError, match=r"u\.h5 is damaged"):
            Trajectory.load(tmp_path / "u.h5")
        with pytest.raises(RecordError, match=r"u\.h5 is damaged"):
            TrajectoryFile.resume(tmp_path / "u.h5", after_step=0)


def assert_partial(path: Path) -> int:
    """A trajectory is the beginning of the one that is not interrupted."""
    with Trajectory.load(path) as trajectory:
        assert trajectory.steps.tolist() == list(range(len(trajectory)))
        for step, weights in enumerate(trajectory):
            assert_equal(weights, weights_at(step))
        return len(trajectory)


def reference(folder: Path) -> bytes:
    children.write_trajectory(str(folder / "reference.h5"))
    assert assert_partial(folder / "reference.h5") == STEPS
    return (folder / "reference.h5").read_bytes()


def test_killed_at_any_moment(tmp_path: Path, nursery: Nursery) -> None:
    whole, path = reference(tmp_path), tmp_path / "t.h5"
    rng = np.random.default_rng(1)
    recorded = 0
    for _ in range(10):
        status = nursery.run_for(rng.uniform(0, 0.2), "write_trajectory", path=str(path), pause=0.001)
        assert status in {-9, 0}
        if path.exists():
            found = assert_partial(path)
            # A training that goes on from a checkpoint loses what came after it, two steps here, and no more.
            assert found >= recorded - 2
            recorded = found
    assert nursery.run("write_trajectory", path=str(path)) == 0
    assert path.read_bytes() == whole
    assert {p.name for p in tmp_path.iterdir()} == {"t.h5", "reference.h5"}


def test_killed_before_each_touch_of_the_file(tmp_path: Path, nursery: Nursery) -> None:
    whole = reference(tmp_path)
    deaths = 0
    for touch in range(0, 2000, 19):
        path = tmp_path / "t.h5"
        status = nursery.run("die_at", touch=touch, victim="write_trajectory", path=str(path))
        if path.exists():
            assert_partial(path)
        children.write_trajectory(str(path))
        assert path.read_bytes() == whole
        path.unlink()
        if status == 0:
            break
        assert status == -9
        deaths += 1
    # Seven writes a checkpoint, and the creation, which growing repeats three times.
    assert deaths > (STEPS * 7 + 4 * 30) / 19


def test_one_writer(tmp_path: Path, nursery: Nursery) -> None:
    path, ready = tmp_path / "t.h5", tmp_path / "ready"
    nursery.start("hold_trajectory", path=str(path), ready=str(ready))
    wait_for(ready)
    with pytest.raises(RecordError, match=r"another process is writing .*t\.h5"):
        TrajectoryFile.resume(path, after_step=0)
    assert assert_partial(path) == 1
    assert nursery.kill() == -9
    with TrajectoryFile.resume(path, after_step=0) as file:
        file.append(weights_at(1), step=1, epoch=0)
    assert assert_partial(path) == 2


def test_a_full_disk(tmp_path: Path, nursery: Nursery) -> None:
    pytest.importorskip("resource")
    path, report = tmp_path / "t.h5", tmp_path / "report"
    assert nursery.run("fill_disk", path=str(path), ready=str(report)) == 0
    messages = report.read_text().split("\n---\n")
    assert len(messages) == 4
    for message in messages:
        assert "cannot write to" in message
        assert "what was written to it before is safe" in message
    with Trajectory.load(path) as trajectory:
        assert 0 < len(trajectory) < 10
        assert torch.equal(trajectory[-1]["w"], torch.ones(1000))
    surface = Surface.load(f"{path}.surface")
    assert np.flatnonzero(surface.done).tolist() == [3]
    with TrajectoryFile.resume(path, after_step=100) as file:
        file.append({"w": torch.zeros(1000)}, step=100, epoch=0)


def test_an_append_is_one_write_a_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[str] = []
    original = h5py.Dataset.write_direct

    def counted(dataset: h5py.Dataset, source: np.ndarray, **kwargs: Any) -> None:
        assert source.flags.c_contiguous
        writes.append(dataset.attrs["name"])
        original(dataset, source, **kwargs)

    with TrajectoryFile.create(tmp_path / "t.h5", weights_at(0), capacity=2) as file:
        monkeypatch.setattr(h5py.Dataset, "write_direct", counted)
        start = time.perf_counter()
        file.append(weights_at(0), step=0, epoch=0)
        assert time.perf_counter() - start < 5
    assert writes == ["layer.weight", "layer.scale", "norm/bias"]
