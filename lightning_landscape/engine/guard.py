"""The guard: whatever an evaluation does to a module, the run goes on as if it had not happened."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers.logger import DummyLogger
from torch import nn

from lightning_landscape.engine.shards import Shards
from lightning_landscape.engine.snapshot import Snapshot


class Guard:
    """A context in which a module may be moved, evaluated and made to log; on leaving it, all is as it was.

    Restored bit for bit, also after an exception or a KeyboardInterrupt: everything in a `Snapshot` of the module, and
    the random-number streams of Python, NumPy, torch and the current accelerator. Inside, gradients are off, the module
    is in eval mode, and loggers of the trainer are silent. Gradients and optimizers are never touched.

    Args:
        module: the module to protect.
        trainer: the trainer whose loggers are silenced, if any.
        shards: where the weights of a sharded module lie. Their whole copies are dropped before the state is
            remembered and before it is put back, so that both find the shards.
    """

    def __init__(self, module: nn.Module, trainer: Trainer | None = None, shards: Shards | None = None) -> None:
        self._module = module
        self._trainer = trainer
        self._shards = shards
        self._undo: list[Callable[[], object]] = []

    def __enter__(self) -> Self:
        try:
            # What is undone first comes last: the generators after all that could draw from them again.
            contexts = ExitStack()
            self._undo = [contexts.close]
            contexts.enter_context(torch.inference_mode(False))
            contexts.enter_context(torch.no_grad())
            self._undo.append(snapshot_rng())
            if self._shards is not None:
                self._shards.reshard()
            self._undo.append(Snapshot(self._module).restore)
            if self._shards is not None:
                self._undo.append(self._shards.reshard)
            if self._trainer is not None:
                self._silence(self._trainer)
            self._module.eval()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        undo, self._undo = self._undo, []
        interrupt: BaseException | None = None
        for restore in reversed(undo):
            try:
                restore()
            except BaseException as struck:
                # In the middle of putting things back: once more from the beginning, then the rest.
                interrupt = struck
                restore()
        if interrupt is not None:
            raise interrupt

    def _silence(self, trainer: Trainer) -> None:
        loggers = trainer.loggers
        self._undo.append(lambda: setattr(trainer, "loggers", loggers))
        trainer.loggers = [DummyLogger() for _ in loggers]


def snapshot_rng() -> Callable[[], None]:
    """Remember every random-number stream that a step can draw from, and return a function that puts them back."""
    python, cpu = random.getstate(), torch.get_rng_state()
    numpy = np.random.get_state()  # noqa: NPY002 the user's stream
    cuda = torch.cuda.get_rng_state() if _cuda_in_use() else None
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
    if _cuda_in_use():
        torch.cuda.manual_seed(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def _cuda_in_use() -> bool:
    # In this order, since whether a device is available may be asked of the driver, which takes a millisecond.
    return bool(torch.cuda.is_initialized()) and torch.cuda.is_available()  # type: ignore[no-untyped-call]
