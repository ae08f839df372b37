"""What is computed from a batch is remembered as long as the batch is the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_landscape.engine.acceleration import memo
from lightning_landscape.engine.acceleration.memo import BatchMemo


def counting() -> tuple[BatchMemo[Tensor], list[Tensor]]:
    computed: list[Tensor] = []

    def compute(tensor: Tensor) -> Tensor:
        computed.append(tensor)
        return tensor * 2

    return BatchMemo(compute), computed


def test_a_view_of_the_same_memory_is_known() -> None:
    remembered, computed = counting()
    batch = torch.ones(2, 1, 3)
    first = remembered(batch.flatten(1))
    assert remembered(batch.flatten(1)) is first
    assert torch.equal(remembered(batch), 2 * batch)  # another shape
    assert len(computed) == 2


def test_a_tensor_that_changed_in_place_is_computed_again() -> None:
    remembered, _ = counting()
    batch = torch.ones(3)
    remembered(batch)
    batch.add_(1)
    assert remembered(batch).tolist() == [4, 4, 4]


def test_a_new_tensor_is_never_mistaken_for_one_that_died() -> None:
    remembered, computed = counting()
    for value in range(20):  # the allocator would give each the memory of the last
        assert remembered(torch.full((1000,), float(value)))[0] == 2 * value
    assert len(computed) == 20


def test_when_there_is_no_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo, "_LARGEST", 20)
    remembered, _ = counting()
    kept = [torch.ones(3), torch.ones(3), torch.ones(3)]
    assert [remembered(tensor) is None for tensor in kept] == [False, False, True]
    assert remembered(kept[0]) is not None
