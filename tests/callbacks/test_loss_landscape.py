"""LossLandscape: which surfaces it computes, of what, and what it leaves in the folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from lightning_landscape import (
    GeometryError,
    LandscapeError,
    Line,
    LossLandscape,
    ObjectiveError,
    Plane,
    RecordError,
    Surface,
    TrajectoryRecorder,
    compute_surface,
    weights_of,
)
from lightning_landscape.geometry.weights import digest
from lightning_landscape.sampling.grid import Grid
from tests import modules_under_test
from tests.engine.regression import LeastSquares, loader
from tests.modules_under_test import Delicate, dataset, loaders


def trainer(folder: Path, callbacks: Sequence[pl.Callback] = (), **options: Any) -> pl.Trainer:
    """A trainer that saves checkpoints only where the test asks for them."""
    saving = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    return modules_under_test.trainer(folder, callbacks, **{"enable_checkpointing": saving, **options})


def train(folder: Path, callbacks: Sequence[pl.Callback] = (), **options: Any) -> tuple[Delicate, pl.Trainer]:
    saving = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    return modules_under_test.train(folder, callbacks, **{"enable_checkpointing": saving, **options})


def small(*arguments: Any, **options: Any) -> LossLandscape:
    return LossLandscape(*arguments, **{"resolution": 3, "examples": 8, **options})


def records(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.h5"))


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than these runs."""
    monkeypatch.setattr(LossLandscape, "_publish", lambda *_, **__: None)
    monkeypatch.setattr("lightning_landscape.callbacks.loss_landscape.animate", lambda *_: None)


class Watch(pl.Callback):
    """Remembers the weights at the end of every epoch, by step."""

    def __init__(self) -> None:
        self.weights: dict[int, str] = {}

    def on_train_epoch_end(self, run: pl.Trainer, module: pl.LightningModule) -> None:
        self.weights[run.global_step] = digest(weights_of(module, buffers=True))


def assert_of_the_weights(watch: Watch, folder: Path, name: str = "random") -> None:
    for step, sha256 in watch.weights.items():
        path = folder / f"{name}-step={step:06d}.h5"
        if path.exists():
            assert Surface.load(path).attrs["weights_sha256"] == sha256


# When


@pytest.mark.usefixtures("no_figures")
def test_at_the_end_of_training(tmp_path: Path) -> None:
    landscape, watch = small(attrs={"initial_loss": 2.5}), Watch()
    train(tmp_path, [watch, landscape])
    assert landscape.surfaces == [tmp_path / "landscape/random-step=000021.h5"]
    surface = Surface.load(landscape.surfaces[0])
    assert surface.complete
    assert surface.shape == (3, 3)
    assert surface.x.tolist() == [-1, 0, 1]
    assert surface.attrs["epoch"] == 3
    assert surface.attrs["global_step"] == 21
    assert surface.attrs["step"] == "Delicate.validation_step"
    assert surface.attrs["examples"] == 8
    assert surface.attrs["dataset_size"] == 53
    assert surface.attrs["kind"] == "random"
    assert surface.attrs["initial_loss"] == 2.5
    assert_of_the_weights(watch, tmp_path / "landscape")


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(("n", "steps"), [(1, [7, 14, 21, 28]), (2, [14, 28]), (3, [21, 28]), (9, [28])])
def test_every_n_epochs(n: int, steps: list[int], tmp_path: Path) -> None:
    watch = Watch()
    train(tmp_path, [watch, small(every_n_epochs=n)], max_epochs=4)
    assert records(tmp_path / "landscape") == [f"random-step={step:06d}.h5" for step in steps]
    for step in steps:
        assert Surface.load(tmp_path / f"landscape/random-step={step:06d}.h5").attrs["epoch"] == step // 7
    assert_of_the_weights(watch, tmp_path / "landscape")


@pytest.mark.usefixtures("no_figures")
def test_an_epoch_that_turns_out_to_be_the_last_is_computed_once(tmp_path: Path) -> None:
    """Early stopping: the surface at the end of training is that of the last epoch, which is there already."""
    landscape = small(every_n_epochs=1, step=counted)
    counted.calls = 0  # type: ignore[attr-defined]
    train(tmp_path, [landscape], max_epochs=5, max_steps=14)
    assert records(tmp_path / "landscape") == ["random-step=000007.h5", "random-step=000014.h5"]
    # One batch a point, and one to learn the channels: twice nine points, and a look at the complete record.
    assert counted.calls == 10 + 10 + 1  # type: ignore[attr-defined]


def counted(module: Any, batch: Any) -> Tensor:
    counted.calls += 1  # type: ignore[attr-defined]
    return module._loss(batch)[1]


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("save_weights_only", [False, True])
def test_at_checkpoints(save_weights_only: bool, tmp_path: Path) -> None:
    """The surface shows the weights that were saved, also where the file is overwritten each time."""
    watch = Watch()
    saver = ModelCheckpoint(
        tmp_path / "saved",
        "model",
        every_n_train_steps=5,
        save_weights_only=save_weights_only,
        enable_version_counter=False,
    )
    kept: dict[int, dict[str, Tensor]] = {}

    class Keep(pl.Callback):
        def on_train_batch_start(self, run: Any, module: Any, batch: Any, batch_idx: int) -> None:
            kept[run.global_step] = weights_of(module, buffers=True)

    train(tmp_path, [watch, Keep(), small(at_checkpoints=True), saver], max_epochs=2)
    assert records(tmp_path / "landscape") == [f"random-step={step:06d}.h5" for step in (5, 10, 14)]
    for step in (5, 10):
        found = Surface.load(tmp_path / f"landscape/random-step={step:06d}.h5").attrs
        assert found["weights_sha256"] == digest(kept[step])
        assert found["global_step"] == step


@pytest.mark.usefixtures("no_figures")
def test_a_checkpoint_at_the_end_of_an_epoch(tmp_path: Path) -> None:
    """Saved after the callbacks' turn, and drawn at the start of the next epoch; an epoch's own is not drawn twice."""
    watch = Watch()
    saver = ModelCheckpoint(tmp_path / "saved", every_n_epochs=2)
    train(tmp_path, [watch, small(at_checkpoints=True), saver], max_epochs=5)
    assert records(tmp_path / "landscape") == [f"random-step={step:06d}.h5" for step in (14, 28, 35)]
    assert_of_the_weights(watch, tmp_path / "landscape")
    both = small(at_checkpoints=True, every_n_epochs=2, dirpath=tmp_path / "both")
    train(tmp_path, [both, ModelCheckpoint(tmp_path / "again", every_n_epochs=2)], max_epochs=5)
    assert len(both.surfaces) == len(records(tmp_path / "both")) == 3


@pytest.mark.usefixtures("no_figures")
def test_a_fast_development_run_and_the_sanity_check_compute_nothing(tmp_path: Path) -> None:
    landscape = small(every_n_epochs=1, step=refuse)
    train(tmp_path, [landscape, TrajectoryRecorder()], fast_dev_run=True)
    trainer(tmp_path, [landscape], fast_dev_run=True).validate(Delicate(), loaders()["val_dataloaders"], verbose=False)
    assert landscape.surfaces == []
    assert not (tmp_path / "landscape").exists()
    train(tmp_path, [small()], max_epochs=1, num_sanity_val_steps=2)
    assert records(tmp_path / "landscape") == ["random-step=000007.h5"]


def refuse(module: nn.Module, batch: Any) -> Tensor:
    raise AssertionError("the step was called")


# Of what


@pytest.mark.usefixtures("no_figures")
def test_the_numbers_are_those_of_compute_surface(tmp_path: Path) -> None:
    module, _ = train(tmp_path, [small(examples=30, seed=4, extent=0.5, shortcuts=[])])
    found = Surface.load(tmp_path / "landscape/random-step=000021.h5")
    plane = Plane.random(weights_of(module), 4)
    expected = compute_surface(
        module,
        loaders()["val_dataloaders"],
        plane,
        Grid.square(0.5, 3),
        examples=30,
        seed=4,
        progress=False,
        shortcuts=[],
    )
    assert found.names == expected.names
    for name in expected.names:
        np.testing.assert_array_equal(found[name], expected[name])
        np.testing.assert_array_equal(found.error(name), expected.error(name))


@pytest.mark.usefixtures("no_figures")
def test_training_or_validation_data(tmp_path: Path) -> None:
    options: dict[str, Any] = {"resolution": 1, "examples": "all"}
    own = DataLoader(Subset(dataset(), range(10)), batch_size=8)
    callbacks = {
        "default": small(name="default", **options),
        "val": small(name="val", data="val", **options),
        "train": small(name="train", data="train", **options),
        "own": small(name="own", data=own, **options),
        "own-train": small(name="own-train", data=own, step="training_step", **options),
    }
    pl.seed_everything(7, verbose=False)
    module = Delicate()
    training = DataLoader(Subset(dataset(), range(21, 53)), batch_size=8, shuffle=True)
    validation = [DataLoader(Subset(dataset(), range(15)), batch_size=4)]
    trainer(tmp_path, list(callbacks.values()), max_epochs=1).fit(module, training, validation)
    found = {name: Surface.load(callback.surfaces[0]) for name, callback in callbacks.items()}
    sizes = {name: surface.attrs["dataset_size"] for name, surface in found.items()}
    assert sizes == {"default": 15, "val": 15, "train": 32, "own": 10, "own-train": 10}
    steps = {name: surface.attrs["step"].split(".")[1] for name, surface in found.items()}
    assert steps == {name: "training_step" if "train" in name else "validation_step" for name in found}

    def loss(indices: range) -> float:
        inputs, labels = dataset()[list(indices)]
        with torch.no_grad():
            return float(nn.functional.cross_entropy(module.eval().net(inputs), labels))

    for name, indices in (("val", range(15)), ("train", range(21, 53)), ("own", range(10))):
        assert found[name]["loss"].item() == pytest.approx(loss(indices), rel=1e-6)


@pytest.mark.usefixtures("no_figures")
def test_without_validation_the_training_data_are_taken(tmp_path: Path) -> None:
    landscape = small()
    trainer(tmp_path, [landscape], max_epochs=1, limit_val_batches=0).fit(LeastSquares(), loader(), loader(count=5))
    surface = Surface.load(landscape.surfaces[0])
    assert surface.attrs["step"] == "LeastSquares.training_step"
    assert surface.attrs["dataset_size"] == 23


@pytest.mark.usefixtures("no_figures")
def test_validation_data_that_are_loaded_late(tmp_path: Path) -> None:
    """Without a sanity check, and with validation every second epoch, Lightning loads them in the second epoch."""
    landscape = small(data="val")
    run = trainer(tmp_path, [landscape], max_epochs=2, check_val_every_n_epoch=2, num_sanity_val_steps=0)
    run.fit(LeastSquares(), loader(), loader(count=5))
    assert Surface.load(landscape.surfaces[0]).attrs["dataset_size"] == 5


@pytest.mark.usefixtures("no_figures")
def test_a_step_of_the_users(tmp_path: Path) -> None:
    def step(module: Any, batch: Any) -> dict[str, Any]:
        return {"loss": module._loss(batch)[1], "norm": sum(p.square().sum() for p in module.parameters())}

    train(tmp_path, [small(step=step)], max_epochs=1)
    assert Surface.load(tmp_path / "landscape/random-step=000007.h5").names == ["loss", "norm"]


@pytest.mark.usefixtures("no_figures")
def test_curves(tmp_path: Path) -> None:
    train(tmp_path, [small(dimensions=1), small(), TrajectoryRecorder(), small("pca", dimensions=1)])
    curve = Surface.load(tmp_path / "landscape/random-step=000021.h5")
    plane = Surface.load(tmp_path / "landscape/random-2-step=000021.h5")
    assert curve.dim == 1
    np.testing.assert_array_equal(curve["loss"], plane["loss"][1])
    principal = Surface.load(tmp_path / "landscape/pca-step=000021.h5")
    assert principal.dim == 1
    assert principal.path is not None
    assert principal.path.coordinates.shape == (4, 1)


@pytest.mark.usefixtures("no_figures")
def test_planes_and_lines_of_the_users(tmp_path: Path) -> None:
    pl.seed_everything(1, verbose=False)
    first, second = weights_of(Delicate()), weights_of(Delicate())
    line, plane = small(Line.between(first, second)), small(Plane.random(first, seed=5), extent=2.0)
    train(tmp_path, [line, plane], max_epochs=1)
    assert [p.name for p in (*line.surfaces, *plane.surfaces)] == ["between-step=000007.h5", "random-step=000007.h5"]
    found = Surface.load(line.surfaces[0])
    assert found.dim == 1
    assert found.attrs["kind"] == "between"
    assert Surface.load(plane.surfaces[0]).x.tolist() == [-2, 0, 2]


@pytest.mark.usefixtures("no_figures")
def test_the_principal_plane_holds_the_path(tmp_path: Path) -> None:
    module, _ = train(tmp_path, [small("pca", every_n_epochs=1), TrajectoryRecorder(every_n_steps=2)])
    # After the first epoch there are four checkpoints: steps 0, 2, 4 and 6, and that of the surface itself.
    assert records(tmp_path / "landscape") == [
        "pca-step=000007.h5",
        "pca-step=000014.h5",
        "pca-step=000021.h5",
        "trajectory.h5",
    ]
    surface = Surface.load(tmp_path / "landscape/pca-step=000021.h5")
    assert surface.attrs["kind"] == "principal"
    shares = surface.attrs["explained_variance"]
    assert 1 >= shares[0] >= shares[1] > 0
    assert surface.path is not None
    assert surface.path.steps.tolist() == [0, 2, 4, 6, 7, 8, 10, 12, 14, 16, 18, 20, 21]
    assert surface.path.coordinates[-1] == pytest.approx([0, 0], abs=1e-9)
    assert surface.path.residual[-1] == pytest.approx(0, abs=1e-6)
    for axis, positions in zip((surface.x, surface.y), surface.path.coordinates.T, strict=True):
        assert axis is not None
        assert axis[0] < positions.min()
        assert axis[-1] > positions.max()
    assert surface.attrs["weights_sha256"] == digest(weights_of(module, buffers=True))


@pytest.mark.usefixtures("no_figures")
def test_the_principal_plane_of_some_parameters(tmp_path: Path) -> None:
    train(tmp_path, [TrajectoryRecorder(parameters=["net.4.*"]), small("pca")])
    surface = Surface.load(tmp_path / "landscape/pca-step=000021.h5")
    assert surface.path is not None
    assert surface.path.coordinates.shape == (4, 2)


@pytest.mark.usefixtures("no_figures")
def test_too_short_a_path_is_reported_and_training_goes_on(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"no surface 'pca' at step 7: "):
        train(tmp_path, [small("pca", every_n_epochs=1), TrajectoryRecorder()])
    assert "pca-step=000021.h5" in records(tmp_path / "landscape")


@pytest.mark.usefixtures("no_figures")
def test_diverged_weights_are_reported_and_training_goes_on(tmp_path: Path) -> None:
    class Diverge(pl.Callback):
        def on_train_epoch_end(self, run: Any, module: Any) -> None:
            module.net[0].weight.data.fill_(torch.nan)

    with pytest.warns(UserWarning, match=r"no surface 'random' at step 7: direction x has the length nan"):
        _, run = train(tmp_path, [Diverge(), small()], max_epochs=1)
    assert run.state.finished


# Names and folders


@pytest.mark.usefixtures("no_figures")
def test_names_are_distinct(tmp_path: Path) -> None:
    landscapes = [small(), small(seed=1), small(name="mine"), small(seed=2), small(name="random-2")]
    _, run = train(tmp_path, landscapes, max_epochs=1)
    names = [landscape.name for landscape in landscapes]
    assert len(set(names)) == 5
    assert names[:4] == ["random", "random-2", "mine", "random-3"]
    assert len(records(tmp_path / "landscape")) == 5
    run.fit_loop.max_epochs = 2
    run.fit(Delicate(), **loaders())
    assert [landscape.name for landscape in landscapes] == names


@pytest.mark.usefixtures("no_figures")
def test_a_second_run_keeps_the_record_of_the_first(tmp_path: Path) -> None:
    train(tmp_path, [small()], max_epochs=1)
    first = (tmp_path / "landscape/random-step=000007.h5").read_bytes()
    again = small()
    train(tmp_path, [again], max_epochs=1)  # the same run: its surface is there already
    assert records(tmp_path / "landscape") == ["random-step=000007.h5"]
    pl.seed_everything(8, verbose=False)
    other = small()
    with pytest.warns(UserWarning, match=r"weights_sha256.* goes to random-step=000007-1.h5"):
        trainer(tmp_path, [other], max_epochs=1).fit(Delicate(), **loaders())
    assert other.surfaces == [tmp_path / "landscape/random-step=000007-1.h5"]
    assert (tmp_path / "landscape/random-step=000007.h5").read_bytes() == first


@pytest.mark.usefixtures("no_figures")
def test_files_lie_beside_the_logs(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="logs", version=3)
    train(tmp_path, [small()], max_epochs=1, logger=logger, log_every_n_steps=1)
    assert records(tmp_path / "logs/version_3/landscape") == ["random-step=000007.h5"]
    train(tmp_path, [small(dirpath=tmp_path / "own")], max_epochs=1)
    assert records(tmp_path / "own") == ["random-step=000007.h5"]


@pytest.mark.usefixtures("no_figures")
def test_validation_of_a_model_as_it_is(tmp_path: Path) -> None:
    landscape = small()
    run = trainer(tmp_path, [landscape])
    module = Delicate()
    for _ in range(2):
        run.validate(module, loaders()["val_dataloaders"], verbose=False)
    assert landscape.surfaces == [tmp_path / "landscape/random-validate.h5"]
    surface = Surface.load(landscape.surfaces[0])
    assert surface.attrs["weights_sha256"] == digest(weights_of(module, buffers=True))
    assert surface.attrs["checkpoint"] == "validate"
    assert "epoch" not in surface.attrs


# Figures


def test_figures(tmp_path: Path) -> None:
    """PNG of every surface; at the end a page, and an animation where there are several surfaces."""
    train(tmp_path, [small(every_n_epochs=2), small(dimensions=1, name="curve")])
    expected = {"random.gif", "curve-step=000021.h5", "curve-step=000021-curve.png", "random-step=000021.html"}
    for step in (14, 21):
        expected |= {f"random-step=0000{step}{end}" for end in (".h5", "-contours.png", "-surface.png")}
    folder = tmp_path / "landscape"
    assert {path.name for path in folder.iterdir()} == expected
    assert (folder / "random.gif").read_bytes()[:3] == b"GIF"
    assert (folder / "random-step=000021-contours.png").read_bytes()[1:4] == b"PNG"
    assert "<html" in (folder / "random-step=000021.html").read_text()


def test_figures_of_a_path(tmp_path: Path) -> None:
    train(tmp_path, [TrajectoryRecorder(), small("pca"), small("pca", dimensions=1, name="line")])
    names = {path.name for path in (tmp_path / "landscape").iterdir()}
    assert {"pca-step=000021-contours.png", "pca-step=000021-surface.png", "line-step=000021-curve.png"} <= names


def test_a_figure_that_fails_costs_a_warning_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("no picture")

    monkeypatch.setattr("lightning_landscape.callbacks.loss_landscape.plot_contours", fail)
    with pytest.warns(UserWarning, match=r"the figures of .*could not be made \(ZeroDivisionError: no picture\)"):
        _, run = train(tmp_path, [small()], max_epochs=1)
    assert run.state.finished
    assert records(tmp_path / "landscape") == ["random-step=000007.h5"]


# Refusals: at the beginning, not at the end


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (["hessian"], {}, "plane='hessian' is unknown"),
        ([], {"resolution": 0}, "resolution=0: .*at least 1"),
        (["pca"], {"resolution": 1}, "resolution=1: .*at least 2"),
        ([], {"extent": 0.0}, r"extent=0.0"),
        ([], {"extent": float("nan")}, "extent=nan"),
        ([], {"extent": float("inf")}, "extent=inf"),
        ([], {"every_n_epochs": 0}, "every_n_epochs=0"),
        ([], {"dimensions": 3}, "dimensions=3"),
        ([], {"examples": 0}, "examples=0"),
        ([], {"data": "test"}, "data='test' is unknown: choose one of train, val"),
        ([], {"normalize": "filters"}, "normalize='filters' is unknown: choose one of filter, layer, weight"),
        ([], {"batch_norm": "interpolate"}, "batch_norm='interpolate' is unknown: choose one of keep, recalibrate"),
    ],
)
def test_options_out_of_range(arguments: list[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(LandscapeError, match=message):
        LossLandscape(*arguments, **options)


class Manual(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.layer = nn.Linear(4, 1)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        raise AssertionError("training began")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder: Path, module: pl.LightningModule, callback: pl.Callback) -> None:
    trainer(folder, [callback], max_epochs=1).fit(module, loader())


def test_what_could_not_be_evaluated_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ObjectiveError, match="the training_step of Manual steps its optimizers itself"):
        fit(tmp_path, Manual(), small())
    with pytest.raises(ObjectiveError, match="Manual defines no validation_step"):
        fit(tmp_path, Manual(), small(data="val"))
    with pytest.raises(LandscapeError, match=r"a TrajectoryRecorder records, and the trainer has none"):
        fit(tmp_path, Manual(), small("pca", step=refuse))
    with pytest.raises(GeometryError, match="the slice does not fit Manual: 2 of its 2 tensors"):
        fit(tmp_path, Manual(), small(Plane.random(weights_of(nn.Linear(3, 3))), step=refuse))
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"cannot write to .*file"):
        fit(tmp_path, Manual(), small(dirpath=tmp_path / "file/landscape", step=refuse))


def test_a_training_step_by_hand_without_validation_data_is_refused_at_the_start(tmp_path: Path) -> None:
    class Validated(Manual):
        def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
            return batch[0].mean()

    run = trainer(tmp_path, [small()], limit_val_batches=0)
    with pytest.raises(ObjectiveError, match="finds no data loader with its own step for val or train data"):
        run.fit(Validated(), loader(), loader())
