"""Running statistics of BatchNorm at a point: kept, interpolated along the slice, or estimated anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

BatchNormMode: TypeAlias = Literal["keep", "interpolate", "recalibrate"]
"""``keep``: the origin's statistics at every point, as in the paper. ``interpolate``: they move along the slice.
``recalibrate``: estimated anew at every point from the sampled examples, at the cost of a second forward pass."""


def recalibrate(module: nn.Module, run: Callable[[], None]) -> None:
    r"""Replace the running statistics of every BatchNorm by their averages over the batches that `run` evaluates.

    With the cumulative average (``momentum=None``) every batch counts alike, so the result does not depend on the
    statistics that stood there before. Only BatchNorm layers are in training mode meanwhile; dropout stays off.

    Args:
        module: the module, in eval mode, weights in place.
        run: evaluates all batches once.

    Source: Izmailov et al., Averaging Weights Leads to Wider Optima (2018), section 3.2 (bn_update).
    """
    if layers := _layers(module):
        with _estimating(layers):
            run()


def has_statistics(module: nn.Module) -> bool:
    """Whether a BatchNorm of the module keeps running statistics."""
    return bool(_layers(module))


def _layers(module: nn.Module) -> list[_BatchNorm]:
    return [layer for layer in module.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]


@contextmanager
def _estimating(layers: list[_BatchNorm]) -> Iterator[None]:
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()
