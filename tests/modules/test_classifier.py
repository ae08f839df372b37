"""The classifier in a real trainer: what it logs, learns, schedules and stores."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_landscape.data import Digits
from lightning_landscape.models import MLP, ResNet
from lightning_landscape.modules import Classifier

pytestmark = [
    # The loaders hold their images in memory and use no workers on purpose.
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    # Lightning 2.6 asks PyTorch's pytree for leaves in a way that recent versions of PyTorch deprecate.
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]


def trainer(tmp_path: Path, **arguments: object) -> Trainer:
    defaults = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "log_every_n_steps": 1}
    return Trainer(**defaults | {"accelerator": "cpu", "default_root_dir": tmp_path, "max_epochs": 1} | arguments)


def adam_classifier(**arguments: object) -> Classifier:
    return Classifier(MLP(64, (32,)), optimizer=partial(torch.optim.Adam, lr=3e-3), **arguments)


def test_it_learns_the_digits_and_logs_losses_and_accuracies(tmp_path: Path) -> None:
    seed_everything(0, verbose=False)
    classifier, data = adam_classifier(), Digits()
    fit = trainer(tmp_path, max_epochs=5, enable_checkpointing=False)
    fit.fit(classifier, data)
    logged = fit.callback_metrics
    assert set(logged) == {"train_loss", "train_accuracy", "val_loss", "val_accuracy"}
    assert logged["train_accuracy"] > 0.9
    assert logged["val_accuracy"] > 0.9


def test_test_metrics_are_means_over_all_examples(tmp_path: Path) -> None:
    """Batches of 100, 100 and 61: the mean over examples, not over batches."""
    torch.manual_seed(0)
    classifier, data = adam_classifier(), Digits(evaluation_batch_size=100)
    (logged,) = trainer(tmp_path, enable_checkpointing=False).test(classifier, data, verbose=False)
    images, labels = data.images("test").__getitems__(list(range(261)))
    logits = classifier(images)
    assert set(logged) == {"test_loss", "test_accuracy"}
    assert logged["test_loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert logged["test_accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item(), rel=1e-6)


def test_two_runs_with_one_seed_are_equal_and_with_another_differ(tmp_path: Path) -> None:
    def run(seed: int) -> torch.Tensor:
        seed_everything(seed, verbose=False)
        classifier = Classifier(ResNet(8, width=2, in_channels=1), partial(torch.optim.SGD, lr=0.1))
        trainer(tmp_path, limit_train_batches=4, enable_checkpointing=False).fit(classifier, Digits())
        return torch.cat([p.detach().flatten() for p in classifier.parameters()])

    first = run(0)
    assert torch.equal(first, run(0))
    assert not torch.equal(first, run(1))


def test_the_loss_is_settable(tmp_path: Path) -> None:
    classifier = adam_classifier(loss=F.multi_margin_loss)
    data = Digits()
    (logged,) = trainer(tmp_path, enable_checkpointing=False).test(classifier, data, verbose=False)
    images, labels = data.images("test").__getitems__(list(range(261)))
    assert logged["test_loss"] == pytest.approx(F.multi_margin_loss(classifier(images), labels).item(), rel=1e-5)


def test_the_default_optimizer_is_the_papers() -> None:
    optimizer = Classifier(MLP()).configure_optimizers()
    assert isinstance(optimizer, torch.optim.SGD)
    settings = {key: optimizer.defaults[key] for key in ("lr", "momentum", "nesterov", "weight_decay")}
    assert settings == {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}


def test_the_schedule_steps_after_each_epoch(tmp_path: Path) -> None:
    classifier = Classifier(
        MLP(),
        optimizer=partial(torch.optim.SGD, lr=0.8),
        scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5),
    )
    fit = trainer(tmp_path, max_epochs=3, limit_train_batches=2, limit_val_batches=0, enable_checkpointing=False)
    fit.fit(classifier, Digits())
    assert fit.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1)


def test_checkpoints_hold_nothing_pickled_and_restore_the_network(tmp_path: Path) -> None:
    classifier = adam_classifier(scheduler=partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=5))
    trainer(tmp_path, callbacks=[ModelCheckpoint(tmp_path / "checkpoints", filename="run")]).fit(classifier, Digits())
    path = tmp_path / "checkpoints" / "run.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["hyper_parameters"] == {"num_classes": 10}
    assert {name.split(".")[0] for name in checkpoint["state_dict"]} == {"net"}
    restored = Classifier.load_from_checkpoint(path, net=MLP(64, (32,)), weights_only=True)
    for name, tensor in classifier.state_dict().items():
        assert torch.equal(restored.state_dict()[name], tensor)


def test_a_run_resumes_from_a_checkpoint(tmp_path: Path) -> None:
    """Two epochs in one go and one epoch, stopped and resumed, end in the same place."""

    half = tmp_path / "half.ckpt"

    def run(epochs: int, resume: Path | None) -> torch.Tensor:
        seed_everything(0, verbose=False)
        classifier = adam_classifier()
        fit = trainer(tmp_path, max_epochs=epochs, enable_checkpointing=False)
        data = Digits(batch_size=2000)  # one batch an epoch, so that shuffling does not matter
        fit.fit(classifier, data, ckpt_path=resume, weights_only=True)
        if epochs == 1:
            fit.save_checkpoint(half)
        return classifier.net[1].weight.detach()

    whole = run(2, None)
    once = run(1, None)
    resumed = run(2, half)
    torch.testing.assert_close(resumed, whole, rtol=1e-4, atol=1e-6)
    assert (once - whole).abs().max() > 1e-3
