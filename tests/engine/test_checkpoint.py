"""Weights from checkpoint files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from lightning_landscape.engine.checkpoint import weights_from_checkpoint
from lightning_landscape.errors import GeometryError, RecordError
from lightning_landscape.geometry.weights import weights_of
from tests.modules_under_test import Delicate, train


def assert_weights(found: dict[str, Any], module: nn.Module, *, buffers: bool = False) -> None:
    expected = weights_of(module, buffers=buffers)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_lightning_checkpoint(tmp_path: Path) -> None:
    module, run = train(tmp_path, max_epochs=1)
    run.save_checkpoint(tmp_path / "run.ckpt")
    fresh = Delicate()
    before = weights_of(fresh, buffers=True)
    found = weights_from_checkpoint(tmp_path / "run.ckpt", fresh)
    assert_weights(found, module)
    assert found.roles == weights_of(fresh).roles
    assert_weights(weights_from_checkpoint(tmp_path / "run.ckpt", fresh, buffers=True), module, buffers=True)
    for name, tensor in weights_of(fresh, buffers=True).items():
        assert torch.equal(before[name], tensor), f"{name} of the module was changed"


def test_bare_state_dict_of_the_network(tmp_path: Path) -> None:
    module = Delicate()
    torch.save(module.net.state_dict(), tmp_path / "net.pt")
    assert_weights(weights_from_checkpoint(tmp_path / "net.pt", Delicate(), buffers=True), module, buffers=True)
    assert_weights(weights_from_checkpoint(tmp_path / "net.pt", Delicate().net), module.net)


def test_dtype_is_the_modules(tmp_path: Path) -> None:
    torch.save({"weight": torch.full((1, 1), 1 / 3, dtype=torch.float64)}, tmp_path / "double.pt")
    found = weights_from_checkpoint(tmp_path / "double.pt", nn.Linear(1, 1, bias=False))
    assert found["weight"].dtype == torch.float32
    assert float(found["weight"]) == float(torch.tensor(1 / 3))


class Wider(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Dropout(0.3), nn.Linear(9, 3))


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    torch.save(Wider().state_dict(), tmp_path / "wider.pt")
    with pytest.raises(GeometryError, match=r"wider.pt.*net.0.weight: \(9, 4\) instead of \(8, 4\).*build the module"):
        weights_from_checkpoint(tmp_path / "wider.pt", Delicate())
    more = Delicate().state_dict() | {"net.9.weight": torch.zeros(2)}
    torch.save(more, tmp_path / "more.pt")
    with pytest.raises(GeometryError, match=r"1 unexpected \(net.9.weight\)"):
        weights_from_checkpoint(tmp_path / "more.pt", Delicate())
    less = {name: tensor for name, tensor in Delicate().state_dict().items() if name != "net.4.bias"}
    torch.save(less, tmp_path / "less.pt")
    with pytest.raises(GeometryError, match=r"1 missing \(net.4.bias\)"):
        weights_from_checkpoint(tmp_path / "less.pt", Delicate())


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"there is no checkpoint .*none.pt"):
        weights_from_checkpoint(tmp_path / "none.pt", Delicate())
    (tmp_path / "text.pt").write_text("no checkpoint")
    with pytest.raises(RecordError, match=r"text.pt.* cannot be read as a checkpoint of tensors"):
        weights_from_checkpoint(tmp_path / "text.pt", Delicate())
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(RecordError, match=r"list.pt.* holds no tensors by name"):
        weights_from_checkpoint(tmp_path / "list.pt", Delicate())
    torch.save({"state_dict": {}, "epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(RecordError, match="holds no tensors by name: give a Lightning checkpoint or a state dict"):
        weights_from_checkpoint(tmp_path / "empty.pt", Delicate())


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save(nn.Linear(1, 1), tmp_path / "module.pt")
    with pytest.raises(RecordError, match="cannot be read"):
        weights_from_checkpoint(tmp_path / "module.pt", nn.Linear(1, 1))
