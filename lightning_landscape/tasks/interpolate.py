"""Loss and accuracy on the straight line between two checkpoints, on training and test data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from lightning_landscape.engine.checkpoint import weights_from_checkpoint
from lightning_landscape.engine.surface import compute_surface
from lightning_landscape.errors import LandscapeError
from lightning_landscape.figures import plot_curves
from lightning_landscape.geometry.slices import Line
from lightning_landscape.geometry.weights import Weights
from lightning_landscape.records.surface import Surface
from lightning_landscape.sampling.grid import Grid
from lightning_landscape.tasks.build import build_module


def interpolate(cfg: DictConfig) -> list[Path]:
    r"""Evaluate :math:`(1 - t) w_1 + t w_2` for the checkpoints :math:`w_1, w_2` of ``cfg.checkpoints``.

    BatchNorm running statistics are interpolated along, without which the curve between would be meaningless.

    Returns:
        The record; nothing on other ranks than zero, which does it alone.

    Raises:
        LandscapeError: if there are not two checkpoints.

    Source: Li et al., arXiv 1712.09913, section 3 (the small-batch / large-batch figure).
    """
    if len(cfg.checkpoints) != 2:
        raise LandscapeError(
            f"mode=interpolate needs two checkpoints and found {len(cfg.checkpoints)}: "
            "checkpoints=[first.ckpt,second.ckpt]"
        )
    if rank_zero_only.rank:  # type: ignore[attr-defined]
        return []
    cfg.weights = None
    module = build_module(cfg)
    start, end = (weights_from_checkpoint(path, module, buffers=True) for path in cfg.checkpoints)
    record = Path(cfg.output_dir) / "interpolation.h5"
    names = [Path(path).stem for path in cfg.checkpoints]
    data = instantiate(cfg.data, _convert_="all")
    data.prepare_data()
    title = f"{names[0]} (0) to {names[1]} (1)"
    surface = interpolation(module, data, start, end, cfg.curve, record, seed=cfg.seed, title=title)
    plot_curves(surface).savefig(record.with_suffix(".png"), dpi=150)
    return [record]


def interpolation(
    module: LightningModule,
    data: Any,
    start: Weights,
    end: Weights,
    curve: Any,
    path: Path,
    *,
    seed: int,
    title: str,
) -> Surface:
    """Evaluate the line between two networks on training and test data, with interpolated BatchNorm statistics.

    Args:
        module: a module of their architecture.
        data: its data module.
        start: the network at 0, with its running statistics.
        end: the network at 1, with its running statistics.
        curve: start, stop, count and examples of the curve.
        path: the record.
        seed: of the choice of examples.
        title: of the record.
    """
    return compute_surface(
        module,
        {"train": data.evaluation_dataloader("train"), "test": data.evaluation_dataloader("test")},
        Line.between(start, end),
        curve_grid(curve),
        path=path,
        examples=curve.examples,
        seed=seed,
        batch_norm="interpolate",
        attrs={"title": title},
    )


def curve_grid(curve: Any) -> Grid:
    """Return the axis of a 1-D curve from its configuration."""
    return Grid(x=(curve.start, curve.stop, curve.count))
