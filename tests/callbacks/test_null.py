"""The null test: a run with our callbacks and a run without end with identical bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint

from lightning_landscape import LossLandscape, Surface, TrajectoryRecorder
from tests.modules_under_test import Delicate, assert_same, loaders, state_of, train, trainer


def ours(**options: Any) -> list[Callback]:
    """All our callbacks, at every moment that they offer."""
    return [
        TrajectoryRecorder(every_n_steps=3),
        TrajectoryRecorder(name="epochs", dtype="float16"),
        TrajectoryRecorder(sketch=64, every_n_steps=1),
        LossLandscape(resolution=3, examples=20, every_n_epochs=1, at_checkpoints=True, **options),
        LossLandscape("pca", resolution=3, data="train", examples=20, every_n_epochs=2),
        LossLandscape(resolution=7, examples=16, data="train", every_n_epochs=2, name="estimated"),
        LossLandscape(dimensions=1, resolution=3, batch_norm="recalibrate", name="recalibrated", every_n_epochs=2),
    ]


def checkpoint(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder / "checkpoints", monitor="val_loss", save_last=True, save_top_k=2)


def test_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    """Weights, optimizer, buffers, generators, metrics and the checkpoint do not know of the callbacks."""
    plain = state_of(*train(tmp_path / "plain", [checkpoint(tmp_path / "plain")]))
    watched = state_of(*train(tmp_path / "watched", [*ours(), checkpoint(tmp_path / "watched")]))
    assert_same(plain, watched)
    saved = [torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True) for name in ("plain", "watched")]
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "loops", "epoch", "global_step"):
        assert_same(saved[0][key], saved[1][key], key)
    assert len(list((tmp_path / "watched/landscape").glob("random-step=*.h5"))) == 3


# Lightning wonders at every fit with an OnExceptionCheckpoint which checkpoint to begin from.
@pytest.mark.filterwarnings("ignore:.*fit.ckpt_path=.*")
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_surface_leaves_the_run_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    """What strikes in the middle of a surface finds everything restored by the time anybody else sees it."""

    class Spy(Callback):
        def on_train_epoch_end(self, run: Any, module: Any) -> None:
            self.before = state_of(module, run, results=False)

        def on_exception(self, run: Any, module: Any, exception: BaseException) -> None:
            self.after = state_of(module, run, results=False)

    calls = {"number": 0}

    def step(module: Delicate, batch: Any) -> Any:
        calls["number"] += 1
        if calls["number"] == 12:
            raise error("in the middle of a surface")
        return module.validation_step(batch, 0)

    spy = Spy()
    landscape = LossLandscape(resolution=5, examples=20, every_n_epochs=2, step=step)
    saver = OnExceptionCheckpoint(tmp_path / "checkpoints")
    expected: type[BaseException] = SystemExit if error is KeyboardInterrupt else error
    with pytest.raises(expected):
        train(tmp_path, [spy, landscape, saver])
    assert calls["number"] == 12
    assert_same(spy.before, spy.after)
    kept = torch.load(tmp_path / "checkpoints/on_exception.ckpt", weights_only=True)
    for name, tensor in spy.before["weights"].items():
        assert torch.equal(kept["state_dict"][name], tensor), name


# Lightning says this where the validating trainer lacks the training trainer's ModelCheckpoint.
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning")
def test_validate_makes_the_surface_of_a_checkpoint_and_leaves_the_module(tmp_path: Path) -> None:
    """`trainer.validate(model, ckpt_path=...)` gives the surface that training would have given there."""
    module, _ = train(tmp_path, [LossLandscape(resolution=3, examples=20), checkpoint(tmp_path)])
    landscape = LossLandscape(resolution=3, examples=20, dirpath=tmp_path / "validated")
    run = trainer(tmp_path, [landscape])
    fresh = Delicate()
    reference = trainer(tmp_path).validate(
        Delicate(), loaders()["val_dataloaders"], tmp_path / "checkpoints/last.ckpt", False
    )
    metrics = run.validate(fresh, loaders()["val_dataloaders"], tmp_path / "checkpoints/last.ckpt", verbose=False)
    assert metrics[0]["val_loss"] == reference[0]["val_loss"]
    for name, tensor in module.named_parameters():
        assert torch.equal(tensor, dict(fresh.named_parameters())[name])
    trained = Surface.load(next((tmp_path / "landscape").glob("random-*.h5")))
    assert landscape.surfaces[0].name == "random-last.h5"
    validated = Surface.load(landscape.surfaces[0])
    assert validated.attrs["weights_sha256"] == trained.attrs["weights_sha256"]
    assert (validated["loss"] == trained["loss"]).all()
