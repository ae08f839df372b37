"""FSDP and FSDP2 in two processes on CPUs: what both do in the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy, Strategy
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.utils.data import DataLoader

from lightning_landscape import (
    Grid,
    LandscapeError,
    Line,
    LossLandscape,
    Weights,
    compute_surface,
    weights_from_checkpoint,
)
from lightning_landscape.engine.shards import shards_of
from tests.modules_under_test import Delicate, assert_same, dataset, loaders, state_of, trainer


class FSDPOnCPU(FSDPStrategy):
    """Lightning admits its own class on GPUs only, and torch must be told that the CPU is meant."""

    def _setup_model(self, model: nn.Module) -> nn.Module:
        return FullyShardedDataParallel(
            model, device_id=torch.device("cpu"), sharding_strategy=self.sharding_strategy, **self.kwargs
        )


class Numbers(LossLandscape):
    """Draws nothing, which takes longer than everything else here."""

    def _publish(self, *_: Any, **__: Any) -> None:
        return


class Sharded(Delicate):
    """The module of the null test, sharded by FSDP2 where its trainer has a device mesh."""

    def configure_model(self) -> None:
        if self.device_mesh is not None:
            fully_shard(self.net[0], mesh=self.device_mesh["data_parallel"])
            fully_shard(self.net, mesh=self.device_mesh["data_parallel"])


NAMES = ("fsdp", "fsdp-units", "fsdp2")


def strategy_of(name: str) -> Strategy:
    """All weights in the outermost unit, as is Lightning's default; in units of their own; and FSDP2."""
    gloo: dict[str, Any] = {"process_group_backend": "gloo"}
    if name == "fsdp":
        return FSDPOnCPU(**gloo)
    if name == "fsdp-units":
        return FSDPOnCPU(auto_wrap_policy={nn.Linear}, sharding_strategy="SHARD_GRAD_OP", **gloo)
    return ModelParallelStrategy(2, 1, save_distributed_checkpoint=False, **gloo)


def train(folder: Path, name: str, callbacks: Sequence[pl.Callback] = ()) -> tuple[Sharded, pl.Trainer]:
    pl.seed_everything(7, verbose=False)
    module = Sharded()
    run = trainer(folder, callbacks, strategy=strategy_of(name), devices=2, enable_checkpointing=False)
    run.fit(module, **loaders())
    return module, run


def local(value: Any) -> Any:
    """This rank's part of every DTensor in a nested state."""
    if isinstance(value, DTensor):
        return value.to_local().clone()
    if isinstance(value, dict):
        return {key: local(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(local(item) for item in value)
    return value


def sharded_state(module: Sharded, run: pl.Trainer, **options: Any) -> dict[str, Any]:
    """Everything that must not depend on our callbacks; which weights are gathered at the moment is no part of it."""
    shards = shards_of(module, run)
    assert shards is not None
    with torch.no_grad():
        shards.reshard()
        return local(state_of(module, run, **options))


def loss_of(module: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    """A step of a user's own."""
    return nn.functional.cross_entropy(module.net(batch[0]), batch[1])


def check(folder: Path, name: str) -> None:
    """Everything that must hold under one strategy; what it writes is compared with a single process later."""
    landscape = Numbers(resolution=3, every_n_epochs=2, examples="all", dirpath=folder / name)
    plain = sharded_state(*train(folder / f"plain-{name}", name))
    module, run = train(folder / f"watched-{name}", name, [landscape])
    assert_same(plain, sharded_state(module, run))
    run.save_checkpoint(folder / f"{name}.ckpt", weights_only=True)
    dist.barrier()
    check_direct(folder, name, module, run)
    check_staleness(name, module, run)
    check_exception(folder, name)


def check_direct(folder: Path, name: str, module: Sharded, run: pl.Trainer) -> None:
    """Slices of whole tensors, running statistics that move along, a step of the user's, fewer batches than ranks."""
    whole = weights_from_checkpoint(folder / f"{name}.ckpt", Delicate(), buffers=True)
    before = sharded_state(module, run)
    line, grid = line_from(whole), Grid(x=(0, 1, 3))
    path = folder / f"{name}-line.h5"
    compute_surface(
        module, loader(8), line, grid, loss_of, path, batch_norm="interpolate", trainer=run, progress=False, examples=20
    )
    shared = compute_surface(module, loader(64), line, grid, loss_of, trainer=run, progress=False)
    assert np.isnan(shared.error("loss")).all()  # one batch, which one rank evaluates: no spread
    for options, words in (
        ({"dataloader": loader(64)}, "1 batches are shared among 2 ranks, and the step logs metric objects"),
        ({"dataloader": loader(8), "batch_norm": "recalibrate"}, "not possible where the ranks share the examples"),
    ):
        expect(words, lambda options=options: compute_surface(module, slice_=line, grid=grid, trainer=run, **options))
    other = Line(Weights({"net.0.weight": torch.ones(3, 3)}), Weights({"net.0.weight": torch.ones(3, 3)}))
    expect("the slice does not fit", lambda: compute_surface(module, loader(8), other, grid, trainer=run))
    assert_same(before, sharded_state(module, run))


def line_from(weights: Weights) -> Line:
    """A line from weights with running statistics to others."""
    return Line.between(weights, Weights({n: 1.1 * t + 0.01 for n, t in weights.items()}, weights.roles))


def loader(batch_size: int) -> DataLoader[Any]:
    return DataLoader(dataset(), batch_size=batch_size)


def expect(words: str, action: Callable[[], object]) -> None:
    """Both ranks must refuse: neither is under pytest."""
    try:
        action()
    except LandscapeError as error:
        assert words in str(error), error  # noqa: PT017
    else:
        raise AssertionError(f"nobody said {words!r}")


@torch.no_grad()
def check_staleness(name: str, module: Sharded, run: pl.Trainer) -> None:
    """After a forward pass, both kinds of FSDP go on with gathered weights, whatever is written to the shards."""
    shards = shards_of(module, run)
    assert shards is not None
    module.eval()
    batch = next(iter(loader(53)))
    loss = shards.forward(lambda inputs: loss_of(module, inputs))
    first = loss(batch)
    for shard in shards.weights.values():
        shard.local.zero_()
    stale = loss(batch)
    shards.reshard()
    fresh = loss(batch)
    assert fresh.item() == pytest.approx(np.log(3))  # of a network of zeros, over three classes
    assert abs(stale - fresh) > 1e-4, (first, stale, fresh)
    if name == "fsdp":  # all weights are in the outermost unit; elsewhere inner units gather theirs anew
        assert torch.equal(first, stale)
    shards.reshard()


class Spy(pl.Callback):
    """Sees what a run in trouble sees."""

    def on_train_epoch_end(self, run: pl.Trainer, module: Any) -> None:
        self.before = sharded_state(module, run, results=False)

    def on_exception(self, run: pl.Trainer, module: Any, exception: BaseException) -> None:
        self.after = sharded_state(module, run, results=False)


def check_exception(folder: Path, name: str) -> None:
    """What strikes in the middle of a surface finds everything restored by the time anybody else sees it."""
    calls = []

    def step(module: Any, batch: Any) -> Tensor:
        calls.append(1)
        if len(calls) == 12:
            raise RuntimeError("in the middle of a surface")
        return loss_of(module, batch)

    spy = Spy()
    landscape = Numbers(resolution=5, step=step, every_n_epochs=2, dirpath=folder / f"struck-{name}")
    try:
        train(folder / f"struck-{name}", name, [spy, landscape])
    except RuntimeError as error:
        assert "in the middle" in str(error)  # noqa: PT017
    assert len(calls) == 12
    assert_same(spy.before, spy.after)


class Tensors(pl.LightningModule):
    """Two layers in tensor parallelism."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))

    def configure_model(self) -> None:
        if self.device_mesh is not None:
            plan = {"0": ColwiseParallel(), "2": RowwiseParallel()}
            parallelize_module(self.net, self.device_mesh["tensor_parallel"], plan)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return loss_of(self, batch)

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        return loss_of(self, batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def check_tensor_parallel(folder: Path) -> None:
    """Both ranks of a tensor-parallel group evaluate every batch, together."""
    pl.seed_everything(7, verbose=False)
    module = Tensors()
    strategy = ModelParallelStrategy(1, 2, save_distributed_checkpoint=False, process_group_backend="gloo")
    landscape = Numbers(resolution=3, examples="all", dirpath=folder / "tensors")
    run = trainer(folder, [landscape], strategy=strategy, devices=2, enable_checkpointing=False, max_epochs=1)
    run.fit(module, **loaders())
    run.save_checkpoint(folder / "tensors.ckpt", weights_only=True)


def main(folder: Path) -> None:
    """Check every strategy."""
    for name in NAMES:
        check(folder, name)
    check_tensor_parallel(folder)
