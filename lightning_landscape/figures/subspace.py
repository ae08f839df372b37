"""The share of the gradient in the Hessian's leading subspace during a training, and how that subspace moves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from lightning_landscape.curvature.top_subspace import count_outliers
from lightning_landscape.errors import RecordError
from lightning_landscape.figures.panels import Panel, Series, plot_panels
from lightning_landscape.records.curvature import CurvatureHistory


def plot_subspace(histories: CurvatureHistory | Mapping[str, CurvatureHistory]) -> Figure:
    """Draw the gradient's share in the leading subspace, the overlap of that subspace over time, and the eigenvalues.

    Args:
        histories: from `GradientSubspace`; or several by name, a row of panels for each.

    Raises:
        RecordError: if there is no moment, or a record is another one.
    """
    shown = {"": histories} if isinstance(histories, CurvatureHistory) else dict(histories)
    panels = [panel for name, history in shown.items() for panel in _panels(f"{name}: " if name else "", history)]
    facts = next(iter(shown.values())).attrs
    caption = (
        f"Hessian and gradient of {facts['step_name']} by {facts['parameters']} parameters on {facts['examples']} "
        "examples, the same at each moment; overlap 1: the same subspace"
    )
    return plot_panels(panels, "Gradient and leading subspace of the Hessian", caption)


def _panels(prefix: str, history: CurvatureHistory) -> list[Panel]:
    if not len(history) or "share" not in history.values:
        raise RecordError("this record holds no subspace: give one of GradientSubspace, with at least one measurement")
    k = min(int(history.attrs["k"]), history["share"].shape[1])
    chance = k / int(history.attrs["parameters"])
    last = history["largest"][-1]
    outliers = count_outliers(last)
    return [
        Panel(
            f"{prefix}gradient in the top {k} directions",
            "epoch",
            "share of its square",
            [Series("share of the gradient", history.epochs, history["share"][:, k - 1])],
            levels={f"a random vector's: {chance:.1g}": chance},
        ),
        Panel(
            f"{prefix}overlap of the top {k} directions",
            "epoch",
            "overlap",
            [
                Series("with those of the moment before", history.epochs, history["overlap_previous"], colour=2),
                Series("with those at the start", history.epochs, history["overlap_first"], look="dashed", colour=2),
            ],
        ),
        Panel(
            f"{prefix}eigenvalues at the end, {outliers} stand out",
            "number, from the largest",
            "eigenvalue",
            [
                Series(
                    "eigenvalue", np.arange(1, len(last) + 1), np.where(last > 0, last, np.nan), look="points", colour=1
                )
            ],
            log_y=True,
            marks={"largest gap": outliers + 0.5} if outliers else {},
        ),
    ]
