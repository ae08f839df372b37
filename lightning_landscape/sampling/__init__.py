"""Which points of a slice are evaluated, on which examples."""

from __future__ import annotations

from lightning_landscape.sampling.grid import Grid

__all__ = ["Grid"]
