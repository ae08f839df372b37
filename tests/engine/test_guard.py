"""The guard puts back, to the last bit, whatever an evaluation did."""

from __future__ import annotations

import random
from collections import Counter, defaultdict, deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from lightning_landscape.engine.guard import Guard, seed_rng, snapshot_rng
from tests.modules_under_test import assert_same, trainer


class Meter:
    """What users write to average a loss; no module."""

    def __init__(self) -> None:
        self.total, self.count = torch.tensor(2.0), 3


class Restless(nn.Module):
    """A module whose step changes everything that can be changed."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.hidden = [nn.Linear(2, 2), nn.BatchNorm1d(2)]
        self.register_buffer("seen", torch.zeros(2), persistent=False)
        self.register_buffer("lazy", None)
        self.register_buffer("rebound", torch.ones(2))
        self.register_buffer("spread", torch.ones(1).expand(4))
        self.accuracy = MulticlassAccuracy(3)
        self.outputs: list[Tensor] = [torch.ones(2)]
        self.history = {"losses": {"train": [1.0], "val": []}}
        self.recent = deque([1, 2], maxlen=2)
        self.counts = Counter("abracadabra")
        self.grouped = defaultdict(list, {"a": [1]})
        self.names = {"one"}
        self.pair = ([1], torch.zeros(2))
        self.average = torch.zeros(3)
        self.confusion = np.zeros((2, 2))
        self.meter = Meter()
        self.number = 3
        self.noise = torch.Generator().manual_seed(1)
        self.numpy_noise = np.random.default_rng(2)
        self.python_noise = random.Random(3)
        self.deep: list[Any] = []
        inner = self.deep
        for _ in range(3000):  # more than Python's calls may be nested
            inner.append([])
            inner = inner[0]
        self.deepest = inner

    def disturb(self) -> None:
        self.layer.weight.data.add_(1)
        self.layer.bias.data = torch.ones(3)
        self.layer.requires_grad_(False)
        self.norm.train()
        self.norm(torch.randn(4, 3))
        self.norm.running_mean = torch.full((3,), 7.0)
        self.hidden[0].weight.data.zero_()
        self.hidden[1].train()(torch.randn(5, 2))
        self.hidden.append(nn.Linear(1, 1))
        self.seen += 1
        self.lazy = torch.ones(3)
        self.rebound = self.rebound * 2
        self.register_buffer("surplus", torch.ones(1))
        self.added = nn.Linear(1, 1)
        self.register_parameter("extra", nn.Parameter(torch.ones(1)))
        self.accuracy.update(torch.eye(3), torch.arange(3))
        self.outputs[0] += 5
        self.outputs.append(torch.ones(1))
        self.history["losses"]["train"].append(2.0)
        self.history["losses"]["new"] = []
        self.recent.append(3)
        self.counts.update("zzz")
        self.grouped["b"].append(2)
        self.names.add("two")
        self.pair[0].append(2)
        self.pair[1].add_(1)
        self.average *= 0.9
        self.average += 1
        self.confusion[0, 1] += 1
        self.meter.total += 1
        self.meter.count = 4
        self.number += 1
        self.cache = torch.ones(1)
        self.deepest.append("x")
        torch.rand((), generator=self.noise)
        self.numpy_noise.random()
        self.python_noise.random()
        torch.rand(3), np.random.rand(), random.random()  # noqa: NPY002


def mixed_modes(module: Restless) -> Restless:
    module.train()
    module.norm.eval()
    module.hidden[1].eval()
    return module


def everything(module: Restless) -> dict[str, Any]:
    """The state in plain data, and which objects it is made of."""
    children = [module, *module.modules(), *module.hidden]
    tensors = [t for m in [*module.modules(), *module.hidden] for t in (*m._parameters.values(), *m._buffers.values())]
    return {
        "parameters": [{n: p.detach().clone() for n, p in m.named_parameters()} for m in children],
        "buffers": [{n: b.clone() for n, b in m.named_buffers()} for m in children],
        "tables": [(list(m._parameters), list(m._buffers), list(m._modules)) for m in children],
        "persistent": [sorted(m._non_persistent_buffers_set) for m in module.modules()],
        "objects": [id(t) for t in tensors],
        "storages": [t.data_ptr() for t in tensors if t is not None],
        "requires_grad": [t.requires_grad for t in tensors if t is not None],
        "gradients": [p.grad if p.grad is None else p.grad.clone() for p in module.parameters()],
        "modes": [m.training for m in children],
        "metric": (module.accuracy.metric_state, module.accuracy.update_count),
        "outputs": [t.clone() for t in module.outputs],
        "history": {key: {k: list(v) for k, v in value.items()} for key, value in module.history.items()},
        "containers": (list(module.recent), dict(module.counts), dict(module.grouped), sorted(module.names)),
        "pair": (list(module.pair[0]), module.pair[1].clone()),
        "average": (module.average.clone(), id(module.average)),
        "confusion": module.confusion.copy(),
        "meter": (module.meter.total.clone(), module.meter.count),
        "number": module.number,
        "deepest": list(module.deepest),
        "attributes": sorted(vars(module)),
        "generators": (
            module.noise.get_state(),
            str(module.numpy_noise.bit_generator.state),
            module.python_noise.getstate(),
        ),
        "streams": (torch.get_rng_state(), np.random.get_state(), random.getstate()),  # noqa: NPY002
    }


@pytest.fixture
def module() -> Restless:
    torch.manual_seed(0)
    module = mixed_modes(Restless())
    module.layer(torch.ones(1, 3)).sum().backward()
    return module


def test_the_disturbance_reaches_every_entry(module: Restless) -> None:
    """Otherwise the tests below would prove nothing."""
    before = everything(module)
    with torch.no_grad():
        module.disturb()
    after = everything(module)
    for name in before.keys() - {"gradients"}:
        with pytest.raises(AssertionError):
            assert_same(before[name], after[name])


def test_everything_is_as_it_was(module: Restless) -> None:
    before = everything(module)
    with Guard(module):
        module.disturb()
    assert_same(before, everything(module))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_everything_is_as_it_was_after(error: type[BaseException], module: Restless) -> None:
    before = everything(module)

    def evaluate() -> None:
        with Guard(module):
            module.disturb()
            raise error

    with pytest.raises(error):
        evaluate()
    assert_same(before, everything(module))
    assert torch.is_grad_enabled()


def test_an_interrupt_while_restoring_loses_nothing(module: Restless, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever presses Ctrl-C twice has the weights back, too."""
    before = everything(module)
    copy, calls = torch._foreach_copy_, []

    def interrupted(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        copy(*arguments)

    def evaluate() -> None:
        with Guard(module):
            module.disturb()
            monkeypatch.setattr(torch, "_foreach_copy_", interrupted)

    with pytest.raises(KeyboardInterrupt):
        evaluate()
    assert len(calls) > 2
    assert_same(before, everything(module))
    assert torch.is_grad_enabled()


def test_an_interrupt_while_entering_changes_nothing(module: Restless, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(module)

    def interrupted(*_: Any) -> None:
        module.norm.training = True
        raise KeyboardInterrupt

    monkeypatch.setattr(Restless, "eval", interrupted)
    with pytest.raises(KeyboardInterrupt), Guard(module):
        pytest.fail("entered")
    assert_same(before, everything(module))
    assert torch.is_grad_enabled()


def test_inside_the_module_is_in_eval_mode_without_gradients(module: Restless) -> None:
    with Guard(module):
        assert not torch.is_grad_enabled()
        assert not any(child.training for child in module.modules())
    assert torch.is_grad_enabled()
    assert module.training
    assert not module.norm.training


def test_gradients_are_the_same_objects(module: Restless) -> None:
    gradient = module.layer.weight.grad
    with Guard(module):
        module.disturb()
    assert module.layer.weight.grad is gradient


def test_usable_in_inference_mode(module: Restless) -> None:
    """As in `trainer.validate`: tensors made inside are ordinary ones, and what was there is put back."""
    with torch.inference_mode():
        # What a validation step leaves there: inference tensors, which nobody may change outside of this mode.
        module.rebound = torch.full((2,), 4.0)
        module.average = torch.full((3,), 5.0)
        before = everything(module)
        with Guard(module):
            assert not torch.is_inference_mode_enabled()
            assert not torch.ones(1).is_inference()
            module.layer.weight.data.add_(1)
            module.rebound = module.rebound * 2
            module.average = module.average * 2
            module.norm.running_mean.add_(1)
        assert torch.is_inference_mode_enabled()
        assert_same(before, everything(module))
    module.layer(torch.ones(1, 3)).sum().backward()


def test_loggers_are_silent_and_come_back(tmp_path: Path) -> None:
    run = trainer(tmp_path, logger=CSVLogger(tmp_path))
    loggers = run.loggers
    module = nn.Linear(1, 1)

    def evaluate() -> None:
        with Guard(module, run):
            assert run.loggers != loggers
            assert len(run.loggers) == 1
            assert run.logger is not None
            run.logger.log_metrics({"a": 1.0}, step=1)
            run.logger.experiment.add_anything(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate()
    assert run.loggers == loggers
    assert loggers[0].experiment.metrics == []


def test_data_and_foreign_objects_are_not_looked_into() -> None:
    """A data set that a module keeps is not copied, and the attribute of an object of another package stays."""

    class Data(torch.utils.data.Dataset[Any]):
        def __init__(self) -> None:
            self.images = torch.zeros(3)

    module = nn.Linear(1, 1)
    module.data = Data()  # type: ignore[assignment]
    module.path = Path("a")  # type: ignore[assignment]
    with Guard(module):
        module.data.images += 1
    assert module.data.images.tolist() == [1, 1, 1]


def test_seeded_streams_repeat_and_come_back() -> None:
    def draw() -> list[float]:
        return [torch.rand(()).item(), np.random.rand(), random.random()]  # noqa: NPY002

    restore = snapshot_rng()
    first = draw()
    seed_rng(5)
    seeded = draw()
    seed_rng(5)
    assert draw() == seeded
    assert draw() != seeded
    restore()
    assert draw() == first
    seed_rng(2**40)  # NumPy takes 32 bits


def test_hooks_survive() -> None:
    """A module keeps them in an OrderedDict, which plain dict methods do not fill."""
    layer = nn.Linear(2, 2)
    calls: list[str] = []
    layer.register_forward_pre_hook(lambda *_: calls.append("first"))
    layer.register_forward_pre_hook(lambda *_: calls.append("second"))
    with Guard(layer):
        layer(torch.zeros(1, 2))
    layer(torch.zeros(1, 2))
    assert calls == ["first", "second"] * 2
