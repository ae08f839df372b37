"""The limit law against its known numbers, and against the chains that it is the limit of."""

from __future__ import annotations

import pytest
import torch

from lightning_landscape import QuantizationError, Quantizer
from lightning_landscape.quantization.limit_law import limit_law
from lightning_landscape.tasks.chains import Chains
from lightning_landscape.tasks.quantized_toy import DEEPEST, slope_of_three_valleys


def summary(weights: torch.Tensor, shares: torch.Tensor) -> tuple[float, float]:
    """The share within one half of the deepest minimum, and the standard deviation in its valley."""
    inside = shares * (weights >= 3.5)
    mean = (inside * weights).sum() / inside.sum()
    deviation = ((inside * (weights - mean) ** 2).sum() / inside.sum()).sqrt()
    return float(shares[(weights - DEEPEST).abs() <= 0.5].sum()), float(deviation)


@pytest.mark.parametrize(
    ("delta", "noise", "near", "deviation"),
    [(0.5, 1.0, 0.884, 0.349), (0.5, 3.0, 0.608, 0.558), (0.25, 3.0, 0.875, 0.393), (0.1, 3.0, None, 0.246)],
)
def test_known_numbers_of_the_three_valleys(delta: float, noise: float, near: float | None, deviation: float) -> None:
    weights = torch.arange(round(-4 / delta), round(10 / delta) + 1, dtype=torch.float64) * delta
    found = summary(weights, limit_law(slope_of_three_valleys(weights), noise))
    assert found[1] == pytest.approx(deviation, abs=5e-4)
    if near is not None:
        assert found[0] == pytest.approx(near, abs=5e-4)


def test_it_is_stationary_for_the_chain_at_a_small_rate() -> None:
    """The law times the transition matrix of the rounded chain, by integration over the noise, is the law again."""
    delta, noise, rate = 0.5, 1.0, 1e-3
    weights = torch.arange(-4, 15, dtype=torch.float64) * delta
    slopes = slope_of_three_valleys(weights)
    law = limit_law(slopes, noise)
    n = torch.linspace(-8, 8, 20001, dtype=torch.float64)
    density = torch.exp(-0.5 * n**2) * (n[1] - n[0]) / (2 * torch.pi) ** 0.5
    step = -rate * (slopes[:, None] + noise * n)
    up, down = (step.clamp(min=0) @ density) / delta, ((-step).clamp(min=0) @ density) / delta
    flow = law[:-1] * up[:-1] - law[1:] * down[1:]
    assert float(flow.abs().max()) < 1e-9


def test_chains_of_stochastic_rounding_tend_to_it_and_those_of_others_go_on_narrowing() -> None:
    """4,000 chains, started from the deepest valley: no narrower at a rate of 0.01 than at 0.03, unlike SGD's."""
    quantizer = Quantizer(delta=0.5, limit=8.0)
    deviations: dict[str, list[float]] = {}
    for method in ("float", "binaryconnect", "stochastic"):
        chains = Chains(method, torch.full((4000,), DEEPEST), slope_of_three_valleys, quantizer, 3.0, seed=3)
        deviations[method] = []
        for rate, steps in ((0.1, 60), (0.03, 150), (0.01, 400)):
            chains.run(rate, steps)
            deviations[method].append(summary(chains.weight.detach(), torch.full((4000,), 1 / 4000))[1])
    assert deviations["float"] == pytest.approx([0.492, 0.264, 0.151], rel=0.06)
    assert deviations["binaryconnect"] == pytest.approx([0.522, 0.308, 0.251], rel=0.06)
    assert deviations["stochastic"] == pytest.approx([0.593, 0.559, 0.554], rel=0.05)


def test_without_noise_there_is_no_law() -> None:
    with pytest.raises(QuantizationError, match="noise=0"):
        limit_law(torch.zeros(3), 0)
