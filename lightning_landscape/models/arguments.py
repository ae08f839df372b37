"""The checks that the networks share."""

from __future__ import annotations

from lightning_landscape.errors import GeometryError


def require_positive(network: str, **sizes: int) -> None:
    """Refuse a network whose sizes are not whole numbers from 1 upwards.

    Args:
        network: The network's name, for the message.
        **sizes: The sizes by argument name.

    Raises:
        GeometryError: A size is not an integer, or is less than 1.
    """
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise GeometryError(f"{network} got {name}={size!r}: pass a whole number of at least 1")
