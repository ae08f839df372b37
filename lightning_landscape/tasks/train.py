"""One training with the callbacks, and the surfaces of given weights: both are one pass of a Trainer."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from lightning_landscape.errors import LandscapeError
from lightning_landscape.tasks.build import build_run, execute


def train(cfg: DictConfig) -> list[Path]:
    """Train once, with the callbacks of the configuration.

    Returns:
        The records of the surfaces that were computed.
    """
    run = build_run(cfg)
    execute(run)
    if not run.trainer.is_global_zero:
        return []
    return [record for landscape in run.landscapes for record in landscape.surfaces]


def surface(cfg: DictConfig) -> list[Path]:
    """Compute the surfaces of the weights in ``cfg.weights``, a checkpoint or a state dict.

    Returns:
        Their records.

    Raises:
        LandscapeError: if no weights are given.
    """
    if cfg.weights is None:
        raise LandscapeError("mode=surface needs the weights: weights=path/to/checkpoint.ckpt (or a state dict)")
    return train(cfg)
