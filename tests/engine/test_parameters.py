"""The parameter view puts into the live module exactly the point that the slice defines."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_landscape.engine.parameters import ReplicatedParameters
from lightning_landscape.errors import GeometryError
from lightning_landscape.geometry.slices import Line, Plane
from lightning_landscape.geometry.weights import Weights, digest, weights_of

POINTS = [(0.3, -0.7), (0.0, 0.5), (-1.0, 0.0), (0.1, 0.1), (0.0, 0.0), (1e-3, 2.5)]


def network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 5))
    net[1].running_mean.uniform_()
    return net.to(dtype)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    for name, tensor in a.items():
        assert torch.equal(tensor, b[name]), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_point_is_the_slices(dtype: torch.dtype) -> None:
    """Bit for bit; so 16-bit weights are summed in float32 and rounded once."""
    net = network(dtype)
    plane = Plane.random(weights_of(net), seed=1)
    parameters = ReplicatedParameters(net, plane)
    parameters.place_origin()
    for point in POINTS:
        parameters.place(*point)
        found = weights_of(net)
        assert all(tensor.dtype == dtype for tensor in found.values())
        assert_bits(plane.at(*point), found)


def test_sixteen_bits_are_rounded_once() -> None:
    """1 + 1/512 + 1/256 in bfloat16, whose step at 1 is 1/128: to round after each addition would stay at 1."""
    layer = nn.Linear(2, 1, bias=False).to(torch.bfloat16)
    layer.weight.data.fill_(1)
    x, y = torch.tensor([[1 / 512, 0]]), torch.tensor([[1 / 256, 1 / 256]])
    plane = Plane(weights_of(layer), Weights({"weight": x}), Weights({"weight": y}))
    ReplicatedParameters(layer, plane).place(1.0, 1.0)
    assert layer.weight.tolist() == [[1 + 1 / 128, 1.0]]


def test_the_centre_is_exact_and_nothing_else_moves() -> None:
    net = network()
    net[3].bias.requires_grad_(False)
    before = state(net)
    parameters = ReplicatedParameters(net, Plane.random(weights_of(net), seed=1))
    parameters.place_origin()
    assert_bits(before, state(net))
    parameters.place(0.3, 0.4)
    after = state(net)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"0.weight", "3.weight"}
    parameters.place(0.0, 0.0)
    assert_bits(before, state(net))


def test_a_point_does_not_depend_on_those_before() -> None:
    net = network()
    parameters = ReplicatedParameters(net, Plane.random(weights_of(net), seed=1))
    found = []
    for points in (POINTS, POINTS[::-1]):
        values = {}
        for point in points:
            parameters.place(*point)
            values[point] = digest(weights_of(net))
        found.append(values)
    assert found[0] == found[1]
    assert len(set(found[0].values())) == len(POINTS)


def test_a_slice_that_aliases_the_live_weights_does_not_drift() -> None:
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data.fill_(3)
    live = Weights(layer.state_dict())
    parameters = ReplicatedParameters(layer, Line(live, live))
    found = []
    for a in (1.0, 0.0, 1.0, -0.5):
        parameters.place(a)
        found.append(layer.weight[0, 0].item())
    assert found == [6, 3, 6, 1.5]


def test_the_origin_may_be_another_point_than_the_module() -> None:
    net, other = network(), network()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    line = Line.between(weights_of(other), weights_of(net))
    parameters = ReplicatedParameters(net, line)
    sha256 = parameters.place_origin()
    assert_bits(weights_of(other), weights_of(net))
    assert sha256 == digest(weights_of(other, buffers=True))


def test_a_slice_of_some_tensors_leaves_the_others() -> None:
    net = network()
    before = weights_of(net)
    some = Weights({"3.weight": before["3.weight"]})
    ReplicatedParameters(net, Line.random(some, seed=3)).place(1.0)
    after = weights_of(net)
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["3.weight"]


def test_tied_weights_move_together() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    ReplicatedParameters(net, line := Line.random(weights_of(net), seed=3)).place(1.0)
    assert net[1].weight is net[0].weight
    assert torch.equal(net[1].weight, line.at(1.0)["0.weight"])


def test_statistics_move_only_if_asked() -> None:
    net, other = network(), network()
    other[1].running_mean.add_(1)
    other[0].weight.data.mul_(2)
    line = Line.between(weights_of(net, buffers=True), weights_of(other, buffers=True))
    before = net[1].running_mean.clone()
    kept = ReplicatedParameters(net, line)
    kept.place(0.5)
    assert torch.equal(net[1].running_mean, before)
    assert not torch.equal(net[0].weight, other[0].weight)
    ReplicatedParameters(net, line, move_buffers=True).place(0.5)
    assert torch.equal(net[1].running_mean, line.at(0.5)["1.running_mean"])
    assert not torch.equal(net[1].running_mean, before)


def test_interpolation_without_statistics_is_refused() -> None:
    net = network()
    with pytest.raises(GeometryError, match=r"the slice has none.*weights_of\(module, buffers=True\)"):
        ReplicatedParameters(net, Line.random(weights_of(net)), move_buffers=True)


def test_a_slice_of_another_network_is_refused() -> None:
    net = network()
    with pytest.raises(GeometryError, match=r"2 of its 2 tensors .*weight \(3, 3\), bias \(3,\).*weights_of\(module\)"):
        ReplicatedParameters(net, Line.random(weights_of(nn.Linear(3, 3))))
    reshaped = Weights({"3.weight": torch.ones(5, 13)})
    with pytest.raises(GeometryError, match=r"1 of its 1 tensors.*3.weight \(5, 13\)"):
        ReplicatedParameters(net, Line.random(reshaped))
    assert_bits(weights_of(network()), weights_of(net))
