"""The look-ahead: where the weights stand within it, that nothing is left of it outside, and what is refused."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import StepLR

from lightning_landscape import Prediction, PredictionError

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": partial(SGD, lr=0.1),
    "momentum": partial(SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": partial(Adam, lr=0.01),
    "adamw foreach": partial(AdamW, lr=0.01, foreach=True),
    "adam fused": partial(Adam, lr=0.01, fused=True),
    "lbfgs": partial(torch.optim.LBFGS, lr=0.1, max_iter=3),
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2))


def values(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def step(module: nn.Module, optimizer: Optimizer, seed: int = 1) -> None:
    inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(seed))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = module(inputs).square().mean()
        loss.backward()
        return loss

    if isinstance(optimizer, torch.optim.LBFGS):
        optimizer.step(closure)
    else:
        closure()
        optimizer.step()


def assert_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_stand_at_the_prediction_of_the_last_step_and_return_bit_for_bit(name: str) -> None:
    module = network()
    optimizer = OPTIMIZERS[name](module.parameters())
    prediction = Prediction(optimizer)
    for seed in range(4):  # several steps between look-aheads: the last one counts
        before = values(module)
        step(module, optimizer, seed)
    after = values(module)
    for _ in range(2):  # several look-aheads after one step: all see the same
        with prediction.lookahead():
            assert_equal(values(module), [w + (w - p) for w, p in zip(after, before, strict=True)])
        assert_equal(values(module), after)
    assert not torch.equal(after[0], before[0])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizer_does_not_notice(name: str) -> None:
    """Look-aheads in between change neither the weights nor the state of a training."""
    states = []
    for predicted in (False, True):
        module = network()
        optimizer = OPTIMIZERS[name](module.parameters())
        scheduler = StepLR(optimizer, 2, 0.5)
        prediction = Prediction(optimizer) if predicted else None
        for seed in range(5):
            step(module, optimizer, seed)
            scheduler.step()
            if prediction is not None:
                with prediction.lookahead():
                    pass
        state = optimizer.state_dict()
        assert ("prediction" in state) is predicted
        states.append((values(module), [torch.as_tensor(t) for s in state["state"].values() for t in flat(s)]))
    assert_equal(*[weights for weights, _ in states])
    assert_equal(*[state for _, state in states])


def flat(state: Any) -> list[Any]:
    if isinstance(state, dict):
        return [item for value in state.values() for item in flat(value)]
    if isinstance(state, list | tuple):
        return [item for value in state for item in flat(value)]
    return [] if state is None else [state]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_weights_return_after_an_exception(error: type[BaseException]) -> None:
    module = network()
    optimizer = Adam(module.parameters(), lr=0.1)
    prediction = Prediction(optimizer)
    step(module, optimizer)
    before = values(module)

    def spoil() -> None:
        with prediction.lookahead(), torch.no_grad():
            module[0].weight.fill_(torch.nan)
            raise error

    with pytest.raises(error):
        spoil()
    assert_equal(values(module), before)
    with prediction.lookahead():
        assert not torch.equal(module[0].weight, before[0])


def test_parameters_that_rest_stay_where_they_are() -> None:
    """Two groups, one frozen tensor, one without a gradient, and a group that is added later."""
    module, late = network(), nn.Linear(2, 2)
    module[0].bias.requires_grad_(False)
    optimizer = SGD([{"params": module[0].parameters()}, {"params": module[3].parameters(), "lr": 0.5}], lr=0.1)
    prediction = Prediction(optimizer)
    module[0].weight.grad = torch.ones(5, 3)
    weights = values(module)
    optimizer.step()
    optimizer.add_param_group({"params": late.parameters()})
    with prediction.lookahead():
        torch.testing.assert_close(module[0].weight, weights[0] - 0.2)
        assert torch.equal(module[0].bias, weights[1])
        assert torch.equal(module[3].weight, weights[4])
    for parameter in late.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = values(late)
    optimizer.step()
    with prediction.lookahead():
        torch.testing.assert_close(values(late), [w - 0.2 for w in before])


def test_weights_that_are_clipped_after_the_step_are_predicted_from_where_they_are() -> None:
    weight = torch.tensor([1.0], requires_grad=True)
    optimizer = SGD([weight], lr=1.0)
    prediction = Prediction(optimizer)
    weight.grad = torch.tensor([-3.0])
    optimizer.step()  # from 1 to 4
    with torch.no_grad():
        weight.clamp_(max=2.0)
    with prediction.lookahead():
        assert weight.item() == 3.0
    assert weight.item() == 2.0


def test_a_step_that_the_gradient_scaler_leaves_out_does_not_count() -> None:
    module = network()
    optimizer = SGD(module.parameters(), lr=0.1)
    prediction = Prediction(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    seen = []
    for seed in range(3):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = module(torch.randn(8, 3, generator=torch.Generator().manual_seed(seed))).square().mean()
        scaler.scale(loss).backward()
        if seed == 2:
            module[0].weight.grad.fill_(torch.inf)
        before = values(module)
        scaler.step(optimizer)
        scaler.update()
        with prediction.lookahead():
            seen.append((before, values(module)))
    now = values(module)
    assert_equal(now, seen[2][0])
    assert_equal(seen[1][1], [w + (w - p) for w, p in zip(now, seen[1][0], strict=True)])
    assert_equal(seen[2][1], seen[1][1])


def test_a_second_derivative_within_the_look_ahead() -> None:
    """A penalty on the slope of the predicted network, differentiated with respect to its weights."""
    w = torch.tensor([2.0], requires_grad=True)
    optimizer = SGD([w], lr=0.5)
    prediction = Prediction(optimizer)
    w.grad = torch.tensor([1.0])
    optimizer.step()  # 1.5, predicted 1
    optimizer.zero_grad()
    x = torch.tensor([3.0], requires_grad=True)
    with prediction.lookahead():
        (slope,) = torch.autograd.grad((w**2 * x).sum(), x, create_graph=True)
        slope.square().sum().backward()  # w^4
    assert w.grad.item() == 4.0


def test_a_graph_across_the_border_is_refused_by_torch() -> None:
    w = torch.tensor([2.0], requires_grad=True)
    optimizer = SGD([w], lr=0.5)
    prediction = Prediction(optimizer)
    w.grad = torch.tensor([1.0])
    optimizer.step()
    loss = (w**3).sum()
    with prediction.lookahead(), pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_resumed_it_goes_on_exactly(name: str) -> None:
    """The look-ahead is taken first in an iteration, so that it needs the displacement from the checkpoint."""

    def train(module: nn.Module, optimizer: Optimizer, prediction: Prediction, seeds: range) -> list[list[Tensor]]:
        seen = []
        for seed in seeds:
            if prediction.stepped:
                with prediction.lookahead():
                    seen.append(values(module))
            step(module, optimizer, seed)
        return seen

    module = network()
    optimizer = OPTIMIZERS[name](module.parameters())
    prediction = Prediction(optimizer)
    train(module, optimizer, prediction, range(3))
    file = io.BytesIO()
    torch.save({"module": module.state_dict(), "optimizer": optimizer.state_dict()}, file)
    whole = [*train(module, optimizer, prediction, range(3, 6)), values(module)]

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = network()
    again.load_state_dict(saved["module"])
    resumed = OPTIMIZERS[name](again.parameters())
    restored = Prediction(resumed)
    resumed.load_state_dict(saved["optimizer"])
    assert restored.stepped
    parts = [*train(again, resumed, restored, range(3, 6)), values(again)]
    for a, b in zip(whole, parts, strict=True):
        assert_equal(a, b)


def test_checkpoints_with_and_without_prediction_go_both_ways() -> None:
    module = network()
    plain, predicted = Adam(module.parameters()), Adam(module.parameters())
    prediction = Prediction(predicted)
    step(module, plain)
    step(module, predicted)
    with_prediction = copy.deepcopy(predicted.state_dict())
    predicted.load_state_dict(plain.state_dict())
    assert not prediction.stepped
    plain.load_state_dict(with_prediction)
    step(module, plain)


def test_what_is_refused_says_why() -> None:
    module = network()
    optimizer = Adam(module.parameters())
    prediction = Prediction(optimizer)
    assert not prediction.stepped
    with pytest.raises(PredictionError, match="before the first step of Adam"), prediction.lookahead():
        pass
    step(module, optimizer)
    before = values(module)
    with prediction.lookahead():
        with pytest.raises(PredictionError, match="leave the inner one out"), prediction.lookahead():
            pass
        with pytest.raises(PredictionError, match="step outside of the context"):
            optimizer.step()
        with pytest.raises(PredictionError, match="loaded within a look-ahead"):
            optimizer.load_state_dict(optimizer.state_dict())
    assert_equal(values(module), before)

    def closure() -> float:
        with prediction.lookahead():
            return 0.0

    with pytest.raises(PredictionError, match=r"self\.automatic_optimization = False"):
        optimizer.step(closure)
    assert not prediction.stepped
    step(module, optimizer)
    with prediction.lookahead():
        pass
