"""Least squares in float64: a loss whose surface on any plane is known in closed form."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_landscape.geometry.slices import Plane
from lightning_landscape.sampling.grid import Grid

COUNT = 23  # odd, and no multiple of a batch


def data(count: int = COUNT) -> TensorDataset:
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(count, 4, generator=generator).double()
    return TensorDataset(inputs, torch.randn(count, generator=generator).double())


def loader(batch_size: int = 4, count: int = COUNT, **options: Any) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(data(count), batch_size=batch_size, **options)


class LeastSquares(pl.LightningModule):
    """Half the squared residual of a linear model."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(6)
        self.weight = nn.Parameter(torch.randn(2, 4, generator=generator).double())
        self.calls = 0

    def residuals(self, batch: Any) -> Tensor:
        return batch[0] @ self.weight.sum(0) - batch[1]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.residuals(batch).square().mean() / 2

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.residuals(batch).square().mean() / 2
        self.log("val_positive", (self.residuals(batch) > 0).double().mean())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def example_losses(module: LeastSquares, plane: Plane, a: float, b: float) -> NDArray[np.float64]:
    """The loss of each example at a point, by NumPy alone."""
    inputs, targets = (tensor.numpy() for tensor in data().tensors)
    w, x, y = (t["weight"].detach().numpy().sum(0) for t in (plane.origin, *plane.directions))
    return np.asarray((inputs @ (w + a * x + b * y) - targets) ** 2 / 2)


def closed_form(module: LeastSquares, plane: Plane, grid: Grid) -> NDArray[np.float64]:
    """The surface [Y, X]: a quadratic polynomial in the coordinates, with the coefficients of its residuals."""
    inputs, targets = (tensor.numpy() for tensor in data().tensors)
    w, x, y = (t["weight"].detach().numpy().sum(0) for t in (plane.origin, *plane.directions))
    r, u, v = inputs @ w - targets, inputs @ x, inputs @ y
    assert grid.y_axis is not None
    a, b = grid.x_axis[None, :], grid.y_axis[:, None]
    return np.asarray(
        (np.mean(r * r) + a * a * np.mean(u * u) + b * b * np.mean(v * v)) / 2
        + a * np.mean(r * u)
        + b * np.mean(r * v)
        + a * b * np.mean(u * v)
    )
