"""The modules that the step calls, compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from lightning_landscape.engine.acceleration.calls import Calls
from lightning_landscape.engine.acceleration.shortcut import Shortcut, Substitution

_PLAIN = (bool, int, float, str)


class Compilation:
    """`torch.compile` of the modules that the step itself calls, for the shapes of the first batch.

    The step stays Python, since it logs. A batch of another shape, such as the last and smaller one, goes through the
    module as it is, for which to compile again would not pay. Weights that move in place are seen by what is compiled.
    On a GPU the kernels of one call are launched together, as a CUDA graph.

    Args:
        modules: the modules, each with the shapes of its arguments.
    """

    def __init__(self, modules: dict[nn.Module, set[object]]) -> None:
        self.substitutions = [
            Substitution(vars(module), "forward", _compiled(module, shapes)) for module, shapes in modules.items()
        ]

    @classmethod
    def of(cls, calls: Calls) -> Self | None:
        """Make the shortcut; None if the step calls no module with parameters.

        Args:
            calls: the calls at any point.
        """
        modules = {
            module: {_shapes(arguments) for arguments in each}
            for module, each in calls.outermost.items()
            if any(True for _ in module.parameters()) and "forward" not in vars(module)
        }
        return cls(modules) if modules else None

    def place(self, *_: float) -> None:
        """Do nothing: the weights are the module's own."""

    def halves(self) -> Sequence[Shortcut]:
        """Return none: what failed as a whole is not compiled in parts."""
        return ()


def _compiled(module: nn.Module, known: set[object]) -> Callable[..., Any]:
    forward = module.forward
    graphs = next(module.parameters()).device.type == "cuda"
    fast = torch.compile(forward, dynamic=False, mode="reduce-overhead" if graphs else None)

    # What is called by keywords was not seen, and goes its own way.
    def run(*arguments: Any, **keywords: Any) -> Any:
        if keywords or _shapes(arguments) not in known:
            return forward(*arguments, **keywords)
        if not graphs:
            return fast(*arguments)
        # A graph writes its next result where the last one lies, which a step may have kept.
        torch.compiler.cudagraph_mark_step_begin()
        return tree_map_only(Tensor, torch.clone, fast(*arguments))

    return run


def _shapes(arguments: tuple[Any, ...]) -> object:
    leaves = tree_leaves(arguments)
    return tuple(
        (x.shape, x.dtype) if isinstance(x, Tensor) else x if isinstance(x, _PLAIN) else type(x) for x in leaves
    )
