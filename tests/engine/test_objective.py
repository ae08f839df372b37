"""The objective: everything that a user's step returns or logs becomes a channel, and nothing else happens."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryPrecision

from lightning_landscape.engine.objective import BatchMean, objective_of
from lightning_landscape.errors import ObjectiveError

BATCH = torch.tensor([[1.0], [2.0], [6.0]])  # mean 3


def module_with(step: Any, hook: str = "validation_step", **attributes: Any) -> pl.LightningModule:
    """A LightningModule whose hook is the given function."""
    module: pl.LightningModule = type("Mine", (pl.LightningModule,), {hook: step})()
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def channels_of(module: nn.Module, step: Any = None, batch: Any = BATCH) -> dict[str, BatchMean]:
    objective = objective_of(module, step)
    with objective.active():
        return objective(batch, 0)


def values_of(channels: dict[str, BatchMean]) -> dict[str, tuple[float, int]]:
    return {name: (float(mean.value), mean.weight) for name, mean in channels.items()}


def test_returned_tensor() -> None:
    found = channels_of(module_with(lambda self, batch, batch_idx: batch.mean()))
    assert values_of(found) == {"loss": (3.0, 3)}


def test_returned_dictionary_and_one_of_one_element() -> None:
    def step(self: Any, batch: Tensor, batch_idx: int) -> dict[str, Any]:
        return {"loss": batch.mean().reshape(1, 1), "error": 0.5, "logits": batch, "note": "x", "count": 7}

    assert values_of(channels_of(module_with(step))) == {"loss": (3.0, 3), "error": (0.5, 3), "count": (7.0, 3)}


def test_what_is_returned_carries_no_graph() -> None:
    weight = nn.Parameter(torch.ones(()))
    found = channels_of(module_with(lambda self, batch: (weight * batch).mean()))
    value = found["loss"].value
    assert isinstance(value, Tensor)
    assert not value.requires_grad


def test_logged_scalars() -> None:
    def step(self: Any, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", batch.mean(), on_epoch=True, prog_bar=True)
        self.log("number", 2)
        self.log_dict({"a": torch.tensor(1.5), "b": 3.0}, batch_size=2)
        self.log("sized", 4.0, batch_size=10)
        self.log("vector", batch)

    expected = {"val_loss": (3.0, 3), "number": (2.0, 3), "a": (1.5, 2), "b": (3.0, 2), "sized": (4.0, 10)}
    assert values_of(channels_of(module_with(step))) == expected


def test_returned_loss_comes_first_and_wins() -> None:
    def step(self: Any, batch: Tensor) -> Tensor:
        self.log("accuracy", 1.0)
        self.log("loss", 7.0)
        return batch.mean()

    found = values_of(channels_of(module_with(step)))
    assert list(found) == ["loss", "accuracy"]
    assert found["loss"] == (3.0, 3)


def test_metrics_are_kept_as_objects() -> None:
    def step(self: Any, batch: Tensor, batch_idx: int) -> Tensor:
        guess, truth = batch[:, 0] > 1, torch.tensor([0, 1, 0])
        self.accuracy(guess.float(), truth)
        self.collection.update(guess.float(), truth)
        self.log("val_accuracy", self.accuracy)
        self.log_dict(self.collection)
        self.log("mean", self.mean)
        return batch.mean()

    collection = MetricCollection({"accuracy": BinaryAccuracy(), "precision": BinaryPrecision()}, prefix="c/")
    module = module_with(step, accuracy=BinaryAccuracy(), collection=collection, mean=MeanMetric())
    objective = objective_of(module, None)
    with objective.active():
        assert list(objective(BATCH, 0)) == ["loss"]
    metrics = objective.metrics()
    assert sorted(metrics) == ["c/accuracy", "c/precision", "mean", "val_accuracy"]
    assert float(metrics["val_accuracy"].compute()) == pytest.approx(2 / 3)
    assert float(metrics["c/precision"].compute()) == 0.5
    assert all(not metric.distributed_available_fn() for metric in metrics.values())


def test_a_loss_logged_as_a_metric_is_a_loss() -> None:
    def step(self: Any, batch: Tensor, batch_idx: int) -> None:
        self.mean.update(batch.mean(), weight=len(batch))
        self.log("val/loss", self.mean)

    objective = objective_of(module_with(step, mean=MeanMetric()), None)
    with objective.active():
        assert objective(BATCH, 0) == {}
    assert list(objective.metrics()) == ["val/loss"]


class Logging(pl.LightningModule):
    def validation_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.log("val_loss", batch.mean())
        raise KeyboardInterrupt


def test_lightnings_own_log_is_untouched_afterwards() -> None:
    module = Logging()
    objective = objective_of(module, None)
    with pytest.raises(KeyboardInterrupt), objective.active():
        objective(BATCH, 0)
    assert "log" not in vars(module)
    assert "log_dict" not in vars(module)
    assert module.log.__func__ is pl.LightningModule.log
    assert module.log_dict.__func__ is pl.LightningModule.log_dict


def one(self: Any, batch: Tensor) -> Tensor:
    return batch.mean()


def two(self: Any, batch: Tensor, index: int) -> Tensor:
    return batch.mean() + index


def two_with_default(self: Any, batch: Tensor, batch_idx: int = 9) -> Tensor:
    return batch.mean() + batch_idx


def three(self: Any, batch: Tensor, batch_idx: int, dataloader_idx: int) -> Tensor:
    return batch.mean() + batch_idx + 100 * dataloader_idx


def three_with_default(self: Any, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
    return batch.mean() + batch_idx + 100 * dataloader_idx


def any_number(self: Any, *args: Any, **kwargs: Any) -> Tensor:
    batch, batch_idx = args
    return batch.mean() + batch_idx


@pytest.mark.parametrize("step", [one, two, two_with_default, three, three_with_default, any_number])
def test_signatures_of_steps(step: Any) -> None:
    objective = objective_of(module_with(step), None)
    with objective.active():
        expected = 3 if step is one else 8
        assert float(objective(BATCH, 5)["loss"].value) == expected


def test_which_step() -> None:
    class Both(pl.LightningModule):
        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            return batch.sum()

        def validation_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            return batch.mean()

    assert values_of(channels_of(Both())) == {"loss": (3.0, 3)}
    assert values_of(channels_of(Both(), "training_step")) == {"loss": (9.0, 3)}
    assert objective_of(Both(), "training_step").name == "Both.training_step"
    assert values_of(channels_of(module_with(one, "training_step"))) == {"loss": (3.0, 3)}


def test_callables() -> None:
    def mine(module: nn.Module, batch: Tensor) -> dict[str, Any]:
        return {"loss": module(batch).mean(), "n": 2}

    found = channels_of(nn.Identity(), mine)
    assert values_of(found) == {"loss": (3.0, 3), "n": (2.0, 3)}
    assert objective_of(nn.Identity(), mine).name.endswith("test_callables.<locals>.mine")
    # A LightningModule's own step may be called by it, and its logging goes nowhere.
    assert values_of(channels_of(Logging(), lambda module, batch: batch.sum())) == {"loss": (9.0, 3)}


def test_size_of_a_dictionary_batch() -> None:
    found = channels_of(nn.Identity(), lambda module, batch: batch["x"].mean(), {"x": BATCH, "y": torch.zeros(3, 5)})
    assert values_of(found) == {"loss": (3.0, 3)}


def nothing(self: Any, batch: Tensor, batch_idx: int) -> None:
    return None


def only_accuracy(self: Any, batch: Tensor, batch_idx: int) -> None:
    self.log("accuracy", 1.0)


def per_example(self: Any, batch: Tensor, batch_idx: int) -> Tensor:
    return batch


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (nothing, r"Mine.validation_step returned None and logged nothing: there is no loss.*'loss'"),
        (only_accuracy, r"logged \['accuracy'\]: there is no loss"),
        (per_example, r"returned a tensor of shape \(3, 1\): return the mean over the batch"),
    ],
)
def test_steps_without_a_loss_are_refused(step: Any, message: str) -> None:
    with pytest.raises(ObjectiveError, match=message):
        channels_of(module_with(step))


def test_callables_without_a_loss_are_refused() -> None:
    with pytest.raises(ObjectiveError, match="returned None and no loss: return a scalar tensor"):
        channels_of(nn.Identity(), lambda module, batch: None)
    with pytest.raises(ObjectiveError, match=r"returned a dictionary with the keys \['logits'\] and no loss"):
        channels_of(nn.Identity(), lambda module, batch: {"logits": batch})


def test_a_plain_module_needs_a_callable() -> None:
    with pytest.raises(ObjectiveError, match=r"Identity is not a LightningModule.*give step=callable"):
        objective_of(nn.Identity(), None)
    with pytest.raises(ObjectiveError, match="Identity is not a LightningModule"):
        objective_of(nn.Identity(), "validation_step")


def test_a_missing_step_is_refused() -> None:
    with pytest.raises(ObjectiveError, match="Mine defines no training_step: define it, or give step=callable"):
        objective_of(module_with(one, "predict_step"), None)
    with pytest.raises(ObjectiveError, match="Mine defines no test_step"):
        objective_of(module_with(one), "test_step")


def test_manual_optimization_is_refused_as_training_step_only() -> None:
    module = module_with(one, "training_step", automatic_optimization=False)
    with pytest.raises(ObjectiveError, match=r"manual optimization.*give step=callable"):
        objective_of(module, None)
    validated = module_with(one, automatic_optimization=False)
    assert objective_of(validated, None).name == "Mine.validation_step"
