"""Stiffness: the run does not notice, what it measures is right, and a resumed run goes on in its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader, TensorDataset

from lightning_landscape import LandscapeError, ObjectiveError, RecordError, Stiffness
from lightning_landscape.curvature.stiffness import EDGES, compute_stiffness
from lightning_landscape.records.stiffness import StiffnessHistory
from tests.modules_under_test import EXAMPLES, Delicate, assert_same, loaders, state_of, train, trainer

pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")


def run(folder: Path, *callbacks: pl.Callback, ckpt: Path | None = None, **options: Any) -> Delicate:
    pl.seed_everything(7, verbose=False)
    module = Delicate()
    saving = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    trainer(folder, callbacks, enable_checkpointing=saving, **options).fit(module, **loaders(), ckpt_path=ckpt)
    return module


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take most of the time of tests that are not about them."""
    monkeypatch.setattr(Stiffness, "_draw", lambda self, trainer: None)


def test_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    plain = state_of(*train(tmp_path / "plain"))
    watched = state_of(*train(tmp_path / "watched", [Stiffness(examples=8, every_n_epochs=2)]))
    assert_same(plain, watched)
    history = StiffnessHistory.load(tmp_path / "watched/landscape/stiffness.h5")
    assert history.steps.tolist() == [0, 14, 21]
    assert history.epochs.tolist() == [0, 2, 3]


@pytest.mark.usefixtures("undrawn")
def test_measured_are_the_gradients_of_the_step(tmp_path: Path) -> None:
    """The class matrices at the end, against gradients that are taken by hand."""
    callback = Stiffness(examples="all", every_n_epochs=3)
    module = run(tmp_path, callback)
    history = callback.history()
    module.eval()
    rows, labels = [], []
    for x, y in loaders()["val_dataloaders"].dataset:
        loss = torch.nn.functional.cross_entropy(module.net(x[None]), y[None])
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(module.parameters()))]))
        labels.append(int(y))
    unit = torch.nn.functional.normalize(torch.stack(rows).double(), dim=1)
    cosine, classes = (unit @ unit.T).numpy(), np.array(labels)
    assert history.classes.tolist() == sorted(set(labels))
    assert history.attrs["train_examples"] == history.attrs["val_examples"] == EXAMPLES
    for kind, values in (("cosine", cosine), ("sign", np.sign(cosine))):
        for a, first in enumerate(history.classes):
            for b, second in enumerate(history.classes):
                pairs = np.outer(classes == first, classes == second)
                # Validation examples are the same as the training examples, which nothing excludes.
                assert history.values[f"val/{kind}"][-1, a, b] == pytest.approx(values[pairs].mean(), abs=2e-5)
                np.fill_diagonal(pairs, False)
                assert history.values[f"train/{kind}"][-1, a, b] == pytest.approx(values[pairs].mean(), abs=2e-5)
    assert history.values["train/sign/distance/within"].shape == (2, len(EDGES) - 1)
    assert np.isfinite(history.between("train/cosine")).all()


@pytest.mark.usefixtures("undrawn")
def test_a_resumed_run_goes_on_in_its_record(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    run(whole, Stiffness(examples=8), ModelCheckpoint(whole / "saved", save_top_k=-1), max_epochs=2)
    first = StiffnessHistory.load(whole / "landscape/stiffness.h5")
    early = next((whole / "saved").glob("epoch=0*"))
    run(whole, Stiffness(examples=8), ckpt=early, max_epochs=3)
    again = StiffnessHistory.load(whole / "landscape/stiffness.h5")
    assert again.steps.tolist() == [0, 7, 14, 21]
    np.testing.assert_array_equal(again.values["train/cosine"][:2], first.values["train/cosine"][:2])
    assert len(list((whole / "landscape").glob("stiffness*.h5"))) == 1
    # In another folder the record is continued in a copy, and the first run's stays as it is.
    run(tmp_path / "other", Stiffness(examples=8), ckpt=early, max_epochs=2)
    assert StiffnessHistory.load(tmp_path / "other/landscape/stiffness.h5").steps.tolist() == [0, 7, 14]
    assert StiffnessHistory.load(whole / "landscape/stiffness.h5").steps.tolist() == [0, 7, 14, 21]


def test_figures_go_to_disk_and_to_the_loggers(tmp_path: Path) -> None:
    run(tmp_path, Stiffness(examples=8), logger=TensorBoardLogger(tmp_path), max_epochs=1)
    (folder,) = tmp_path.rglob("landscape")
    assert {path.name for path in folder.glob("*.png")} == {
        "stiffness-classes.png",
        "stiffness-training.png",
        "stiffness-distance.png",
    }
    events = b"".join(path.read_bytes() for path in tmp_path.rglob("events.out*"))
    assert b"landscape/stiffness/distance" in events


def test_without_validation_data_its_part_is_unknown() -> None:
    module, data = Delicate(), loaders()["train_dataloaders"]
    found = compute_stiffness(module, data, step="training_step", examples=6)
    assert found.validation == 0
    assert np.isnan(found.values["val/cosine"]).all()
    assert not np.isnan(found.values["train/cosine"]).all()
    assert all(p.grad is None for p in module.parameters())


def test_the_sample_does_not_depend_on_the_loaders_order() -> None:
    module = Delicate()
    shuffled, ordered = loaders()["train_dataloaders"], loaders()["val_dataloaders"]
    a, b = (compute_stiffness(module, data, step="training_step", examples=9) for data in (shuffled, ordered))
    np.testing.assert_array_equal(a.values["train/cosine"], b.values["train/cosine"])


def test_labels_may_be_given() -> None:
    """Batches that are dictionaries, with a label that is computed."""
    data = [{"image": torch.randn(4), "target": torch.tensor(k % 3)} for k in range(12)]

    def step(module: Any, batch: Any) -> Any:
        return torch.nn.functional.cross_entropy(module(batch["image"]), batch["target"])

    loader: DataLoader[Any] = DataLoader(data, batch_size=5)  # type: ignore[arg-type]
    module = torch.nn.Linear(4, 3)
    found = compute_stiffness(module, loader, step=step, unpack=lambda b: (b["image"], b["target"] % 2))
    assert found.classes.tolist() == [0, 1]
    with pytest.raises(ObjectiveError, match="give unpack="):
        compute_stiffness(module, loader, step=step)


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(LandscapeError, match="examples=1"):
        Stiffness(examples=1)
    with pytest.raises(LandscapeError, match="nothing is measured yet"):
        Stiffness().history()

    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(TensorDataset(torch.randn(4, 4), torch.zeros(4).long()))

    with pytest.raises(ObjectiveError, match="over a map-style data set"):
        compute_stiffness(Delicate(), DataLoader(Stream(), batch_size=2), step="training_step")
    run(tmp_path, pl.callbacks.LambdaCallback())
    other = tmp_path / "other.h5"
    from lightning_landscape.records.trajectory import TrajectoryFile

    TrajectoryFile.create(other, {"w": torch.ones(2)}, capacity=1).close()
    with pytest.raises(RecordError, match="holds no stiffness"):
        StiffnessHistory.load(other)
