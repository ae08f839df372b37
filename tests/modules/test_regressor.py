"""The regressor in a real trainer, and the classifier where every position has a class."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch.nn.functional as F
from lightning import Trainer, seed_everything

from lightning_landscape.data import CharacterText, Tabular
from lightning_landscape.models import MLP, Transformer
from lightning_landscape.modules import Classifier, Regressor


def trainer(tmp_path: Path, epochs: int = 1) -> Trainer:
    return Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )


def test_it_learns_more_than_the_mean_and_logs_the_squared_error(tmp_path: Path) -> None:
    seed_everything(0, verbose=False)
    regressor, table = Regressor(MLP(10, (16,), 1)), Tabular("diabetes")
    fit = trainer(tmp_path, epochs=20)
    fit.fit(regressor, table)
    assert set(fit.callback_metrics) == {"train_loss", "val_loss"}
    assert fit.callback_metrics["train_loss"] < 0.7  # the mean of the training rows has 1
    assert fit.callback_metrics["val_loss"] < 0.8
    (logged,) = fit.test(regressor, table, verbose=False)
    inputs, targets = table.examples("test")
    assert logged == {"test_loss": pytest.approx(F.mse_loss(regressor(inputs), targets).item(), rel=1e-5)}


def test_the_classifier_takes_a_class_for_each_position(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("to be or not to be\n" * 60, encoding="utf-8")
    seed_everything(0, verbose=False)
    network = Transformer(vocabulary=8, context=8, width=8, depth=1, heads=2)
    classifier, text = Classifier(network, num_classes=8), CharacterText(path, context=8, vocabulary=8)
    (logged,) = trainer(tmp_path).test(classifier, text, verbose=False)
    inputs, labels = text.examples("test")
    logits = classifier(inputs)
    assert logits.shape == (len(inputs), 8, 8)
    right = (logits.argmax(1) == labels).float().mean().item()
    assert logged["test_accuracy"] == pytest.approx(right, rel=1e-5)
    each = logits.detach().transpose(1, 2).log_softmax(-1).gather(2, labels[:, :, None])
    assert logged["test_loss"] == pytest.approx(-each.mean().item(), rel=1e-5)
