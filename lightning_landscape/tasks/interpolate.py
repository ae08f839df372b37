"""Loss and accuracy on the straight line between two checkpoints, on training and test data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from lightning_landscape.engine.checkpoint import weights_from_checkpoint
from lightning_landscape.engine.surface import compute_surface
from lightning_landscape.errors import LandscapeError
from lightning_landscape.figures import plot_curves
from lightning_landscape.geometry.slices import Line
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
    surface = compute_surface(
        module,
        {"train": data.evaluation_dataloader("train"), "test": data.evaluation_dataloader("test")},
        Line.between(start, end),
        curve_grid(cfg.curve),
        path=record,
        examples=cfg.curve.examples,
        seed=cfg.seed,
        batch_norm="interpolate",
        attrs={"title": f"{names[0]} (0) to {names[1]} (1)"},
    )
    plot_curves(surface).savefig(record.with_suffix(".png"), dpi=150)
    return [record]


def curve_grid(curve: Any) -> Grid:
    """Return the axis of a 1-D curve from its configuration."""
    return Grid(x=(curve.start, curve.stop, curve.count))
