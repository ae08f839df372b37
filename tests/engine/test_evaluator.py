"""The evaluator: channels of one or several samples, and what it leaves behind between points."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_landscape.engine.evaluator import Evaluator
from lightning_landscape.engine.guard import Guard
from lightning_landscape.engine.objective import objective_of
from lightning_landscape.engine.sample import Sample
from tests.modules_under_test import Delicate, dataset


@contextmanager
def evaluator_of(
    module: nn.Module, step: Any = None, *, names: tuple[str, ...] = ("",), **options: Any
) -> Iterator[Any]:
    def sample(count: int) -> Sample:
        loader = DataLoader(TensorDataset(*dataset()[:count]), batch_size=8)
        return Sample(loader, None, 0, lambda batch: batch, torch.device("cpu"))

    settings: dict[str, Any] = {"seed": 0, "forward_context": nullcontext, **options}
    with Guard(module):
        samples = {name: sample(count) for name, count in zip(names, (30, 21), strict=False)}
        with Evaluator(module, objective_of(module, step), samples, **settings) as evaluator:
            yield evaluator


def test_the_probe_names_the_channels() -> None:
    with evaluator_of(Delicate()) as evaluator:
        expected = ["loss", "val_loss", "val_noise", "val_accuracy", "calibration", "top2"]
        assert evaluator.probe() == expected
        found = evaluator.evaluate()
    assert list(found) == expected
    assert found["loss"] == found["val_loss"]


def test_stages_in_names_give_way_to_the_samples() -> None:
    def step(module: nn.Module, batch: Any) -> dict[str, Tensor]:
        names = ["loss", "val_accuracy", "train/error", "validation_x", "valley", "test_a_b", "val"]
        return dict.fromkeys(names, batch[0].mean())

    with evaluator_of(nn.Identity(), step, names=("a", "b")) as evaluator:
        kinds = ["loss", "accuracy", "error", "x", "valley", "a_b", "val"]
        assert evaluator.probe() == [f"{sample}/{kind}" for sample in "ab" for kind in kinds]
        found = evaluator.evaluate()
    assert found["a/loss"] == found["a/val"] != found["b/loss"]


def test_a_point_is_the_same_again_and_leaves_the_module_alike() -> None:
    """Metrics, collected outputs, counters and noise start afresh."""
    torch.manual_seed(0)
    module = Delicate()
    with evaluator_of(module, names=("train", "val")) as evaluator:
        evaluator.probe()
        first = evaluator.evaluate()
        assert module.outputs == []
        assert module.history == {"loss": []}
        assert float(module.seen) == 0
        assert module.accuracy.update_count == 0
        again = evaluator.evaluate()
    for name, estimate in first.items():
        np.testing.assert_equal((again[name].mean, again[name].error), (estimate.mean, estimate.error), err_msg=name)


def test_each_batch_has_its_own_forward_context() -> None:
    entered: list[str] = []

    @contextmanager
    def context() -> Iterator[None]:
        entered.append("in")
        yield
        entered.append("out")

    def step(module: nn.Module, batch: Any) -> Tensor:
        entered.append("step")
        return batch[0].mean()

    with evaluator_of(nn.Identity(), step, forward_context=context) as evaluator:
        evaluator.probe()
        assert entered == ["in", "step", "out"]
        evaluator.evaluate()
    assert entered == ["in", "step", "out"] * 5


def test_values_on_the_host_and_tensors_of_any_type() -> None:
    def step(module: nn.Module, batch: Any) -> dict[str, Any]:
        mean = batch[0].mean()
        mixed = mean if len(batch[0]) > 7 else float(mean)
        return {"loss": mean, "half": mean.to(torch.bfloat16), "number": float(mean), "mixed": mixed}

    with evaluator_of(nn.Identity(), step) as evaluator:
        evaluator.probe()
        found = evaluator.evaluate()
    truth = float(dataset()[:30][0].double().mean())
    assert found["loss"].mean == pytest.approx(truth, rel=1e-6)
    assert found["half"].mean == pytest.approx(truth, rel=1e-2)
    assert found["number"] == found["loss"]
    assert found["mixed"] == found["loss"]


def test_leaving_gives_the_module_its_log_back() -> None:
    module = Delicate()
    with pytest.raises(KeyboardInterrupt), evaluator_of(module):
        raise KeyboardInterrupt
    assert "log" not in vars(module)


def test_a_point_that_fails_leaves_the_module_alike() -> None:
    torch.manual_seed(0)
    module = Delicate()
    with evaluator_of(module) as evaluator:
        evaluator.probe()
        module.collection.add_module("broken", nn.Identity())
        with pytest.raises(AttributeError):
            evaluator.evaluate()
        assert module.outputs == []
        assert module.accuracy.update_count == 0
        assert "broken" not in module.collection._modules
        evaluator.evaluate()


def test_some_batches_of_each_sample() -> None:
    counted: list[int] = []

    def step(module: nn.Module, batch: Any) -> Tensor:
        counted.append(len(batch[0]))
        return batch[0].mean()

    with evaluator_of(nn.Identity(), step, names=("a", "b")) as evaluator:
        assert evaluator.batches == 3.5
        evaluator.probe()
        counted.clear()
        evaluator.evaluate(batches=2)
    assert counted == [8, 8, 8, 8]
