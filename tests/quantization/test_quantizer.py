"""The grid: its weights, its ends, what it refuses."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_landscape import QuantizationError, Quantizer

GRIDS = [
    Quantizer(delta=0.5),
    Quantizer(delta=0.1),
    Quantizer(delta=0.3, limit=1.0),
    Quantizer(bits=1),
    Quantizer(bits=1, limit=0.7),
    Quantizer(bits=3),
    Quantizer(bits=8, limit=0.3),
]


@pytest.mark.parametrize("quantizer", GRIDS, ids=str)
def test_every_weight_goes_to_the_nearest_of_the_written_out_grid(quantizer: Quantizer) -> None:
    if quantizer.bits is not None:
        grid = torch.linspace(-quantizer.limit, quantizer.limit, quantizer.levels, dtype=torch.float64)
    else:
        last = math.floor(quantizer.limit / quantizer.step + 1e-6)
        grid = torch.arange(-last, last + 1, dtype=torch.float64) * quantizer.step
    weights = torch.empty(5000, dtype=torch.float64).uniform_(-1.5, 1.5, generator=torch.Generator().manual_seed(0))
    nearest = grid[(weights[:, None] - grid).abs().argmin(1)]
    torch.testing.assert_close(quantizer.nearest(weights), nearest, rtol=0, atol=1e-12)
    assert quantizer.levels == len(grid)
    assert quantizer.highest == pytest.approx(float(grid[-1]))


@pytest.mark.parametrize("quantizer", GRIDS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_weight_of_the_grid_stays_to_the_last_bit(quantizer: Quantizer, dtype: torch.dtype) -> None:
    if dtype == torch.bfloat16 and quantizer.levels > 64:
        pytest.skip("this grid is finer than the type")
    once = quantizer.nearest(torch.linspace(-1.2, 1.2, 4001).to(dtype))
    assert torch.equal(quantizer.nearest(once), once)
    assert len(once.unique()) == quantizer.levels


def test_the_weights_are_not_touched_by_nearest_and_have_no_gradient() -> None:
    weights = torch.full((3, 2), 0.3, requires_grad=True)
    assert not Quantizer(bits=1).nearest(weights).requires_grad
    assert bool((weights == 0.3).all())


def test_a_scale_is_the_mean_magnitude_of_its_filter() -> None:
    weights = torch.tensor([[[0.5, -1.5]], [[0.0, 0.0]]])
    quantizer = Quantizer(bits=1, scale="filter")
    assert quantizer.scale_of(weights).flatten().tolist() == [1.0, 0.0]
    assert quantizer.nearest(weights).tolist() == [[[1.0, -1.0]], [[0.0, 0.0]]]
    assert quantizer.outside(weights) == 0


def test_not_a_number_stays_one() -> None:
    """A diverged network must not look healthy because its weights were rounded."""
    for quantizer in GRIDS:
        assert quantizer.nearest(torch.tensor([math.nan])).isnan().all()


def test_an_endless_grid_has_no_levels() -> None:
    quantizer = Quantizer(delta=0.5, limit=math.inf)
    assert quantizer.nearest(torch.tensor([1e4 + 0.2])).tolist() == [1e4]
    assert quantizer.outside(torch.tensor([1e9])) == 0
    with pytest.raises(QuantizationError, match="no number of levels"):
        _ = quantizer.levels


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "give one of the two"),
        ({"delta": 0.1, "bits": 2}, "give one of the two"),
        ({"bits": 0}, "bits=0: give a whole number of bits a weight, from 1 to 16"),
        ({"bits": -3}, "bits=-3"),
        ({"bits": 1.5}, "bits=1.5"),
        ({"delta": 0}, "delta=0: give the distance between neighbouring weights, above 0"),
        ({"delta": -0.5}, "delta=-0.5"),
        ({"delta": math.nan}, "delta=nan"),
        ({"delta": 2.0}, "larger than limit=1.0"),
        ({"bits": 2, "limit": math.inf}, "limit=inf"),
        ({"bits": 2, "limit": 0}, "limit=0"),
        ({"bits": 2, "scale": "filter"}, "only binary weights have a scale"),
        ({"bits": 1, "scale": "layer"}, "scale='layer'"),
    ],
)
def test_what_is_no_grid_is_refused_with_a_sentence(options: dict[str, float], words: str) -> None:
    with pytest.raises(QuantizationError, match=words):
        Quantizer(**options)
