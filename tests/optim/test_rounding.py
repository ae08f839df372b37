"""Optimizers that round: on the grid after every step, and otherwise the optimizer that they wrap."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_landscape import DeterministicRounding, QuantizationError, Quantizer, StochasticRounding
from tests.modules_under_test import assert_same

GRID = Quantizer(delta=0.125, limit=2.0)
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "foreach": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, foreach=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.02),
    "fused": lambda p: torch.optim.Adam(p, lr=0.02, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.02),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.02),
    "rprop": lambda p: torch.optim.Rprop(p, lr=0.02),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.02),
}
ROUNDINGS = [DeterministicRounding, StochasticRounding]


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(32, 6, generator=generator)
    return inputs, inputs[:, :3].argmax(1)


def steps(net: nn.Module, optimizer: torch.optim.Optimizer, count: int = 1) -> None:
    inputs, labels = batch()
    for _ in range(count):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(inputs), labels).backward()
        optimizer.step()


def on_grid(net: nn.Module, quantizer: Quantizer = GRID) -> bool:
    return all(torch.equal(p, quantizer.nearest(p)) for p in net.parameters() if p.ndim > 1)


@pytest.mark.parametrize("wrapper", ROUNDINGS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_are_on_the_grid_after_every_step_and_the_others_are_not_touched(name: str, wrapper: Any) -> None:
    net = network()
    optimizer = wrapper(OPTIMIZERS[name](net.parameters()), GRID)
    assert on_grid(net)
    for _ in range(5):
        steps(net, optimizer)
        assert on_grid(net)
    others = [p for p in net.parameters() if p.ndim == 1]
    assert any(not torch.equal(p, GRID.nearest(p)) for p in others)


def test_a_step_is_the_wrapped_optimizers_with_the_rounding_after_it() -> None:
    net = network()
    DeterministicRounding(OPTIMIZERS["sgd"](net.parameters()), GRID)
    plain = copy.deepcopy(net)
    steps(plain, OPTIMIZERS["sgd"](plain.parameters()))
    rounded = copy.deepcopy(net)
    steps(rounded, DeterministicRounding(OPTIMIZERS["sgd"](rounded.parameters()), GRID))
    assert torch.equal(rounded[0].weight, GRID.nearest(plain[0].weight))
    assert torch.equal(rounded[0].bias, plain[0].bias)


def test_the_mean_of_a_step_is_the_wrapped_optimizers() -> None:
    start = torch.linspace(-1, 1, 17)[:, None]  # of the grid
    gradient = torch.linspace(-0.3, 0.5, 17)[:, None]
    mean = torch.zeros(17, 1)
    for seed in range(600):
        weights = nn.Parameter(start.clone())
        weights.grad = gradient.clone()
        StochasticRounding(OPTIMIZERS["sgd"]([weights]), GRID, seed=seed).step()
        mean += weights.detach() / 600
    assert float((mean - (start - 0.05 * gradient)).abs().max()) < 4 * 0.5 * GRID.step / 600**0.5
    assert float(mean[0, 0] - start[0, 0]) == pytest.approx(0.015, abs=0.008)


def test_only_chosen_parameters_are_rounded() -> None:
    net = network()
    optimizer = StochasticRounding(OPTIMIZERS["adam"](net.parameters()), GRID, [net[3].weight])
    steps(net, optimizer, 2)
    assert torch.equal(net[3].weight, GRID.nearest(net[3].weight))
    assert not torch.equal(net[0].weight, GRID.nearest(net[0].weight))


def test_scales_of_filters_stay_those_of_the_beginning() -> None:
    net, quantizer = network(), Quantizer(bits=1, scale="filter")
    scale = net[0].weight.detach().abs().mean(1, keepdim=True)
    optimizer = StochasticRounding(OPTIMIZERS["adam"](net.parameters()), quantizer)
    before = net[0].weight.detach().clone()
    steps(net, optimizer, 20)
    torch.testing.assert_close(net[0].weight.abs(), scale.expand(8, 6))
    assert not torch.equal(net[0].weight, before)
    twin = network(5)
    other = StochasticRounding(OPTIMIZERS["adam"](twin.parameters()), quantizer)
    twin.load_state_dict(net.state_dict())
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for each in ((net, optimizer), (twin, other)):
        steps(*each, 5)
    assert_same(dict(net.state_dict()), dict(twin.state_dict()))


@pytest.mark.parametrize("wrapper", ROUNDINGS)
@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_a_resumed_run_makes_the_same_steps(name: str, wrapper: Any, tmp_path: Path) -> None:
    whole = network()
    optimizer = wrapper(OPTIMIZERS[name](whole.parameters()), GRID)
    steps(whole, optimizer, 4)
    torch.save({"net": whole.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "half.pt")
    twin_net, twin = copy.deepcopy((whole, optimizer))
    steps(whole, optimizer, 4)

    resumed = network(3)
    other = wrapper(OPTIMIZERS[name](resumed.parameters()), GRID)
    saved = torch.load(tmp_path / "half.pt", weights_only=True)
    resumed.load_state_dict(saved["net"])
    other.load_state_dict(saved["optimizer"])
    steps(resumed, other, 4)
    steps(twin_net, twin, 4)
    for each, its in ((resumed, other), (twin_net, twin)):
        assert_same(dict(whole.state_dict()), dict(each.state_dict()))
        assert_same(optimizer.state_dict(), its.state_dict())


def test_the_state_of_the_wrapped_optimizer_alone_can_be_taken_up() -> None:
    net, plain = network(), network()
    trained = OPTIMIZERS["adam"](plain.parameters())
    steps(plain, trained)
    optimizer = StochasticRounding(OPTIMIZERS["adam"](net.parameters()), GRID)
    optimizer.load_state_dict(trained.state_dict())
    assert torch.equal(optimizer.state[net[0].weight]["exp_avg"], trained.state[plain[0].weight]["exp_avg"])
    steps(net, optimizer)
    assert on_grid(net)


def test_groups_state_and_defaults_are_the_wrapped_optimizers_own() -> None:
    net = network()
    inner = OPTIMIZERS["adam"](net[0].parameters())
    optimizer = StochasticRounding(inner, GRID)
    assert optimizer.param_groups is inner.param_groups
    assert optimizer.state is inner.state
    assert optimizer.defaults is inner.defaults
    optimizer.add_param_group({"params": list(net[3].parameters()), "lr": 0.5})
    assert [group["lr"] for group in inner.param_groups] == [0.02, 0.5]
    assert "StochasticRounding(Adam" in repr(optimizer)


@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: torch.optim.lr_scheduler.StepLR(o, 1, 0.1),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, 10),
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 5),
    ],
)
def test_schedules_set_the_rates_that_the_wrapped_optimizer_uses(schedule: Any) -> None:
    """The same rates as on the optimizer alone, and no warning about the order of steps."""
    rates = []
    for wrap in (lambda o: o, lambda o: StochasticRounding(o, GRID)):
        net = network()
        inner = OPTIMIZERS["adam"](net.parameters())
        optimizer = wrap(inner)
        scheduler = schedule(optimizer)
        found = []
        for _ in range(4):
            steps(net, optimizer)
            scheduler.step(*([1.0] if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau) else []))
            found.append(inner.param_groups[0]["lr"])
        rates.append(found)
    assert rates[0] == rates[1]
    assert len(set(rates[0])) > 1


def test_hooks_and_closures_work() -> None:
    net, called = network(), []
    optimizer = StochasticRounding(OPTIMIZERS["sgd"](net.parameters()), GRID)
    optimizer.register_step_pre_hook(lambda *_: called.append("before"))
    optimizer.register_step_post_hook(lambda *_: called.append("after" if on_grid(net) else "off the grid"))
    inputs, labels = batch()

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(inputs), labels)
        loss.backward()
        return loss

    assert optimizer.step(closure).item() > 0
    assert called == ["before", "after"]


def test_the_gradient_scaler_skips_a_step_and_leaves_the_weights_on_the_grid() -> None:
    net = network()
    optimizer = StochasticRounding(OPTIMIZERS["fused"](net.parameters()), GRID)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    inputs, labels = batch()
    for poison in (False, True, False):
        before = net[0].weight.detach().clone()
        optimizer.zero_grad()
        scaler.scale(nn.functional.cross_entropy(net(inputs), labels)).backward()
        if poison:
            net[0].weight.grad[0, 0] = torch.inf
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        assert on_grid(net)
        assert torch.equal(net[0].weight, before) == poison
    assert scaler.get_scale() == 512.0


class Plain(LightningModule):
    def __init__(self, wrap: bool = True) -> None:
        super().__init__()
        self.net = network()
        self.wrap = wrap
        self.off_grid = 0

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        self.off_grid += self.wrap and not on_grid(self.net)
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
        wrapped = StochasticRounding(optimizer, GRID, seed=2) if self.wrap else optimizer
        return [wrapped], [torch.optim.lr_scheduler.ExponentialLR(wrapped, 0.5)]


def fitted(folder: Path, epochs: int, resume: Path | None = None, **options: Any) -> tuple[Plain, Trainer]:
    seed_everything(3, verbose=False)
    module = Plain()
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        **options,
    )
    trainer.fit(module, DataLoader(TensorDataset(*batch()), batch_size=8), ckpt_path=resume, weights_only=True)
    return module, trainer


@pytest.mark.parametrize(
    "options",
    [{}, {"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.1}, {"precision": "bf16-mixed"}],
    ids=["plain", "accumulation", "clipping", "autocast"],
)
def test_a_lightning_trainer_keeps_the_weights_on_the_grid_and_its_schedule(tmp_path: Path, options: Any) -> None:
    module, trainer = fitted(tmp_path, 2, **options)
    assert module.off_grid == 0
    assert on_grid(module.net)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.025)
    assert trainer.global_step == (4 if "accumulate_grad_batches" in options else 8)


def test_a_lightning_run_resumes_exactly(tmp_path: Path) -> None:
    whole, _ = fitted(tmp_path, 4)
    _, half = fitted(tmp_path, 2)
    half.save_checkpoint(tmp_path / "half.ckpt")
    resumed, _ = fitted(tmp_path, 4, tmp_path / "half.ckpt")
    assert_same(dict(whole.state_dict()), dict(resumed.state_dict()))


def test_mistakes_are_answered_with_a_sentence() -> None:
    net = network()
    with pytest.raises(QuantizationError, match="LBFGS compares the weights"):
        StochasticRounding(torch.optim.LBFGS(net.parameters()), GRID)
    with pytest.raises(QuantizationError, match="1 of the 1 parameters to round are none of the optimizer's"):
        StochasticRounding(OPTIMIZERS["sgd"](net[0].parameters()), GRID, [net[3].weight])
    nn.init.zeros_(net[0].weight)
    with pytest.raises(QuantizationError, match="8 filters hold zeros alone"):
        StochasticRounding(OPTIMIZERS["sgd"](net.parameters()), Quantizer(bits=1, scale="filter"))
    nn.init.constant_(net[0].weight, 1.5)
    with pytest.warns(UserWarning, match="48 of 72 weights lie outside of the range"):
        StochasticRounding(OPTIMIZERS["sgd"](net.parameters()), Quantizer(bits=1))


def test_a_state_from_another_kind_of_device_starts_other_random_numbers_with_a_warning() -> None:
    net = network()
    optimizer = StochasticRounding(OPTIMIZERS["sgd"](net.parameters()), GRID)
    state = optimizer.state_dict()
    state["rounding"]["device"] = "cuda"
    with pytest.warns(UserWarning, match="saved on cuda; the random numbers of cpu are others"):
        optimizer.load_state_dict(state)
