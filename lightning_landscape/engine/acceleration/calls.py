"""Which modules are called while a batch is evaluated, in which order, and with what."""

from __future__ import annotations

from collections import Counter
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._pytree import tree_leaves
from torchmetrics import Metric

from lightning_landscape.engine.acceleration.memo import identity

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_MARK = "_lightning_landscape_layer"


class Calls:
    """A context that watches every call of a module; metrics, and what they call, are left out.

    The hooks are torch's global ones, so that nothing is registered in the modules themselves.

    Attributes:
        outermost: the modules that the step itself calls, with the positional arguments of each call.
        layers: how often each plain layer was called.
        first: the layer that was called first.
        narrow: whether a layer's output has 16 bits.
    """

    def __init__(self) -> None:
        self.outermost: dict[nn.Module, list[tuple[Any, ...]]] = {}
        self.layers: Counter[nn.Module] = Counter()
        self.first: nn.Module | None = None
        self.narrow = False
        self._inputs: list[Tensor] = []
        self._norms: Counter[nn.Module] = Counter()
        self._pairs: Counter[tuple[nn.Module, nn.Module]] = Counter()
        self._stack: list[nn.Module] = []

    def __enter__(self) -> Self:
        self._handles = [
            register_module_forward_pre_hook(self._entering),
            register_module_forward_hook(self._leaving),
        ]
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()

    def pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Return the layers whose output always goes into one BatchNorm that gets nothing else, with that BatchNorm.

        What else may become of the output is not known.
        """
        return [
            (layer, norm)
            for (layer, norm), count in self._pairs.items()
            if count == self.layers[layer] == self._norms[norm]
        ]

    def same_inputs(self, other: Calls) -> set[nn.Module]:
        """Return those of the first layer and the outermost modules that got the same tensors as in other calls.

        Both contexts must be alive, since they keep the tensors; then what is the same twice is the batch's own.
        """
        mine, theirs = self._given(), other._given()
        return {module for module, tensors in mine.items() if tensors and tensors == theirs.get(module)}

    def _given(self) -> dict[nn.Module, list[object]]:
        given = {m: [(identity(t), t._version) for t in _tensors(calls)] for m, calls in self.outermost.items()}
        if self.first is not None:
            given[self.first] = [(identity(tensor), tensor._version) for tensor in self._inputs]
        return given

    def _entering(self, module: nn.Module, arguments: Any) -> None:
        if is_plain_layer(module) and not self._within_metric() and arguments:
            self.first = module if self.first is None else self.first
            if module is self.first:
                self._inputs.append(arguments[0])
        self._stack.append(module)

    def _leaving(self, module: nn.Module, arguments: Any, output: Any) -> None:
        self._stack.pop()
        if self._within_metric() or isinstance(module, Metric):
            return
        if not self._stack:
            self.outermost.setdefault(module, []).append(arguments)
        if is_plain_layer(module):
            self.layers[module] += 1
            self.narrow |= output.dtype in {torch.float16, torch.bfloat16}
            # The tensor goes its way with a note of where it comes from, and takes the note with it when it dies.
            setattr(output, _MARK, (module, output._version))
        if isinstance(module, _BatchNorm):
            self._norms[module] += 1
            layer, version = getattr(arguments[0], _MARK, (None, None)) if arguments else (None, None)
            if layer is not None and version == arguments[0]._version and not module.training:
                self._pairs[layer, module] += 1

    def _within_metric(self) -> bool:
        return any(isinstance(module, Metric) for module in self._stack)


def is_plain_layer(module: nn.Module) -> bool:
    """Tell whether a module is a linear or convolution layer that does this and nothing else.

    Such a layer's output is linear in its parameters, which are its own. A subclass may do anything, and so may hooks.
    """
    return type(module) in _LAYERS and isinstance(module._parameters.get("weight"), Tensor) and is_unhooked(module)


def is_unhooked(module: nn.Module) -> bool:
    """Tell whether a call of a module does what its class says."""
    return "forward" not in vars(module) and not module._forward_hooks and not module._forward_pre_hooks


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
