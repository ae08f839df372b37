"""Curvature against batch size: extreme eigenvalues of batches, and what random matrices predict for them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from lightning_landscape.curvature.batch_size import (
    batch_eigenvalue,
    batch_gradient_square,
    effective_batch,
    gauss_newton_batch_eigenvalue,
    largest_stable_adaptive_rate,
    largest_stable_rate,
    noise_radius,
    noise_variance,
)
from lightning_landscape.curvature.curvature import Curvature
from lightning_landscape.curvature.eigenpairs import eigenpairs
from lightning_landscape.curvature.trace import trace
from lightning_landscape.data.images import ImageDataModule, collate
from lightning_landscape.errors import LandscapeError
from lightning_landscape.figures import Panel, Series, plot_panels
from lightning_landscape.figures.panels import Look
from lightning_landscape.records.table import Table
from lightning_landscape.sampling.estimators import mean_of_batches
from lightning_landscape.sampling.subset import subset_indices
from lightning_landscape.tasks.build import build_run

Array = NDArray[np.float64]

_log = logging.getLogger(__name__)

_MEASURED = ("largest", "smallest", "gauss_newton", "gradient_square")


def batch_size_curvature(cfg: DictConfig) -> list[Path]:
    r"""Train a network, then measure the curvature of random batches of many sizes at its weights.

    Beside the measured eigenvalues stand two predictions of the same formula (`curvature.batch_size`): with the noise
    spread over all P parameters, as the model says, and over the number of directions that it really occupies,

    .. math:: P_{\mathrm{eff}} = \frac{2 (\operatorname{Tr} N^2)^2}{\operatorname{Tr} N^4},

    which is P for a Wigner matrix.

    Returns:
        The table and the figure.

    Raises:
        LandscapeError: if there are no batch sizes or too few training images for the largest.
    """
    batches = cfg.batches
    run = build_run(cfg)
    if not isinstance(run.data, ImageDataModule):
        raise LandscapeError(f"mode=batch_size_curvature wants an ImageDataModule, found {type(run.data).__name__}")
    run.data.prepare_data()
    images = run.data.images("train")
    if not batches.sizes or max(batches.sizes) > len(images):
        raise LandscapeError(f"batches.sizes={list(batches.sizes)}: give sizes of up to {len(images)} training images")
    settings = OmegaConf.to_yaml({key: cfg[key] for key in ("data", "model", "module", "trainer", "seed")})
    path = Path(cfg.output_dir) / "batch_size_curvature.csv"
    table = Table(path, ["batch", "draw"], [*_MEASURED], settings)
    facts = Table(path.with_stem("batch_size_noise"), ["quantity"], ["value", "error"], f"{settings} {batches.noise}")
    run.trainer.fit(run.module, datamodule=run.data)
    module = run.module.cpu().eval()
    table.row([len(images), 0], lambda: _measure(module, images))
    for batch in batches.sizes:
        for draw in range(batches.draws):
            chosen = subset_indices(len(images), batch, cfg.seed + 1000 * draw + batch)
            table.row([batch, draw], partial(_measure, module, Subset(images, chosen.tolist())))
        _log.info("batches of %d", batch)
    _noise(module, images, facts, batches.noise, cfg.seed)
    figure_path = path.with_suffix(".png")
    _figure(cfg, table, facts, len(images)).savefig(figure_path, dpi=150)
    return [path, facts.path, figure_path]


def _curvature(module: nn.Module, data: Dataset[Any], size: int) -> Curvature:
    return Curvature(module, DataLoader(data, batch_size=size, collate_fn=collate), "training_step")


def _outputs(module: Any, batch: Any) -> Tensor:
    return module(batch[0])  # type: ignore[no-any-return]


def _loss(outputs: Tensor, batch: Any) -> Tensor:
    return torch.nn.functional.cross_entropy(outputs, batch[1])


def _measure(module: nn.Module, data: Any) -> dict[str, float]:
    with _curvature(module, data, len(data)) as curvature:
        ends = curvature.eigenpairs(1, "both", tolerance=1e-2).values
        top = eigenpairs(curvature.gauss_newton(_outputs, _loss), 1, tolerance=1e-2).values[0]
        _, gradient = curvature.gradient()
    square = float(gradient.double().square().sum())
    return {"largest": ends[0], "smallest": ends[-1], "gauss_newton": float(top), "gradient_square": square}


def _noise(module: nn.Module, images: Any, facts: Table, options: Any, seed: int) -> None:
    """Measure what the predictions need: the noise of Hessian and gradient between examples, and its shape."""
    size, vectors = options.batch, options.vectors
    order = subset_indices(len(images), None, seed)
    count = len(images) // size
    parts = [Subset(images, order[k * size : (k + 1) * size].tolist()) for k in range(count)]
    rows = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    signs = torch.randint(2, (rows, vectors), generator=torch.Generator().manual_seed(seed)) * 2.0 - 1.0
    products, gradients = [], []
    for part in parts:
        with _curvature(module, part, size) as curvature:
            products.append(curvature.hessian @ signs)
            gradients.append(curvature.gradient()[1])

    def of_hessian() -> dict[str, float]:
        found = noise_variance((torch.stack([p[:, v] for p in products]) for v in range(vectors)), size)
        return {"value": found.mean, "error": found.error}

    def of_gradient() -> dict[str, float]:
        spread = torch.stack(gradients).double().var(0).sum()
        return {"value": size * float(spread), "error": float("nan")}

    def effective_rows() -> dict[str, float]:
        squares, fourths = [], []
        for part, product in zip(parts[: options.directions], products, strict=False):
            with _curvature(module, images, len(images)) as whole:
                noise = product - whole.hessian @ signs
                back = whole.hessian @ noise
            with _curvature(module, part, size) as curvature:
                twice = curvature.hessian @ noise - back
            squares.append(float(noise.double().square().sum(0).mean()))
            fourths.append(float(twice.double().square().sum(0).mean()))
        values = 2 * np.array(squares) ** 2 / np.array(fourths)
        found = mean_of_batches(values, [1] * len(values))
        return {"value": found.mean, "error": found.error}

    def small_eigenvalue() -> dict[str, float]:
        with _curvature(module, images, len(images)) as curvature:
            matrix = curvature.gauss_newton(_outputs, _loss)
            whole, top = trace(matrix, vectors, seed=seed), eigenpairs(matrix, 1, tolerance=1e-2).values[0]
        return {"value": (whole.mean - top) / rows, "error": whole.error / rows}

    facts.row(["rows"], lambda: {"value": rows, "error": 0.0})
    facts.row(["hessian variance"], of_hessian)
    facts.row(["gradient variance"], of_gradient)
    facts.row(["effective rows"], effective_rows)
    facts.row(["small Gauss-Newton eigenvalue"], small_eigenvalue)


def _figure(cfg: DictConfig, table: Table, facts: Table, examples: int) -> Figure:
    fact = {
        name: facts.column("value", quantity=name)[0]
        for name in ("rows", "hessian variance", "gradient variance", "effective rows", "small Gauss-Newton eigenvalue")
    }
    rows, effective = fact["rows"], fact["effective rows"]
    whole = {name: table.column(name, batch=examples)[0] for name in _MEASURED}
    sizes = [*cfg.batches.sizes, examples]
    fine = np.geomspace(min(sizes), examples, 60)
    b = np.array([effective_batch(size, examples) for size in fine])
    # The noise's Frobenius norm is measured; over fewer directions it has a larger radius.
    radii = {
        f"prediction, noise in all {rows:,.0f} directions": noise_radius(fact["hessian variance"], rows, 1.0),
        f"prediction, noise in {effective:,.0f} directions": noise_radius(
            fact["hessian variance"] * (rows / effective) ** 2, effective, 1.0
        ),
    }

    def measured(name: str, transform: Callable[[Array, Array], Array], label: str, colour: int) -> Series:
        found = []
        for size in sizes:
            values = transform(table.column(name, batch=size), table.column("gradient_square", batch=size))
            found.append(mean_of_batches(values, [1] * len(values)))
        return Series(label, sizes, [f.mean for f in found], [f.error for f in found], look="points", colour=colour)

    looks: tuple[Look, Look] = ("dashed", "solid")
    hessian, rates = [], []
    for colour, end in enumerate(("largest", "smallest")):
        hessian.append(measured(end, lambda v, _: v, f"{end} eigenvalue", colour))
        for look, (label, radius) in zip(looks, radii.items(), strict=True):
            line = [batch_eigenvalue(whole[end], radius / np.sqrt(size)) for size in b]
            hessian.append(Series(label, fine, line, look=look, colour=colour))
    squares = [batch_gradient_square(whole["gradient_square"], fact["gradient variance"], size) for size in b]
    rates.append(measured("largest", lambda v, _: 2 / v, "gradient descent, from the eigenvalues", 2))
    rates.append(measured("largest", lambda v, g: 2 / v * np.sqrt(g / rows), "adaptive, from the eigenvalues", 3))
    for look, radius in zip(looks, radii.values(), strict=True):
        tops = [batch_eigenvalue(whole["largest"], radius / np.sqrt(size)) for size in b]
        rates.append(Series("", fine, [largest_stable_rate(top) for top in tops], look=look, colour=2))
        adaptive = [largest_stable_adaptive_rate(top, g, int(rows)) for top, g in zip(tops, squares, strict=True)]
        rates.append(Series("", fine, adaptive, look=look, colour=3))
    unit = fact["small Gauss-Newton eigenvalue"]
    newton = [gauss_newton_batch_eigenvalue(whole["gauss_newton"], rows / size, unit) for size in b]
    matrix = [
        measured("gauss_newton", lambda v, _: v, "largest eigenvalue of the Gauss-Newton matrix", 4),
        Series("prediction, spiked covariance", fine, newton, look="dashed", colour=4),
    ]
    x = "batch size B"
    panels = [
        Panel("Hessian", x, "extreme eigenvalues", hessian, log_x=True),
        Panel("Gauss-Newton matrix", x, "largest eigenvalue", matrix, log_x=True),
        Panel("largest stable learning rate", x, "learning rate", rates, log_x=True, log_y=True),
    ]
    caption = (
        f"{cfg.batches.draws} random batches of each size, after {cfg.trainer.max_epochs} epochs; bars: 2 standard "
        f"errors; the largest batch is the whole training set; noise measured in batches of {cfg.batches.noise.batch}"
    )
    return plot_panels(panels, "Curvature of batches against their size", caption)
