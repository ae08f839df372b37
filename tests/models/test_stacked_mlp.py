"""Stacked networks: each is an MLP of its own."""

from __future__ import annotations

import pytest
import torch

from lightning_landscape.errors import GeometryError
from lightning_landscape.models import StackedMLP


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_each_network_is_an_mlp_with_its_own_inputs(groups: int) -> None:
    torch.manual_seed(0)
    stack = StackedMLP(6, 2, (5, 4), 3, groups)
    inputs = torch.randn(7, 6, 2)
    outputs = stack(inputs)
    for run in range(6):
        values = inputs[:, run]
        for number, layer in enumerate(stack.layers):
            values = values @ torch.cat(list(layer.weights))[run] + torch.cat(list(layer.biases))[run]
            values = values if number == 2 else values.tanh()
        torch.testing.assert_close(outputs[:, run], values)


def test_networks_do_not_see_each_other() -> None:
    stack = StackedMLP(3, 2, (5,), 1)
    inputs = torch.randn(4, 3, 2, requires_grad=True)
    (slopes,) = torch.autograd.grad(stack(inputs)[:, 1].sum(), inputs)
    assert slopes[:, 1].abs().min() > 0
    assert not slopes[:, [0, 2]].any()


def test_initialisation_is_orthogonal_with_biases_of_a_tenth() -> None:
    stack = StackedMLP(2, 8, (8,), 8)
    for layer in stack.layers:
        for weight in layer.weights[0]:
            torch.testing.assert_close(weight @ weight.T, torch.eye(8), atol=1e-5, rtol=0)
        assert (layer.biases[0] == 0.1).all()


def test_groups_that_do_not_divide_are_refused() -> None:
    with pytest.raises(GeometryError, match="groups=4"):
        StackedMLP(6, 2, (5,), 1, 4)
    with pytest.raises(GeometryError, match="count=0"):
        StackedMLP(0, 2, (5,), 1)
