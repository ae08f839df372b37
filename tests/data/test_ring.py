"""Batches of the ring: their distribution, and that a number always gives the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lightning_landscape.data import GaussianRing
from lightning_landscape.data.ring import ring_modes
from lightning_landscape.errors import ObjectiveError


def test_mixture_has_its_modes_and_spread() -> None:
    data = GaussianRing(modes=5, radius=2.0, std=0.05, batch_size=4000, batches=2)
    batch = data.dataset[0]
    distances = torch.cdist(batch, data.modes)
    nearest = distances.argmin(1)
    assert torch.bincount(nearest).div(4000).sub(0.2).abs().max() < 0.03
    deviations = batch - data.modes[nearest]
    assert deviations.std().item() == pytest.approx(0.05, rel=0.03)
    torch.testing.assert_close(data.modes.norm(dim=1), torch.full((5,), 2.0))


def test_batches_are_fixed_and_differ() -> None:
    first, again, other = (GaussianRing(batches=3, batch_size=4, seed=s) for s in (0, 0, 1))
    batches = list(first.train_dataloader())
    assert len(batches) == 3
    assert all(torch.equal(a, b) for a, b in zip(batches, again.train_dataloader(), strict=True))
    assert not torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], other.dataset[0])
    assert GaussianRing(batches=3, batch_size=4, count=7).dataset[1].shape == (4, 7, 2)


def test_the_global_stream_is_not_touched() -> None:
    state = torch.get_rng_state()
    GaussianRing().dataset[0]
    assert torch.equal(state, torch.get_rng_state())


def test_modes_begin_on_the_right() -> None:
    torch.testing.assert_close(ring_modes(8, 3.0)[0], torch.tensor([3.0, 0.0]))


@pytest.mark.parametrize("options", [{"modes": 0}, {"batch_size": 0}, {"count": 0}, {"radius": 0.0}, {"std": -1.0}])
def test_numbers_out_of_range_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ObjectiveError, match=next(iter(options))):
        GaussianRing(**options)
