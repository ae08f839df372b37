"""compute_surface against closed forms, and what it promises about records, modules and data."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAUROC, MulticlassF1Score

from lightning_landscape import (
    GeometryError,
    Grid,
    Line,
    ObjectiveError,
    Plane,
    RecordError,
    RecordMismatchError,
    Surface,
    compute_surface,
    weights_of,
)
from lightning_landscape.sampling.subset import subset_indices
from tests.engine.regression import LeastSquares, closed_form, data, example_losses, loader
from tests.modules_under_test import assert_same, trainer

GRID = Grid(x=(-1, 2, 4), y=(-0.5, 0.5, 3))


def plane_of(module: nn.Module, seed: int = 0) -> Plane:
    return Plane.random(weights_of(module), seed)


def surface_of(module: nn.Module, grid: Grid = GRID, step: Any = None, **options: Any) -> Surface:
    slice_ = options.pop("slice_", None) or plane_of(module)
    arguments = {"dataloader": loader(), "slice_": slice_, "progress": False, **options}
    return compute_surface(module, grid=grid, step=step, **arguments)


# The values


def test_a_quadratic_loss_is_the_polynomial() -> None:
    module = LeastSquares()
    plane, grid = plane_of(module), Grid(x=(-1, 1, 5), y=(-2, 1, 7))
    surface = surface_of(module, grid, slice_=plane)
    assert surface["loss"].shape == (7, 5)
    np.testing.assert_allclose(surface["loss"], closed_form(module, plane, grid), rtol=1e-12)
    assert surface.complete
    assert surface.names == ["loss", "val_positive"]


def test_rows_are_y_and_columns_are_x() -> None:
    """A loss of x + 10 y, on a grid that is not square."""
    module = nn.Linear(2, 1, bias=False).double()
    module.weight.data.zero_()
    origin = weights_of(module)
    x, y = ({"weight": torch.tensor([row]).double()} for row in ([1.0, 0.0], [0.0, 1.0]))
    surface = surface_of(
        module,
        Grid(x=(0, 3, 4), y=(0, 1, 2)),
        lambda module, batch: module.weight @ torch.tensor([1.0, 10.0]).double(),
        slice_=Plane(origin, x, y),  # type: ignore[arg-type]
    )
    assert surface["loss"].tolist() == [[0, 1, 2, 3], [10, 11, 12, 13]]


def test_a_line() -> None:
    module = LeastSquares()
    plane = plane_of(module)
    surface = surface_of(module, Grid(x=(-1, 1, 5)), slice_=Line(plane.origin, plane.x))
    expected = closed_form(module, plane, Grid(x=(-1, 1, 5), y=(0, 0, 1)))[0]
    np.testing.assert_allclose(surface["loss"], expected, rtol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 3, 5, 22, 23, 100])
def test_batches_are_weighted_by_their_size(batch_size: int) -> None:
    module = LeastSquares()
    plane = plane_of(module)
    surface = surface_of(module, slice_=plane, dataloader=loader(batch_size))
    np.testing.assert_allclose(surface["loss"], closed_form(module, plane, GRID), rtol=1e-12)


def test_the_centre_is_the_untouched_modules_loss() -> None:
    """In float32 and to the last bit, on any grid that holds it."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    batches = [data()[i : i + 23][0].float() for i in (0,)]
    order = subset_indices(23, None, 0)

    def step(module: nn.Module, batch: Tensor) -> Tensor:
        return module(batch).square().mean()

    single = DataLoader(batches[0], batch_size=23)  # type: ignore[arg-type]
    surface = surface_of(net, Grid(x=(-1, 1, 3), y=(-2, 1, 4)), step, dataloader=single)
    with torch.no_grad():
        expected = float(step(net.eval(), batches[0][order]))
    assert surface["loss"][2, 1] == expected


def test_a_metric_is_computed_over_the_whole_sample() -> None:
    """Metrics that are no mean over batches: F1 and the area under the curve."""

    class Classifier(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(4, 3).double()
            self.f1 = MulticlassF1Score(3)
            self.auroc = MulticlassAUROC(3)

        def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
            logits, labels = self.net(batch[0]), batch[1]
            self.f1(logits, labels)
            self.log("f1", self.f1)
            self.auroc.update(logits, labels)
            self.log("auroc", self.auroc)
            return nn.functional.cross_entropy(logits, labels)

    torch.manual_seed(0)
    module = Classifier()
    inputs = data().tensors[0]
    labels = (inputs[:, 0] > 0).long() + (inputs[:, 1] > 0).long()
    plane = plane_of(module)
    examples = DataLoader(TensorDataset(inputs, labels), batch_size=4)
    surface = surface_of(module, slice_=plane, dataloader=examples)
    for j, b in enumerate(surface.y):  # type: ignore[arg-type]
        for i, a in enumerate(surface.x):
            weights = plane.at(float(a), float(b))
            logits = inputs @ weights["net.weight"].T + weights["net.bias"]
            assert surface["f1"][j, i] == pytest.approx(float(MulticlassF1Score(3)(logits, labels)), abs=1e-6)
            assert surface["auroc"][j, i] == pytest.approx(float(MulticlassAUROC(3)(logits, labels)), abs=1e-6)
    assert np.isnan(surface.error("f1")).all()
    assert len(np.unique(surface["f1"])) > 3
    assert module.f1.update_count == 0


def test_standard_errors() -> None:
    """With batches of one example, the textbook's error of a mean; with larger ones, that of the batches' means."""
    module = LeastSquares()
    plane = plane_of(module)
    one, four = (surface_of(module, slice_=plane, dataloader=loader(size)) for size in (1, 4))
    order = subset_indices(23, None, 0)
    for j, b in enumerate(one.y):  # type: ignore[arg-type]
        for i, a in enumerate(one.x):
            losses = example_losses(module, plane, float(a), float(b))[order]
            assert one.error("loss")[j, i] == pytest.approx(losses.std(ddof=1) / np.sqrt(23), rel=1e-10)
            batches = np.split(losses, [4, 8, 12, 16, 20])
            squares = sum((len(m) / 23) ** 2 * (m.mean() - losses.mean()) ** 2 for m in batches)
            assert four.error("loss")[j, i] == pytest.approx(np.sqrt(squares * 6 / 5), rel=1e-10)


def test_a_subset_is_the_same_everywhere() -> None:
    module = LeastSquares()
    plane = plane_of(module)
    surface = surface_of(module, slice_=plane, examples=9, seed=3)
    chosen = subset_indices(23, 9, 3)
    for j, b in enumerate(surface.y):  # type: ignore[arg-type]
        for i, a in enumerate(surface.x):
            losses = example_losses(module, plane, float(a), float(b))[chosen]
            assert surface["loss"][j, i] == pytest.approx(losses.mean(), rel=1e-12)
    assert surface.attrs["examples"] == 9
    assert surface.attrs["dataset_size"] == 23


def test_several_loaders_at_once() -> None:
    class Staged(LeastSquares):
        def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = super().validation_step(batch, batch_idx)
            self.log("val/loss", loss)
            self.log("val_accuracy", 0.5)
            self.log("time", 1.0)
            return loss

    module = Staged()
    plane = plane_of(module)
    loaders = {"train": loader(), "val": loader(count=7)}
    surface = surface_of(module, slice_=plane, dataloader=loaders)
    kinds = ["loss", "positive", "accuracy", "time"]
    assert surface.names == [f"{label}/{kind}" for label in ("train", "val") for kind in kinds]
    assert surface.loss_name == "train/loss"
    alone = surface_of(module, slice_=plane, dataloader=loader(count=7))
    np.testing.assert_array_equal(surface["val/loss"], alone["loss"])
    np.testing.assert_allclose(surface["train/loss"], closed_form(module, plane, GRID), rtol=1e-12)


def explode(module: nn.Module, batch: Any) -> Tensor:
    """NaN where the first weight grew, infinite where it shrank, and negative at the origin."""
    weight = next(module.parameters()).flatten()[0]
    return torch.where(weight > 1, torch.nan, torch.where(weight < 1, torch.inf, -1.0))


def test_what_is_not_finite_is_a_result(tmp_path: Path) -> None:
    module = nn.Linear(2, 2)
    module.weight.data.fill_(1)
    options = {"path": tmp_path / "s.h5", "slice_": Line(weights_of(module), weights_of(module))}
    surface = surface_of(module, Grid(x=(-1, 1, 3)), explode, **options)
    np.testing.assert_array_equal(surface["loss"], [np.inf, -1, np.nan])
    assert surface.complete

    def never(module: nn.Module, batch: Any) -> Tensor:
        calls.append(1)
        return explode(module, batch)

    never.__qualname__, never.__module__ = explode.__qualname__, explode.__module__
    calls: list[int] = []
    np.testing.assert_array_equal(surface_of(module, Grid(x=(-1, 1, 3)), never, **options)["loss"], surface["loss"])
    assert len(calls) == 1, "only the first batch is evaluated, to learn the channels"


def test_random_numbers_of_a_step_are_the_same_at_each_point() -> None:
    module = LeastSquares()
    surface = surface_of(module, step=lambda module, batch: torch.rand(()))
    assert len(np.unique(surface["loss"])) == 1
    other = surface_of(module, step=lambda module, batch: torch.rand(()), seed=1)
    assert other["loss"][0, 0] != surface["loss"][0, 0]


def test_a_step_that_keeps_count_meets_every_point_alike() -> None:
    """Its state is put back between points, so a value does not depend on the points before."""

    class Counting(LeastSquares):
        def __init__(self) -> None:
            super().__init__()
            self.outputs: list[Tensor] = []
            self.register_buffer("average", torch.zeros(()))

        def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = self.residuals(batch).square().mean() / 2
            self.calls += 1
            self.average.mul_(0.9).add_(loss)  # type: ignore[operator, union-attr]
            self.outputs.append(loss)
            self.log("calls", self.calls)
            self.log("kept", len(self.outputs))
            self.log("average", self.average)
            return loss

    module = Counting()
    surface = surface_of(module)
    # Six batches: the mean of 1 to 6, the last one of three examples.
    assert np.unique(surface["calls"]).tolist() == pytest.approx([(4 * 15 + 3 * 6) / 23])
    assert len(np.unique(surface["kept"])) == 1
    backwards = surface_of(module, Grid(x=(2, 2, 1), y=(0.5, 0.5, 1)))
    assert backwards["average"][0, 0] == surface["average"][2, 3]
    assert module.calls == 0
    assert module.outputs == []


# The module and the trainer


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_modules_of_sixteen_bits(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = nn.Linear(4, 2).to(dtype)
    inputs = data().tensors[0].to(dtype)
    plane = plane_of(module)

    def step(module: nn.Module, batch: Tensor) -> Tensor:
        return module(batch).float().square().mean()

    examples: Any = DataLoader(inputs, batch_size=23)  # type: ignore[arg-type]
    surface = surface_of(module, step=step, slice_=plane, dataloader=examples)
    shuffled = inputs[subset_indices(23, None, 0)]
    for j, b in enumerate(surface.y):  # type: ignore[arg-type]
        for i, a in enumerate(surface.x):
            weights = plane.at(float(a), float(b))
            expected = nn.functional.linear(shuffled, weights["weight"], weights["bias"]).float().square().mean()
            assert surface["loss"][j, i] == float(expected)


def test_a_module_whose_slice_moves_nothing_that_is_kept() -> None:
    """A direction along the running statistics alone, which stay where they are."""
    module = nn.BatchNorm1d(4).double()
    origin = weights_of(module, buffers=True)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in origin.items()}
    line = Line(origin, {**zeros, "running_mean": torch.ones(4).double()})  # type: ignore[arg-type]
    surface = surface_of(module, Grid(x=(-1, 1, 3)), lambda m, batch: m(batch[0]).square().mean(), slice_=line)
    assert len(np.unique(surface["loss"])) == 1
    moved = surface_of(
        module,
        Grid(x=(-1, 1, 3)),
        lambda m, batch: m(batch[0]).square().mean(),
        slice_=line,
        batch_norm="interpolate",
    )
    assert len(np.unique(moved["loss"])) == 3


class Transferring(LeastSquares):
    """Doubles the targets before and adds one to the inputs after the transfer."""

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [batch[0], batch[1] * 2]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [batch[0] + 1, batch[1]]


@pytest.mark.parametrize("attached", [False, True])
def test_transfer_hooks_are_applied(attached: bool, tmp_path: Path) -> None:
    module = Transferring()
    if attached:
        trainer(tmp_path, max_epochs=1).fit(module, loader(), loader())
    surface = surface_of(module, Grid(x=(0, 0, 1), y=(0, 0, 1)))
    inputs, targets = data().tensors
    residuals = (inputs + 1) @ module.weight.detach().sum(0) - 2 * targets
    assert surface["loss"][0, 0] == pytest.approx(float(residuals.square().mean() / 2), rel=1e-12)


def test_a_module_of_a_finished_trainer(tmp_path: Path) -> None:
    """It is found by itself; its loggers and results hear nothing, and the module may be trained on."""
    module = LeastSquares()
    run = trainer(tmp_path, max_epochs=1)
    run.fit(module, loader(), loader())
    metrics = dict(run.callback_metrics)
    plane = plane_of(module)
    surface = surface_of(module, slice_=plane)
    np.testing.assert_allclose(surface["loss"], closed_form(module, plane, GRID), rtol=1e-12)
    assert_same(metrics, dict(run.callback_metrics))
    trainer(tmp_path, max_epochs=1, enable_checkpointing=False).fit(module, loader(), loader())


def test_autocast_sees_the_weights_of_every_point(tmp_path: Path) -> None:
    """Autocast keeps what it has cast as long as its context lasts; a context over several points would be stale."""

    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(4, 4)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            output = self.net(batch[0].float())
            self.log("bits", output.element_size() * 8)
            return output.float().square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    torch.manual_seed(0)
    module = Net()
    trainer(tmp_path, max_epochs=1, precision="bf16-mixed").fit(module, loader())
    line = Line.random(weights_of(module))
    surface = surface_of(module, Grid(x=(-1, 1, 5)), slice_=line, path=tmp_path / "s.h5")
    assert np.unique(surface["bits"]).tolist() == [16]
    for i, a in enumerate(surface.x):
        weights = line.at(float(a))
        expected = (data().tensors[0].float() @ weights["net.weight"].T + weights["net.bias"]).square().mean()
        assert surface["loss"][i] == pytest.approx(float(expected), rel=0.02)
    module.trainer.strategy.precision_plugin = pl.plugins.precision.Precision()
    with pytest.raises(RecordMismatchError, match="autocast: found 'bf16-mixed', expected 'none'"):
        surface_of(module, Grid(x=(-1, 1, 5)), slice_=line, path=tmp_path / "s.h5")


def test_gradients_inside_a_step_are_possible() -> None:
    """A step that needs them (a gradient's norm, say) enables them itself."""
    module = LeastSquares()

    def step(module: Any, batch: Any) -> Tensor:
        with torch.enable_grad():
            loss = module.residuals(batch).square().mean() / 2
            (gradient,) = torch.autograd.grad(loss, module.weight)
        return gradient.square().sum()

    surface = surface_of(module, step=step)
    assert np.isfinite(surface["loss"]).all()
    assert module.weight.grad is None


# The record


def interrupted_after(count: int, error: type[BaseException]) -> Callable[[LeastSquares, Any], Tensor]:
    """A step that fails at its call of this number; its name is always the same."""

    def step(module: LeastSquares, batch: Any) -> Tensor:
        step.calls += 1  # type: ignore[attr-defined]
        if step.calls == count:  # type: ignore[attr-defined]
            raise error
        return module.training_step(batch, 0)

    step.calls = 0  # type: ignore[attr-defined]
    return step


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_record_is_resumed_where_it_stopped(error: type[BaseException], tmp_path: Path) -> None:
    """Six batches a point, and one more to learn the channels; the fifth of twelve points fails.

    Without shortcuts, whose trial calls the step, too.
    """
    module = LeastSquares()
    whole = interrupted_after(0, error)
    surface_of(module, step=whole, shortcuts=[], path=tmp_path / "whole.h5")
    assert whole.calls == 1 + 12 * 6  # type: ignore[attr-defined]
    with pytest.raises(error):
        surface_of(module, step=interrupted_after(1 + 4 * 6 + 3, error), shortcuts=[], path=tmp_path / "s.h5")
    partial = Surface.load(tmp_path / "s.h5")
    assert partial.done.ravel().tolist() == [True] * 4 + [False] * 8
    rest = interrupted_after(0, error)
    surface = surface_of(module, step=rest, shortcuts=[], path=tmp_path / "s.h5")
    assert rest.calls == 1 + 8 * 6  # type: ignore[attr-defined]
    assert surface.complete
    assert (tmp_path / "s.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    np.testing.assert_array_equal(surface["loss"], Surface.load(tmp_path / "whole.h5")["loss"])


SLOW_GRID = Grid(x=(-1, 1, 11), y=(-1, 1, 9))


def slow_step(module: LeastSquares, batch: Any) -> Tensor:
    time.sleep(0.02)
    return module.training_step(batch, 0)


def compute_slowly(path: str) -> None:
    torch.set_num_threads(1)
    surface_of(LeastSquares(), SLOW_GRID, slow_step, path=path, dataloader=loader(23))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded.*fork:DeprecationWarning")
def test_killed_ten_times_at_random_moments(tmp_path: Path) -> None:
    """SIGKILL, ten times in one computation: the file can always be read, and ends as one that nobody killed."""
    fork = multiprocessing.get_context("fork")
    module, path = LeastSquares(), tmp_path / "s.h5"
    expected = closed_form(module, plane_of(module), SLOW_GRID)
    moments = np.random.default_rng(8).uniform(0.01, 0.17, size=10)
    finished = 0
    for moment in moments:
        child = fork.Process(target=compute_slowly, args=(str(path),))
        child.start()
        time.sleep(float(moment))
        child.kill()
        child.join()
        assert child.exitcode == -9
        if path.exists():
            partial = Surface.load(path)
            np.testing.assert_allclose(partial["loss"][partial.done], expected[partial.done], rtol=1e-12)
            assert np.isnan(partial["loss"][~partial.done]).all()
            assert partial.done.sum() >= finished
            finished = int(partial.done.sum())
    assert 0 < finished < SLOW_GRID.size
    surface_of(module, SLOW_GRID, slow_step, path=path, dataloader=loader(23))
    surface_of(module, SLOW_GRID, slow_step, path=tmp_path / "whole.h5", dataloader=loader(23))
    assert path.read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.h5", "whole.h5"]


def other_step(module: LeastSquares, batch: Any) -> Tensor:
    return module.training_step(batch, 0) * 2


def test_a_record_of_something_else_is_refused(tmp_path: Path) -> None:
    module, path = LeastSquares(), tmp_path / "s.h5"
    surface_of(module, path=path)
    before = path.read_bytes()
    moved = LeastSquares()
    moved.weight.data[0, 0] += 1e-7
    plane = plane_of(module)
    mirrored = Plane(plane.origin, plane.y, plane.x)
    attempts: list[tuple[dict[str, Any], str]] = [
        ({"step": "training_step"}, "step: found 'LeastSquares.validation_step', expected 'LeastSquares.training_"),
        ({"step": other_step}, "step: found .*test_surface.other_step"),
        ({"grid": Grid(x=(-1, 2, 5), y=(-0.5, 0.5, 3))}, "x axis: found 4 values"),
        ({"slice_": mirrored}, "slice_sha256: found"),
        ({"dataloader": loader(count=22)}, "sample_sha256: found"),
        ({"examples": 5}, "sample_sha256: found"),
        ({"seed": 1}, "sample_seed: found '0', expected '1'"),
    ]
    for options, message in attempts:
        with pytest.raises(RecordMismatchError, match=message):
            surface_of(module, path=path, **options)
    with pytest.raises(RecordMismatchError, match="weights_sha256: found"):
        surface_of(moved, path=path)
    assert path.read_bytes() == before


def refuse(module: nn.Module, batch: Any) -> Tensor:
    raise AssertionError("the step was called")


def test_a_folder_that_cannot_be_written_is_found_before_any_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"cannot write to .*file"):
        surface_of(LeastSquares(), step=refuse, path=tmp_path / "file" / "s.h5")


def test_a_corrupt_record_is_refused_and_kept(tmp_path: Path) -> None:
    for content in (b"no HDF5 at all", b"\x89HDF\r\n\x1a\n" + bytes(100)):
        (tmp_path / "s.h5").write_bytes(content)
        with pytest.raises(RecordError, match=r"s.h5"):
            surface_of(LeastSquares(), path=tmp_path / "s.h5")
        assert (tmp_path / "s.h5").read_bytes() == content


def test_the_record_says_what_it_is_of(tmp_path: Path) -> None:
    module = LeastSquares()
    returned = surface_of(module, path=tmp_path / "new" / "s.h5", attrs={"note": "x"})
    stored = Surface.load(tmp_path / "new" / "s.h5")
    assert stored.attrs == returned.attrs
    assert stored.attrs["step"] == "LeastSquares.validation_step"
    assert stored.attrs["kind"] == "random"
    assert stored.attrs["normalize"] == "filter"
    assert stored.attrs["note"] == "x"
    assert stored.attrs["direction_cosine"] == pytest.approx(plane_of(module).cosine)
    assert stored.attrs["version_torch"] == version("torch")
    for name in stored.names:
        np.testing.assert_array_equal(stored[name], returned[name])
        np.testing.assert_array_equal(stored.error(name), returned.error(name))


# Refusals


def test_arguments_that_do_not_fit() -> None:
    module = LeastSquares()
    with pytest.raises(GeometryError, match="a Plane has 2 and the grid 1 axes"):
        surface_of(module, Grid(x=(0, 1, 2)), refuse)
    with pytest.raises(GeometryError, match="batch_norm='kept' is unknown: choose one of keep, interpolate, recalib"):
        surface_of(module, step=refuse, batch_norm="kept")
    with pytest.raises(ObjectiveError, match="no data loader given"):
        surface_of(module, step=refuse, dataloader={})
    with pytest.raises(GeometryError, match="the slice does not fit LeastSquares"):
        surface_of(module, step=refuse, slice_=plane_of(nn.Linear(2, 2)))
    with pytest.raises(ObjectiveError, match="not a LightningModule"):
        surface_of(nn.Linear(2, 2))


def test_a_faulty_step_is_found_on_its_first_batch() -> None:
    with pytest.raises(AssertionError, match="the step was called"):
        surface_of(LeastSquares(), step=refuse)


def test_a_metric_of_several_numbers_is_refused() -> None:
    class Each(LeastSquares):
        def __init__(self) -> None:
            super().__init__()
            self.f1 = MulticlassF1Score(3, average=None)

        def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.f1.update(torch.eye(3), torch.arange(3))
            self.log("f1", self.f1)
            return torch.zeros(())

    with pytest.raises(ObjectiveError, match=r"the metric logged as 'f1' \(MulticlassF1Score\) computes no single"):
        surface_of(Each())


def test_channels_that_come_and_go() -> None:
    """Known are those of the first batch; one that is missing at a point is NaN there, and a new one is reported."""

    def step(module: Any, batch: Any) -> dict[str, Tensor]:
        loss = module.training_step(batch, 0)
        extra = {"right": loss} if module.weight[0, 0] > origin else {"origin": loss}
        return {"loss": loss, **extra}

    module = LeastSquares()
    origin = module.weight[0, 0].item()
    line = Line(weights_of(module), weights_of(module))
    sign = 1 if origin > 0 else -1
    with pytest.warns(UserWarning, match=r"channels \['right'\] are not drawn"):
        surface = surface_of(module, Grid(x=(-1, 1, 3)), step, slice_=line)
    assert surface.names == ["loss", "origin"]
    assert np.isnan(surface["origin"][::sign]).tolist() == [False, False, True]
    assert surface.complete
