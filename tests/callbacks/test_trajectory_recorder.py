"""TrajectoryRecorder: which weights are recorded, and how a resumed run goes on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler, ModelCheckpoint
from torch import Tensor, nn

from lightning_landscape import (
    LandscapeError,
    LossLandscape,
    RecordError,
    Sketch,
    Trajectory,
    TrajectoryRecorder,
    Weights,
    weights_of,
)
from lightning_landscape.geometry import Projection
from lightning_landscape.records import TrajectoryFile
from tests.engine.regression import LeastSquares, loader
from tests.modules_under_test import Delicate, assert_same, loaders, trainer

# The runs here are resumed without the callback that saved their checkpoints.
pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")

STEPS = 7  # in an epoch


class Spy(pl.Callback):
    """Keeps the weights at every moment at which a recorder may record, by step."""

    def __init__(self) -> None:
        self.weights: dict[int, Weights] = {}

    def keep(self, run: pl.Trainer, module: pl.LightningModule) -> None:
        self.weights[run.global_step] = weights_of(module)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.keep(trainer, pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.keep(trainer, pl_module)


class Stop(pl.Callback):
    """Kills the run after a step."""

    def __init__(self, step: int, error: type[BaseException] = RuntimeError) -> None:
        self.step, self.error = step, error

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise self.error("killed")


def train(
    folder: Path, callbacks: Sequence[pl.Callback], ckpt_path: Path | None = None, **options: Any
) -> tuple[Delicate, pl.Trainer]:
    pl.seed_everything(7, verbose=False)
    module = Delicate()
    saving = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    run = trainer(folder, callbacks, **{"enable_checkpointing": saving, **options})
    run.fit(module, **loaders(), ckpt_path=ckpt_path)
    return module, run


def contents(path: Path) -> dict[str, Any]:
    """All of a trajectory in plain data."""
    with Trajectory.load(path) as trajectory:
        return {
            "rows": [dict(weights) for weights in trajectory],
            "roles": trajectory[0].roles,
            "steps": trajectory.steps,
            "epochs": trajectory.epochs,
            "lr": trajectory.lr,
        }


def steps_in(path: Path) -> list[int]:
    with Trajectory.load(path) as trajectory:
        return trajectory.steps.tolist()


def assert_recorded(path: Path, spy: Spy) -> None:
    """Every row is, bit for bit, what the spy saw at its step."""
    with Trajectory.load(path) as trajectory:
        for step, weights in zip(trajectory.steps.tolist(), trajectory, strict=True):
            assert_same(dict(weights), dict(spy.weights[step]))
            assert weights.roles == spy.weights[step].roles


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, [0, 7, 14, 21]),
        ({"every_n_epochs": 2}, [0, 14, 21]),
        ({"every_n_epochs": 9}, [0, 21]),
        ({"every_n_steps": 1}, list(range(22))),
        ({"every_n_steps": 4}, [0, 4, 8, 12, 16, 20, 21]),
        ({"every_n_steps": 7}, [0, 7, 14, 21]),
        ({"every_n_steps": 100}, [0, 21]),
    ],
)
def test_rows_from_the_first_weights_to_the_last(options: dict[str, Any], steps: list[int], tmp_path: Path) -> None:
    spy, recorder = Spy(), TrajectoryRecorder(**options)
    module, _ = train(tmp_path, [spy, recorder])
    assert recorder.path == tmp_path / "landscape/trajectory.h5"
    assert steps_in(recorder.path) == steps
    assert_recorded(recorder.path, spy)
    with recorder.trajectory() as trajectory:
        assert_same(dict(trajectory[-1]), dict(weights_of(module)))
        assert trajectory.names == [name for name, _ in module.named_parameters()]
        assert trajectory.epochs.tolist() == [step // STEPS for step in steps]
        assert trajectory.lr is not None
        assert trajectory.lr[0] == 1e-2


def test_the_first_row_is_the_initialisation(tmp_path: Path) -> None:
    recorder = TrajectoryRecorder(every_n_epochs=3)
    train(tmp_path, [recorder], num_sanity_val_steps=2)
    pl.seed_everything(7, verbose=False)
    with recorder.trajectory() as trajectory:
        assert_same(dict(trajectory[0]), dict(weights_of(Delicate())))


def test_float16(tmp_path: Path) -> None:
    spy, recorder = Spy(), TrajectoryRecorder(dtype="float16")
    train(tmp_path, [spy, recorder], max_epochs=1)
    with recorder.trajectory() as trajectory:
        for step, weights in zip(trajectory.steps.tolist(), trajectory, strict=True):
            for name, tensor in weights.items():
                assert tensor.dtype == torch.float32
                assert torch.equal(tensor, spy.weights[step][name].half().float())


def test_selected_parameters(tmp_path: Path) -> None:
    spy, recorder = Spy(), TrajectoryRecorder(parameters=["net.4.*", "*.0.weight"], name="some")
    train(tmp_path, [spy, recorder], max_epochs=1)
    assert recorder.path == tmp_path / "landscape/some.h5"
    with recorder.trajectory() as trajectory:
        assert trajectory.names == ["net.0.weight", "net.4.weight", "net.4.bias"]
        for name, tensor in trajectory[-1].items():
            assert torch.equal(tensor, spy.weights[STEPS][name])
            assert trajectory[-1].roles[name] == spy.weights[STEPS].roles[name]


def test_patterns_that_select_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LandscapeError, match=r"parameters=\['layer3.\*'\]\) selects none of the 6 .*'net.0.weight'"):
        train(tmp_path, [TrajectoryRecorder(parameters=["layer3.*"])])


def test_intervals_below_one_are_refused() -> None:
    with pytest.raises(LandscapeError, match="every_n_epochs=0: give a number of at least 1"):
        TrajectoryRecorder(every_n_epochs=0)
    with pytest.raises(LandscapeError, match="every_n_steps=-1"):
        TrajectoryRecorder(every_n_steps=-1)


def test_nothing_to_open_before_training() -> None:
    with pytest.raises(LandscapeError, match="nothing is recorded yet"):
        TrajectoryRecorder().trajectory()


def test_it_can_be_read_while_it_is_recorded(tmp_path: Path) -> None:
    lengths: list[int] = []
    recorder = TrajectoryRecorder()

    class Reader(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            with recorder.trajectory() as trajectory:
                lengths.append(len(trajectory))

    train(tmp_path, [recorder, Reader()])
    assert lengths == [2, 3, 4]


# Optimizers


def test_gradient_accumulation_records_optimizer_steps(tmp_path: Path) -> None:
    """Seven batches make four steps; the batches in between record nothing."""
    spy, recorder = Spy(), TrajectoryRecorder(every_n_steps=1)
    train(tmp_path, [spy, recorder], max_epochs=2, accumulate_grad_batches=2)
    assert recorder.path is not None
    assert steps_in(recorder.path) == list(range(9))
    assert_recorded(recorder.path, spy)


def test_accumulation_that_changes_with_the_epoch(tmp_path: Path) -> None:
    """Lightning cannot tell the number of steps then."""
    recorder = TrajectoryRecorder(every_n_steps=1)
    train(tmp_path, [recorder, GradientAccumulationScheduler({0: 7, 1: 1})], max_epochs=2)
    assert recorder.path is not None
    assert steps_in(recorder.path) == list(range(9))


class Adversaries(pl.LightningModule):
    """Two networks, each with its optimizer, stepped by hand: two steps a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.one, self.other = nn.Linear(4, 1), nn.Linear(4, 1)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for network, optimizer in zip((self.one, self.other), self.optimizers(), strict=True):  # type: ignore[arg-type]
            optimizer.zero_grad()
            self.manual_backward(network(batch[0].float()).square().mean())
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(network.parameters(), lr=0.1) for network in (self.one, self.other)]


@pytest.mark.parametrize(("n", "steps"), [(2, [0, 2, 4, 6, 8, 10, 12]), (3, [0, 4, 6, 10, 12]), (5, [0, 6, 10, 12])])
def test_two_optimizers(n: int, steps: list[int], tmp_path: Path) -> None:
    """Lightning counts the steps of both; recorded is after the batch in which another n are complete."""
    spy, recorder = Spy(), TrajectoryRecorder(every_n_steps=n)
    trainer(tmp_path, [spy, recorder], max_epochs=1).fit(Adversaries(), loader())
    assert recorder.path is not None
    assert steps_in(recorder.path) == steps
    assert_recorded(recorder.path, spy)


class Enough(pl.Callback):
    """Ends the run gently after four steps."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        trainer.should_stop = trainer.global_step >= 4


@pytest.mark.parametrize("max_steps", [4, -1])
@pytest.mark.parametrize(("options", "steps"), [({"every_n_steps": 3}, [0, 3, 4]), ({}, [0, 4])])
def test_runs_without_a_number_of_epochs(
    max_steps: int, options: dict[str, Any], steps: list[int], tmp_path: Path
) -> None:
    recorder = TrajectoryRecorder(**options)
    run = trainer(tmp_path, [recorder, Enough()], enable_checkpointing=False, max_epochs=-1, max_steps=max_steps)
    run.fit(LeastSquares(), loader(), loader())
    assert recorder.path is not None
    assert steps_in(recorder.path) == steps


# Several runs


def test_a_second_run_gets_a_file_of_its_own(tmp_path: Path) -> None:
    first, second = TrajectoryRecorder(), TrajectoryRecorder()
    train(tmp_path, [first], max_epochs=1)
    before = (tmp_path / "landscape/trajectory.h5").read_bytes()
    train(tmp_path, [second], max_epochs=1)
    assert second.path == tmp_path / "landscape/trajectory-1.h5"
    assert (tmp_path / "landscape/trajectory.h5").read_bytes() == before


def test_a_recorder_used_twice_begins_again(tmp_path: Path) -> None:
    recorder = TrajectoryRecorder()
    module, run = train(tmp_path, [recorder], max_epochs=1)
    run.fit_loop.max_epochs = 2
    run.fit(module, **loaders())
    assert recorder.path == tmp_path / "landscape/trajectory-1.h5"
    assert steps_in(recorder.path) == [7, 14]


def test_several_recorders_of_a_run_have_names(tmp_path: Path) -> None:
    recorders = [TrajectoryRecorder(), TrajectoryRecorder(every_n_steps=3, name="steps")]
    _, run = train(tmp_path, recorders, max_epochs=1)
    run.save_checkpoint(tmp_path / "run.ckpt")
    states = torch.load(tmp_path / "run.ckpt", weights_only=True)["callbacks"]
    assert states == {
        "TrajectoryRecorder{'name': 'trajectory'}": {"path": str(tmp_path / "landscape/trajectory.h5")},
        "TrajectoryRecorder{'name': 'steps'}": {"path": str(tmp_path / "landscape/steps.h5")},
    }
    with pytest.raises(RuntimeError, match="TrajectoryRecorder"):
        trainer(tmp_path, [TrajectoryRecorder(), TrajectoryRecorder()])


OPTIONS: list[dict[str, Any]] = [{}, {"every_n_steps": 3}, {"every_n_steps": 3, "dtype": "float16"}]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_killed_and_resumed_run_records_what_an_uninterrupted_one_does(
    options: dict[str, Any], elsewhere: bool, tmp_path: Path
) -> None:
    """Killed after step 15, resumed from the checkpoint of step 12: what lay between is run, and recorded, again."""

    # No shuffling, no dropout: Lightning does not put random-number streams back when it resumes.
    def fit(folder: Path, *callbacks: pl.Callback, ckpt_path: Path | None = None) -> Path:
        recorder = TrajectoryRecorder(**options)
        run = trainer(folder, [recorder, *callbacks], enable_checkpointing=bool(callbacks))
        try:
            run.fit(LeastSquares(), loader(), loader(), ckpt_path=ckpt_path)
        finally:
            assert recorder.path == folder / "landscape/trajectory.h5"
        return recorder.path

    saver = ModelCheckpoint(tmp_path / "killed/saved", "{step}", save_top_k=-1)
    whole = fit(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="killed"):
        fit(tmp_path / "killed", saver, Stop(15))
    killed = tmp_path / "killed/landscape/trajectory.h5"
    before = killed.read_bytes()
    assert steps_in(killed)[-1] == (15 if options else 12)
    folder = tmp_path / ("elsewhere" if elsewhere else "killed")
    resumed = fit(folder, ckpt_path=tmp_path / "killed/saved/step=12.ckpt")
    assert sorted(path.name for path in (folder / "landscape").iterdir()) == ["trajectory.h5"]
    assert steps_in(resumed) == (list(range(0, 19, 3)) if options else [0, 6, 12, 18])
    assert_same(contents(resumed), contents(whole))
    if elsewhere:
        assert killed.read_bytes() == before


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_resuming_from_the_middle_of_an_interval(tmp_path: Path) -> None:
    """The checkpoint's own step was not recorded, and is not afterwards."""
    saver = ModelCheckpoint(tmp_path / "saved", "{step}", every_n_train_steps=5, save_top_k=-1)
    train(tmp_path / "one", [TrajectoryRecorder(every_n_steps=4), saver], max_epochs=2)
    spy, recorder = Spy(), TrajectoryRecorder(every_n_steps=4)
    # From the middle of an epoch the shuffled data differ, so only the rows' steps and contents are compared.
    train(tmp_path / "other", [spy, recorder], tmp_path / "saved/step=5.ckpt", max_epochs=2)
    assert recorder.path is not None
    assert steps_in(recorder.path)[:3] == [0, 4, 8]
    with recorder.trajectory() as trajectory:
        for step, weights in zip(trajectory.steps.tolist()[2:], list(trajectory)[2:], strict=True):
            assert_same(dict(weights), dict(spy.weights[step]))


def test_a_trajectory_that_is_gone_begins_anew(tmp_path: Path) -> None:
    train(tmp_path, [TrajectoryRecorder(), ModelCheckpoint(tmp_path / "saved", "model")], max_epochs=1)
    (tmp_path / "landscape/trajectory.h5").unlink()
    recorder = TrajectoryRecorder()
    with pytest.warns(UserWarning, match=r"is gone from .*trajectory.h5: a new one begins at step 7"):
        train(tmp_path, [recorder], tmp_path / "saved/model.ckpt", max_epochs=2)
    assert recorder.path is not None
    assert steps_in(recorder.path) == [7, 14]


def test_a_run_that_fails_leaves_a_readable_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path, [recorder := TrajectoryRecorder(every_n_steps=2), Stop(5)])
    assert recorder.path is not None
    assert steps_in(recorder.path) == [0, 2, 4]
    assert recorder._writer is None


# Writing in the background


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is slower than the training."""
    original = TrajectoryFile.append

    def append(file: TrajectoryFile, *values: Any, **facts: Any) -> None:
        time.sleep(0.05)
        original(file, *values, **facts)

    monkeypatch.setattr(TrajectoryFile, "append", append)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_run_has_written_all_that_it_recorded(tmp_path: Path, error: type[BaseException]) -> None:
    spy, recorder = Spy(), TrajectoryRecorder(every_n_steps=1)
    with pytest.raises(SystemExit if error is KeyboardInterrupt else error):
        train(tmp_path, [spy, recorder, Stop(5, error)])
    assert recorder.path is not None
    assert steps_in(recorder.path) == list(range(6))
    assert_recorded(recorder.path, spy)


@pytest.mark.usefixtures("slow")
def test_what_is_opened_during_the_run_is_complete(tmp_path: Path) -> None:
    lengths: list[int] = []
    recorder = TrajectoryRecorder(every_n_steps=1)

    class Reader(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
            with recorder.trajectory() as trajectory:
                lengths.append(len(trajectory))

    train(tmp_path, [recorder, Reader()], max_epochs=1)
    assert lengths == list(range(2, STEPS + 2))


def fill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk be full from a step on."""
    original = TrajectoryFile.append

    def append(file: TrajectoryFile, *values: Any, **facts: Any) -> None:
        if facts.get("step", values[1] if len(values) > 1 else 0) >= step:
            raise RecordError(f"cannot write to {file.path}: no space")
        original(file, *values, **facts)

    monkeypatch.setattr(TrajectoryFile, "append", append)


@pytest.mark.parametrize("step", [3, 21])
def test_a_full_disk_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Soon after the row that could not be written, and after the very last row too."""
    fill_at(step, monkeypatch)
    recorder, spy = TrajectoryRecorder(every_n_steps=1), Spy()
    with pytest.raises(RecordError, match="no space"):
        train(tmp_path, [spy, recorder])
    assert step <= max(spy.weights) <= step + 2
    assert recorder.path is not None
    assert steps_in(recorder.path) == list(range(step))


def test_a_full_disk_beside_another_error_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_at(3, monkeypatch)
    with (
        pytest.warns(UserWarning, match="the end of the trajectory is not recorded: cannot write to .*no space"),
        pytest.raises(RuntimeError, match="killed"),
    ):
        train(tmp_path, [Stop(3), TrajectoryRecorder(every_n_steps=3, name="t")][::-1])


# Sketches


def test_a_sketch_is_the_projection_of_the_weights(tmp_path: Path) -> None:
    spy, recorder, exact = Spy(), TrajectoryRecorder(sketch=64, every_n_steps=1), TrajectoryRecorder(every_n_steps=1)
    train(tmp_path, [spy, recorder, exact])
    assert recorder.path == tmp_path / "landscape/sketch.h5"
    assert recorder.path.with_suffix(".png").stat().st_size > 10_000
    assert recorder.projection is not None
    with recorder.sketch() as sketch, exact.trajectory() as trajectory:
        assert sketch.steps.tolist() == list(range(22))
        np.testing.assert_array_equal(sketch.epochs, trajectory.epochs)
        np.testing.assert_array_equal(sketch.lr, trajectory.lr)
        assert sketch.entries == sum(tensor.numel() for tensor in trajectory[0].values())
        for step, row, norm in zip(sketch.steps.tolist(), sketch.sketches, sketch.squared_norms, strict=True):
            np.testing.assert_array_equal(row, recorder.projection(spy.weights[step]).numpy())
            assert norm == pytest.approx(sum(t.double().square().sum().item() for t in spy.weights[step].values()))
    with pytest.raises(LandscapeError, match=r"sketches hold no weights: open them with sketch\(\)"):
        recorder.trajectory()
    with pytest.raises(LandscapeError, match=r"nothing is sketched: give TrajectoryRecorder\(sketch=True\)"):
        exact.sketch()
    with pytest.raises(LandscapeError, match="nothing is recorded yet"):
        TrajectoryRecorder(sketch=True).sketch()


def test_a_run_too_short_to_draw_keeps_its_sketch(tmp_path: Path) -> None:
    recorder = TrajectoryRecorder(sketch=64)
    with pytest.warns(UserWarning, match=r"the figure of .*sketch\.h5 could not be made .* a path of 3 rows"):
        train(tmp_path, [recorder], max_epochs=1)
    with recorder.sketch() as sketch:
        assert sketch.steps.tolist() == [0, 7]


def test_sketches_that_are_refused() -> None:
    assert TrajectoryRecorder(sketch=True).projection == Projection(4096)
    assert TrajectoryRecorder(sketch=128, seed=3).projection == Projection(128, 3)
    with pytest.raises(LandscapeError, match="a sketch of 1000 numbers: give a power of two"):
        TrajectoryRecorder(sketch=1000)
    with pytest.raises(LandscapeError, match="dtype='float16' is for weights"):
        TrajectoryRecorder(sketch=64, dtype="float16")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_resumed_sketch(elsewhere: bool, tmp_path: Path) -> None:
    def fit(folder: Path, *callbacks: pl.Callback, ckpt_path: Path | None = None, sketch: int = 64) -> Path:
        recorder = TrajectoryRecorder(sketch=sketch, every_n_steps=3)
        run = trainer(folder, [recorder, *callbacks], enable_checkpointing=bool(callbacks))
        run.fit(LeastSquares(), loader(), loader(), ckpt_path=ckpt_path)
        return folder / "landscape/sketch.h5"

    saver = ModelCheckpoint(tmp_path / "killed/saved", "{step}", save_top_k=-1)
    whole = fit(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="killed"):
        fit(tmp_path / "killed", saver, Stop(15))
    folder, checkpoint = tmp_path / ("elsewhere" if elsewhere else "killed"), tmp_path / "killed/saved/step=12.ckpt"
    with Sketch.load(fit(folder, ckpt_path=checkpoint)) as resumed, Sketch.load(whole) as uninterrupted:
        assert resumed.steps.tolist() == list(range(0, 19, 3))
        np.testing.assert_array_equal(resumed.sketches, uninterrupted.sketches)
    with pytest.raises(
        RecordError, match=r"holds sketches of .* by Projection\(dimension=64, seed=0\), and is to go on"
    ):
        fit(folder, ckpt_path=checkpoint, sketch=128)


def test_a_sketch_spans_no_plane_for_a_surface(tmp_path: Path) -> None:
    with pytest.raises(LandscapeError, match="the trainer has none \\(sketches hold no weights\\)"):
        train(tmp_path, [TrajectoryRecorder(sketch=64), LossLandscape("pca", resolution=3)])
    recorders = [TrajectoryRecorder(sketch=64), TrajectoryRecorder()]
    train(tmp_path, [*recorders, LossLandscape("pca", resolution=3, examples=20)], max_epochs=2)
    assert len(list((tmp_path / "landscape").glob("pca-step=*.h5"))) == 1


def test_weights_without_an_optimizer(tmp_path: Path) -> None:
    class Still(LeastSquares):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:  # type: ignore[override]
            return None

        def configure_optimizers(self) -> None:  # type: ignore[override]
            return None

    recorder = TrajectoryRecorder()
    with pytest.warns(UserWarning, match="returned `None`"):
        trainer(tmp_path, [recorder], max_epochs=1).fit(Still(), loader(), loader())
    with recorder.trajectory() as trajectory:
        assert trajectory.steps.tolist() == [0, 6]
        assert trajectory.lr is None
