"""Many GAN trainings in one picture: what came out, by learning rate, momentum and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import style
from lightning_landscape.records.gan_runs import GANRun

_HEIGHT, _WIDTH = 2.0, 3.6  # of a panel, inches


def plot_gan_runs(
    runs: Sequence[GANRun], measures: Sequence[str], *, best: float | None = None, title: str = "", caption: str = ""
) -> Figure:
    """Draw every run as a mark: its measure over its learning rate, without and with prediction side by side.

    Filled circles are runs that did not collapse, crosses are those that did. Short lines are the means over the seeds.

    Args:
        runs: at least one.
        measures: one row of panels for each; the columns are the values of beta1.
        best: a horizontal line in the first row, such as the number of modes that there are.
        title: of the figure.
        caption: small lines under it.

    Returns:
        A new figure.

    Raises:
        RecordError: if there are no runs, or one lacks a measure.
    """
    if not runs:
        raise RecordError("plot_gan_runs was given no runs")
    for name in measures:
        if any(name not in run.measures for run in runs):
            raise RecordError(f"some run has no measure {name!r}: there are {sorted(runs[0].measures)}")
    kinds = sorted({run.prediction for run in runs}, key=lambda kind: kind != "neither")
    colours = dict(zip(kinds, (style.SERIES[1], style.SERIES[0], *style.SERIES[2:]), strict=False))
    betas = sorted({run.beta1 for run in runs})
    rates = sorted({run.rate for run in runs})
    figure = style.new_figure(_WIDTH * len(betas) + 0.8, _HEIGHT * len(measures) + 1.6)
    panels = figure.subplots(len(measures), len(betas), sharex=True, sharey="row", squeeze=False)
    for number, (row, measure) in enumerate(zip(panels, measures, strict=True)):
        for panel, beta1 in zip(row, betas, strict=True):
            style.style_axes(panel, grid=True, frame=False)
            for position, kind in enumerate(kinds):
                shift = 0.24 * (position - (len(kinds) - 1) / 2)
                chosen = [run for run in runs if run.beta1 == beta1 and run.prediction == kind]
                _draw(panel, chosen, rates, measure, shift, colours[kind])
            panel.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
            panel.set_xlim(-0.6, len(rates) - 0.4)
            if number == 0:
                style.set_panel_title(panel, f"beta1 = {beta1:g}", _WIDTH)
                if best is not None:
                    panel.axhline(best, color=style.MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
        row[0].set_ylabel(measure.replace("_", " "), fontsize=style.LABEL_SIZE, color=style.INK)
    for panel in panels[-1]:
        panel.set_xlabel("learning rate", fontsize=style.LABEL_SIZE, color=style.INK)
    words = {"neither": "without prediction", "generator": "with prediction of the generator"}
    handles = [
        Line2D([], [], color=colours[kind], linewidth=2, label=words.get(kind, f"with prediction: {kind}"))
        for kind in kinds
    ]
    handles += [
        Line2D([], [], color=style.INK, marker="o", markersize=4, linestyle="none", label="run"),
        Line2D([], [], color=style.INK, marker="x", markersize=5, linestyle="none", label="collapsed run"),
    ]
    style.legend_below(panels[-1][0], handles, _WIDTH * len(betas))
    style.set_texts(figure, title, caption)
    return figure


def _draw(panel: Any, runs: Sequence[GANRun], rates: Sequence[float], measure: str, shift: float, colour: str) -> None:
    for place, rate in enumerate(rates):
        here = [run for run in runs if run.rate == rate]
        if not here:
            continue
        # Runs of one value would hide each other: they stand a little apart.
        spread = [0.022 * (number - (len(here) - 1) / 2) for number in range(len(here))]
        values = [run.measures[measure] for run in here]
        for offset, run, value in zip(spread, here, values, strict=True):
            marker = "o" if run.collapsed_at is None else "x"
            panel.plot(place + shift + offset, value, marker=marker, markersize=4, color=colour, alpha=0.8)
        average = sum(values) / len(values)
        panel.plot([place + shift - 0.1, place + shift + 0.1], [average] * 2, color=colour, linewidth=1.6)
