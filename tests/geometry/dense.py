"""Dense float64 references for the tests of this folder: weights as one long vector."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

SHAPES = {"conv.weight": (4, 2, 3, 3), "conv.bias": (4,), "head.weight": (3, 5), "temperature": ()}
SIZE = 72 + 4 + 15 + 1


def random_weights(seed: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: (scale * torch.randn(shape, generator=generator)).to(dtype) for name, shape in SHAPES.items()}


def vector(weights: Mapping[str, Tensor]) -> npt.NDArray[np.float64]:
    """All tensors of SHAPES, flattened in that order."""
    return np.concatenate([weights[name].double().numpy().ravel() for name in SHAPES])


def combination(terms: list[tuple[float, Mapping[str, Tensor]]]) -> dict[str, Tensor]:
    """A weighted sum in float64."""
    return {name: torch.stack([c * w[name].double() for c, w in terms]).sum(dim=0) for name in SHAPES}
