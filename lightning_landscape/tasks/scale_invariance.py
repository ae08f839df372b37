"""The same function with other weights: curves along raw and along filter-normalised directions."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from torch import nn

from lightning_landscape.engine.surface import compute_surface
from lightning_landscape.errors import LandscapeError
from lightning_landscape.figures import plot_curves
from lightning_landscape.figures.scale import number
from lightning_landscape.geometry.rescaling import rescale_normalised, rescale_pairs
from lightning_landscape.geometry.slices import Line
from lightning_landscape.geometry.weights import weights_of
from lightning_landscape.records.surface import Surface
from lightning_landscape.records.surface_file import check_writable
from lightning_landscape.tasks.build import build_run, execute, of_run
from lightning_landscape.tasks.interpolate import curve_grid

_log = logging.getLogger(__name__)
_NORMALISED = "rescaled, filter-normalised"
_RESCALINGS: dict[str, Callable[[nn.Module, float], int]] = {
    "batch_norm": rescale_normalised,
    "pairs": rescale_pairs,
}


def scale_invariance(cfg: DictConfig) -> list[Path]:
    """Train each network of ``cfg.runs``, rescale it by ``rescaling.kind``, and compare the curves before and after.

    The rescaled network is drawn along the direction of the trained one, whose length knows nothing of the rescaling,
    and along the same random direction, normalised anew. ``invariance.json`` holds the largest relative difference of
    the loss to the trained network's at the same coordinate.

    Returns:
        The figures, the records and the numbers.

    Raises:
        LandscapeError: if there are no runs, or a rescaling is unknown.

    Source: Li et al., arXiv 1712.09913, section 3.
    """
    if not cfg.runs:
        raise LandscapeError("mode=scale_invariance needs runs: give `runs` a name and overrides for each")
    folder = Path(cfg.output_dir)
    check_writable(folder)
    written, differences = [], {}
    for name in map(str, cfg.runs):
        curves = _curves(of_run(cfg, name))
        trained = curves["as trained"]
        found = {kind: _difference(trained, curve) for kind, curve in curves.items() if curve is not trained}
        differences[name] = found
        _log.info("%s: relative differences %s", name, found)
        # Curves that coincide hide each other, so the title tells how far they are apart.
        title = f"{trained.attrs['title']}: filter-normalised, the curve moves by {number(found[_NORMALISED], 2)} of it"
        titled = {kind: replace(curve, attrs={**curve.attrs, "title": title}) for kind, curve in curves.items()}
        figure = plot_curves(titled, ["loss"], log=True)
        written.append(folder / f"{name}.png")
        figure.savefig(written[-1], dpi=150)
        for kind, curve in curves.items():
            written.append(folder / name / f"{kind.replace(', ', '-').replace(' ', '-')}.h5")
            curve.save(written[-1])
    report = folder / "invariance.json"
    report.write_text(json.dumps(differences, indent=2) + "\n", encoding="utf-8")
    return [report, *written]


def _curves(cfg: DictConfig) -> dict[str, Surface]:
    kind, factor = cfg.rescaling.kind, float(cfg.rescaling.factor)
    if kind not in _RESCALINGS:
        raise LandscapeError(f"rescaling.kind={kind} is unknown: choose one of {', '.join(_RESCALINGS)}")
    run = build_run(cfg)
    execute(run)
    loader = run.data.evaluation_dataloader("train")  # type: ignore[attr-defined]

    def curve(line: Line) -> Surface:
        return compute_surface(
            run.module,
            loader,
            line,
            curve_grid(cfg.curve),
            examples=cfg.curve.examples,
            seed=cfg.seed,
            attrs={"title": cfg.title},
        )

    line = Line.random(weights_of(run.module), seed=cfg.seed)
    trained = curve(line)
    _RESCALINGS[kind](run.module, factor)
    rescaled = weights_of(run.module)
    return {
        "rescaled, same direction": curve(Line(rescaled, line.x, kind="random")),
        _NORMALISED: curve(Line.random(rescaled, seed=cfg.seed)),
        "as trained": trained,
    }


def _difference(a: Surface, b: Surface) -> float:
    """The largest difference of two losses at the same coordinate, relative to the first."""
    return float((np.abs(a["loss"] - b["loss"]) / np.abs(a["loss"])).max())
