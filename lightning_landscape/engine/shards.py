"""Where the weights of a sharded model lie: which part of each tensor this rank holds, and how to reach the rest.

Works with FSDP (`FullyShardedDataParallel`, whose shards are pieces of flattened tensors) and with DTensors (FSDP2 and
tensor parallelism). Whatever is done to every tensor is done one tensor at a time, so that no rank ever holds more of
the whole model than one tensor. Every method that gathers is a collective: all ranks call it, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.fsdp import FullyShardedDataParallel as FSDP
from torch.distributed.fsdp._runtime_utils import _reshard
from torch.distributed.tensor import DTensor, distribute_tensor

from lightning_landscape.geometry.weights import STATISTIC, Role, is_statistic, role_of

T = TypeVar("T")

_WRAPPERS = ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_orig_mod.")


class Shard(Protocol):
    """One tensor of the model, of which this rank holds a part."""

    @property
    def shape(self) -> torch.Size:
        """The shape of the whole tensor."""

    @property
    def local(self) -> Tensor:
        """The part that this rank holds: the live storage, right after `Shards.reshard`."""

    def whole(self) -> Tensor:
        """Gather the whole tensor on every rank, a copy."""

    def cut(self, whole: Tensor) -> Tensor:
        """Return the entries of a whole tensor that this rank would hold of it, of the shape of `local`."""


@dataclass(frozen=True)
class Replica:
    """A tensor that every rank holds whole: a buffer, or a parameter that the strategy was told to leave alone."""

    tensor: Tensor

    @property
    def shape(self) -> torch.Size:
        """The shape of the tensor."""
        return self.tensor.shape

    @property
    def local(self) -> Tensor:
        """The tensor itself."""
        return self.tensor.data

    def whole(self) -> Tensor:
        """Return a copy of the tensor."""
        return self.tensor.detach().clone()

    def cut(self, whole: Tensor) -> Tensor:
        """Return all of it."""
        return whole


@dataclass(frozen=True)
class FlatShard:
    """A consecutive piece of a flattened tensor, perhaps of no entry, as FSDP holds it; filters straddle the pieces.

    Args:
        parameter: the parameter, one-dimensional outside of a forward pass.
        shape: of the whole tensor.
        sizes: entries on each rank of the group.
        group: the ranks among which the tensor is shared out.
    """

    parameter: Tensor
    shape: torch.Size
    sizes: tuple[int, ...]
    group: dist.ProcessGroup

    @property
    def local(self) -> Tensor:
        """The piece, in the storage of the rank's flat shard."""
        return self.parameter.data

    def whole(self) -> Tensor:
        """Gather the pieces; all of the same length on the way, since not every backend takes unequal ones."""
        mine = self.local.new_zeros(max(self.sizes))
        mine[: self.local.numel()] = self.local
        pieces = [torch.empty_like(mine) for _ in self.sizes]
        dist.all_gather(pieces, mine, group=self.group)
        return torch.cat([piece[:size] for piece, size in zip(pieces, self.sizes, strict=True)]).view(self.shape)

    def cut(self, whole: Tensor) -> Tensor:
        """Return the piece of another tensor of the shape of this one."""
        start = sum(self.sizes[: dist.get_rank(self.group)])
        return whole.reshape(-1)[start : start + self.local.numel()]


@dataclass(frozen=True)
class DistributedShard:
    """A DTensor's local part, by rows for FSDP2, by rows or columns for tensor parallelism."""

    parameter: DTensor

    @property
    def shape(self) -> torch.Size:
        """The shape of the whole tensor."""
        return self.parameter.shape

    @property
    def local(self) -> Tensor:
        """The local part."""
        return self.parameter.to_local().detach()

    def whole(self) -> Tensor:
        """Gather the whole tensor."""
        return self.parameter.full_tensor().detach().clone()

    def cut(self, whole: Tensor) -> Tensor:
        """Return the local part of another tensor, without communication: every rank has the whole."""
        mesh, placements = self.parameter.device_mesh, self.parameter.placements
        return distribute_tensor(whole, mesh, placements, src_data_rank=None).to_local()


class Shards:
    """The shards of a module's weights, and the share of the data that falls to this rank.

    Args:
        module: the user's module.
        wrapper: the module whose forward pass gathers the weights; the module itself where there is no wrapper.
        group: the ranks among which the data is split: all of them, or one of each tensor-parallel group.

    Attributes:
        weights: the floating-point parameters by name, in the order of `weights_of`.
        statistics: the running statistics of normalisation layers.
        roles: the role of each of them.
        rank: of this process among those that share the data.
        world: how many these are.
    """

    def __init__(self, module: nn.Module, wrapper: nn.Module, group: dist.ProcessGroup | None) -> None:
        self._module = module
        self._wrapper = wrapper
        self.group = group
        self.rank, self.world = dist.get_rank(group), dist.get_world_size(group)
        self.reshard()
        modules = {_clean(name): child for name, child in module.named_modules()}
        parameters = {_clean(name): p for name, p in module.named_parameters() if p.is_floating_point()}
        flat = dict(_flat_shards(wrapper, parameters))
        self.weights: dict[str, Shard] = {
            name: flat.get(name) or (DistributedShard(p) if isinstance(p, DTensor) else Replica(p))
            for name, p in parameters.items()
        }
        self.statistics: dict[str, Shard] = {
            name: Replica(buffer)
            for name, buffer in ((_clean(raw), buffer) for raw, buffer in module.named_buffers())
            if is_statistic(name, modules)
        }
        self.roles: dict[str, Role] = dict.fromkeys(self.statistics, STATISTIC)
        for name, parameter in parameters.items():
            like = torch.empty(self.weights[name].shape, device="meta", requires_grad=parameter.requires_grad)
            self.roles[name] = role_of(name, like, modules)

    @property
    def tensors(self) -> dict[str, Shard]:
        """Weights and statistics."""
        return {**self.weights, **self.statistics}

    def reshard(self) -> None:
        """Drop whole copies of weights that a forward pass without gradients has left, and show the shards.

        FSDP keeps such a copy of its outermost unit, and goes on using it whatever is written to the shards; FSDP2
        shows it as the parameter, and drops what is written to it. The next forward pass gathers the weights anew.
        """
        for unit in FSDP.fsdp_modules(self._wrapper):
            # A unit that has seen no forward pass yet has gathered nothing.
            if unit._handle is not None and unit._is_root is not None:
                _reshard(unit, unit._handle, free_unsharded_flat_param=True)  # there is no public way
        for child in self._module.modules():
            if isinstance(child, FSDPModule):
                child.reshard()

    def forward(self, function: Callable[..., T]) -> Callable[..., T]:
        """Return a function that runs `function` within the wrapper's forward pass, where the weights are whole.

        An exception leaves the wrapper only after its forward pass has ended: it counts its passes.
        """
        module: Any = self._module
        if self._wrapper is module:
            return function

        def redirected(*arguments: Any) -> T:
            outcome: list[T] = []
            failures: list[BaseException] = []

            own = module.forward

            def inside(*moved: Any) -> None:
                module.forward = own  # the step may call it
                try:
                    outcome.append(function(*moved))
                except BaseException as error:
                    failures.append(error)

            module.forward = inside
            self._wrapper(*arguments)
            if failures:
                raise failures[0]
            return outcome[0]

        return redirected


def shards_of(module: nn.Module, trainer: Trainer | None) -> Shards | None:
    """Return where the shards of a module lie under the trainer's strategy; None where every rank holds all weights.

    A collective under FSDP.
    """
    strategy = trainer.strategy if trainer is not None else None
    if isinstance(strategy, FSDPStrategy):
        assert strategy.model is not None
        return Shards(module, strategy.model, None)
    if isinstance(strategy, ModelParallelStrategy):
        # The ranks of a tensor-parallel group compute one forward pass together and need the same inputs.
        return Shards(module, module, strategy.device_mesh["data_parallel"].get_group())
    return None


def _clean(name: str) -> str:
    """Return the name that a parameter or module has without the wrappers that strategies put around modules."""
    dotted = f"{name}."
    for wrapper in _WRAPPERS:
        dotted = dotted.replace(wrapper, "")
    return dotted[:-1]


def _flat_shards(wrapper: nn.Module, parameters: dict[str, nn.Parameter]) -> Iterator[tuple[str, FlatShard]]:
    """Find the parameters that FSDP has flattened, unit by unit."""
    for prefix, unit in wrapper.named_modules():
        if not isinstance(unit, FSDP) or unit._handle is None:
            continue
        flat, group = unit._handle.flat_param, unit.process_group
        assert group is not None
        names = [".".join(filter(None, (_clean(prefix), _clean(name)))) for name in flat._fqns]
        mine = torch.tensor([parameters[name].numel() for name in names], device=flat.device)
        everyone = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
        dist.all_gather(everyone, mine, group=group)
        sizes = torch.stack(everyone, dim=1).tolist()
        for name, shape, counts in zip(names, flat._shapes, sizes, strict=True):
            # With the strategy NO_SHARD, every rank holds all of it.
            if min(counts) < shape.numel():
                yield name, FlatShard(parameters[name], shape, tuple(counts), group)
