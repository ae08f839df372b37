"""Records of every kind that the figures must cope with, made from closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np

from lightning_landscape.geometry.path import Path
from lightning_landscape.records.surface import Surface

ATTRS: dict[str, Any] = {
    "kind": "random",
    "normalize": "filter",
    "seed": 0,
    "direction_norms": [12.1, 12.3],
    "direction_cosine": 0.0012,
    "examples": 1000,
    "dataset_size": 60000,
    "batch_norm": "keep",
    "weights_sha256": "3fa9c2d1e0" * 6,
}


def plane(
    nx: int = 31, ny: int = 25, extent: tuple[float, float, float, float] = (-1.0, 1.0, -1.0, 1.0)
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Axes and the meshes X[j, i] = x[i], Y[j, i] = y[j]."""
    x, y = np.linspace(*extent[:2], nx), np.linspace(*extent[2:], ny)
    return x, y, *np.meshgrid(x, y)


def bowl(nx: int = 31, ny: int = 25, curvature: float = 4.0, **attrs: Any) -> Surface:
    """A paraboloid with a floor of 0.03, errors of 5 %, and an accuracy."""
    x, y, X, Y = plane(nx, ny)
    loss = 0.03 + curvature * (X**2 + 1.6 * Y**2 + 0.5 * X * Y)
    return Surface(
        x=x,
        y=y,
        channels={"val/loss": loss, "val/accuracy": np.exp(-loss)},
        errors={"val/loss": 0.05 * loss},
        done=np.array(True),
        attrs={**ATTRS, **attrs},
    )


def rough(seed: int = 0, **attrs: Any) -> Surface:
    """A basin in rough terrain, over decades."""
    x, y, X, Y = plane(51, 51)
    generator = np.random.default_rng(seed)
    bumps = sum(
        generator.normal() * np.sin(generator.normal(0, 9) * X + generator.normal(0, 9) * Y + generator.uniform(0, 6))
        for _ in range(40)
    )
    radius = np.hypot(X, Y)
    loss = np.exp(np.log(0.02) + 7 * np.sqrt(radius) + 0.35 * bumps * np.minimum(radius * 1.6, 1.2))
    return Surface(x=x, y=y, channels={"loss": loss}, attrs={**ATTRS, **attrs})


def gappy() -> Surface:
    """Infinite and NaN values in one corner and a lone NaN; the last rows are not computed."""
    surface = bowl(41, 33)
    X, Y = np.meshgrid(surface.x, surface.y)
    loss = surface["loss"].copy()
    loss[(X > 0.6) & (Y > 0.2)] = np.inf
    loss[10, 8] = np.nan
    done = np.ones(loss.shape, dtype=bool)
    done[28:] = False
    loss[~done] = np.nan
    return Surface(surface.x, surface.y, {"val/loss": loss}, {"val/loss": 0.05 * np.abs(loss)}, done, surface.attrs)


def huge() -> Surface:
    """From 1e-3 to 1e8."""
    x, y, X, Y = plane(41, 41)
    return Surface(x, y, {"loss": 10.0 ** (-3 + 11 * np.minimum(np.hypot(X, Y), 1.0) ** 0.8)}, attrs=ATTRS)


def tiny_range() -> Surface:
    """Values that differ in the seventh digit."""
    x, y, X, Y = plane(21, 21)
    return Surface(x, y, {"loss": 0.5 + 1e-7 * (X**2 + Y**2)}, attrs=ATTRS)


def negative() -> Surface:
    """Large negative values."""
    x, y, X, Y = plane(21, 21)
    return Surface(x, y, {"loss": -1900.0 + 500 * (X**2 + Y**2)}, attrs=ATTRS)


def both_signs() -> Surface:
    """Values of both signs over decades."""
    x, y, X, Y = plane(41, 41)
    return Surface(x, y, {"loss": -2.0 + 10.0 ** (7 * np.hypot(X, Y) / np.sqrt(2))}, attrs=ATTRS)


def constant() -> Surface:
    """One value everywhere."""
    x, y, X, _ = plane(5, 4)
    return Surface(x, y, {"loss": np.full(X.shape, 2.3)})


def oblong() -> Surface:
    """A linear function on a 5 x 3 grid that is twice as wide as high, without attributes."""
    x, y, X, Y = plane(5, 3, (-2.0, 2.0, 0.0, 2.0))
    return Surface(x, y, {"loss": 1 + X + 10 * Y})


def line(points: int = 51, width: float = 1.0, **attrs: Any) -> Surface:
    """Losses and accuracies on train and validation data along a random direction."""
    x = np.linspace(-1, 1, points)
    train = 0.02 + 3 * (x / width) ** 2
    val = 0.25 + 2.4 * ((x - 0.04) / width) ** 2
    return Surface(
        x,
        None,
        {
            "train/loss": train,
            "val/loss": val,
            "train/accuracy": 0.1 + 0.89 * np.exp(-train),
            "val/accuracy": 0.1 + 0.86 * np.exp(-val),
        },
        {"train/loss": 0.02 + 0.05 * train, "val/loss": 0.03 + 0.05 * val},
        attrs={**ATTRS, "direction_norms": [12.1], "direction_cosine": None, **attrs},
    )


def between() -> Surface:
    """From a wide minimum at 0 to a narrow one at 1; the far right overflows."""
    x = np.linspace(-0.5, 1.5, 81)
    wide, narrow = 1.6 * x**2, 9 * (x - 1) ** 2
    train = 0.004 + wide * narrow / (wide + narrow + 1e-9)
    val = 0.3 + 1.1 * train
    train[x > 1.42] = np.inf
    return Surface(
        x,
        None,
        {
            "train/loss": train,
            "val/loss": val,
            "train/accuracy": 100 * np.exp(-train),
            "val/accuracy": 92 * np.exp(-0.3 * train),
        },
        attrs={"kind": "between", "direction_norms": [31.7], "batch_norm": "recalibrate", "dataset_size": 50000}
        | {"examples": 50000},
    )


def trajectory(checkpoints: int = 41, **attrs: Any) -> Surface:
    """A principal plane with a path that turns into the basin where the learning rate drops."""
    x, y = np.linspace(-3, 14, 41), np.linspace(-4, 5, 31)
    X, Y = np.meshgrid(x, y)
    loss = 0.02 + 0.02 * (X**2 + 6 * Y**2) + 0.02 * np.sin(2 * X) ** 2
    t = np.linspace(0, 1, checkpoints)
    along = 12 * (1 - t) ** 1.5
    across = 3.1 * np.sin(3 * np.pi * (1 - t)) * (1 - t)
    residual = 2.6 * np.sin(np.pi * t) + 0.2 * np.sin(40 * t) ** 2
    residual[-1] = 0
    path = Path(
        coordinates=np.stack([along, across], 1),
        residual=residual,
        steps=np.arange(checkpoints) * 391,
        epochs=np.arange(checkpoints),
        lr=np.where(t < 0.5, 0.1, np.where(t < 0.75, 0.01, 0.001)),
        distance_from_origin=np.sqrt(along**2 + across**2 + residual**2),
    )
    own = {"kind": "principal", "explained_variance": [0.734, 0.121], "direction_norms": [1.0, 1.0]}
    return Surface(
        x,
        y,
        {"train/loss": loss},
        {"train/loss": 0.03 * loss},
        attrs={**own, "direction_cosine": 0.0, "examples": 5000, "dataset_size": 50000, **attrs},
        path=path,
    )


PLANES = {
    "bowl": bowl,
    "rough": rough,
    "gappy": gappy,
    "huge": huge,
    "tiny_range": tiny_range,
    "negative": negative,
    "both_signs": both_signs,
    "constant": constant,
    "oblong": oblong,
    "trajectory": trajectory,
}
