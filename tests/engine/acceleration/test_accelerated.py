"""Parameters and their shortcuts, put in place and withdrawn together."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lightning_landscape.engine.acceleration.accelerated import AcceleratedParameters
from lightning_landscape.engine.acceleration.shortcut import Substitution
from lightning_landscape.engine.parameters import ReplicatedParameters
from lightning_landscape.geometry.slices import Plane
from lightning_landscape.geometry.weights import weights_of


class Doubling:
    """Twice the weight of a linear layer, under a name that it has and one that it has not."""

    def __init__(self, layer: nn.Linear) -> None:
        self._layer = layer
        self.copy = layer.weight.detach().clone()
        self.substitutions = [Substitution(layer._parameters, "weight", self.copy), Substitution(vars(layer), "new", 1)]

    def place(self, *coordinates: float) -> None:
        self.copy.copy_(2 * self._layer.weight)

    def halves(self) -> Any:
        return ()


@torch.no_grad()
def test_shortcuts_stand_at_every_point_but_the_origin() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(2, 2)
    plane = Plane.random(weights_of(layer), seed=1)
    own, doubling = layer.weight, Doubling(layer)
    parameters = AcceleratedParameters(ReplicatedParameters(layer, plane), [doubling])
    before = sorted(vars(layer))
    for point in ((0.5, -1.0), (0.0, 2.0), (0.0, 2.0)):
        parameters.place(*point)
        assert layer.weight is doubling.copy
        assert torch.equal(doubling.copy, 2 * plane.at(*point)["weight"])
        assert layer.new == 1
    parameters.place(0.0, 0.0)
    assert layer.weight is own
    assert torch.equal(own, plane.origin["weight"])
    parameters.place(1.0, 0.0)
    parameters.withdraw()
    parameters.withdraw()
    assert layer.weight is own
    assert sorted(vars(layer)) == before
