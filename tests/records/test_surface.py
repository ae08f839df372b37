from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from lightning_landscape.errors import RecordError
from lightning_landscape.geometry.path import Path
from lightning_landscape.records import Surface, TrajectoryFile

X, Y = np.array([-1.0, 0.0, 1.0, 2.0]), np.array([10.0, 20.0, 30.0])


def example(**changes: Any) -> Surface:
    loss = X + 100 * Y[:, None]
    accuracy = -loss
    accuracy[0, 0], accuracy[1, 1], accuracy[2, 2] = np.nan, np.inf, -np.inf
    arguments: dict[str, Any] = {
        "x": X,
        "y": Y,
        "channels": {"val/loss": loss, "accuracy": accuracy, "größe": loss / 3},
        "errors": {"val/loss": loss / 1000},
        "attrs": {"loss": "val/loss", "seed": 3, "title": "Täler ∇", "norms": [1.5, 2.0], "kept": True, "tags": ["ä"]},
    }
    return Surface(**{**arguments, **changes})


def assert_same(one: Surface, other: Surface) -> None:
    np.testing.assert_array_equal(one.x, other.x)
    assert (one.y is None) == (other.y is None)
    if one.y is not None and other.y is not None:
        np.testing.assert_array_equal(one.y, other.y)
    assert one.names == other.names
    assert list(one.errors) == list(other.errors)
    for name in one.names:
        assert one[name].dtype == np.float64
        np.testing.assert_array_equal(one[name], other[name])
    for name in one.errors:
        np.testing.assert_array_equal(one.error(name), other.error(name))
    np.testing.assert_array_equal(one.done, other.done)
    assert one.done.dtype == np.bool_
    assert one.attrs == other.attrs


def saved(surface: Surface, folder: FilePath) -> Surface:
    surface.save(folder / "new" / "surface.h5")
    return Surface.load(folder / "new" / "surface.h5")


def test_rows_are_y_and_columns_are_x(tmp_path: FilePath) -> None:
    surface = saved(example(), tmp_path)
    assert surface.shape == (3, 4)
    for j, y in enumerate(Y):
        for i, x in enumerate(X):
            assert surface["val/loss"][j, i] == x + 100 * y


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"done": np.arange(12).reshape(3, 4) % 5 > 1},
        {"done": np.zeros((3, 4), dtype=bool)},
        {"errors": {}, "attrs": {}},
        {"y": None, "channels": {"a/b": X, "a_b": 2 * X, "a b": 3 * X}, "errors": {"a_b": X, "a/b": -X}},
        {"y": None, "channels": {"loss": X}, "errors": {"loss": np.full(4, np.nan)}, "done": [True, False, True, True]},
        {"x": [5.0], "y": [7.0], "channels": {"loss": [[1.0]]}, "errors": {}},
        {"channels": {n: np.full((3, 4), k) for k, n in enumerate(["x", "y", "done", "x_error", "trajectory_x", "."])},
         "errors": {"x": np.ones((3, 4)), "x_error": np.zeros((3, 4))}},
    ],
    ids=["full", "unfinished", "empty", "bare", "line", "line-unfinished", "point", "hostile-names"],
)  # fmt: skip
def test_what_is_saved_comes_back(tmp_path: FilePath, changes: dict[str, Any]) -> None:
    surface = example(**changes)
    assert_same(saved(surface, tmp_path), surface)


def test_values_of_points_that_are_not_done_are_missing() -> None:
    done = np.ones((3, 4), dtype=bool)
    done[1, 2] = False
    surface = example(done=done)
    assert np.isnan(surface["val/loss"][1, 2])
    assert np.isnan(surface.error("val/loss")[1, 2])
    assert np.isfinite(surface["val/loss"]).sum() == 11
    assert not surface.complete
    assert example().complete


def test_the_projected_trajectory_comes_back(tmp_path: FilePath) -> None:
    rng = np.random.default_rng(0)
    steps, epochs = np.array([0, 7, 9]), np.array([0, 1, 1])
    path = Path(rng.normal(size=(3, 2)), rng.random(3), steps, epochs, rng.random(3), rng.random(3))
    found = saved(example(path=path), tmp_path).path
    assert found is not None
    for name in ("coordinates", "residual", "steps", "epochs", "lr", "distance_from_origin"):
        np.testing.assert_array_equal(getattr(found, name), getattr(path, name))

    line = Path(rng.normal(size=(3, 1)), rng.random(3), steps, None, None, rng.random(3))
    found = saved(example(y=None, channels={"loss": X}, errors={}, path=line), tmp_path).path
    assert found is not None
    assert found.epochs is None
    assert found.lr is None
    np.testing.assert_array_equal(found.coordinates, line.coordinates)

    with pytest.raises(RecordError, match="1 coordinates and the surface 2"):
        example(path=line)


@pytest.mark.parametrize(
    ("names", "attrs", "expected"),
    [
        (["accuracy", "loss", "train_loss"], {}, "loss"),
        (["loss", "train_loss"], {"loss": "train_loss"}, "train_loss"),
        (["loss", "train_loss"], {"loss": "gone"}, "loss"),
        (["accuracy", "val/Loss", "other_loss"], {}, "val/Loss"),
        (["accuracy", "error"], {}, "accuracy"),
    ],
)
def test_loss_name(names: list[str], attrs: dict[str, Any], expected: str) -> None:
    surface = Surface(x=[0], y=None, channels={name: [k] for k, name in enumerate(names)}, attrs=attrs)
    assert surface.loss_name == expected
    assert surface["loss"] == ([names.index("loss")] if "loss" in names else [names.index(expected)])


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    surface = example()
    with pytest.raises(RecordError, match=r"no channel 'foo'.*\['val/loss', 'accuracy', 'größe'\]"):
        surface["foo"]
    with pytest.raises(RecordError, match=r"'accuracy' has no standard errors.*\['val/loss'\]"):
        surface.error("accuracy")
    assert surface.error("loss") is surface.errors["val/loss"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": {"loss": np.zeros((4, 3))}}, r"loss has shape \(4, 3\), the axes make \(3, 4\)"),
        ({"errors": {"accuracy": np.zeros(4)}}, r"accuracy, error has shape"),
        ({"errors": {"other": np.zeros((3, 4))}}, r"errors of \['other'\] have no channel"),
        ({"done": np.zeros((4, 3), dtype=bool)}, r"done has shape"),
        ({"x": np.zeros((2, 2))}, r"axis x has shape \(2, 2\)"),
        ({"y": []}, r"axis y has shape \(0,\)"),
        ({"channels": {}, "errors": {}}, r"at least one channel"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        example(**changes)


def test_saving_twice_gives_the_same_bytes(tmp_path: FilePath) -> None:
    example().save(tmp_path / "a.h5")
    Surface.load(tmp_path / "a.h5").save(tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    example(attrs={}).save(tmp_path / "b.h5")
    assert Surface.load(tmp_path / "b.h5").attrs == {}


def test_datasets_have_plain_names(tmp_path: FilePath) -> None:
    example().save(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r") as file:
        assert set(file) == {"x", "y", "done", "val_loss", "val_loss_error", "accuracy", "größe"}
        assert file["val_loss"].attrs["name"] == "val/loss"
        assert file["done"].dtype == np.bool_
        assert [dim[0].name for dim in file["done"].dims] == ["/y", "/x"]


def test_xarray_reads_it_labelled(tmp_path: FilePath) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    path = Path(np.eye(2), np.ones(2), np.arange(2), None, None, np.ones(2))
    done = np.ones((3, 4), dtype=bool)
    done[0, 1] = False
    surface = example(path=path, done=done)
    surface.save(tmp_path / "a.h5")
    with xarray.open_dataset(tmp_path / "a.h5", engine="h5netcdf") as dataset:
        assert dataset["val_loss"].dims == dataset["done"].dims == dataset["val_loss_error"].dims == ("y", "x")
        assert float(dataset["val_loss"].sel(x=2.0, y=30.0)) == 3002.0
        np.testing.assert_array_equal(dataset["accuracy"], surface["accuracy"])
        np.testing.assert_array_equal(dataset["done"], done)
        assert dataset["done"].dtype == bool
        assert dataset["trajectory_x"].dims == ("checkpoint",)
        assert dataset.attrs["title"] == "Täler ∇"
        assert dataset.attrs["kept"]
        assert list(dataset.attrs["norms"]) == [1.5, 2.0]
    Surface(x=X, y=None, channels={"loss": X}).save(tmp_path / "line.h5")
    with xarray.open_dataset(tmp_path / "line.h5", engine="h5netcdf") as dataset:
        assert dataset["loss"].dims == ("x",)


def test_other_files_are_refused_with_a_remedy(tmp_path: FilePath) -> None:
    with pytest.raises(RecordError, match=r"no file at .*gone\.h5"):
        Surface.load(tmp_path / "gone.h5")
    with pytest.raises(RecordError, match="cannot read"):
        Surface.load(tmp_path)
    for name, content in {"empty": b"", "text": b"hello" * 1000}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RecordError, match=f"{name} is damaged.*compute it again"):
            Surface.load(tmp_path / name)
    TrajectoryFile.create(tmp_path / "trajectory.h5", {"w": torch.zeros(2)}, capacity=1).close()
    with pytest.raises(RecordError, match=r"trajectory\.h5 holds no surface.*'trajectory 1'"):
        Surface.load(tmp_path / "trajectory.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["images"] = np.zeros(3)
    with pytest.raises(RecordError, match=r"other\.h5 holds no surface.*\['images'\]"):
        Surface.load(tmp_path / "other.h5")


def test_every_truncation_is_noticed(tmp_path: FilePath) -> None:
    example().save(tmp_path / "a.h5")
    whole = (tmp_path / "a.h5").read_bytes()
    for length in np.linspace(0, len(whole) - 1, 60).astype(int):
        (tmp_path / "b.h5").write_bytes(whole[:length])
        with pytest.raises(RecordError, match=r"b\.h5 is damaged"):
            Surface.load(tmp_path / "b.h5")


def test_a_missing_dataset_is_damage(tmp_path: FilePath) -> None:
    example().save(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["done"]
    with pytest.raises(RecordError, match=r"a\.h5 is damaged.*done"):
        Surface.load(tmp_path / "a.h5")
