"""Where SGD, BinaryConnect and stochastic rounding spend their time on a function with three valleys."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from lightning_landscape.figures import plot_distributions
from lightning_landscape.quantization.limit_law import limit_law
from lightning_landscape.quantization.quantizer import Quantizer
from lightning_landscape.records.hdf5 import check_writable
from lightning_landscape.tasks.chains import ChainMethod, Chains

METHODS: dict[str, ChainMethod] = {
    "floating point": "float",
    "BinaryConnect": "binaryconnect",
    "stochastic rounding": "stochastic",
}
DEEPEST = 4.75
_RANGE = (-2.0, 8.0)


def three_valleys(w: Tensor) -> Tensor:
    r"""The toy of Li et al. (2017): parabolas around 0, 2.5 and 4.75, with the minima 2, 0.75 and 0.19.

    >>> three_valleys(torch.tensor([0.0, 2.5, 4.75]))
    tensor([2.0000, 0.7500, 0.1900])
    """
    last = torch.where(w < 3.5, (w - 2.5) ** 2 + 0.75, (w - DEEPEST) ** 2 + 0.19)
    return torch.where(w < 1, w**2 + 2, last)


def slope_of_three_valleys(w: Tensor) -> Tensor:
    """Its derivative.

    >>> slope_of_three_valleys(torch.tensor([0.5, 2.0, 5.0]))
    tensor([ 1.0000, -1.0000,  0.5000])
    """
    return 2 * torch.where(w < 1, w, torch.where(w < 3.5, w - 2.5, w - DEEPEST))


def quantized_toy(cfg: DictConfig) -> list[Path]:
    """Lower the learning rate along ``toy.rates`` and draw where the chains are at the end of each.

    A chain starts at each rate where it was at the end of the last one: at a small rate, chains that start spread out
    stay in the valleys where they are, whatever the method.

    Returns:
        The figure and the numbers: for each method and rate, the standard deviation in the deepest valley (w >= 3.5)
        and the share within one half of its minimum, at the weights that gradients are taken at.
    """
    settings, folder = cfg.toy, Path(cfg.output_dir)
    check_writable(folder)
    quantizer = Quantizer(delta=settings.delta, limit=_RANGE[1])
    start = torch.empty(settings.chains).uniform_(*_RANGE, generator=torch.Generator().manual_seed(cfg.seed))
    points = torch.arange(round(_RANGE[0] / settings.delta), round(_RANGE[1] / settings.delta) + 1) * settings.delta
    law = limit_law(slope_of_three_valleys(points), settings.noise)
    where: dict[str, list[Tensor]] = {}
    for name, method in METHODS.items():
        chains = Chains(method, start, slope_of_three_valleys, quantizer, settings.noise, cfg.seed)
        where[name] = []
        for rate in settings.rates:
            chains.run(rate, max(settings.steps, round(settings.times / rate)))
            where[name].append(chains.weight.detach().clone())
    numbers = {
        "rates": list(settings.rates),
        **{name: [_summary(w, torch.ones_like(w)) for w in found] for name, found in where.items()},
        "limit law": _summary(points, law),
    }
    written = [folder / "quantized_toy.png", folder / "quantized_toy.json"]
    found = {name: [w.numpy() for w in at_rates] for name, at_rates in where.items()}
    curve = torch.linspace(*_RANGE, 400)
    plot_distributions(
        list(settings.rates),
        found,
        settings.delta,
        (curve.numpy(), three_valleys(curve).numpy()),
        {"stochastic rounding": (points.numpy(), law.numpy())},
    ).savefig(written[0], dpi=150)
    written[1].write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    return written


def _summary(weights: Tensor, shares: Tensor) -> dict[str, float]:
    """Standard deviation in the deepest valley, the share in it, and the share within one half of its minimum."""
    shares = shares.double() / shares.sum()
    inside = shares * (weights >= 3.5)
    mean = (inside * weights).sum() / inside.sum()
    variance = (inside * (weights - mean) ** 2).sum() / inside.sum()
    return {
        "deviation": float(variance.sqrt()),
        "in_valley": float(inside.sum()),
        "near_minimum": float(shares[(weights - DEEPEST).abs() <= 0.5].sum()),
    }
