"""Modules on which shortcuts must change nothing: every structure that could mislead one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from lightning_landscape import Grid, Line, Plane, Surface, compute_surface, weights_of
from lightning_landscape.models import ResNet

EXAMPLES = 20  # two batches of eight and one of four
IMAGE, VECTOR = (3, 8, 8), (6,)


class Reused(nn.Module):
    """Of its two convolutions with BatchNorm, the first one's output goes elsewhere, too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        raw = self.conv1(x)
        out = self.bn2(self.conv2(F.relu(self.bn1(raw))))
        return self.head(out.mean((2, 3)) + raw.mean((2, 3)))


class Shared(nn.Module):
    """One convolution is called twice, its output normalised only once."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(F.relu(self.bn(self.conv(x)))).mean((2, 3)))


class Changing(nn.Module):
    """The first layer's input depends on other weights."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(6, 6))
        self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x @ self.scale)


class InPlace(nn.Module):
    """The convolution's output is changed in place before BatchNorm gets it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.bn(F.relu_(self.conv(x))).mean((2, 3)))


class Decayed(nn.Module):
    """The loss contains the weights themselves; see `decayed_step`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.bn(self.conv(x))).mean((2, 3)))


class Viewing(nn.Module):
    """It relies on the order of the convolution's output in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4 * 36, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn(self.conv(x))
        return self.head(out.view(len(x), 4 * 36))


class Logging(pl.LightningModule):
    """A LightningModule with a metric object, which calls itself."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
        self.accuracy = MulticlassAccuracy(3, average="micro")

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        logits = self(batch[0])
        loss = F.cross_entropy(logits, batch[1])
        self.accuracy(logits, batch[1])
        self.log("val_loss", loss)
        self.log("val_accuracy", self.accuracy)
        return loss


def step(module: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(module(batch[0]), batch[1])


def decayed_step(module: Any, batch: Any) -> Tensor:
    return step(module, batch) + module.conv.weight.square().sum()


def normalised_step(module: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(module(batch[0] / 2), batch[1])


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))


def tied() -> nn.Module:
    module = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
    module[2].weight = module[0].weight
    return module


def convolutions(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3))


@dataclass(frozen=True)
class Case:
    """A module, how it is evaluated, and the shortcuts that are used if all but compilation are asked for."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    applies: set[str]
    step: Any = step


BOTH = {"channels_last", "batch_norm_folding"}
CASES: dict[str, Case] = {
    "mlp": Case(mlp, VECTOR, {"first_layer"}),
    "tied": Case(tied, VECTOR, {"first_layer"}),
    "mlp whose step normalises": Case(mlp, VECTOR, {"batch_norm_folding"}, normalised_step),
    "first input depends on weights": Case(Changing, VECTOR, set()),
    "conv": Case(lambda: convolutions(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU()), IMAGE, BOTH),
    "grouped": Case(lambda: convolutions(nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6, affine=False)), IMAGE, BOTH),
    "transposed": Case(
        lambda: convolutions(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False), nn.BatchNorm2d(6)),
        IMAGE,
        BOTH,
    ),
    "resnet": Case(lambda: ResNet(8, width=4, num_classes=3), IMAGE, BOTH),
    "statistics of the batch": Case(
        lambda: convolutions(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)), IMAGE, {"channels_last"}
    ),
    "output reused": Case(Reused, IMAGE, BOTH),
    "called twice": Case(Shared, IMAGE, {"channels_last"}),
    "in place": Case(InPlace, IMAGE, {"channels_last"}),
    "order in memory": Case(Viewing, IMAGE, {"batch_norm_folding"}),
    "weights in the loss": Case(Decayed, IMAGE, {"channels_last"}, decayed_step),
    "lightning": Case(Logging, IMAGE, BOTH, None),
}


def module_of(case: Case) -> nn.Module:
    """The module, with running statistics and affine parameters that are not those of initialisation."""
    torch.manual_seed(0)
    module = case.make()
    module(torch.randn(16, *case.shape))
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and child.weight is not None:
            nn.init.uniform_(child.weight, 0.5, 2)
            nn.init.normal_(child.bias)
    return module.eval()


def loader_of(case: Case) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(EXAMPLES, *case.shape, generator=generator)
    return DataLoader(TensorDataset(images, torch.randint(3, (EXAMPLES,), generator=generator)), batch_size=8)


def surface_of(case: Case, module: nn.Module, shortcuts: Any, **options: Any) -> Surface:
    plane: Line | Plane = options.pop("plane", None) or Plane.random(weights_of(module), seed=2)
    grid = Grid(x=(-1, 1, 3), y=(-0.5, 1, 4) if plane.dim == 2 else None)
    return compute_surface(
        module, loader_of(case), plane, grid, case.step, progress=False, shortcuts=shortcuts, **options
    )


def largest_difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.max(np.abs(a - b) / np.maximum(np.abs(a), 1e-300), initial=0, where=a != b))
