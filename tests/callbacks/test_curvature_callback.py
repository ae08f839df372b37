"""The callbacks that measure curvature: the null test, what they write and when, and how a killed run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_landscape import (
    Curvature,
    CurvatureHistory,
    GradientSubspace,
    HessianSpectrum,
    LandscapeError,
    ObjectiveError,
    RecordError,
    Trajectory,
)
from lightning_landscape.curvature.top_subspace import gradient_shares, subspace_overlap
from tests.modules_under_test import Delicate, assert_same, loaders, state_of, train, trainer

SMALL: dict[str, Any] = {"examples": 20, "tolerance": 1e-6}


def spectrum(**options: Any) -> HessianSpectrum:
    return HessianSpectrum(**{"eigenvalues": 3, "steps": 5, "draws": 2, **SMALL, **options})


def subspace(**options: Any) -> GradientSubspace:
    return GradientSubspace(**{"k": 2, "more": 2, **SMALL, **options})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run without callbacks, and one with both."""
    folder = tmp_path_factory.mktemp("runs")
    plain = state_of(*train(folder / "plain"))
    callbacks = [spectrum(), subspace(), subspace(data="val", every_n_epochs=None, name="val-subspace")]
    module, run = train(folder / "watched", callbacks)
    return {
        "plain": plain,
        "watched": state_of(module, run),
        "module": module,
        "callbacks": callbacks,
        "folder": folder,
    }


def test_training_ends_with_the_same_bits(runs: dict[str, Any]) -> None:
    assert_same(runs["plain"], runs["watched"])


def test_the_spectrum_at_the_end_is_that_of_the_trained_weights(runs: dict[str, Any]) -> None:
    history = runs["callbacks"][0].history()
    assert history.steps.tolist() == [0, 7, 14, 21]
    assert history.epochs.tolist() == [0, 1, 2, 3]
    assert history.lr.tolist() == [0.01] * 4
    with Curvature(runs["module"], loaders()["train_dataloaders"], "training_step", examples=20) as curvature:
        exact = torch.linalg.eigvalsh((curvature.hessian @ torch.eye(curvature.hessian.shape[0])).double()).flip(0)
        loss, gradient = curvature.gradient()
    np.testing.assert_allclose(history["largest"][-1], exact[:3].numpy(), rtol=1e-4)
    np.testing.assert_allclose(history["smallest"][-1, 0], exact[-1].item(), rtol=1e-3)
    assert history["loss"][-1] == loss
    assert history["gradient_norm"][-1] == pytest.approx(gradient.norm().item(), rel=1e-6)
    assert abs(history["trace"][-1] - exact.sum().item()) < 5 * history["trace_error"][-1]
    assert history.attrs["examples"] == 20
    assert history["nodes"].shape == (4, 2, 5)


def test_the_subspace_at_the_end_is_that_of_the_trained_weights(runs: dict[str, Any]) -> None:
    history = runs["callbacks"][1].history()
    with Curvature(runs["module"], loaders()["train_dataloaders"], "training_step", examples=20) as curvature:
        _, gradient = curvature.gradient()
        _, vectors = torch.linalg.eigh((curvature.hessian @ torch.eye(curvature.hessian.shape[0])).double())
    expected = gradient_shares(vectors.T.flip(0)[:4], gradient)
    np.testing.assert_allclose(history["share"][-1], expected, rtol=1e-3)
    assert np.isnan(history["overlap_first"][0])
    with Trajectory.load(runs["folder"] / "watched/landscape/subspace-vectors.h5") as rows:
        assert rows.steps.tolist() == [0, 0, 7, 7, 14, 14, 21, 21]
        bases = torch.stack([row["eigenvector"] for row in rows]).view(4, 2, -1)
    assert history["overlap_previous"][-1] == pytest.approx(subspace_overlap(bases[3], bases[2]))
    assert history["overlap_first"][-1] == pytest.approx(subspace_overlap(bases[3], bases[0]))
    assert runs["callbacks"][2].history().steps.tolist() == [0, 21]


def test_figures_lie_beside_the_records(runs: dict[str, Any]) -> None:
    names = {path.name for path in (runs["folder"] / "watched/landscape").iterdir()}
    assert {"spectrum.h5", "spectrum-density.png", "spectrum-sharpness.png", "subspace-share.png"} <= names


class Killed(Exception):
    pass


class Kill(Callback):
    """Ends the run in the middle of its second epoch, after the first one's checkpoint."""

    def on_train_batch_start(self, run: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if run.global_step == 10:
            raise Killed


# Lightning says this where the resuming trainer lacks the killed one's ModelCheckpoint.
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning")
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_killed_run_goes_on_in_its_records(tmp_path: Path, runs: dict[str, Any], elsewhere: bool) -> None:
    """The values are those of the run that was not killed; what came after the checkpoint is measured again."""

    with pytest.raises(Killed):
        train(tmp_path, [spectrum(), subspace(), ModelCheckpoint(tmp_path / "saved", save_last=True), Kill()])
    with Trajectory.load(tmp_path / "landscape/spectrum.h5") as rows:
        assert rows.steps.tolist() == [0, 7]
    folder = tmp_path / "new" if elsewhere else tmp_path
    again = [spectrum(), subspace()]
    saved = tmp_path / "saved/last.ckpt"
    trainer(folder, again, enable_checkpointing=False).fit(Delicate(), **loaders(), ckpt_path=saved, weights_only=True)
    assert again[0].path.parent == folder / "landscape"
    for callback, whole in zip(again, runs["callbacks"], strict=False):
        history, expected = callback.history(), whole.history()
        assert history.steps.tolist() == [0, 7, 14, 21]
        for name in ("largest", "loss"):
            np.testing.assert_allclose(history[name][:2], expected[name][:2], rtol=1e-5)
        assert np.isfinite(history.values.get("overlap_first", np.ones(4))[1:]).all()
    with Trajectory.load(again[0].path) as rows:
        assert len(rows) == 4


def test_measurements_at_checkpoints(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path / "saved", every_n_train_steps=5, save_top_k=-1)
    callback = spectrum(every_n_epochs=None, at_checkpoints=True, eigenvalues=1)
    train(tmp_path, [callback, saver], max_epochs=2)
    assert callback.history().steps.tolist() == [0, 5, 10, 14]


def test_weights_that_diverge_cost_a_measurement_and_not_the_run(tmp_path: Path) -> None:
    class Diverge(Callback):
        def on_train_epoch_end(self, run: Any, module: Any) -> None:
            module.net[0].weight.data.fill_(torch.inf)

    callback = spectrum(every_n_epochs=None)
    with pytest.warns(UserWarning, match="no spectrum at step 7: .* is not finite"):
        train(tmp_path, [callback, Diverge()], max_epochs=1)
    assert callback.history().steps.tolist() == [0]


def test_options_out_of_range_are_refused(tmp_path: Path) -> None:
    for options, message in (
        ({"every_n_epochs": 0}, "every_n_epochs=0"),
        ({"examples": 0}, "examples=0"),
        ({"data": "test"}, "data='test' is unknown"),
        ({"steps": 0}, "steps=0"),
    ):
        with pytest.raises(LandscapeError, match=message):
            HessianSpectrum(**options)
    with pytest.raises(LandscapeError, match="more=-1"):
        GradientSubspace(more=-1)
    with pytest.raises(LandscapeError, match="nothing is measured yet"):
        HessianSpectrum().history()


def test_data_that_is_no_loader_is_refused(tmp_path: Path) -> None:
    run = trainer(tmp_path, [spectrum()], max_epochs=1)
    with pytest.raises(ObjectiveError, match="reads the train data from a DataLoader and found a list"):
        run.fit(Delicate(), [next(iter(loaders()["train_dataloaders"]))], loaders()["val_dataloaders"])


def test_another_record_is_refused(tmp_path: Path, runs: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match="holds no curvature of a run"):
        CurvatureHistory.load(runs["folder"] / "watched/landscape/subspace-vectors.h5")
    with pytest.raises(RecordError, match="there is no 'share' in this record; it has"):
        runs["callbacks"][0].history()["share"]
