"""The numbers of several networks, one row each: for the report, as CSV and as a table in Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from lightning_landscape.figures import RunSummary
from lightning_landscape.figures.scale import number
from lightning_landscape.records.measures import initial_loss, measure, nonconvex_share
from lightning_landscape.records.surface import Surface


def summary(name: str, parameters: int, seconds: float, curve: Surface, plane: Surface | None) -> RunSummary:
    """Return the numbers of one network.

    Args:
        name: of the network.
        parameters: how many it has.
        seconds: the time that its training and its surfaces took.
        curve: its record along a line on training and test data, whose centre tells losses and accuracies.
        plane: its surface in random directions, if there is one.
    """
    centre = int(abs(curve.x).argmin())
    metrics = {channel.replace("/", " "): float(curve[channel][centre]) for channel in curve.names}
    if "test accuracy" in metrics:
        metrics["test error (%)"] = round(100 * (1 - metrics["test accuracy"]), 2)
    if plane is not None:
        metrics |= _shape(plane)
    return RunSummary(name, parameters, {**metrics, "seconds": round(seconds, 1)})


def _shape(plane: Surface) -> dict[str, float]:
    """How rough a plane is, and how much so on either side of the loss before training."""
    found = measure(plane)
    numbers = {"plane not convex (%)": _percent(found.nonconvex_share), "roughness": round(found.roughness, 4)}
    before = initial_loss(plane, found.channel)
    if before is None or found.share_above_initial is None:
        return numbers
    values = plane[found.channel]
    for side, inside in (("below", values <= before), ("above", values > before)):
        # Points whose neighbours are all on the same side.
        part = nonconvex_share(np.where(inside, values, np.nan), plane.x, plane.y)
        numbers[f"not convex {side} the loss before training (%)"] = _percent(part)
    return {**numbers, "plane below the loss before training (%)": _percent(1 - found.share_above_initial)}


def _percent(share: float) -> float:
    return round(100 * share, 1)


def csv_text(runs: Sequence[RunSummary]) -> str:
    """The numbers as CSV.

    >>> csv_text([RunSummary("plain", 10, {"roughness": 0.25})]).splitlines()
    ['run,parameters,roughness', 'plain,10,0.25']
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(_rows(runs))
    return text.getvalue()


def markdown_text(runs: Sequence[RunSummary]) -> str:
    """The numbers as a table in Markdown, a column for each network.

    >>> print(markdown_text([RunSummary("plain", 10, {"roughness": 0.25}), RunSummary("residual", 10, {})]))
    | run | plain | residual |
    |---|---|---|
    | parameters | 10 | 10 |
    | roughness | 0.25 |  |
    """
    lines = [[_cell(value) for value in row] for row in _rows(runs)]
    head, *rest = (f"| {' | '.join(column)} |" for column in zip(*lines, strict=True))
    return "\n".join([head, f"|{'---|' * (len(runs) + 1)}", *rest])


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else number(value)


def _rows(runs: Sequence[RunSummary]) -> list[list[str | float]]:
    metrics = list(dict.fromkeys(metric for run in runs for metric in run.metrics))
    head: list[str | float] = ["run", "parameters", *metrics]
    return [head, *([run.name, run.parameters or "", *(run.metrics.get(m, "") for m in metrics)] for run in runs)]
