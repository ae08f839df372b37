"""Batches that stream to the device are the same, in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_landscape.engine.streaming import streamed

BATCHES = [(torch.full((2,), float(number)), {"label": torch.tensor([number])}) for number in range(4)]


class FakeStream:
    """Notes what is asked of a stream."""

    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name = log, name

    def record_event(self) -> str:
        return f"{self.log[-1]} sent"

    def wait_event(self, event: str) -> None:
        self.log.append(f"wait for {event}")


@pytest.mark.parametrize("count", [0, 1, 4])
def test_on_the_host_every_batch_is_transferred(count: int) -> None:
    moved = list(streamed(BATCHES[:count], lambda batch: (batch[0] + 1, batch[1]), torch.device("cpu")))
    assert [batch[0].tolist() for batch in moved] == [[n + 1, n + 1] for n in range(count)]


def test_on_a_gpu_one_batch_is_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    @contextmanager
    def on(stream: FakeStream) -> Iterator[None]:
        assert stream.name == "side"
        yield

    def transfer(batch: Any) -> Any:
        log.append(f"{int(batch[1]['label'])}")
        return batch

    monkeypatch.setattr(torch.cuda, "Stream", lambda _: FakeStream(log, "side"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: FakeStream(log, "computing"))
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(Tensor, "record_stream", lambda tensor, stream: None)
    seen = []
    for batch in streamed(BATCHES, transfer, torch.device("cuda")):
        log.append("evaluate")
        seen.append(int(batch[1]["label"]))
    assert seen == [0, 1, 2, 3]
    step = ["wait for {} sent", "evaluate"]
    expected = ["0"]
    for number in range(4):
        expected += ([str(number + 1)] if number < 3 else []) + [line.format(number) for line in step]
    assert log == expected
