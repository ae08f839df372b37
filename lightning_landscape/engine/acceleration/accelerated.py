"""Parameters of a replicated model, placed together with the shortcuts that were chosen for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_landscape.engine.acceleration.shortcut import Shortcut
from lightning_landscape.engine.parameters import ReplicatedParameters

_ABSENT = object()


class AcceleratedParameters:
    """Places points as `ReplicatedParameters` does, and with each point, except the origin, its shortcuts.

    The origin is evaluated as the module stands, so that the centre of a surface is the untouched module's loss to the
    last bit. Entries that shortcuts put into the module's tables last for one point: the evaluator takes them back
    with everything else that a step changed, and so does the next `place`.

    Args:
        parameters: the module's parameters.
        shortcuts: in the order in which they build on each other.
    """

    def __init__(self, parameters: ReplicatedParameters, shortcuts: Sequence[Shortcut] = ()) -> None:
        self._parameters = parameters
        self._shortcuts = shortcuts
        self._replaced: list[tuple[Any, Any, Any]] = []

    def place(self, *coordinates: float) -> None:
        """Put the point with these coordinates in place."""
        self.withdraw()
        self._parameters.place(*coordinates)
        if not any(coordinates):
            return
        for shortcut in self._shortcuts:
            shortcut.place(*coordinates)
        for shortcut in self._shortcuts:
            for table, key, value in shortcut.substitutions:
                self._replaced.append((table, key, table.get(key, _ABSENT)))
                table[key] = value

    def withdraw(self) -> None:
        """Give the module back the entries that shortcuts stand in for. To do so twice does no harm."""
        while self._replaced:
            table, key, value = self._replaced.pop()
            if value is _ABSENT:
                table.pop(key, None)
            else:
                table[key] = value
