"""The surfaces of other tools, those that are installed, over the same network, examples and number of points."""

from __future__ import annotations

import contextlib
import importlib
import io
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

Batches = list[tuple[torch.Tensor, torch.Tensor]]
PEERS = ("loss_landscapes", "losscape", "loss_landscape_3d", "landscaper")


def installed() -> tuple[list[str], dict[str, str]]:
    """The peers that can be imported, and why the others cannot."""
    found, missing = [], {}
    for name in PEERS:
        try:
            importlib.import_module(name)
            found.append(name)
        except Exception as error:  # some fail in their own dependencies
            missing[name] = f"{type(error).__name__}: {error}"
    return found, missing


def job(peer: str, net: nn.Module, loader: DataLoader[Any], batches: Batches, points: int) -> Callable[[], object]:
    """A surface of ``points x points`` by one of the peers, used as its documentation says."""
    run = {
        "loss_landscapes": _loss_landscapes,
        "losscape": _losscape,
        "loss_landscape_3d": _loss_landscape_3d,
        "landscaper": _landscaper,
    }[peer]

    def quiet() -> object:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return run(net, loader, batches, points)

    return quiet


def _mean_loss(net: Callable[[torch.Tensor], torch.Tensor], batches: Batches) -> float:
    with torch.no_grad():
        losses = [F.cross_entropy(net(images), labels) for images, labels in batches]
        return float(torch.stack(losses).mean())


def _loss_landscapes(net: nn.Module, _: Any, batches: Batches, points: int) -> object:
    import loss_landscapes
    from loss_landscapes.metrics import Metric

    class MeanLoss(Metric):  # type: ignore[misc]
        def __call__(self, model: Any) -> float:
            return _mean_loss(model.forward, batches)

    return loss_landscapes.random_plane(net, MeanLoss(), 1, points, "filter", deepcopy_model=True)


def _losscape(net: nn.Module, loader: DataLoader[Any], batches: Batches, points: int) -> object:
    from losscape.create_landscape import create_3D_losscape

    with tempfile.TemporaryDirectory() as folder:
        return create_3D_losscape(
            net, loader, num_batches=len(batches), save_only=True, output_path=folder, num_points=points
        )


def _loss_landscape_3d(net: nn.Module, loader: DataLoader[Any], _: Batches, points: int) -> object:
    from loss_landscape_3d import calculator, directions

    x, y = directions.generate_random_directions(net)
    axis = np.linspace(-1, 1, points)
    center = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    return calculator.LossLandscapeCalculator(net, loader, F.cross_entropy).calculate(axis, axis, x, y, center)


def _landscaper(net: nn.Module, _: Any, batches: Batches, points: int) -> object:
    from landscaper.compute import compute_loss_landscape

    directions = [[torch.randn_like(parameter) for parameter in net.parameters()] for _ in range(2)]
    return compute_loss_landscape(net, batches, directions, _mean_loss, points, 0.5, dim=2, device="cpu")
