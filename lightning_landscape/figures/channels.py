"""Channels of a surface: what their names say, and where they have no value to draw."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_landscape.errors import RecordError
from lightning_landscape.records.surface import Surface

_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_SCORES = {
    "acc",
    "acc1",
    "acc5",
    "top1",
    "top5",
    "accuracy",
    "f1",
    "auc",
    "auroc",
    "precision",
    "recall",
    "iou",
    "dice",
}


@dataclass(frozen=True)
class Gaps:
    """Points without a value to draw.

    Attributes:
        not_finite: computed, with NaN or infinity as the result.
        not_computed: not computed yet.
    """

    not_finite: NDArray[np.bool_]
    not_computed: NDArray[np.bool_]

    @property
    def any(self) -> NDArray[np.bool_]:
        """Points of either kind."""
        return self.not_finite | self.not_computed


def gaps(surface: Surface, channel: str) -> Gaps:
    """Find the points of a channel that have no value.

    Args:
        surface: the record.
        channel: one of its channels.

    Returns:
        Masks of the surface's shape.
    """
    done = np.asarray(surface.done, dtype=bool)
    return Gaps(done & ~np.isfinite(surface[channel]), ~done)


def drawn_values(surface: Surface, channel: str) -> NDArray[np.float64]:
    """A copy of a channel with NaN wherever there is nothing to draw: not finite or not computed."""
    values = np.array(surface[channel], dtype=np.float64)
    values[gaps(surface, channel).any] = np.nan
    return values


def channel_of(surface: Surface, channel: str | None) -> str:
    """The channel to draw: the one asked for, or the surface's loss."""
    if channel is None or (channel == "loss" and channel not in surface.names):
        return surface.loss_name
    surface[channel]  # an unknown name is refused here, with the names there are
    return channel


def require_plane(surface: Surface, what: str) -> NDArray[np.float64]:
    """The y axis of a surface over a plane.

    Args:
        surface: the record.
        what: the function that needs it, for the message.

    Returns:
        The axis.

    Raises:
        RecordError: if the surface is over a line or has fewer than 2 x 2 points.
    """
    if surface.y is None:
        raise RecordError(f"{what} draws surfaces over a plane; this one is over a line: use plot_curves")
    if min(len(surface.x), len(surface.y)) < 2:
        raise RecordError(f"{what} needs at least 2 x 2 points, found {len(surface.y)} x {len(surface.x)}")
    return surface.y


def centre_index(surface: Surface) -> tuple[int, ...] | None:
    """Index of the grid's point at the origin, or None where the grid has none within a thousandth of a step."""
    index: list[int] = []
    for axis in (surface.x,) if surface.y is None else (surface.y, surface.x):
        nearest = int(np.argmin(np.abs(axis)))
        step = abs(float(axis[-1] - axis[0])) / max(len(axis) - 1, 1)
        if abs(float(axis[nearest])) > 1e-3 * step:
            return None
        index.append(nearest)
    return tuple(index)


def split_of(name: str) -> str:
    """Which data a channel was measured on, by its name.

    Args:
        name: a channel's name.

    Returns:
        "train", "val", "test", or "" where the name does not say.

    Examples:
        >>> split_of("train/loss"), split_of("val_accuracy"), split_of("loss")
        ('train', 'val', '')
    """
    return next((_SPLITS[t] for t in _tokens(name) if t in _SPLITS), "")


def quantity_of(name: str) -> str:
    """What a channel measures, by its name without the split.

    Examples:
        >>> quantity_of("train/loss"), quantity_of("val_acc"), quantity_of("test")
        ('loss', 'accuracy', 'test')
    """
    rest = [t for t in _tokens(name) if t not in _SPLITS]
    return " ".join("accuracy" if t == "acc" else t for t in rest) or name


def is_score(name: str) -> bool:
    """Whether a channel is an accuracy or the like: larger is better, and no logarithmic scale unless asked for."""
    return any(t in _SCORES for t in _tokens(name))


def is_loss(name: str) -> bool:
    """Whether a channel's name says that it is a loss."""
    return any(t in {"loss", "nll", "ce"} or t.endswith("loss") for t in _tokens(name))


def _tokens(name: str) -> list[str]:
    return [t for t in re.split(r"[^a-z0-9]+", name.lower()) if t]
