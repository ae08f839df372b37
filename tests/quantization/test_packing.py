"""Packed files: their size, their bits, and what is refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
import torch
from torch import nn

from lightning_landscape import (
    QuantizationError,
    Quantizer,
    RecordError,
    StochasticRounding,
    binary_connect,
    load_packed,
    save_packed,
)
from lightning_landscape.models import MLP, ResNet

GRIDS = [
    Quantizer(bits=1),
    Quantizer(bits=1, scale="filter"),
    Quantizer(bits=1, limit=0.3),
    Quantizer(bits=3),
    Quantizer(bits=8, limit=0.5),
    Quantizer(delta=0.1),
]


def network() -> nn.Module:
    torch.manual_seed(0)
    net = MLP(16, (24, 8), batch_norm=True)
    net(torch.randn(32, 16))  # running statistics that are not the initial ones
    return net.eval()


pytestmark = pytest.mark.filterwarnings("ignore:.*are clipped to it")  # what the files hold is what matters here


@pytest.mark.parametrize("quantizer", GRIDS, ids=str)
def test_a_network_of_binaryconnect_gives_identical_outputs(tmp_path: Path, quantizer: Quantizer) -> None:
    net, inputs = network(), torch.randn(9, 16)
    binary_connect(net, quantizer)
    save_packed(tmp_path / "net.h5", net)
    plain = MLP(16, (24, 8), batch_norm=True).eval()
    plain.load_state_dict(load_packed(tmp_path / "net.h5"))
    assert torch.equal(plain(inputs), net(inputs))


@pytest.mark.parametrize("quantizer", GRIDS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_network_of_stochastic_rounding_comes_back_bit_for_bit(
    tmp_path: Path, quantizer: Quantizer, dtype: torch.dtype
) -> None:
    if dtype == torch.bfloat16 and quantizer.bits == 8:
        pytest.skip("this grid is finer than the type")
    net = network().to(dtype)
    optimizer = StochasticRounding(torch.optim.SGD(net.parameters(), lr=0.3), quantizer)
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    grids = {name: quantizer for name, p in net.named_parameters() if p.ndim > 1}
    save_packed(tmp_path / "net.h5", net, grids)
    state = load_packed(tmp_path / "net.h5")
    assert list(state) != []
    for name, tensor in net.state_dict().items():
        assert state[name].dtype == tensor.dtype
        assert torch.equal(state[name], tensor), name


def test_the_binary_layers_of_resnet56_take_less_than_a_thirtieth(tmp_path: Path) -> None:
    """Everything counts as the layers' but the bytes of the other tensors: names, shapes, the file format."""
    net = ResNet(56)
    quantizer = Quantizer(bits=1)
    layers = [p for p in net.parameters() if p.ndim > 1]
    with torch.no_grad():
        for parameter in layers:
            parameter.copy_(quantizer.nearest(parameter))
    save_packed(tmp_path / "net.h5", net, {n: quantizer for n, p in net.named_parameters() if p.ndim > 1})
    quantised = 4 * sum(p.numel() for p in layers)
    others = sum(t.nbytes for t in net.state_dict().values()) - quantised
    ratio = quantised / ((tmp_path / "net.h5").stat().st_size - others)
    assert 30 < ratio <= 32
    torch.save(net.state_dict(), tmp_path / "net.pt")
    assert (tmp_path / "net.h5").stat().st_size < (tmp_path / "net.pt").stat().st_size / 20


def test_weights_off_the_grid_and_unknown_names_are_refused(tmp_path: Path) -> None:
    net = network()
    with pytest.raises(QuantizationError, match=r"384 of the 384 weights of 1\.weight are not on the grid"):
        save_packed(tmp_path / "net.h5", net, {"1.weight": Quantizer(bits=1)})
    with pytest.raises(QuantizationError, match=r"no parameter 'head\.weight'"):
        save_packed(tmp_path / "net.h5", net, {"head.weight": Quantizer(bits=1)})
    assert not (tmp_path / "net.h5").exists()


def test_other_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no file"):
        load_packed(tmp_path / "missing.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["loss"] = [1.0]
    with pytest.raises(RecordError, match="no packed network"):
        load_packed(tmp_path / "other.h5")
    (tmp_path / "text.h5").write_bytes(b"text")
    with pytest.raises(RecordError, match="damaged"):
        load_packed(tmp_path / "text.h5")
    net = network()
    binary_connect(net, Quantizer(bits=1))
    save_packed(tmp_path / "net.h5", net)
    with h5py.File(tmp_path / "net.h5", "r+") as file:
        file["layout"][3] ^= 255
    with pytest.raises(RecordError, match="damaged"):
        load_packed(tmp_path / "net.h5")
