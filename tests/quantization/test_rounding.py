"""Rounding in place: without bias, independent, onto the grid, and only where it should."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lightning_landscape import Quantizer
from lightning_landscape.quantization import rounding
from lightning_landscape.quantization.rounding import generator_of, round_, stochastic_round_

DRAWS = 200_000
GRIDS = [Quantizer(bits=1), Quantizer(bits=3), Quantizer(delta=0.1), Quantizer(delta=0.25, limit=math.inf)]


def draws(value: float, quantizer: Quantizer, seed: int = 0) -> Tensor:
    weights = torch.full((DRAWS,), value)
    stochastic_round_([weights], quantizer, generator_of("cpu", seed))
    return weights


@pytest.mark.parametrize("quantizer", GRIDS, ids=str)
@pytest.mark.parametrize("value", [0.0, 0.013, -0.3, 0.7777, -0.999])
def test_the_mean_over_2e5_draws_is_the_weight_itself(quantizer: Quantizer, value: float) -> None:
    """Within four standard errors; the two neighbours are the only values."""
    rounded = draws(value, quantizer).double()
    exact = float(torch.tensor(value))
    values = rounded.unique()
    assert len(values) <= 2
    assert float(values.max() - values.min()) <= quantizer.step * (1 + 1e-6)
    low = float(values.min())
    share = (exact - low) / quantizer.step
    error = quantizer.step * math.sqrt(max(share * (1 - share), 0) / DRAWS)
    assert float(rounded.mean()) == pytest.approx(exact, abs=4 * error + 1e-7)


def test_small_steps_move_weights_with_their_own_probabilities() -> None:
    """Where few move, by proposals: 2,000 weights for each of 100 probabilities from 0 to 1 %, all at once."""
    probabilities = torch.arange(100).double() / 10_000
    step = 0.5
    weights = (1.0 - step * probabilities).float().repeat(2000, 1)
    moved = torch.zeros(100, dtype=torch.float64)
    generator = generator_of("cpu", 5)
    for _ in range(20):
        rounded = weights.clone()
        stochastic_round_([rounded], Quantizer(delta=step), generator)
        moved += (rounded != 1.0).sum(0)
    expected = 40_000 * probabilities
    z = (moved - expected) / expected.clamp(min=1).sqrt()
    assert moved[0] == 0
    assert float(z.abs().max()) < 4.5
    assert float(z[1:].square().mean()) == pytest.approx(1.0, abs=0.5)


def test_neighbours_are_decided_independently() -> None:
    """The number that move of 1,000 equal weights is binomial: its variance tells of correlations."""
    for probability in (0.004, 0.3):
        counts = []
        generator = generator_of("cpu", 1)
        for _ in range(400):
            weights = torch.full((1000,), probability)
            stochastic_round_([weights], Quantizer(delta=1.0), generator)
            counts.append(float(weights.sum()))
        variance = 1000 * probability * (1 - probability)
        assert torch.tensor(counts).var().item() == pytest.approx(variance, rel=0.35)


def test_successes_are_bernoulli_trials() -> None:
    indices = rounding._successes(1_000_000, 0.01, generator_of("cpu", 2))
    assert len(indices) == pytest.approx(10_000, abs=4 * 100)
    assert (indices.diff() > 0).all()
    assert int(indices[0]) >= 0
    assert int(indices[-1]) < 1_000_000
    gaps = indices.diff().double()
    assert float(gaps.mean()) == pytest.approx(100, rel=0.05)
    assert float((gaps == 1).double().mean()) == pytest.approx(0.01, abs=0.004)


@pytest.mark.parametrize("quantizer", [*GRIDS, Quantizer(bits=6, limit=0.3)], ids=str)
def test_weights_of_the_grid_stay_and_cost_no_random_numbers(quantizer: Quantizer) -> None:
    weights = quantizer.nearest(torch.linspace(-1, 1, 999))
    before, generator = weights.clone(), generator_of("cpu", 0)
    state = generator.get_state()
    for _ in range(5):
        stochastic_round_([weights], quantizer, generator)
    assert torch.equal(weights, before)
    assert torch.equal(generator.get_state(), state)


@pytest.mark.parametrize("quantizer", GRIDS[:3], ids=str)
def test_weights_beyond_the_ends_go_to_the_ends(quantizer: Quantizer) -> None:
    for method in (round_, lambda w, q: stochastic_round_(w, q, generator_of("cpu", 0))):
        weights = torch.tensor([-7.0, 1.2, 5.0, math.inf])
        method([weights], quantizer)
        assert weights.tolist() == pytest.approx([-1, 1, 1, 1])


def test_one_seed_gives_one_result_whatever_the_other_generators_do() -> None:
    torch.manual_seed(1)
    first = draws(0.3, GRIDS[0])
    torch.manual_seed(2)
    torch.rand(5)
    assert torch.equal(first, draws(0.3, GRIDS[0]))
    assert not torch.equal(first, draws(0.3, GRIDS[0], seed=1))


def test_the_random_numbers_are_not_those_of_a_generator_of_the_same_seed() -> None:
    """Rounding by the numbers that made the noise in the weights would be biased."""
    ours, theirs = torch.rand(1000, generator=generator_of("cpu", 0)), torch.Generator().manual_seed(0)
    assert not torch.equal(ours, torch.rand(1000, generator=theirs))


def test_many_tensors_of_all_shapes_types_and_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks smaller than a tensor, larger than several, and mixed with other types."""
    monkeypatch.setattr(rounding, "CHUNK", 50)
    random = torch.Generator().manual_seed(0)
    shapes = [(), (3,), (4, 5), (2, 3, 4, 5), (0, 3), (7, 1)]
    tensors = [torch.empty(s).uniform_(-1, 1, generator=random) for s in shapes]
    tensors += [torch.rand(3, 4, 2, 2, generator=random).to(memory_format=torch.channels_last)]
    tensors += [torch.rand(6, 5, generator=random).t(), torch.rand(9, generator=random).double()]
    tensors += [torch.rand(9, generator=random).bfloat16()]
    before = [tensor.clone() for tensor in tensors]
    stochastic_round_(tensors, Quantizer(delta=0.25), generator_of("cpu", 0))
    for old, new in zip(before, tensors, strict=True):
        assert new.dtype == old.dtype
        assert torch.equal(new, (new / 0.25).round() * 0.25)
        assert ((new - old).abs() < 0.25).all()
    stochastic_round_([], Quantizer(delta=0.25), generator_of("cpu", 0))


def test_scales_of_filters_set_each_filters_grid() -> None:
    quantizer = Quantizer(bits=1, scale="filter")
    weights = torch.tensor([[0.1], [0.4]]).expand(2, DRAWS // 2).clone()
    scales = [torch.tensor([[0.2], [0.5]])]
    stochastic_round_([weights], quantizer, generator_of("cpu", 0), scales)
    assert weights[0].abs().unique().tolist() == pytest.approx([0.2])
    assert weights.mean(1).tolist() == pytest.approx([0.1, 0.4], abs=4e-3)
    again = weights.clone()
    stochastic_round_([again], quantizer, generator_of("cpu", 1), scales)
    assert torch.equal(again, weights)
    round_([again], quantizer, scales)
    assert torch.equal(again, weights)


def test_not_a_number_stays_one() -> None:
    weights = torch.tensor([math.nan, 0.3])
    stochastic_round_([weights], Quantizer(bits=1), generator_of("cpu", 0))
    assert weights.isnan().tolist() == [True, False]
