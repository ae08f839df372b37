"""Weight space: points, directions, lines and planes. Needs torch alone."""

from __future__ import annotations

from lightning_landscape.geometry.directions import Normalize, cosine, normalize_direction, random_direction
from lightning_landscape.geometry.path import Path
from lightning_landscape.geometry.principal import Checkpoints, PrincipalDirections, principal_directions
from lightning_landscape.geometry.sketch import Projection
from lightning_landscape.geometry.slices import Line, Plane, Slice
from lightning_landscape.geometry.weights import (
    Role,
    Weights,
    as_weights,
    check_compatible,
    difference,
    digest,
    inner,
    norm,
    place,
    weights_of,
)

__all__ = [
    "Checkpoints",
    "Line",
    "Normalize",
    "Path",
    "Plane",
    "PrincipalDirections",
    "Projection",
    "Role",
    "Slice",
    "Weights",
    "as_weights",
    "check_compatible",
    "cosine",
    "difference",
    "digest",
    "inner",
    "norm",
    "normalize_direction",
    "place",
    "principal_directions",
    "random_direction",
    "weights_of",
]
