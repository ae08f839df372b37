"""The guard: whatever an evaluation does to a module, the run goes on as if it had not happened."""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers.logger import DummyLogger
from torch import Tensor, nn
from typing_extensions import Self

_CONTAINERS = (list, dict, set, deque, OrderedDict, defaultdict, Counter)
_OWN_STATE = frozenset(vars(nn.Module())) - {"training"}
_REFERENCES = _OWN_STATE | {"_trainer", "_fabric", "_jit_internal"}


class Guard:
    """A context in which a module may be moved, evaluated and made to log; on leaving it, all is as it was.

    Restored bit for bit, also after an exception or a KeyboardInterrupt: parameters, buffers (the non-persistent ones
    too, and the identity of each tensor object), training flags of every submodule, plain attributes of every submodule
    (lists, dictionaries, numbers, tensors: so the states of torchmetrics and outputs that a step collects for the end of
    the epoch), modules that hide in such a list, and the random-number streams of Python, NumPy, torch and the
    current accelerator. Inside, gradients are off, the module is in eval mode, and loggers of the trainer are silent.
    Gradients and optimizers are never touched.

    Args:
        module: the module to protect.
        trainer: the trainer whose loggers are silenced, if any.
    """

    def __init__(self, module: nn.Module, trainer: Trainer | None = None) -> None:
        self._module = module
        self._trainer = trainer
        self._undo: list[Callable[[], None]] = []
        self._contexts: list[Any] = []

    def __enter__(self) -> Self:
        # The snapshot is complete before anything changes: an interrupt in between loses nothing.
        undo = [snapshot_rng()]
        seen: set[int] = set()
        for child in self._module.modules():
            undo.extend(_snapshot_module(child, seen))
        loggers = self._trainer.loggers if self._trainer is not None else []
        self._undo = undo
        self._contexts = [torch.inference_mode(False), torch.no_grad()]
        for context in self._contexts:
            context.__enter__()
        if self._trainer is not None:
            trainer = self._trainer
            trainer.loggers = [DummyLogger() for _ in loggers]
            self._undo.append(lambda: setattr(trainer, "loggers", loggers))
        self._module.eval()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The state of the generators comes last, so that nothing in between can draw from them again.
        for restore in reversed(self._undo):
            restore()
        for context in reversed(self._contexts):
            context.__exit__(kind, error, traceback)
        self._undo, self._contexts = [], []


def snapshot_rng() -> Callable[[], None]:
    """Remember every random-number stream that a step can draw from, and return a function that puts them back."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 the user's stream
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None

    def restore() -> None:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda)
        if mps is not None:
            torch.mps.set_rng_state(mps)

    return restore


def seed_rng(seed: int) -> None:
    """Start every stream from `seed`: the same random numbers at each point, whoever evaluates it and in which order.

    Only the current accelerator is seeded, which is also all that `snapshot_rng` remembers.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.manual_seed(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def _snapshot_module(module: nn.Module, seen: set[int]) -> list[Callable[[], None]]:
    """Return the functions that put back one module's own parameters, buffers and attributes (not its children's)."""
    if id(module) in seen:
        return []
    seen.add(id(module))
    undo: list[Callable[[], None]] = []
    for table in (module._parameters, module._buffers):
        for name, tensor in table.items():
            if tensor is not None:
                undo.append(_restore_entry(table, name, tensor))
    attributes = {name: value for name, value in vars(module).items() if name not in _REFERENCES}

    def restore_attributes() -> None:
        current = vars(module)
        for name in [name for name in current if name not in attributes and name not in _REFERENCES]:
            del current[name]
        current.update(attributes)

    undo.append(restore_attributes)
    for value in attributes.values():
        undo.extend(_snapshot_value(value, seen))
    return undo


def _restore_values(tensor: Tensor) -> Callable[[], None]:
    values = tensor.detach().clone()

    def restore() -> None:
        tensor.data.copy_(values)

    return restore


def _restore_entry(table: Any, name: str, tensor: Tensor) -> Callable[[], None]:
    restore_values = _restore_values(tensor)

    def restore() -> None:
        restore_values()
        table[name] = tensor

    return restore


def _snapshot_value(value: Any, seen: set[int]) -> list[Callable[[], None]]:
    """Return the functions that put back the content of an attribute: tensors, plain containers, modules in them."""
    if isinstance(value, nn.Module):
        return [step for child in value.modules() for step in _snapshot_module(child, seen)]
    if id(value) in seen:
        return []
    if isinstance(value, Tensor):
        seen.add(id(value))
        if value.is_inference():
            return []
        return [_restore_values(value)]
    if type(value) not in _CONTAINERS:
        return []
    seen.add(id(value))
    items = list(value.items()) if isinstance(value, dict) else list(value)

    def refill() -> None:
        value.clear()
        value.extend(items) if isinstance(value, list | deque) else value.update(items)

    inner = [item for pair in items for item in pair] if isinstance(value, dict) else items
    return [refill, *(step for item in inner for step in _snapshot_value(item, seen))]
