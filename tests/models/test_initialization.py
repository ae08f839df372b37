"""The paper's initialisation: moments of the draws."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_landscape.models import initialize


def test_standard_deviations_and_zeros() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(50, 80, 3), nn.BatchNorm2d(80), nn.Flatten(), nn.Linear(80, 500))
    initialize(network)
    convolution, norm, _, linear = network
    # The standard error of a standard deviation from n draws is sigma / sqrt(2 n): below 0.5 % for both.
    assert convolution.weight.std().item() == pytest.approx((2 / (50 * 9)) ** 0.5, rel=0.02)
    assert linear.weight.std().item() == pytest.approx(1e-3, rel=0.02)
    assert convolution.weight.mean().abs() < 1e-3
    assert not convolution.bias.any()
    assert not linear.bias.any()
    assert torch.equal(norm.weight, torch.ones(80))


def test_layers_without_bias_are_fine() -> None:
    network = nn.Conv2d(2, 3, 1, bias=False)
    initialize(network)
    assert network.weight.abs().min() > 0
