"""Snapshots: everything that a step can change in a module, remembered, and put back to the last bit."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningDataModule
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.data import Dataset

from lightning_landscape.engine.generators import snapshot_generator

_CONTAINERS = (list, dict, set, deque, OrderedDict, defaultdict, Counter)
# What belongs to the run, and not to the module.
_REFERENCES = frozenset({"_trainer", "_fabric", "_jit_internal"})
_OF_OTHERS = frozenset(
    {"torch", "lightning", "pytorch_lightning", "lightning_fabric", "torchmetrics", "numpy", "builtins"}
)
_NOT_STATE = (type, Dataset, LightningDataModule, Callback)

Restore = Callable[[], object]


class Snapshot:
    """The state of a module at the moment when the snapshot was made.

    It covers the values of parameters and buffers (the non-persistent ones too), which tensor objects they are and
    whether they require gradients; what is registered in every submodule; training flags; plain attributes: numbers,
    lists, dictionaries, sets and tuples of anything, tensors, NumPy arrays; modules that hide in such containers; and
    random-number generators that the module keeps. An attribute that is an object of a class from the package that
    defines the module (an average meter, say) is covered likewise; objects of other packages are not looked into.

    Args:
        module: the module.
        parameters: also the values of parameters, of which a clone is kept; otherwise these stay as they are.
    """

    def __init__(self, module: nn.Module, *, parameters: bool = True) -> None:
        self._parameters = parameters
        self._package = _package_of(module)
        self._restores: list[Restore] = []
        self._storages: list[tuple[Tensor, Tensor]] = []
        self._values: dict[tuple[torch.device, torch.dtype], tuple[list[Tensor], list[Tensor]]] = {}
        # Kept alive as long as the walk goes on: the number that identifies a dead object is given to another one.
        seen: dict[int, object] = {}
        # A stack and no recursion: what users build may be nested deeper than Python's calls.
        found: list[Any] = [module]
        while found:
            value = found.pop()
            if id(value) not in seen:
                seen[id(value)] = value
                found.extend(self._remember(value))

    def restore(self) -> None:
        """Put everything back. To do so twice does no harm."""
        for restore in self._restores:
            restore()
        for tensor, storage in self._storages:
            if tensor.data_ptr() != storage.data_ptr():
                tensor.data = storage
        for storages, values in self._values.values():
            torch._foreach_copy_(storages, values)

    def _remember(self, value: Any) -> Iterator[Any]:
        """Remember one object, and return what it holds."""
        if isinstance(value, Tensor):
            self._remember_tensor(value)
        elif type(value) in _CONTAINERS:
            return self._remember_container(value)
        elif isinstance(value, tuple):
            return iter(value)
        elif isinstance(value, nn.Module) or self._is_of_the_user(value):
            return self._remember_attributes(value)
        elif isinstance(value, np.ndarray) and value.flags.writeable:
            array = value.copy()
            self._restores.append(lambda: np.copyto(value, array))
        elif (restore := snapshot_generator(value)) is not None:
            self._restores.append(restore)
        return iter(())

    def _is_of_the_user(self, value: object) -> bool:
        package = _package_of(value)
        return (
            package == self._package
            and package not in _OF_OTHERS
            and hasattr(value, "__dict__")
            and not isinstance(value, _NOT_STATE)
        )

    def _remember_attributes(self, owner: object) -> Iterator[Any]:
        live = vars(owner)
        attributes = {name: value for name, value in live.items() if name not in _REFERENCES}

        def restore() -> None:
            for name in [name for name in live if name not in attributes and name not in _REFERENCES]:
                del live[name]
            live.update(attributes)

        self._restores.append(restore)
        return iter(attributes.values())

    def _remember_container(self, container: Any) -> Iterator[Any]:
        if not container:
            self._restores.append(container.clear)  # every module has a dozen empty tables
            return iter(())
        items = dict(container) if isinstance(container, dict) else list(container)

        def refill() -> None:
            container.clear()
            if isinstance(items, dict):
                for key, item in items.items():  # a Counter's own update adds, and dict's is none of an OrderedDict
                    container[key] = item
            elif isinstance(container, set):
                container.update(items)
            else:
                container.extend(items)

        self._restores.append(refill)
        return iter([*items, *items.values()]) if isinstance(items, dict) else iter(items)

    def _remember_tensor(self, tensor: Tensor) -> None:
        if isinstance(tensor, nn.Parameter):
            needs_gradient = tensor.requires_grad
            self._restores.append(lambda: tensor.requires_grad_(needs_gradient))
            if not self._parameters:
                return
        if isinstance(tensor, DTensor):
            tensor = tensor.to_local()
        values, storage = tensor.detach().clone(), tensor.data
        if tensor.layout != torch.strided:
            self._restores.append(lambda: storage.copy_(values))
            return
        self._storages.append((tensor, storage))
        # What shows one number in several places, as an expanded tensor does, nobody can write to.
        if not any(step == 0 and size > 1 for step, size in zip(tensor.stride(), tensor.shape, strict=True)):
            storages, clones = self._values.setdefault((tensor.device, tensor.dtype), ([], []))
            storages.append(storage)
            clones.append(values)


def _package_of(value: object) -> str:
    return type(value).__module__.partition(".")[0]
