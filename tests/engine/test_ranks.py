"""The processes of a run: alone, and as rank one of a group that is played by the test."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist

from lightning_landscape.engine.ranks import Ranks
from lightning_landscape.errors import LandscapeError, RecordMismatchError

CPU = torch.device("cpu")


def test_alone() -> None:
    ranks = Ranks(CPU)
    assert (ranks.rank, ranks.world, ranks.active) == (0, 1, False)
    assert ranks.gather(torch.tensor([1.0, 2.0])).tolist() == [[1.0, 2.0]]
    value = {"a": object()}
    assert ranks.broadcast(value) is value
    tensor = torch.ones(2)
    ranks.broadcast_tensor(tensor)
    assert tensor.tolist() == [1, 1]
    assert ranks.on_zero(lambda: 3) == 3
    assert ranks.on_zero(lambda: None) is None


def test_alone_a_failure_is_the_callers() -> None:
    def fail() -> None:
        raise RecordMismatchError("another record")

    with pytest.raises(RecordMismatchError, match=r"^another record$"):
        Ranks(CPU).on_zero(fail)


def test_gathered_values_are_plain_data() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    assert not Ranks(CPU).gather(weight * 2).requires_grad


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """This process is rank one of two; what rank zero broadcasts is taken from this list."""
    messages: list[Any] = []

    def receive(box: list[Any], src: int, device: torch.device) -> None:
        assert src == 0
        box[0] = messages.pop(0)

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "get_backend", lambda: "gloo")
    monkeypatch.setattr(dist, "broadcast_object_list", receive)
    return messages


def test_rank_one_does_nothing_itself(told: list[Any]) -> None:
    told.append(None)
    assert Ranks(CPU).on_zero(lambda: pytest.fail("ran on rank one")) is None


def test_rank_one_raises_what_rank_zero_raised(told: list[Any]) -> None:
    """Of the same kind, so that whoever handles it does so on every rank."""
    told.append((RecordMismatchError, "another record"))
    with pytest.raises(RecordMismatchError, match="another record"):
        Ranks(CPU).on_zero(lambda: 1)
    told.append((MemoryError, "too large"))
    with pytest.raises(LandscapeError, match="too large"):
        Ranks(CPU).on_zero(lambda: 1)


def test_rank_one_takes_rank_zeros_value(told: list[Any]) -> None:
    told.append("zero's")
    assert Ranks(CPU).broadcast("mine") == "zero's"
