"""Estimated surfaces against closed forms, and what they promise about records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset
from torchmetrics.classification import BinaryAUROC

from lightning_landscape import Grid, Line, Plane, RecordMismatchError, Surface, compute_surface, weights_of
from lightning_landscape.engine.labels import labels_of
from tests.engine.regression import LeastSquares, closed_form, loader
from tests.engine.test_surface import interrupted_after, plane_of, surface_of

GRID = Grid(x=(-1, 1, 11), y=(-0.5, 1.5, 9))


class Logistic(LeastSquares):
    """The logistic loss of a linear model, and its accuracy: bends and steps in every example."""

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        score = 3 * (batch[0] @ self.weight.sum(0))
        self.log("accuracy", ((score > 0) == batch[1]).double().mean())
        return nn.functional.binary_cross_entropy_with_logits(score, batch[1].double())


class Ranked(Logistic):
    """With a metric that is no mean over examples."""

    def __init__(self) -> None:
        super().__init__()
        self.area = BinaryAUROC()

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.area(batch[0] @ self.weight.sum(0), batch[1])
        self.log("area", self.area)
        return super().validation_step(batch, batch_idx)


def classes(count: int = 600) -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 4, generator=generator).double()
    noise = torch.randn(count, generator=generator).double()
    return TensorDataset(inputs, (inputs.sum(1) + noise > 0).long())


def test_a_quadratic_is_estimated_exactly() -> None:
    """The difference of subset and whole is a quadratic, which the spline reproduces; and so says the error."""
    module = LeastSquares()
    plane = plane_of(module)
    surface = surface_of(module, GRID, slice_=plane, examples=6)
    expected = closed_form(module, plane, GRID)
    np.testing.assert_allclose(surface["loss"], expected, rtol=1e-12)
    assert surface.error("loss").max() < 1e-12 * expected.max()
    assert surface.attrs["subset_examples"] == 6
    assert surface.attrs["examples"] == 23
    assert surface.attrs["coarse_points"] == [5, 5]


def test_a_line_is_estimated_exactly() -> None:
    module = LeastSquares()
    plane = plane_of(module)
    grid = Grid(x=(-1, 1, 15))
    surface = surface_of(module, grid, slice_=Line(plane.origin, plane.x), examples=6)
    expected = closed_form(module, plane, Grid(x=(-1, 1, 15), y=(0, 0, 1)))[0]
    np.testing.assert_allclose(surface["loss"], expected, rtol=1e-12)


def test_coarse_points_are_the_exact_surfaces() -> None:
    """To the last bit, errors 0; and elsewhere the error tells how far the estimate is off."""
    module, data = Ranked(), DataLoader(classes(), batch_size=200)
    exact = surface_of(module, GRID, dataloader=data)
    surface = surface_of(module, GRID, dataloader=data, examples=128)
    assert surface.attrs["coarse_points"] == [5, 5]
    coarse = np.ix_(range(0, 9, 2), [0, 2, 5, 8, 10])
    for name in ("loss", "accuracy", "area"):
        known, error = (values[coarse] for values in (surface[name], surface.error(name)))
        np.testing.assert_array_equal(known, exact[name][coarse], err_msg=name)
        assert not error.any()
        covered = np.abs(surface[name] - exact[name]) <= 2 * surface.error(name) + 1e-12
        assert covered.mean() > 0.85, (name, covered.mean())


def test_the_error_can_be_trusted() -> None:
    """Over many subsets: of all points at least nine of ten lie within two errors."""
    module, data = Logistic(), DataLoader(classes(), batch_size=200)
    grid = Grid(x=(-1, 1, 9), y=(-1, 1, 9))
    exact = surface_of(module, grid, dataloader=data)
    covered = []
    for seed in range(8):
        surface = surface_of(module, grid, dataloader=data, examples=128, seed=seed)
        within = np.abs(surface["loss"] - exact["loss"]) <= 2 * surface.error("loss") + 1e-12
        covered.append(within[surface.error("loss") > 0].mean())
    assert np.mean(covered) >= 0.9, covered


def test_several_data_sets_are_corrected_each_by_its_own() -> None:
    loaders = {"train": loader(), "test": loader(count=11)}
    surface = surface_of(LeastSquares(), GRID, dataloader=loaders, examples=5)
    for name, data in loaders.items():
        exact = surface_of(LeastSquares(), GRID, dataloader=data)
        np.testing.assert_allclose(surface[f"{name}/loss"], exact["loss"], rtol=1e-12)


def test_more_examples_than_there_are_give_the_exact_surface() -> None:
    exact, all_of_them = (surface_of(LeastSquares(), examples=examples) for examples in ("all", 23))
    np.testing.assert_array_equal(exact["loss"], all_of_them["loss"])
    np.testing.assert_array_equal(exact.error("loss"), all_of_them.error("loss"))
    assert all_of_them.attrs["sampling"] == "all"


def test_data_without_a_length_have_no_coarse_grid() -> None:
    class Stream(IterableDataset[tuple[Tensor, ...]]):
        def __iter__(self) -> Any:
            return iter([classes()[index] for index in range(600)])

    surface = surface_of(Logistic(), GRID, dataloader=DataLoader(Stream(), batch_size=10), examples=50)
    first = Subset(classes(), range(50))
    exact = surface_of(Logistic(), GRID, dataloader=DataLoader(first, batch_size=10))
    np.testing.assert_allclose(surface["loss"], exact["loss"], rtol=1e-12)
    assert "coarse_points" not in surface.attrs
    assert (surface.error("loss") > exact.error("loss")).all()  # five batches: Student's factor


def test_losses_that_are_not_finite_leave_the_subset_alone() -> None:
    def step(module: LeastSquares, batch: Any) -> dict[str, Tensor]:
        loss = module.training_step(batch, 0)
        return {"loss": loss, "burst": torch.where(module.weight.sum() > 5, torch.inf, loss)}

    surface = surface_of(LeastSquares(), GRID, step, examples=6)
    assert np.isfinite(surface["loss"]).all()
    assert surface.complete


# The record


@pytest.mark.parametrize("at", [3, 120, 200, 500])
def test_an_estimate_is_resumed_where_it_stopped(at: int, tmp_path: Path) -> None:
    """25 coarse points of 6 batches, then 99 points of 6 batches of one example each.

    Without shortcuts, whose trial calls the step, too.
    """
    module, error = LeastSquares(), RuntimeError
    options: dict[str, Any] = {"examples": 6, "shortcuts": []}
    whole = interrupted_after(0, error)
    surface_of(module, GRID, whole, **options, path=tmp_path / "whole.h5")
    assert whole.calls == 1 + 25 * 6 + 99 * 6  # type: ignore[attr-defined]
    with pytest.raises(error):
        surface_of(module, GRID, interrupted_after(at, error), **options, path=tmp_path / "s.h5")
    partial = Surface.load(tmp_path / "s.h5")
    assert not partial.done.any()
    rest = interrupted_after(0, error)
    surface = surface_of(module, GRID, rest, **options, path=tmp_path / "s.h5")
    finished = max(0, at - 2) // 6 * 6
    assert rest.calls == 1 + 25 * 6 + 99 * 6 - finished  # type: ignore[attr-defined]
    assert surface.complete
    assert (tmp_path / "s.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    again = interrupted_after(0, error)
    np.testing.assert_array_equal(
        surface_of(module, GRID, again, **options, path=tmp_path / "s.h5")["loss"], surface["loss"]
    )
    assert again.calls == 1  # type: ignore[attr-defined]


def test_other_examples_are_another_surface(tmp_path: Path) -> None:
    surface_of(LeastSquares(), GRID, examples=6, path=tmp_path / "s.h5")
    for examples in (7, "all"):
        with pytest.raises(RecordMismatchError, match="sample_sha256"):
            surface_of(LeastSquares(), GRID, examples=examples, path=tmp_path / "s.h5")


def test_a_finished_estimate_opens_in_xarray(tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    surface = surface_of(LeastSquares(), GRID, examples=6, path=tmp_path / "s.h5")
    with xarray.open_dataset(tmp_path / "s.h5", engine="h5netcdf") as dataset:
        assert set(dataset.data_vars) == {"loss", "loss_error", "val_positive", "val_positive_error", "done"}
        np.testing.assert_array_equal(dataset["loss"], surface["loss"])


# Auto


def big(count: int = 6000) -> DataLoader[Any]:
    return DataLoader(classes(count), batch_size=500)


def test_auto_reaches_its_aim() -> None:
    """An error below 0.5 % of the range, at a fraction of the work."""
    module, grid = Logistic(), Grid.square(1.0, 21)
    exact = surface_of(module, grid, dataloader=big(), slice_=plane_of(module))
    surface = surface_of(module, grid, dataloader=big(), examples="auto")
    assert surface.attrs["sampling"] == "estimated"
    assert surface.attrs["subset_examples"] < 3000
    off = np.abs(surface["loss"] - exact["loss"])
    assert off.max() < 0.005 * np.ptp(exact["loss"])
    assert (off <= 2 * surface.error("loss") + 1e-12).mean() >= 0.9


def test_auto_is_resumed_with_the_plan_it_was_begun_with(tmp_path: Path) -> None:
    module, grid = Logistic(), Grid.square(1.0, 15)
    step = interrupted_after(15 * 15 * 16 + 900, RuntimeError)

    def logistic(module: Any, batch: Any) -> Tensor:
        step(module, (batch[0][:1], batch[1][:1]))
        return Logistic.validation_step(module, batch, 0)

    module.log_dict = module.log = lambda *_, **__: None  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        surface_of(module, grid, logistic, dataloader=big(), examples="auto", path=tmp_path / "s.h5")
    begun = Surface.load(tmp_path / "s.h5").attrs
    before = step.calls  # type: ignore[attr-defined]
    surface = surface_of(module, grid, logistic, dataloader=big(), examples="auto", path=tmp_path / "s.h5")
    assert surface.complete
    assert {key: surface.attrs[key] for key in begun if key.startswith("plan_")} == {
        key: value for key, value in begun.items() if key.startswith("plan_")
    }
    pilot = 15 * 15 * 16
    assert step.calls - before < grid.size * 17 + pilot  # type: ignore[attr-defined]


def test_auto_is_exact_where_that_is_cheap() -> None:
    surface = surface_of(LeastSquares(), GRID, examples="auto")
    assert surface.attrs["sampling"] == "all"


def test_a_budget_gives_a_surface_and_says_which_error_to_expect(caplog: pytest.LogCaptureFixture) -> None:
    """What fits into the time is chosen by `plan_for_time`; here, that it is asked, and that the choice is made."""
    with caplog.at_level("INFO", logger="lightning.pytorch"):
        surface = surface_of(Logistic(), Grid.square(1.0, 31), dataloader=big(), budget="2s")
    assert surface.complete
    assert surface.shape[0] <= 31
    assert any("Loss surface" in record.getMessage() for record in caplog.records)


def test_labels_are_found_without_loading() -> None:
    assert labels_of(classes(5)) is not None
    assert labels_of(big(8).dataset).tolist() == classes(8).tensors[1].tolist()  # type: ignore[union-attr]


def test_the_module_is_left_as_it_was() -> None:
    module = Logistic()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state = torch.get_rng_state()
    surface_of(module, Grid.square(1.0, 13), dataloader=big(), examples="auto")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert isinstance(Plane.random(weights_of(module)), Plane)
    assert compute_surface.__doc__
