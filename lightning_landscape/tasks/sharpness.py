"""Small and large batches: which minimum looks sharp between the two, and along random directions."""

from __future__ import annotations

import itertools
import json
import logging
import math
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf, open_dict
from scipy.stats import spearmanr

from lightning_landscape.engine.surface import compute_surface
from lightning_landscape.errors import LandscapeError
from lightning_landscape.figures import Panel, Series, plot_curve_sets, plot_interpolations, plot_panels
from lightning_landscape.figures.scale import number
from lightning_landscape.geometry.slices import Line
from lightning_landscape.geometry.weights import Weights, weights_of
from lightning_landscape.records.rise import rise
from lightning_landscape.records.surface import Surface
from lightning_landscape.records.table import Cell, Table
from lightning_landscape.tasks.build import Run, build_run, execute, of_run
from lightning_landscape.tasks.interpolate import curve_grid, interpolation

_log = logging.getLogger(__name__)

_KEYS = ("optimizer", "weight_decay", "batch_size", "seed")
_KINDS = {"filter": "filter-normalised directions", "raw": "directions of one length for all networks"}
_COLUMNS = ("test_error", "train_loss", "norm", "between", *_KINDS, *(f"{kind}_spread" for kind in _KINDS))
_HALF = 0.5  # of the gap between two networks


@dataclass(frozen=True)
class _Network:
    """One trained network.

    Attributes:
        keys: optimizer, weight decay, batch size and seed.
        run: its module and data.
        folder: where its records are.
    """

    keys: tuple[str, float, int, int]
    run: Run
    folder: Path

    @property
    def batch(self) -> str:
        """Its batch size in words."""
        return f"batch {self.keys[2]:,}"

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """The entries of all tensors with filters, which are those that a random direction moves, [P]."""
        found = weights_of(self.run.module)
        moving = [tensor for name, tensor in found.items() if found.roles[name].filter_dim is not None]
        return np.concatenate([tensor.cpu().double().numpy().ravel() for tensor in moving])

    @property
    def norm(self) -> float:
        """The Euclidean norm of these weights."""
        return float(np.linalg.norm(self.weights))

    def record(self, kind: str, direction: int) -> Path:
        """The record of its curve along one of the directions."""
        return self.folder / f"{kind}-{direction}.h5"


@dataclass(frozen=True)
class _Pair:
    """Networks that differ in the batch size alone, and the line from the one to the other.

    Attributes:
        small: trained with small batches, at 0.
        large: trained with large batches, at 1.
        line: loss and accuracy on training and test data.
    """

    small: _Network
    large: _Network
    line: Surface


def sharpness(cfg: DictConfig) -> list[Path]:
    """Train with small and large batches, with each weight decay, by each optimizer of ``cfg.runs``.

    Of each pair that differs in the batch size alone the line between the two networks is drawn; of each network,
    curves along ``sharpness.directions`` random directions: filter-normalised ones, and ones of the same length for all
    networks of a seed, the mean norm of their weights. A network's sharpness is the rise of the training loss
    (`records.rise`): at ``sharpness.distance`` along the directions, on average over these, and at half the gap on the
    line between two networks.

    Networks and records in the output folder are not made again by a command with the same one.

    Returns:
        The table, the rank correlations of sharpness and test error over all seeds, and the figures of the first seed.

    Raises:
        LandscapeError: if there are no runs or seeds, or not two batch sizes.

    Source: Li et al., arXiv 1712.09913, sections 3 and 5.
    """
    options = cfg.sharpness
    if not cfg.runs or not options.seeds or len(options.batch_sizes) != 2:
        raise LandscapeError("mode=sharpness needs runs, seeds and two batch sizes: use experiment=sharpness")
    table = Table(Path(cfg.output_dir) / "sharpness.csv", _KEYS, _COLUMNS, _settings(cfg))
    drawn: list[Path] = []
    for seed in map(int, options.seeds):
        pairs = [_pair(cfg, str(name), float(decay), seed) for name in cfg.runs for decay in options.weight_decays]
        unit = float(np.mean([network.norm for pair in pairs for network in (pair.small, pair.large)]))
        for pair in pairs:
            for at, network in enumerate((pair.small, pair.large)):
                numbers = table.row(network.keys, partial(_measure, network, pair.line, at, unit, cfg))
                _log.info("%s: %s", network.folder.name, {key: round(value, 4) for key, value in numbers.items()})
        drawn = drawn or [*_draw_lines(cfg, pairs), *_draw_curves(cfg, pairs, table)]
    return [table.path, *_correlate(cfg, table), *drawn]


def _pair(cfg: DictConfig, optimizer: str, decay: float, seed: int) -> _Pair:
    small, large = (_train(cfg, (optimizer, decay, int(batch), seed)) for batch in cfg.sharpness.batch_sizes)
    start, end = (weights_of(network.run.module, buffers=True) for network in (small, large))
    title = f"{small.batch} (0) to {large.batch} (1)"
    path = small.folder / "between.h5"
    data, between = small.run.data, cfg.sharpness.between
    line = interpolation(small.run.module, data, start, end, between, path, seed=cfg.seed, title=title)
    return _Pair(small, large, line)


def _train(cfg: DictConfig, keys: tuple[str, float, int, int]) -> _Network:
    """Train a network and keep its weights, or read those that were kept."""
    optimizer, decay, batch, seed = keys
    name = f"seed{seed}/{optimizer}-decay{decay:g}-batch{batch}"
    folder = Path(cfg.output_dir) / name
    checkpoint = folder / "trained.ckpt"
    own = of_run(cfg, optimizer)
    with open_dict(own):
        own.module.optimizer.weight_decay = decay
    own.data.batch_size, own.seed, own.name = batch, seed, name
    own.weights = str(checkpoint) if checkpoint.exists() else None
    run = build_run(own)
    run.data.prepare_data()
    if own.weights is None:
        execute(run)
        run.trainer.save_checkpoint(checkpoint, weights_only=True)
    return _Network(keys, run, folder)


def _measure(network: _Network, line: Surface, at: int, unit: float, cfg: DictConfig) -> dict[str, float]:
    here = int(np.abs(line.x - at).argmin())
    numbers = {
        "test_error": 100 * (1 - float(line["test/accuracy"][here])),
        "train_loss": float(line["train/loss"][here]),
        "norm": network.norm,
        "between": rise(line, _HALF, at),
    }
    for kind in _KINDS:
        rises = []
        for direction in range(cfg.sharpness.directions):
            curve = compute_surface(
                network.run.module,
                {"train": network.run.data.evaluation_dataloader("train")},  # type: ignore[attr-defined]
                _line(network, kind, direction, unit),
                curve_grid(cfg.curve),
                path=network.record(kind, direction),
                examples=cfg.curve.examples,
                seed=cfg.seed,
                progress=False,
            )
            rises.append(rise(curve, cfg.sharpness.distance))
        numbers |= {kind: float(np.mean(rises)), f"{kind}_spread": float(np.std(rises) / np.mean(rises))}
    return numbers


def _line(network: _Network, kind: str, seed: int, unit: float) -> Line:
    weights = weights_of(network.run.module)
    if kind == "filter":
        return Line.random(weights, seed)
    raw = Line.random(weights, seed, normalize=None)
    scaled = {name: unit / raw.norms[0] * tensor for name, tensor in raw.x.items()}
    return Line(weights, Weights(scaled, raw.x.roles), kind="random", seed=seed)


def _draw_lines(cfg: DictConfig, pairs: list[_Pair]) -> list[Path]:
    written = []
    for optimizer in map(str, cfg.runs):
        chosen = {f"weight decay {number(p.small.keys[1])}": p for p in pairs if p.small.keys[0] == optimizer}
        figure = plot_interpolations(
            {name: pair.line for name, pair in chosen.items()},
            {name: {n.batch: n.weights for n in (pair.small, pair.large)} for name, pair in chosen.items()},
            title=f"From {pairs[0].small.batch} to {pairs[0].large.batch}, {optimizer}",
        )
        written.append(Path(cfg.output_dir) / f"between-{optimizer}.png")
        figure.savefig(written[-1], dpi=150)
    return written


def _draw_curves(cfg: DictConfig, pairs: list[_Pair], table: Table) -> list[Path]:
    written = []
    for kind, words in _KINDS.items():
        sets = {}
        for network in [*(pair.small for pair in pairs), *(pair.large for pair in pairs)]:  # one row each
            optimizer, decay, batch, seed = network.keys
            chosen: dict[str, Cell] = {"optimizer": optimizer, "weight_decay": decay, "batch_size": batch, "seed": seed}
            (error,) = table.column("test_error", **chosen)
            name = f"{optimizer}, {network.batch}, decay {number(decay)}: {error:.1f} %"
            sets[name] = [Surface.load(network.record(kind, k)) for k in range(cfg.sharpness.directions)]
        figure = plot_curve_sets(sets, title=f"Test errors, and the loss along {words}", columns=len(pairs), log=False)
        written.append(Path(cfg.output_dir) / f"curves-{kind}.png")
        figure.savefig(written[-1], dpi=150)
    return written


def _correlate(cfg: DictConfig, table: Table) -> list[Path]:
    """Correlate each sharpness with the test error by ranks: seed by seed, and the means over the seeds."""
    options, folder = cfg.sharpness, Path(cfg.output_dir)
    labels = {**_KINDS, "between": "half the gap between two networks"}
    errors = [table.column("test_error", seed=seed) for seed in options.seeds]
    found: dict[str, dict[str, float]] = {}
    panels: list[Panel] = []
    for kind, words in labels.items():
        rises = [table.column(kind, seed=seed) for seed in options.seeds]
        means = _rank(np.mean(rises, axis=0), np.mean(errors, axis=0))
        by_seed = {f"seed {seed}": _rank(*pair) for seed, *pair in zip(options.seeds, rises, errors, strict=True)}
        found[kind] = {**by_seed, "means over the seeds": means}
        series: list[Series] = []
        for batch, decay in itertools.product(options.batch_sizes, map(float, options.weight_decays)):
            x, y = (table.column(c, batch_size=batch, weight_decay=decay) for c in (kind, "test_error"))
            label = f"batch {batch:,}, decay {number(decay)}"
            series.append(Series(label, x, y, look="points", colour=len(series)))
        title = f"{words}: rank correlation {number(means, 2)}"
        panels.append(Panel(title, "rise of the training loss", "test error (%)", series, log_x=True))
    _log.info("rank correlations with the test error: %s", found)
    report = folder / "correlations.json"
    report.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    caption = (
        f"one point for each network: {', '.join(map(str, cfg.runs))}, seeds {', '.join(map(str, options.seeds))}; "
        f"rise at distance {number(options.distance)} along the directions, mean of {options.directions}; rank "
        "correlations (Spearman) of the means over the seeds"
    )
    picture = folder / "correlations.png"
    plot_panels(panels, "Sharpness and test error", caption).savefig(picture, dpi=150)
    return [report, picture]


def _rank(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's rank correlation; NaN where one of the two does not vary."""
    return float(spearmanr(a, b).statistic) if np.ptp(a) and np.ptp(b) else math.nan


def _settings(cfg: DictConfig) -> str:
    """What the numbers depend on, but for the seeds, of which more may be added."""
    names = ("data", "model", "module", "runs", "sharpness", "curve")
    kept: dict[str, Any] = {name: OmegaConf.to_container(cfg[name], resolve=True) for name in names}
    kept["trainer"] = {name: cfg.trainer[name] for name in ("max_epochs", "precision", "limit_train_batches")}
    del kept["sharpness"]["seeds"]
    return json.dumps({**kept, "seed": cfg.seed})
