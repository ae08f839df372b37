"""Fifteen mistakes that were found in other tools, one test each; every test would catch its mistake."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

from lightning_landscape import Grid, Line, Plane, Surface, Weights, compute_surface, random_direction, weights_of
from lightning_landscape.engine.parameters import ReplicatedParameters
from lightning_landscape.geometry.directions import cosine
from lightning_landscape.geometry.weights import inner, norm
from tests.modules_under_test import Delicate, assert_same, dataset

ORIGIN = {"w": torch.zeros(3, dtype=torch.float64)}


class Vector(nn.Module):
    """Nothing but a point in space."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(size, dtype=torch.float64))


def axis(position: int, length: float = 1.0) -> Weights:
    return Weights({"w": torch.eye(3, dtype=torch.float64)[position] * length})


def batches(count: int = 4, size: int = 2) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.arange(float(count)).double()), batch_size=size)


def surface_of(function: Any, grid: Grid, path: Path | None = None, loader: Any = None) -> Surface:
    """The surface of a function of x, y and a batch."""

    def step(module: nn.Module, batch: list[Tensor]) -> Tensor:
        x, y, _ = module.w  # type: ignore[misc, union-attr]
        return torch.as_tensor(function(x, y, batch[0]), dtype=torch.float64)

    plane = Plane(Weights(ORIGIN), axis(0), axis(1))
    return compute_surface(Vector(), loader or batches(), plane, grid, step, path, progress=False)


def test_01_a_grid_that_is_not_square_is_not_scrambled(tmp_path: Path) -> None:
    surface = surface_of(lambda x, y, _: x + 10 * y, Grid(x=(0, 4, 5), y=(0, 1, 2)), tmp_path / "s.h5")
    for found in (surface, Surface.load(tmp_path / "s.h5")):
        assert found["loss"].tolist() == [[0, 1, 2, 3, 4], [10, 11, 12, 13, 14]]


def test_02_zero_and_minus_one_are_losses_like_any_other(tmp_path: Path) -> None:
    """What is not computed is marked as such; no value stands for it."""
    calls: list[float] = []

    def loss(x: Tensor, y: Tensor, _: Tensor) -> Tensor:
        calls.append(float(x))
        return x

    surface = surface_of(loss, grid := Grid(x=(-1, 1, 3), y=(0, 0, 1)), tmp_path / "s.h5")
    assert surface["loss"].tolist() == [[-1, 0, 1]]
    assert len(calls) == 1 + 3 * 2
    assert surface_of(loss, grid, tmp_path / "s.h5")["loss"].tolist() == [[-1, 0, 1]]
    assert len(calls) == 1 + 3 * 2 + 1, "points that are done were computed again"


def test_03_parameters_of_one_dimension_rest_in_random_directions() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    direction = random_direction(weights_of(net))
    for name, tensor in direction.items():
        assert bool(tensor.any()) == (tensor.ndim > 1), name


def test_04_a_loss_and_its_curvature_do_not_grow_with_the_number_of_batches() -> None:
    def curvature(loader: DataLoader[Any]) -> float:
        loss = surface_of(
            lambda x, _, batch: (x * batch).square().mean() / 2, Grid((-1, 1, 3), (0, 0, 1)), None, loader
        )
        return float(loss["loss"][0] @ [1, -2, 1])

    truth = float(np.mean(np.arange(4.0) ** 2))
    assert curvature(batches(size=4)) == curvature(batches(size=2)) == curvature(batches(size=1)) == truth
    many = DataLoader(TensorDataset(torch.arange(4.0).double().repeat(50)), batch_size=2)
    assert curvature(many) == pytest.approx(truth, rel=1e-12)


def test_05_projection_is_least_squares_for_any_lengths_and_angle() -> None:
    x, y = axis(0, 5.0), Weights({"w": torch.tensor([3.0, 0.1, 0.0], dtype=torch.float64)})
    plane = Plane(Weights(ORIGIN), x, y)
    weights = plane.at(0.7, -2.0)
    weights["w"][2] += 4
    assert plane.coordinates(weights) == pytest.approx((0.7, -2.0), rel=1e-9)
    assert plane.residual(weights) == pytest.approx(4.0, rel=1e-12)


def test_06_rows_are_not_shifted() -> None:
    surface = surface_of(lambda x, y, _: x * 100 + y, Grid(x=(-1, 1, 4), y=(-1, 1, 6)))
    assert surface.y is not None
    for row, y in zip(surface["loss"], surface.y, strict=True):
        np.testing.assert_allclose(row, surface.x * 100 + y, rtol=1e-14)


@pytest.mark.parametrize("failing", [False, True])
def test_07_the_users_model_is_as_it_was(failing: bool) -> None:
    module = Delicate().train()
    module.net[1].eval()
    module.net[4].bias.requires_grad_(False)
    with torch.no_grad():
        module.net(torch.randn(4, 4))
    before = copy.deepcopy(module.state_dict())
    modes = {name: child.training for name, child in module.named_modules()}

    def step(module: nn.Module, batch: Any) -> Tensor:
        module.train()
        module.requires_grad_(False)
        module.net(batch[0])  # type: ignore[operator]
        if failing:
            raise ZeroDivisionError
        return torch.zeros(())

    try:
        plane = Plane.random(weights_of(module))
        loader = DataLoader(dataset(), batch_size=20)
        compute_surface(module, loader, plane, Grid.square(1, 2), step, progress=False)
    except ZeroDivisionError:
        assert failing
    assert_same(before, module.state_dict())
    assert modes == {name: child.training for name, child in module.named_modules()}
    assert [name for name, p in module.named_parameters() if not p.requires_grad] == ["net.4.bias"]


def test_08_a_filter_of_zeros_gives_a_direction_of_zeros() -> None:
    layer = nn.Linear(3, 2)
    layer.weight.data[0] = 0
    direction = random_direction(weights_of(layer), include_1d=True)
    assert direction["weight"][0].tolist() == [0, 0, 0]
    assert bool(direction["weight"][1].any())
    fresh = nn.BatchNorm1d(3)
    assert random_direction(weights_of(fresh), include_1d=True)["bias"].tolist() == [0, 0, 0]


def test_09_the_centre_does_not_drift_with_the_live_weights() -> None:
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data.fill_(1)
    for origin in (weights_of(layer), layer.state_dict()):
        line = Line(origin, {"weight": torch.ones(1, 2)})  # type: ignore[arg-type]
        layer.weight.data.fill_(5)
        assert line.at(0)["weight"].tolist() == [[1, 1]]
        surface = compute_surface(
            layer, batches(), line, Grid(x=(-1, 1, 3)), lambda module, _: module.weight.sum(), progress=False
        )
        assert surface["loss"].tolist() == [0, 2, 4]
        layer.weight.data.fill_(1)


def test_10_running_statistics_rest_in_random_directions() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    net[1].running_var.fill_(1e-3)
    direction = random_direction(weights_of(net, buffers=True), include_1d=True)
    assert not direction["1.running_var"].any()
    assert not direction["1.running_mean"].any()
    loader = DataLoader(TensorDataset(torch.randn(4, 1, 5, 5)), batch_size=2)
    plane = Plane.random(weights_of(net, buffers=True))
    surface = compute_surface(
        net, loader, plane, Grid.square(2, 5), lambda module, batch: module(batch[0]).square().mean(), progress=False
    )
    assert np.isfinite(surface["loss"]).all()


def test_11_directions_are_as_orthogonal_as_they_are_said_to_be() -> None:
    torch.manual_seed(0)
    points = [weights_of(nn.Linear(300, 40)) for _ in range(3)]
    plane = Plane.random(points[0])
    truth = inner(plane.x, plane.y) / norm(plane.x) / norm(plane.y)
    assert abs(truth) < 5 / np.sqrt(12_000)
    assert plane.cosine == pytest.approx(truth, abs=1e-12)
    assert plane.metadata()["direction_cosine"] == plane.cosine
    assert abs(cosine(*Plane.through(*points).directions)) < 1e-6


def test_12_nothing_is_added_to_a_value_and_nothing_replaces_it(tmp_path: Path) -> None:
    def loss(x: Tensor, y: Tensor, _: Tensor) -> Any:
        return {-2: torch.nan, -1: 1e30, 0: 0.1, 1: torch.inf, 2: -7.0}[int(x)]

    surface = surface_of(loss, Grid(x=(-2, 2, 5), y=(0, 0, 1)), tmp_path / "s.h5")
    for found in (surface, Surface.load(tmp_path / "s.h5")):
        np.testing.assert_array_equal(found["loss"], [[np.nan, 1e30, 0.1, np.inf, -7.0]])


def test_13_a_short_last_batch_counts_by_its_size() -> None:
    for size in (1, 2, 3, 4, 5):
        grid = Grid(x=(0, 0, 1), y=(0, 0, 1))
        surface = surface_of(lambda x, y, batch: batch.mean(), grid, None, batches(5, size))
        assert surface["loss"].item() == pytest.approx(2.0, rel=1e-15)


@pytest.mark.parametrize(("start", "stop", "count"), [(-1, 1, 51), (-0.3, 1.7, 13), (0.1, 0.7, 7), (-1 / 3, 1 / 3, 31)])
def test_14_the_ends_of_an_axis_are_where_it_says(start: float, stop: float, count: int) -> None:
    grid = Grid(x=(start, stop, count), y=(0, 0, 1))
    surface = surface_of(lambda x, y, _: x, grid)
    assert surface.x[0] == start
    assert surface.x[-1] == stop
    assert len(surface.x) == count
    np.testing.assert_array_equal(surface["loss"][0], surface.x)
    if start == -stop:
        assert surface.x[count // 2] == 0


class Operations(TorchDispatchMode):
    """The names of the operations that are done."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_15_a_point_costs_no_reading_and_no_copy_of_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are added up in place, in the storage of the model, from directions that stay in memory."""
    net = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
    plane = Plane.random(weights_of(net))
    parameters = ReplicatedParameters(net, plane)
    monkeypatch.setattr(Plane, "at", lambda *_: pytest.fail("a point was materialised"))
    monkeypatch.setattr("builtins.open", lambda *_, **__: pytest.fail("a file was opened"))
    storages = [parameter.data_ptr() for parameter in net.parameters()]
    with torch.no_grad(), Operations() as operations:
        parameters.place(0.5, -0.5)
    assert operations.names
    assert all(name.endswith("_") for name in operations.names), f"not in place: {sorted(operations.names)}"
    assert [parameter.data_ptr() for parameter in net.parameters()] == storages
