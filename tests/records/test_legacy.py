from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from lightning_landscape.errors import RecordError
from lightning_landscape.records import Surface

X, Y = np.array([-1.0, 0.0, 1.0, 2.0]), np.array([0.0, 1.0, 2.0])


def original_tool(path: Path, **datasets: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        file["dir_file"] = "directions.h5"
        for name, values in datasets.items():
            file[name] = values
    return path


def test_grid_that_is_not_square_is_unscrambled(tmp_path: Path) -> None:
    # As the tool does it: arrays of shape (x, y), filled at the flat positions of meshgrid, whose x is fastest.
    loss = np.full((len(X), len(Y)), -1.0)
    xs, ys = np.meshgrid(X, Y)
    loss.ravel()[:] = xs.ravel() + 10 * ys.ravel()
    surface = Surface.load(
        original_tool(tmp_path / "s.h5", xcoordinates=X, ycoordinates=Y, train_loss=loss, train_acc=loss + 50)
    )
    np.testing.assert_array_equal(surface["train_loss"], X + 10 * Y[:, None])
    assert surface.complete
    assert surface.loss_name == "train_loss"
    assert surface["loss"] is surface["train_loss"]


def test_only_minus_one_in_both_means_not_computed(tmp_path: Path) -> None:
    loss = np.array([-1.0, -1.0, 0.0, -7.5])
    accuracy = np.array([-1.0, 30.0, -1.0, 0.0])
    surface = Surface.load(original_tool(tmp_path / "s.h5", xcoordinates=X, train_loss=loss, train_acc=accuracy))
    assert surface.done.tolist() == [False, True, True, True]
    np.testing.assert_array_equal(surface["loss"], [np.nan, -1.0, 0.0, -7.5])
    np.testing.assert_array_equal(surface["train_acc"], [np.nan, 30.0, -1.0, 0.0])
    assert surface.dim == 1


def test_losses_without_accuracies_are_all_taken(tmp_path: Path) -> None:
    surface = Surface.load(original_tool(tmp_path / "s.h5", xcoordinates=X, train_loss=-np.ones(4)))
    assert surface.complete
    assert surface["loss"].tolist() == [-1.0] * 4


def test_test_set(tmp_path: Path) -> None:
    train, test, nothing = np.arange(4.0), np.array([1.0, -1.0, 1.0, 1.0]), -np.ones(4)
    surface = Surface.load(
        original_tool(
            tmp_path / "s.h5", xcoordinates=X, train_loss=train, train_acc=train, test_loss=test, test_acc=test
        )
    )
    assert surface.names == ["train_loss", "train_acc", "test_loss", "test_acc"]
    assert surface.done.tolist() == [True, False, True, True]

    surface = Surface.load(
        original_tool(
            tmp_path / "t.h5", xcoordinates=X, train_loss=train, train_acc=train, test_loss=nothing, test_acc=nothing
        )
    )
    assert surface.names == ["train_loss", "train_acc"]
    assert surface.complete

    surface = Surface.load(original_tool(tmp_path / "u.h5", xcoordinates=X, train_loss=nothing, train_acc=nothing))
    assert not surface.done.any()


def test_inconsistent_files(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"s\.h5: train_loss holds 3 values, the axes make 4 points"):
        Surface.load(original_tool(tmp_path / "s.h5", xcoordinates=X, train_loss=np.ones(3)))
    with pytest.raises(RecordError, match="none of train_loss"):
        Surface.load(original_tool(tmp_path / "t.h5", xcoordinates=X))


@pytest.mark.parametrize("name", ["cnn_nll", "small_dense_margin"])
def test_published_surfaces(shared: Path, tmp_path: Path, name: str) -> None:
    path = shared / "surfaces" / name / "surface.h5"
    surface = Surface.load(path)
    with h5py.File(path, "r", locking=False) as file:
        np.testing.assert_array_equal(surface["loss"], file["train_loss"])
        np.testing.assert_array_equal(surface["train_acc"], file["train_acc"])
    assert surface.shape == (15, 15)
    assert surface.complete
    assert surface.x[[0, 7, 14]].tolist() == [-1.0, 0.0, 1.0]
    # A negative log-likelihood of raw outputs: large and negative everywhere near the centre.
    assert (surface["loss"][7, 7] < 0) == (name == "cnn_nll")
    surface.save(tmp_path / "copy.h5")
    np.testing.assert_array_equal(Surface.load(tmp_path / "copy.h5")["loss"], surface["loss"])
