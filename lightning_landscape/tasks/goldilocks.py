"""The Goldilocks experiment: the curvature of random low-dimensional slices against the norm of the weights."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import torch
from hydra.utils import instantiate
from lightning.pytorch import seed_everything
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from torch import nn

from lightning_landscape.curvature.curvature import Curvature
from lightning_landscape.curvature.restricted import curvature_of, on_sphere, restricted_hessian, tangent_frame
from lightning_landscape.errors import LandscapeError
from lightning_landscape.figures import Panel, Series, plot_panels
from lightning_landscape.figures.panels import Look
from lightning_landscape.geometry.projections import orthonormal_frame
from lightning_landscape.records.table import Table
from lightning_landscape.sampling.estimators import mean_of_batches
from lightning_landscape.tasks.build import build_module

_log = logging.getLogger(__name__)

_QUANTITIES = {
    "convexity": "Tr(H) / ||H||",
    "positive": "share of positive eigenvalues",
    "loss": "loss",
}


def goldilocks(cfg: DictConfig) -> list[Path]:
    r"""Measure the d x d Hessian of random slices through networks of Xavier's initialisation, scaled to many radii.

    For every network of ``cfg.runs``, radius in ``cfg.slices.radii`` (1 is the norm that the initialisation has) and
    draw: weights are drawn and scaled, an orthonormal frame of ``cfg.slices.dimension`` directions is drawn, and the
    Hessian on the plane through them, and on the sphere of that radius, is computed exactly.

    Returns:
        The table and the figure.

    Raises:
        LandscapeError: if there are no runs or fewer than two draws.

    Source: Fort and Scherlis, arXiv 1807.02581.
    """
    slices = cfg.slices
    if not cfg.runs or slices.draws < 2:
        raise LandscapeError("mode=goldilocks needs runs and slices.draws of at least 2: see experiment=goldilocks")
    settings = OmegaConf.to_yaml({key: cfg[key] for key in ("data", "model", "module", "seed", "runs")})
    settings += f"{slices.dimension} {slices.examples}"
    path = Path(cfg.output_dir) / "goldilocks.csv"
    columns = [f"{where}_{what}" for where in ("plane", "sphere") for what in ("convexity", "positive")]
    table = Table(path, ["network", "radius", "draw"], [*columns, "loss"], settings)
    for name in cfg.runs:
        merged = OmegaConf.merge(cfg, cfg.runs[name])
        assert isinstance(merged, DictConfig)
        for radius in slices.radii:
            for draw in range(slices.draws):
                table.row([name, radius, draw], partial(_measure, merged, float(radius), draw))
            _log.info("%s: radius %g", name, radius)
    figure_path = path.with_suffix(".png")
    _figure(cfg, table).savefig(figure_path, dpi=150)
    return [path, figure_path]


def xavier_(module: nn.Module) -> None:
    """Draw all weights by Glorot and Bengio's uniform distribution, in place, and set one-dimensional ones to zero."""
    for parameter in module.parameters():
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.zeros_(parameter)


def _measure(cfg: DictConfig, radius: float, draw: int) -> dict[str, float]:
    seed = cfg.seed + draw
    module = build_module(cfg)
    data = instantiate(cfg.data, _convert_="all")
    seed_everything(seed, verbose=False)
    xavier_(module)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(radius)
    size = sum(parameter.numel() for parameter in module.parameters())
    weights = torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
    frame = orthonormal_frame(size, cfg.slices.dimension, seed).to(weights)
    tangent = tangent_frame(frame, weights)
    loader = data.evaluation_dataloader("train")
    with Curvature(module, loader, "training_step", examples=cfg.slices.examples) as curvature:
        loss, gradient = curvature.gradient()
        plane = curvature_of(restricted_hessian(curvature.hessian.__matmul__, frame))
        flat = restricted_hessian(curvature.hessian.__matmul__, tangent)
        sphere = curvature_of(on_sphere(flat, gradient, weights))
    return {
        "plane_convexity": plane.convexity,
        "plane_positive": plane.positive,
        "sphere_convexity": sphere.convexity,
        "sphere_positive": sphere.positive,
        "loss": loss,
    }


def _figure(cfg: DictConfig, table: Table) -> Figure:
    panels = []
    slices: dict[str, Look] = {"plane": "solid", "sphere": "dashed"}
    for what, words in _QUANTITIES.items():
        lines = []
        for colour, name in enumerate(cfg.runs):
            places: dict[str, Look] = slices if what != "loss" else {"": "solid"}
            for where, look in places.items():
                column = f"{where}_{what}" if where else what
                values = [table.column(column, network=name, radius=radius) for radius in cfg.slices.radii]
                means = [mean_of_batches(v, [1] * len(v)) for v in values]
                label = f"{name}, {where}" if where else ""
                lines.append(
                    Series(
                        label,
                        list(cfg.slices.radii),
                        [m.mean for m in means],
                        [m.error for m in means],
                        look=look,
                        colour=colour,
                    )
                )
        levels = {"convexity": {"": 0.0}, "positive": {"": 0.5}, "loss": {}}[what]
        x = "radius (1 = Xavier's initialisation)"
        panels.append(Panel(words, x, words, lines, log_x=True, log_y=what == "loss", levels=levels))
    s = cfg.slices
    caption = (
        f"random slices of d = {s.dimension} dimensions, {s.draws} draws of weights and slice at each radius, "
        f"{s.examples} training images; bands: 2 standard errors over the draws; Tr(H)/||H|| is at most "
        f"{s.dimension**0.5:.1f}"
    )
    return plot_panels(panels, "Curvature of random slices against the norm of the weights", caption)
