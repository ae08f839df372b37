"""The MLP against its formula."""

from __future__ import annotations

import pytest
import torch

from lightning_landscape.errors import GeometryError
from lightning_landscape.models import MLP


def test_it_is_affine_maps_with_relu_between() -> None:
    torch.manual_seed(0)
    network = MLP(in_features=12, hidden=(7, 5), num_classes=3).double()
    x = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    w1, b1, w2, b2, w3, b3 = network.parameters()
    expected = ((x.reshape(4, 12) @ w1.T + b1).clamp(min=0) @ w2.T + b2).clamp(min=0) @ w3.T + b3
    torch.testing.assert_close(network(x), expected)


def test_without_hidden_layers_it_is_a_linear_classifier() -> None:
    network = MLP(in_features=4, hidden=(), num_classes=3)
    assert [tuple(p.shape) for p in network.parameters()] == [(3, 4), (3,)]


@pytest.mark.parametrize(
    ("arguments", "sentence"), [({"in_features": 0}, "in_features=0"), ({"hidden": (8, 0)}, "hidden=0")]
)
def test_bad_arguments_are_refused(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(GeometryError, match=sentence):
        MLP(**arguments)
