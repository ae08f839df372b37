"""Intrinsic dimension: how many coordinates of a random subspace a problem needs."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf

from lightning_landscape.data.splits import EvaluationData
from lightning_landscape.errors import LandscapeError
from lightning_landscape.figures import Panel, Series, plot_panels
from lightning_landscape.modules.subspace import RandomSubspace
from lightning_landscape.records.table import Table
from lightning_landscape.tasks.build import build_run

_log = logging.getLogger(__name__)


def intrinsic_dimension(cfg: DictConfig) -> list[Path]:
    r"""Search for the smallest d at which training in a random subspace reaches 90 % of the accuracy of all weights.

    First over ``cfg.search.dimensions``, then by bisection on a logarithmic scale between the last d that falls short
    and the first that does not, until they are within ``cfg.search.ratio`` of each other. Every d is trained with each
    of ``cfg.search.seeds`` seeds, of the network and the subspace; what counts is the mean test accuracy.

    Returns:
        The table of all runs and the figure.

    Raises:
        LandscapeError: if there are no dimensions, or no test data.

    Source: Li et al., arXiv 1804.08838, section 3 (d_int90).
    """
    search = cfg.search
    dimensions = sorted({int(d) for d in search.dimensions})
    if not dimensions or search.seeds < 1:
        raise LandscapeError(
            "mode=intrinsic_dimension needs search.dimensions and search.seeds: give at least one each"
        )
    settings = OmegaConf.to_yaml({key: cfg[key] for key in ("data", "model", "module", "trainer", "seed")})
    settings += f"{search.projection} {search.module}"
    path = Path(cfg.output_dir) / "intrinsic_dimension.csv"
    table = Table(path, ["dimension", "seed"], ["accuracy", "parameters"], settings)

    def accuracy(dimension: int) -> float:
        """Mean test accuracy over the seeds; dimension 0 stands for all weights."""
        seeds = range(cfg.seed, cfg.seed + search.seeds)
        found = [table.row([dimension, seed], partial(_train, cfg, dimension, seed)) for seed in seeds]
        mean = float(np.mean([row["accuracy"] for row in found]))
        _log.info("%s: %.3f", f"d = {dimension}" if dimension else "all weights", mean)
        return mean

    goal = 0.9 * accuracy(0)
    scores = {dimension: accuracy(dimension) for dimension in dimensions}
    reached = _first_reaching(scores, goal)
    below = max((d for d in scores if reached is None or d < reached), default=None)
    while reached is not None and below is not None and reached > below * search.ratio and reached > below + 1:
        middle = round(float(np.sqrt(below * reached)))
        scores[middle] = accuracy(middle)
        reached, below = (middle, below) if scores[middle] >= goal else (reached, middle)
    figure_path = path.with_suffix(".png")
    _figure(cfg, table, goal, reached).savefig(figure_path, dpi=150)
    return [path, figure_path]


def _first_reaching(scores: dict[int, float], goal: float) -> int | None:
    """The smallest d from which on every larger one reaches the goal."""
    found = None
    for dimension in sorted(scores, reverse=True):
        if scores[dimension] < goal:
            break
        found = dimension
    return found


def _train(cfg: DictConfig, dimension: int, seed: int) -> dict[str, float]:
    """Train once, in the subspace or, for dimension 0, in the whole space, and test.

    Raises:
        LandscapeError: if the data module does not say how to evaluate on its test data.
    """
    merged = OmegaConf.merge(cfg, {"seed": seed}, {"module": cfg.search.module} if dimension else {})
    assert isinstance(merged, DictConfig)
    run = build_run(merged)
    callbacks: list[object] = run.trainer.callbacks  # type: ignore[attr-defined]
    if dimension:
        callbacks.append(RandomSubspace(dimension, cfg.search.projection, seed))
    if not isinstance(run.data, EvaluationData):
        raise LandscapeError(
            f"mode=intrinsic_dimension evaluates test data, and {type(run.data).__name__} has no "
            "evaluation_dataloader(split): define it, or choose one of the data sets of this package"
        )
    parameters = sum(p.numel() for p in run.module.parameters())
    run.trainer.fit(run.module, datamodule=run.data)
    (metrics,) = run.trainer.test(run.module, run.data.evaluation_dataloader("test"), verbose=False)
    return {"accuracy": metrics["test_accuracy"], "parameters": parameters}


def _figure(cfg: DictConfig, table: Table, goal: float, reached: int | None) -> Figure:
    every, accuracies = table.column("dimension"), table.column("accuracy")
    dimensions = np.unique(every[every > 0])
    means = np.array([accuracies[every == d].mean() for d in dimensions])
    parameters = int(table.column("parameters")[0])
    whole = accuracies[every == 0].mean()
    panel = Panel(
        f"d_int90 = {reached}" if reached else "d_int90 not reached",
        "dimension of the subspace",
        "test accuracy",
        [
            Series("one run", every[every > 0], accuracies[every > 0], look="points"),
            Series("mean of the runs", dimensions, means),
        ],
        log_x=True,
        levels={f"all {parameters:,} weights": whole, "90 % of it": goal},
        marks={"d_int90": reached} if reached else {},
    )
    caption = (
        f"{cfg.search.seeds} run(s) for each d, {cfg.search.projection} projection, {cfg.trainer.max_epochs} epochs; "
        "the last steps of the search are bisections"
    )
    return plot_panels([panel], "Accuracy of training in a random subspace", caption, size=(5.6, 3.6))
