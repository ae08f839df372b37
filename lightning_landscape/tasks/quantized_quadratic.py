"""The error that low-precision SGD is left with on a convex quadratic, against the resolution of the grid."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from lightning_landscape.figures import plot_error_floors
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
    steps at the last one, at the weights that the steps are taken from. For small resolutions, stochastic rounding is
    left with

    .. math:: E f = d \left( \frac{\Delta \sigma}{2 \sqrt{2 \pi}} + \frac{a \sigma^2}{4} \right)

    in d dimensions, by the balance of the drift and the noise of its rounding; the second term is SGD's own.

    Returns:
        The figure and the numbers.
    """
    settings, folder = cfg.quadratic, Path(cfg.output_dir)
    check_writable(folder)
    generator = torch.Generator().manual_seed(cfg.seed)
    curvatures = torch.logspace(0, math.log10(settings.condition), settings.dimensions) / settings.condition
    optimum = 2 * torch.rand(settings.dimensions, generator=generator) - 1
    start = torch.zeros(settings.chains, settings.dimensions)

    def loss(weights: torch.Tensor) -> torch.Tensor:
        return (0.5 * curvatures * (weights - optimum) ** 2).sum(1)

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
    own = settings.dimensions * settings.rates[-1] * settings.noise**2 / 4
    slope = settings.dimensions * settings.noise / (2 * math.sqrt(2 * math.pi))
    fit = np.polyfit(deltas, floors["stochastic rounding"], 1)
    numbers = {
        "deltas": deltas,
        "floors": floors,
        "standard_errors": errors,
        "predicted_slope": slope,
        "predicted_at_zero": own,
        "fitted_slope": float(fit[0]),
        "fitted_at_zero": float(fit[1]),
    }
    written = [folder / "quantized_quadratic.png", folder / "quantized_quadratic.json"]
    plot_error_floors(deltas, floors, errors, lambda delta: own + slope * delta).savefig(written[0], dpi=150)
    written[1].write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    return written
