from __future__ import annotations

import time
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import pytest

from lightning_landscape.errors import RecordError, RecordMismatchError
from lightning_landscape.geometry.path import Path
from lightning_landscape.records import Surface, SurfaceFile
from tests.records import children
from tests.records.nursery import Nursery

POINTS = children.X.size * children.Y.size


def reference(folder: FilePath) -> bytes:
    """The file of a surface whose computation nothing interrupted."""
    children.write_surface(str(folder / "reference.h5"))
    return (folder / "reference.h5").read_bytes()


def assert_partial(surface: Surface) -> None:
    """Points that are done hold their results, and the others nothing."""
    for index, done in enumerate(surface.done.ravel()):
        expected = children.surface_values(index) if done else dict.fromkeys(children.NAMES, np.nan)
        for name in children.NAMES:
            np.testing.assert_equal(surface[name].ravel()[index], expected[name])
        np.testing.assert_equal(surface.error("loss").ravel()[index], 0.5 if done else np.nan)


def test_write_and_read(tmp_path: FilePath) -> None:
    path = tmp_path / "runs" / "surface.h5"
    with children.open_surface(path) as file:
        assert file.done.shape == (3, 5)
        assert not file.done.any()
        file.write(1 * 5 + 3, {"loss": 2.0, "accuracy": 0.25}, {"loss": 0.125})
        file.write(0, {"loss": float("nan")})
        file.done[:] = True
        surface = file.surface()
        # Read from the disk while it is being written, in the same process.
        found = Surface.load(path)
    assert surface.done.sum() == 2
    assert surface["loss"][1, 3] == 2.0
    assert surface.error("loss")[1, 3] == 0.125
    assert np.isnan(surface.error("accuracy")[1, 3])
    assert surface.done[0, 0]
    assert np.isnan(surface["loss"][0, 0])
    assert surface.attrs == {
        "weights_sha256": "ab12", "step": "validation_step", "seed": 0, "title": "é", "loss": "loss",
    }  # fmt: skip
    for other in (found, Surface.load(path)):
        for name in surface.names:
            np.testing.assert_array_equal(other[name], surface[name])
            np.testing.assert_array_equal(other.error(name), surface.error(name))
        np.testing.assert_array_equal(other.done, surface.done)
        assert other.attrs == surface.attrs
    assert [p.name for p in path.parent.iterdir()] == ["surface.h5"]


def test_a_line(tmp_path: FilePath) -> None:
    arguments: dict[str, Any] = {"identity": {}, "loss": "a/b"}
    with SurfaceFile.open(tmp_path / "line.h5", [0.0, 1.0], None, ["a/b", "a_b"], {}, **arguments) as file:
        file.write(1, {"a/b": 1.0, "a_b": 2.0})
    surface = Surface.load(tmp_path / "line.h5")
    assert surface.dim == 1
    assert surface["loss"][1] == 1.0
    assert surface["a_b"][1] == 2.0
    assert surface.done.tolist() == [False, True]


def test_wrong_writes(tmp_path: FilePath) -> None:
    with children.open_surface(tmp_path / "s.h5") as file:
        for index in (-1, POINTS):
            with pytest.raises(RecordError, match=f"no point {index} on a surface of 15 points"):
                file.write(index, {"loss": 1.0})
        with pytest.raises(RecordError, match=r"no channels \['los'\].*\['loss', 'accuracy'\]"):
            file.write(0, {"los": 1.0})
        with pytest.raises(RecordError, match=r"no channels \['los'\]"):
            file.write(0, {"loss": 1.0}, {"los": 1.0})
        assert not file.done.any()
    with pytest.raises(RecordError, match="closed"):
        file.write(0, {"loss": 1.0})
    with pytest.raises(RecordError, match=r"closed: read it with Surface\.load"):
        file.surface()
    file.close()
    with pytest.raises(RecordError, match="'mse', which is none of the channels"):
        SurfaceFile.open(tmp_path / "t.h5", [0.0], None, ["loss"], {}, identity={}, loss="mse")


def test_only_the_same_surface_is_resumed(tmp_path: FilePath) -> None:
    path = tmp_path / "s.h5"
    arguments: dict[str, Any] = {
        "x": children.X,
        "y": children.Y,
        "names": children.NAMES,
        "attrs": {"version": "1"},
        "identity": {"weights_sha256": "aa", "step": "a"},
        "loss": "loss",
    }
    with SurfaceFile.open(path, **arguments) as file:
        file.write(7, {"loss": 1.0})
    before = path.read_bytes()

    differences: list[tuple[dict[str, Any], str]] = [
        ({"identity": {"weights_sha256": "bb", "step": "a"}}, "weights_sha256: found 'aa', expected 'bb'"),
        ({"identity": {"batch_norm": "keep"}}, "batch_norm: found None, expected 'keep'"),
        ({"names": ["loss", "error"]}, r"channels: found \['loss', 'accuracy'\], expected \['loss', 'error'\]"),
        ({"loss": "accuracy"}, "loss: found 'loss', expected 'accuracy'"),
        ({"x": children.X * 2}, "x axis: found 5 values from .*-1.* to .*1.*, expected 5 values from .*-2.* to .*2"),
        ({"y": None}, "y axis: found 3 values .*, expected none"),
    ]
    for change, message in differences:
        with pytest.raises(RecordMismatchError, match=message):
            SurfaceFile.open(path, **{**arguments, **change})
    with pytest.raises(
        RecordMismatchError, match=r"s\.h5.*weights.*; step: .*; x axis: .*Delete it, or choose another"
    ):
        SurfaceFile.open(path, **{**arguments, "identity": {"weights_sha256": "bb", "step": "b"}, "x": children.X + 1})
    assert path.read_bytes() == before

    # What the values do not depend on may change, and the file keeps what it has.
    with SurfaceFile.open(path, **{**arguments, "attrs": {"version": "2"}}) as file:
        assert np.flatnonzero(file.done).tolist() == [7]
        assert file.surface().attrs["version"] == "1"
    assert path.read_bytes() == before


def test_damaged_and_foreign_files_are_not_touched(tmp_path: FilePath) -> None:
    path = tmp_path / "s.h5"
    reference(tmp_path)
    whole = (tmp_path / "reference.h5").read_bytes()
    for content in (b"", b"text", whole[:-1], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(RecordError, match=r"s\.h5 is damaged.*delete it and compute it again"):
            children.open_surface(path)
        assert path.read_bytes() == content
    path.unlink()
    children.write_trajectory(str(path))
    with pytest.raises(RecordError, match=r"s\.h5 is another kind of file"):
        children.open_surface(path)


def test_another_trajectory_replaces_the_one_in_the_file(tmp_path: FilePath) -> None:
    first, second = (
        Path(np.ones((n, 2)), np.ones(n), np.arange(n), None, None, np.ones(n)) for n in (2, 5)
    )  # fmt: skip
    arguments: dict[str, Any] = {"x": children.X, "y": children.Y, "names": ["loss"], "attrs": {"a": 1}}
    arguments |= {"identity": {"b": "c"}, "loss": "loss"}
    path = tmp_path / "s.h5"
    with SurfaceFile.open(path, **arguments, path_projection=first) as file:
        file.write(7, {"loss": 1.0}, {"loss": 0.5})
    before = path.read_bytes()
    for projection in (first, None):
        SurfaceFile.open(path, **arguments, path_projection=projection).close()
        assert path.read_bytes() == before
    with SurfaceFile.open(path, **arguments, path_projection=second) as file:
        file.write(8, {"loss": 2.0}, {"loss": 0.25})
    surface = Surface.load(path)
    assert surface.path is not None
    assert len(surface.path) == 5
    assert surface["loss"].ravel()[7:9].tolist() == [1.0, 2.0]
    assert surface.error("loss").ravel()[7:9].tolist() == [0.5, 0.25]
    assert surface.done.sum() == 2
    assert surface.attrs == {"a": 1, "b": "c", "loss": "loss"}


def test_a_surface_saved_without_errors_is_resumed_with_errors(tmp_path: FilePath) -> None:
    done = np.array([True, False])
    Surface(x=[0, 1], y=None, channels={"loss": [3, 0]}, done=done, attrs={"loss": "loss"}).save(tmp_path / "s.h5")
    with SurfaceFile.open(tmp_path / "s.h5", [0, 1], None, ["loss"], {}, identity={}, loss="loss") as file:
        assert file.done.tolist() == [True, False]
        file.write(1, {"loss": 4.0}, {"loss": 0.5})
    surface = Surface.load(tmp_path / "s.h5")
    assert surface["loss"].tolist() == [3.0, 4.0]
    np.testing.assert_array_equal(surface.error("loss"), [np.nan, 0.5])


def test_killed_at_any_moment(tmp_path: FilePath, nursery: Nursery) -> None:
    whole = reference(tmp_path)
    path, log = tmp_path / "surface.h5", tmp_path / "log"
    rng = np.random.default_rng(0)
    done = np.zeros((3, 5), dtype=bool)
    for _ in range(10):
        log.write_text("")
        status = nursery.run_for(
            rng.uniform(0, 0.12), "write_surface", path=str(path), log=str(log), pause=0.001
        )  # fmt: skip
        assert status in {-9, 0}
        computed = [int(line) for line in log.read_text().split()]
        assert not done.ravel()[computed].any()
        if path.exists():
            surface = Surface.load(path)
            assert_partial(surface)
            # Nothing is lost, and all that was begun but the last is there.
            assert surface.done[done].all()
            assert surface.done.ravel()[computed[:-1]].all()
            done = surface.done
    assert nursery.run("write_surface", path=str(path)) == 0
    assert path.read_bytes() == whole
    assert {p.name for p in tmp_path.iterdir()} == {"surface.h5", "reference.h5", "log"}


def test_killed_before_each_touch_of_the_file(tmp_path: FilePath, nursery: Nursery) -> None:
    whole = reference(tmp_path)
    deaths = 0
    for touch in range(0, 400, 6):
        path = tmp_path / f"surface{touch}.h5"
        status = nursery.run("die_at", touch=touch, victim="write_surface", path=str(path))
        if path.exists():
            assert_partial(Surface.load(path))
        children.write_surface(str(path))
        assert path.read_bytes() == whole
        if status == 0:
            break
        assert status == -9
        deaths += 1
    # The creation, and five writes a point.
    assert deaths > (POINTS * 5 + 20) / 6


def wait_for(file: FilePath) -> None:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_one_writer_and_any_number_of_readers(tmp_path: FilePath, nursery: Nursery) -> None:
    path, ready = tmp_path / "surface.h5", tmp_path / "ready"
    nursery.start("hold_surface", path=str(path), ready=str(ready))
    wait_for(ready)
    with pytest.raises(RecordError, match=r"another process is writing .*surface\.h5"):
        children.open_surface(path)
    assert Surface.load(path).done.sum() == 1
    assert nursery.kill() == -9
    with children.open_surface(path) as file:
        assert np.flatnonzero(file.done).tolist() == [4]
        file.write(5, {"loss": 1.0})
    assert Surface.load(path).done.sum() == 2


def test_two_creators_at_once(tmp_path: FilePath, nursery: Nursery) -> None:
    nursery.start("write_surface", path=str(tmp_path / "s.h5"), pause=0.2)
    wait_for(tmp_path / ".s.h5.partial")
    # The other one may just have opened the file and not locked it yet.
    time.sleep(0.1)
    with pytest.raises(RecordError, match=r"another process is writing .*s\.h5"):
        children.open_surface(tmp_path / "s.h5")
    assert nursery.kill() == -9
    children.write_surface(str(tmp_path / "s.h5"))
    assert (tmp_path / "s.h5").read_bytes() == reference(tmp_path)
