"""The processes of a run: who am I, who writes, and how results come together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.distributed_c10d import _get_default_store  # private: there is no public way to it

from lightning_landscape.errors import LandscapeError

T = TypeVar("T")


def group_store() -> Store | None:
    """Return the key-value store by which the processes of the default group found each other."""
    return _get_default_store()


class Ranks:
    """The default process group of `torch.distributed`, or a single process where none is initialised.

    Every method is a collective: all ranks call it, in the same order.

    Args:
        device: where tensors that are exchanged live (NCCL wants them on the GPU).
    """

    def __init__(self, device: torch.device) -> None:
        self.active = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if self.active else 0
        self.world = dist.get_world_size() if self.active else 1
        on_host = self.active and "nccl" not in dist.get_backend()
        self._device = torch.device("cpu") if on_host else device

    def gather(self, values: Tensor) -> Tensor:
        """Stack a tensor of the same shape from every rank: ``[...]`` becomes ``[world, ...]``, on the host."""
        if not self.active:
            return values.detach().cpu().unsqueeze(0)
        mine = values.detach().to(self._device).contiguous()
        everyone = [torch.empty_like(mine) for _ in range(self.world)]
        dist.all_gather(everyone, mine)
        return torch.stack(everyone).cpu()

    def broadcast(self, value: T) -> T:
        """Return rank zero's plain Python value on every rank."""
        if not self.active:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0, device=self._device)
        return box[0]  # type: ignore[no-any-return]

    def broadcast_tensor(self, tensor: Tensor) -> None:
        """Overwrite `tensor` in place with rank zero's."""
        if self.active:
            moved = tensor.to(self._device).contiguous()
            dist.broadcast(moved, src=0)
            tensor.copy_(moved)

    def store(self) -> Store:
        """Open an empty key-value store that all ranks share, on the host; what is done with it is no collective.

        Raises:
            LandscapeError: if the process group has none.
        """
        token = self.broadcast(uuid4().hex)
        found = group_store()
        if found is None:
            raise LandscapeError(
                f"the process group of the backend {dist.get_backend()!r} has no key-value store, through which points "
                "are dealt to ranks: initialise it with 'gloo' or 'nccl'"
            )
        return PrefixStore(f"lightning_landscape/{token}", found)

    def broadcast_buffers(self, module: nn.Module) -> None:
        """Overwrite a module's buffers with rank zero's, which are those that a checkpoint keeps.

        Running statistics drift apart: every rank takes them from its own batches.
        """
        for buffer in module.buffers():
            self.broadcast_tensor(buffer)

    def on_zero(self, action: Callable[[], T]) -> T | None:
        """Run `action` on rank zero only; what it raises is raised on every rank, so that no rank waits for ever.

        Returns:
            The result on rank zero, None elsewhere.

        Raises:
            LandscapeError: on the other ranks, of the same kind and with the message of what rank zero raised.
        """
        result, failure = None, None
        if self.rank == 0:
            try:
                result = action()
            except Exception as error:
                failure = error
        told = self.broadcast(None if failure is None else (type(failure), f"{failure} (on rank 0)"))
        if failure is not None:
            raise failure
        if told is not None:
            kind, message = told
            raise (kind if issubclass(kind, LandscapeError) else LandscapeError)(message)
        return result
