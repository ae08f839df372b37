"""Values that depend on a batch alone, computed once a batch instead of once a point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from torch import Tensor

_LARGEST = 2**30

T = TypeVar("T", bound=Tensor | tuple[Tensor, ...])


class BatchMemo(Generic[T]):
    """Remembers what was computed from a tensor for as long as that tensor is the same: memory, shape and version.

    The tensors are kept alive, so no other one can come to lie where they do. One that is made anew for every point is
    therefore never mistaken for a known one. Once 1 GiB of values is kept, nothing more is remembered.

    Args:
        compute: what is computed from a tensor.
    """

    def __init__(self, compute: Callable[[Tensor], T]) -> None:
        self._compute = compute
        self._known: dict[object, tuple[Tensor, int, T]] = {}
        self._nbytes = 0

    def __call__(self, tensor: Tensor) -> T | None:
        """Return what is computed from `tensor`; None where it is not known and there is no more room."""
        key = identity(tensor)
        if key in self._known:
            _, version, value = self._known[key]
            if version == tensor._version:
                return value
            self._nbytes -= _nbytes(self._known.pop(key)[2])
        if self._nbytes >= _LARGEST:
            return None
        value = self._compute(tensor)
        self._known[key] = tensor, tensor._version, value
        self._nbytes += _nbytes(value)
        return value


def identity(tensor: Tensor) -> object:
    """Where and how a tensor lies: of two that are alive, the same only if they show the same memory alike."""
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device


def _nbytes(value: Tensor | tuple[Tensor, ...]) -> int:
    return sum(tensor.nbytes for tensor in value) if isinstance(value, tuple) else value.nbytes
