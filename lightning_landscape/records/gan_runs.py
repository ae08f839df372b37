"""The results of GAN trainings, one by one and as a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

from lightning_landscape.errors import RecordError
from lightning_landscape.records.whole import write_whole


@dataclass(frozen=True)
class GANRun:
    """What became of one training.

    Attributes:
        rate: learning rate of both players.
        beta1: Adam's first coefficient.
        prediction: whom the opponent met at the prediction: "neither", "generator", "discriminator" or "both".
        seed: of weights, noise and data.
        collapsed_at: the iteration at which a collapse was complete, or None; as `CollapseMonitor` defines it.
        measures: the quality of the samples at the end, by name.
    """

    rate: float
    beta1: float
    prediction: str
    seed: int
    collapsed_at: int | None
    measures: dict[str, float]


def save_runs(path: Path, runs: Iterable[GANRun], settings: object) -> None:
    """Write runs, with the settings that they were made with, as JSON; whole or not at all."""
    text = json.dumps({"settings": settings, "runs": [asdict(run) for run in runs]}, indent=1)
    write_whole(path, text + "\n")


def load_runs(path: Path) -> tuple[list[GANRun], object]:
    """Read what `save_runs` wrote.

    Returns:
        The runs and their settings.

    Raises:
        RecordError: if the file cannot be read or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [GANRun(**run) for run in content["runs"]], content["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path} holds no runs of a GAN ({type(error).__name__}: {error}): delete it") from error


def markdown_table(runs: Sequence[GANRun], names: Sequence[str]) -> str:
    """Tabulate runs by learning rate and beta1: collapsed runs, and the mean and standard deviation of each measure.

    Args:
        runs: any number of runs; those of one row and one prediction differ in their seed.
        names: the measures to show.

    Returns:
        A table in Markdown, with a pair of columns (without and with prediction) for each quantity, and a last row for
        all runs.
    """
    kinds = sorted({run.prediction for run in runs}, key=lambda kind: kind != "neither")
    quantities = ["collapsed", *names]
    head = ["rate", "beta1"] + [f"{name.replace('_', ' ')}: {kind}" for name in quantities for kind in kinds]
    rows = [head, ["---"] * len(head)]
    for rate, beta1 in sorted({(run.rate, run.beta1) for run in runs}):
        row = [run for run in runs if (run.rate, run.beta1) == (rate, beta1)]
        rows.append([f"{rate:g}", f"{beta1:g}", *_cells(row, kinds, names)])
    rows.append(["all", "", *_cells(runs, kinds, names)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cells(runs: Sequence[GANRun], kinds: Sequence[str], names: Sequence[str]) -> list[str]:
    of_kind = {kind: [run for run in runs if run.prediction == kind] for kind in kinds}
    cells = [f"{sum(r.collapsed_at is not None for r in of_kind[k])} of {len(of_kind[k])}" for k in kinds]
    for name in names:
        for kind in kinds:
            values = [run.measures[name] for run in of_kind[kind]]
            spread = f" ± {stdev(values):.2g}" if len(values) > 1 else ""
            cells.append(f"{mean(values):.3g}{spread}" if values else "")
    return cells
