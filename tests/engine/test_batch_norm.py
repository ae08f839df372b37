"""BatchNorm statistics at a point: kept, moved along, or estimated from the examples."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_landscape.engine.batch_norm import recalibrate
from lightning_landscape.engine.surface import compute_surface
from lightning_landscape.geometry.slices import Line
from lightning_landscape.geometry.weights import place, weights_of
from lightning_landscape.sampling.grid import Grid

INPUTS = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)).double()


def network(seed: int, *, dyadic: bool = False) -> nn.Sequential:
    """A small network whose statistics are not the initial ones; dyadic: numbers whose differences are exact."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 1)).double()
    net[1].running_mean.normal_()
    net[1].running_var.uniform_(0.5, 2)
    net[1].num_batches_tracked.fill_(7)
    if dyadic:
        for tensor in (*net.parameters(), net[1].running_mean, net[1].running_var):
            tensor.data.mul_(256).round_().add_(1).div_(256)
    return net.eval()


def square(module: nn.Module, batch: list[Tensor]) -> Tensor:
    return module(batch[0]).square().mean()


def loader(count: int = 20, size: int = 8) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(INPUTS[:count]), batch_size=size)


def own_loss(net: nn.Module) -> float:
    with torch.no_grad():
        return float(net.eval()(INPUTS).square().mean())


def test_recalibrated_statistics_are_the_mean_over_batches() -> None:
    """Against a direct computation; whatever stood there before and however the layer averages in training."""
    net = network(0)
    net[1].momentum = 0.9
    batches = INPUTS.split(8)
    with torch.no_grad():
        hidden = [net[0](batch) for batch in batches]
        recalibrate(net, lambda: run_all(net, batches))
    assert [len(batch) for batch in batches] == [8, 8, 4]
    mean = torch.stack([h.mean(0) for h in hidden]).mean(0)
    variance = torch.stack([h.var(0, unbiased=True) for h in hidden]).mean(0)
    torch.testing.assert_close(net[1].running_mean, mean, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(net[1].running_var, variance, rtol=1e-14, atol=1e-14)
    assert net[1].momentum == 0.9
    assert not any(layer.training for layer in net.modules())


def run_all(net: nn.Module, batches: Iterable[Tensor]) -> None:
    for batch in batches:
        net(batch)


def test_only_batch_norm_is_in_training_mode_meanwhile() -> None:
    net, seen = network(0), []
    recalibrate(net, lambda: seen.extend([net.training, net[1].training, net[3].training]))
    assert seen == [False, True, False]
    with pytest.raises(KeyboardInterrupt):
        recalibrate(net, interrupt)
    assert not net[1].training
    assert net[1].momentum == 0.1


def interrupt() -> None:
    raise KeyboardInterrupt


def test_without_running_statistics_nothing_is_run() -> None:
    recalibrate(nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1, track_running_stats=False)), interrupt)


def test_recalibrated_surface_is_the_direct_one() -> None:
    """At every point: the statistics of its own activations, over the batches of the sample."""
    net = network(0)
    line, grid = Line.random(weights_of(net), seed=1), Grid(x=(-1, 1, 5))
    batches: list[Tensor] = []

    def step(module: nn.Module, batch: list[Tensor]) -> Tensor:
        batches.append(batch[0].clone())
        return square(module, batch)

    surface = compute_surface(net, loader(), line, grid, step, batch_norm="recalibrate", progress=False)
    sample = batches[-3:]
    assert torch.equal(torch.cat(sample).sort(0).values, INPUTS.sort(0).values)
    probe = network(0)
    for i, a in enumerate(grid.x_axis):
        place(probe, line.at(float(a)))
        with torch.no_grad():
            hidden = [probe[0](batch) for batch in sample]
            mean = torch.stack([h.mean(0) for h in hidden]).mean(0)
            variance = torch.stack([h.var(0) for h in hidden]).mean(0)
            bn = probe[1]
            normal = (probe[0](INPUTS) - mean) / (variance + bn.eps).sqrt() * bn.weight + bn.bias
            expected = probe[4](normal.relu()).square().mean()
        np.testing.assert_allclose(surface["loss"][i], float(expected), rtol=1e-12)


def test_a_last_batch_of_one_example_has_no_variance_and_is_left_out() -> None:
    net = network(0)
    line = Line.random(weights_of(net))
    surface = compute_surface(
        net, loader(17), line, Grid(x=(0, 0, 1)), square, batch_norm="recalibrate", progress=False
    )
    assert np.isfinite(surface["loss"]).all()


def test_interpolation_ends_at_both_networks() -> None:
    """At 0 and 1 the loss of each network, exactly; with kept statistics only at 0."""
    nets = [network(seed, dyadic=True) for seed in (0, 1)]
    line = Line.between(*(weights_of(net, buffers=True) for net in nets))
    grid = Grid(x=(0, 1, 3))
    options = {"examples": "all", "progress": False}
    module = network(2)
    single = DataLoader(TensorDataset(INPUTS), batch_size=20)
    moved = compute_surface(module, single, line, grid, square, batch_norm="interpolate", **options)  # type: ignore[arg-type]
    kept = compute_surface(module, single, line, grid, square, **options)  # type: ignore[arg-type]
    order = torch.from_numpy(np.random.default_rng(0).permutation(20))
    with torch.no_grad():
        expected = [float(square(net, [INPUTS[order]])) for net in nets]
    assert moved["loss"][[0, 2]].tolist() == expected
    assert expected == pytest.approx([own_loss(net) for net in nets], rel=1e-14)
    assert kept["loss"][0] == expected[0]
    assert abs(kept["loss"][2] / expected[1] - 1) > 1e-3


@pytest.mark.parametrize("mode", ["keep", "recalibrate", "interpolate"])
def test_statistics_of_the_module_are_untouched(mode: str) -> None:
    net = network(0)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    weights = weights_of(net, buffers=True)
    seen: list[Tensor] = []

    def step(module: nn.Module, batch: list[Tensor]) -> Tensor:
        seen.append(module[1].running_mean.clone())  # type: ignore[index, operator, union-attr]
        return square(module, batch)

    line = Line.between(weights, weights_of(network(1), buffers=True))
    compute_surface(net, loader(), line, Grid(x=(-1, 1, 3)), step, batch_norm=mode, progress=False)  # type: ignore[arg-type]
    for name, tensor in before.items():
        assert torch.equal(net.state_dict()[name], tensor), name
    if mode == "keep":
        assert all(torch.equal(statistic, before["1.running_mean"]) for statistic in seen)
