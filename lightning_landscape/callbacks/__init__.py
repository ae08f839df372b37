"""Callbacks for a Trainer, thin: when to compute, where to write and what to log."""

from lightning_landscape.callbacks.collapse_monitor import CollapseMonitor
from lightning_landscape.callbacks.loggers import log_figure, log_file, publish, register_logger
from lightning_landscape.callbacks.loss_landscape import LossLandscape
from lightning_landscape.callbacks.trajectory_recorder import TrajectoryRecorder

__all__ = [
    "CollapseMonitor",
    "LossLandscape",
    "TrajectoryRecorder",
    "log_figure",
    "log_file",
    "publish",
    "register_logger",
]
