"""What is learnt from the calls of a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torchmetrics import Metric

from lightning_landscape.engine.acceleration.calls import Calls


class MetricWithNetwork(Metric):
    """A metric that has a network, as FID does."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 1)
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        self.total += self.net(x).sum()

    def compute(self) -> Tensor:
        return self.total


def network() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.BatchNorm1d(4))
    return net.eval()


def calls_of(net: Any, *batches: Tensor) -> Calls:
    with Calls() as calls, torch.no_grad():
        for batch in batches:
            net(batch)
    return calls


def test_layers_pairs_and_outermost_modules() -> None:
    net, metric, x = network(), MetricWithNetwork(), torch.ones(3, 4)
    calls = calls_of(lambda x: (metric(x), net(x), net[3](x)), x)
    assert calls.pairs() == [(net[0], net[1])]
    assert set(calls.outermost) == {net, net[3]}
    assert calls.first is net[0]
    assert dict(calls.layers) == {net[0]: 1, net[3]: 2}
    assert not calls.narrow
    assert calls_of(network().bfloat16(), x.bfloat16()).narrow


def test_norms_in_training_mode_pair_with_nothing() -> None:
    net = network()
    net[1].train()
    assert calls_of(net, torch.ones(3, 4)).pairs() == []


def test_inputs_are_the_same_only_if_they_are_the_batchs_own() -> None:
    net, a, b = network(), torch.ones(3, 4), torch.zeros(2, 4)
    once, again = calls_of(net, a, b), calls_of(net, a, b)
    assert once.same_inputs(again) == {net, net[0]}
    assert once.same_inputs(calls_of(net, b, a)) == set()
    assert once.same_inputs(calls_of(net, a.clone(), b)) == set()
    a.add_(1)
    assert once.same_inputs(calls_of(net, a, b)) == {net, net[0]}, "versions are read when they are compared"
    calls, later = (calls_of(lambda x: net(x * 2), a, b) for _ in range(2))
    assert calls.same_inputs(later) == set()


def test_no_hook_stays_behind() -> None:
    calls_of(network(), torch.ones(1, 4))
    assert not torch_module._has_any_global_hook()
