"""Mixtures of Gaussians whose modes lie on a circle."""

from __future__ import annotations

import math

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_landscape.errors import ObjectiveError


def ring_modes(modes: int, radius: float) -> Tensor:
    """The centres of modes at equal distances on a circle around the origin, from (radius, 0) on.

    Args:
        modes: their number.
        radius: of the circle.

    Returns:
        ``[modes, 2]``.

    Example:
        >>> ring_modes(4, 1.0).round(decimals=3).abs().tolist()
        [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    """
    angles = torch.arange(modes) * (2 * math.pi / modes)
    return radius * torch.stack([angles.cos(), angles.sin()], dim=1)


class RingBatches(Dataset[Tensor]):
    """Fresh batches of a ring: the batch of a number is always the same, and no two numbers share an example.

    Args:
        modes: number of Gaussians.
        radius: of the circle.
        std: standard deviation of each Gaussian in each direction.
        shape: of a batch, before the two coordinates.
        batches: how many.
        seed: of the draws.
    """

    def __init__(self, modes: int, radius: float, std: float, shape: tuple[int, ...], batches: int, seed: int) -> None:
        self.centres = ring_modes(modes, radius)
        self.std = std
        self.shape = shape
        self.batches = batches
        self.seed = seed

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> Tensor:
        if not 0 <= index < self.batches:
            raise IndexError(index)
        seed = np.random.SeedSequence((self.seed, index)).generate_state(1)
        random = torch.Generator().manual_seed(int(seed[0]))
        chosen = torch.randint(len(self.centres), self.shape, generator=random)
        return self.centres[chosen] + self.std * torch.randn(*self.shape, 2, generator=random)


class GaussianRing(LightningDataModule):
    """Batches ``[batch_size, 2]`` of a mixture of equal Gaussians on a circle, or ``[batch_size, count, 2]``.

    One epoch has ``batches`` batches, no two with an example in common, in a fixed order; the next epoch has the same.
    The defaults are the ring of 8 of the code released with the paper on the prediction step.

    Args:
        modes: number of Gaussians.
        radius: of the circle.
        std: standard deviation of each Gaussian in each direction.
        batch_size: examples in a batch.
        batches: batches in an epoch.
        count: independent draws side by side, for networks that are trained together; None for one, without the
            dimension.
        seed: of the draws.

    Raises:
        ObjectiveError: if a number is out of its range.
    """

    def __init__(
        self,
        modes: int = 8,
        radius: float = 1.0,
        std: float = 0.01,
        batch_size: int = 512,
        batches: int = 1000,
        count: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        sizes = {"modes": modes, "batch_size": batch_size, "batches": batches, "count": 1 if count is None else count}
        for name, value in sizes.items():
            if value < 1:
                raise ObjectiveError(f"GaussianRing got {name}={value}: give a whole number of at least 1")
        if radius <= 0 or std < 0:
            raise ObjectiveError(
                f"GaussianRing got radius={radius}, std={std}: give a radius above 0 and a std from 0 up"
            )
        self.batch_size = batch_size
        shape = (batch_size,) if count is None else (batch_size, count)
        self.dataset = RingBatches(modes, radius, std, shape, batches, seed)

    @property
    def modes(self) -> Tensor:
        """The centres ``[modes, 2]``."""
        return self.dataset.centres

    def train_dataloader(self) -> DataLoader[Tensor]:
        """The batches in their order, whole as they come from the data set."""
        return DataLoader(self.dataset, batch_size=None)
