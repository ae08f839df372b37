"""What a shortcut is: entries of a module's tables that stand in for the user's while a point is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol


class Substitution(NamedTuple):
    """One entry of a table of a module: its attributes, its parameters, its hooks.

    Args:
        table: the dictionary that the module looks the entry up in.
        key: the entry.
        value: what stands there while the shortcut is in use.
    """

    table: Any
    key: Any
    value: Any


class Shortcut(Protocol):
    """Another way to the same value.

    It never touches the user's parameters, which hold the point that is evaluated; what it needs in another form is
    held in tensors of its own, brought to the point by `place`.
    """

    substitutions: Sequence[Substitution]

    def place(self, *coordinates: float) -> None:
        """Bring the shortcut's own tensors to the point at which the parameters stand already."""

    def halves(self) -> Sequence[Shortcut]:
        """Return two shortcuts that do half of this one's work each; none where it cannot be divided."""
