"""The quantised classifier in a real trainer: what it rounds, logs, schedules, stores and exports."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything

from lightning_landscape import QuantizationError, Quantizer, load_packed
from lightning_landscape.data import Digits
from lightning_landscape.models import MLP, ResNet
from lightning_landscape.modules import QuantizedClassifier

ADAM = partial(torch.optim.Adam, lr=0.01)


def network() -> MLP:
    return MLP(64, (16,), batch_norm=True)


def fit(folder: Path, method: Any, epochs: int = 2, resume: Path | None = None, **options: Any) -> Any:
    seed_everything(0, verbose=False)
    callbacks = options.pop("callbacks", [])
    module = QuantizedClassifier(network(), method, optimizer=ADAM, **options)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        limit_train_batches=6,
        default_root_dir=folder,
        callbacks=callbacks,
    )
    trainer.fit(module, Digits(), ckpt_path=resume, weights_only=True)
    return module, trainer


@pytest.mark.parametrize("method", ["full", "round", "stochastic", "binaryconnect"])
def test_every_method_trains_and_logs(tmp_path: Path, method: Any) -> None:
    module, trainer = fit(tmp_path, method, drops=())
    logged = trainer.callback_metrics
    assert {"train_loss", "val_accuracy", "weights_changed", "weights_differing"} <= logged.keys()
    for share in ("weights_changed", "weights_differing"):
        assert 0 <= float(logged[share]) <= 1
    if method == "round":
        assert float(logged["weights_differing"]) == 0  # steps of 0.01 on a grid with neighbours 2 apart
    else:
        assert 0 < float(logged["weights_changed"]) < 0.1
        assert float(logged["weights_differing"]) > float(logged["weights_changed"])
    binary = [bool((layer.weight.abs() == 1).all()) for layer in (module.net[1], module.net[4])]
    assert binary == [method != "full"] * 2
    assert bool((module.net[4].bias.abs() != 1).all())


def test_the_shares_are_those_of_the_weights(tmp_path: Path) -> None:
    """Counted by hand from copies of the weights around every step of an epoch."""

    class Spy(Callback):
        def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
            self.first = self.last = self.weights(module)
            self.changed: list[float] = []

        def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
            now = self.weights(module)
            self.changed.append(float((now != self.last).double().mean()))
            self.last = now

        def weights(self, module: Any) -> torch.Tensor:
            return torch.cat([module.net[i].weight.detach().flatten() for i in (1, 4)])

    spy = Spy()
    _, trainer = fit(tmp_path, "stochastic", 1, callbacks=[spy])
    logged = trainer.callback_metrics
    assert float(logged["weights_changed"]) == pytest.approx(sum(spy.changed) / 6, rel=1e-5)
    assert float(logged["weights_differing"]) == pytest.approx(float((spy.last != spy.first).double().mean()), rel=1e-5)


@pytest.mark.parametrize("options", [{"method": "stochastic"}, {"method": "binaryconnect", "stochastic_forward": True}])
def test_a_run_resumes_exactly(tmp_path: Path, options: dict[str, Any]) -> None:
    """Batches are the whole set, so that the order of the data does not matter."""

    class Whole(Digits):
        def __init__(self) -> None:
            super().__init__(batch_size=2000)

        def train_dataloader(self) -> Any:
            return self.evaluation_dataloader("train")

    def run(epochs: int, resume: Path | None = None) -> tuple[QuantizedClassifier, Trainer]:
        seed_everything(0, verbose=False)
        module = QuantizedClassifier(network(), optimizer=ADAM, drops=(), **options)
        trainer = Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(module, Whole(), ckpt_path=resume, weights_only=True)
        return module, trainer

    whole, run_of_whole = run(4)
    _, half = run(2)
    half.save_checkpoint(tmp_path / "half.ckpt")
    resumed, run_of_resumed = run(4, tmp_path / "half.ckpt")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    for share in ("weights_changed", "weights_differing"):
        assert run_of_whole.callback_metrics[share] == run_of_resumed.callback_metrics[share]


def test_the_learning_rate_drops_where_the_papers_does(tmp_path: Path) -> None:
    rates = []

    class Watch(Callback):
        def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    fit(tmp_path, "stochastic", 10, callbacks=[Watch()])
    assert rates == pytest.approx([0.01] * 4 + [0.001] * 2 + [0.0001] * 4)  # 82/200 and 122/200 of 10


def test_layers_that_stay_in_floating_point(tmp_path: Path) -> None:
    module, _ = fit(tmp_path, "stochastic", 1, floating=["4"])
    assert [name for name, _ in module.quantized_parameters()] == ["1.weight"]
    assert len(module.net[4].weight.unique()) > 2
    module, _ = fit(tmp_path, "binaryconnect", 1, floating=["1"], quantizer=Quantizer(bits=2, limit=0.25))
    assert [name for name, _ in module.quantized_parameters()] == ["4.weight"]
    assert len(module.net[4].weight.unique()) == 4
    assert len(list(QuantizedClassifier(ResNet(8), "round").quantized_parameters())) == 10


@pytest.mark.parametrize("method", ["stochastic", "binaryconnect"])
def test_the_exported_network_gives_identical_outputs(tmp_path: Path, method: Any) -> None:
    module, _ = fit(tmp_path, method, 1)
    module.save_packed(tmp_path / "net.h5")
    net = network()
    net.load_state_dict(load_packed(tmp_path / "net.h5"))
    images = torch.randn(7, 1, 8, 8)
    assert torch.equal(net.eval()(images), module.eval()(images))


def test_a_checkpoint_is_read_without_pickles(tmp_path: Path) -> None:
    module, trainer = fit(tmp_path, "binaryconnect", 1)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    again = QuantizedClassifier.load_from_checkpoint(tmp_path / "run.ckpt", net=network(), weights_only=True)
    assert torch.equal(again.net[1].weight, module.net[1].weight)


def test_mistakes_are_answered_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(QuantizationError, match="method='ternary' is unknown: choose one of full, round"):
        QuantizedClassifier(network(), "ternary")
    with pytest.raises(QuantizationError, match="no layer 'head'"):
        QuantizedClassifier(network(), floating=["head"])
    module = QuantizedClassifier(network(), "full")
    with pytest.raises(QuantizationError, match="off the grid"):
        module.save_packed(tmp_path / "net.h5")
    trainer = Trainer(max_epochs=-1, max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(QuantizationError, match="max_epochs=-1: the learning rate drops at shares of the training"):
        trainer.fit(module, Digits())
