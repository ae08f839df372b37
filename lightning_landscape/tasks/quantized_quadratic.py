"""The error that low-precision SGD is left with on a convex quadratic, against the resolution of the grid."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from lightning_landscape.figures import plot_error_floors
from lightning_landscape.quantization.limit_law import limit_law
from lightning_landscape.quantization.quantizer import Quantizer
from lightning_landscape.records.hdf5 import check_writable
from lightning_landscape.tasks.chains import Chains

METHODS = {
    "stochastic rounding": ("stochastic", False),
    "BinaryConnect, random rounding": ("binaryconnect", True),
    "BinaryConnect, nearest": ("binaryconnect", False),
}


def quantized_quadratic(cfg: DictConfig) -> list[Path]:
    r"""Run every method at every resolution on :math:`f(w) = \frac12 \sum_i h_i (w_i - w_i^*)^2`; draw what is left.

    The learning rate falls along ``quadratic.rates``; what is left is the mean of :math:`f` over the second half of the
    steps at the last one, at the weights that the steps are taken from. Stochastic rounding is left with the error of
    its limit law, which for small resolutions is

    .. math:: E f = \frac{d \Delta \sigma}{2 \sqrt{2 \pi}}

    in d dimensions, whatever the curvatures and the learning rate: rounding turns a step of :math:`a g` into one of
    :math:`\Delta` with a probability of :math:`a |g| / \Delta`, whose mean square is :math:`a \Delta |g|`. SGD, and
    BinaryConnect with random rounding, are left with :math:`d a \sigma^2 / 4`, which the learning rate :math:`a` takes
    to zero.

    Returns:
        The figure and the numbers.
    """
    settings, folder = cfg.quadratic, Path(cfg.output_dir)
    check_writable(folder)
    generator = torch.Generator().manual_seed(cfg.seed)
    curvatures = torch.logspace(0, math.log10(settings.condition), settings.dimensions) / settings.condition
    optimum = 2 * torch.rand(settings.dimensions, generator=generator) - 1
    start = torch.zeros(settings.chains, settings.dimensions)

    def loss(weights: Tensor) -> Tensor:
        return torch.sum(0.5 * curvatures * (weights - optimum) ** 2, 1)

    floors: dict[str, list[float]] = {name: [] for name in METHODS}
    errors: dict[str, list[float]] = {name: [] for name in METHODS}
    for delta in settings.deltas:
        for name, (method, random) in METHODS.items():
            quantizer = Quantizer(delta=delta, limit=math.inf)
            chains = Chains(
                method,  # type: ignore[arg-type]
                start,
                lambda w: curvatures * (w - optimum),
                quantizer,
                settings.noise,
                cfg.seed,
                random,
            )
            for rate in settings.rates:
                chains.run(rate, settings.steps // 2)
                left = chains.run(rate, settings.steps // 2, loss)
            assert left is not None
            floors[name].append(float(left.mean()))
            errors[name].append(float(left.std() / len(left) ** 0.5))
    deltas = list(settings.deltas)
    fit = np.polyfit(deltas, floors["stochastic rounding"], 1)
    numbers = {
        "deltas": deltas,
        "floors": floors,
        "standard_errors": errors,
        "limit_law": [_floor_of_limit_law(delta, curvatures, optimum, settings.noise) for delta in deltas],
        "fitted_slope": float(fit[0]),
        "slope_for_small_deltas": settings.dimensions * settings.noise / (2 * math.sqrt(2 * math.pi)),
        "error_of_sgd": settings.dimensions * settings.rates[-1] * settings.noise**2 / 4,
    }
    finer = np.linspace(deltas[0] / 2, deltas[-1], 20).tolist()
    law = [_floor_of_limit_law(delta, curvatures, optimum, settings.noise) for delta in finer]
    written = [folder / "quantized_quadratic.png", folder / "quantized_quadratic.json"]
    plot_error_floors(deltas, floors, errors, (finer, law)).savefig(written[0], dpi=150)
    written[1].write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    return written


def _floor_of_limit_law(delta: float, curvatures: Tensor, optimum: Tensor, noise: float) -> float:
    """The mean of f under the limit law of stochastic rounding, variable by variable."""
    total = 0.0
    for curvature, best in zip(curvatures.tolist(), optimum.tolist(), strict=True):
        # So far out that the law is nothing there: its standard deviation is below the larger of these.
        reach = 12 * max(delta, math.sqrt(delta * noise / curvature))
        first, last = math.floor((best - reach) / delta), math.ceil((best + reach) / delta)
        distances = torch.arange(first, last + 1, dtype=torch.float64) * delta - best
        law = limit_law(curvature * distances, noise)
        total += float((law * 0.5 * curvature * distances**2).sum())
    return total
