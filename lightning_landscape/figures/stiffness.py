"""Figures of stiffness: class by class, over training, and against the distance of the inputs."""

from __future__ import annotations

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import style
from lightning_landscape.figures.panels import Look, Panel, Series, plot_panels
from lightning_landscape.records.stiffness import StiffnessHistory

Kind = Literal["sign", "cosine"]

_PAIRS = {"train": "training with training", "val": "training with validation"}
_SHOWN = 5  # moments in the figure against distance


def plot_class_stiffness(history: StiffnessHistory, kind: Kind = "cosine", moment: int = -1) -> Figure:
    """Draw the class matrices at one moment: how far a step on one class helps another.

    Args:
        history: the record.
        kind: "cosine" or "sign".
        moment: which measurement.

    Raises:
        RecordError: if nothing was measured yet.
    """
    _require_rows(history)
    shown = {p: history.values[f"{p}/{kind}"][moment] for p in _PAIRS if f"{p}/{kind}" in history.values}
    shown = {pairs: matrix for pairs, matrix in shown.items() if np.isfinite(matrix).any()}
    limit = max([float(np.nanmax(np.abs(matrix))) for matrix in shown.values()], default=1.0) or 1.0
    size, count = 3.1, len(history.classes)
    figure = style.new_figure(len(shown) * (size + 0.8) + 1.0, size + 1.4)
    panels = list(figure.subplots(1, len(shown), squeeze=False).flat)
    for axes, (pairs, matrix) in zip(panels, shown.items(), strict=True):
        style.style_axes(axes)
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        every = max(1, count // 10)
        axes.set_xticks(range(0, count, every), [str(c) for c in history.classes[::every]])
        axes.set_yticks(range(0, count, every), [str(c) for c in history.classes[::every]])
        if count <= 10:
            _write_values(axes, matrix, limit)
        style.label_axes(axes, "class of the second example", "class of the first example", (size, size))
        style.set_panel_title(axes, _PAIRS[pairs], size)
    bar = figure.colorbar(image, cax=panels[-1].inset_axes((1.04, 0, 0.05, 1)))
    bar.ax.tick_params(labelsize=style.TICK_SIZE, labelcolor=style.INK, color=style.MUTED)
    bar.set_label(f"{_mean_name(kind)}", fontsize=style.LABEL_SIZE, color=style.INK)
    style.set_texts(figure, f"Stiffness between classes, epoch {history.epochs[moment]}", _caption(history))
    return figure


def plot_stiffness(history: StiffnessHistory) -> Figure:
    """Draw stiffness within and between classes over training.

    Args:
        history: the record.

    Raises:
        RecordError: if nothing was measured yet.
    """
    _require_rows(history)
    kinds: tuple[Kind, ...] = ("sign", "cosine")
    panels = []
    looks: dict[str, Look] = {"train": "solid", "val": "dashed"}
    for kind in kinds:
        lines = []
        for pairs, look in looks.items():
            name = f"{pairs}/{kind}"
            if not np.isfinite(history.values[name]).any():
                continue
            for colour, (words, values) in enumerate(
                {"within a class": history.within(name), "between classes": history.between(name)}.items()
            ):
                label = f"{words}, {_PAIRS[pairs]}"
                lines.append(Series(label, history.epochs, values, look=look, colour=colour))
        panels.append(Panel(kind, "epoch", _mean_name(kind), lines, levels={"": 0.0}))
    return plot_panels(panels, "Stiffness over training", _caption(history))


def plot_stiffness_distance(history: StiffnessHistory, kind: Kind = "cosine") -> Figure:
    """Draw stiffness against the distance of the inputs, at a few moments from the first to the last.

    Args:
        history: the record.
        kind: "cosine" or "sign".

    Raises:
        RecordError: if nothing was measured yet.
    """
    _require_rows(history)
    moments = np.unique(np.linspace(0, len(history.steps) - 1, _SHOWN).round().astype(int))
    centres = (history.edges[1:] + history.edges[:-1]) / 2
    panels = []
    for words, which in (("within a class", "within"), ("between classes", "between")):
        values = history.values[f"train/{kind}/distance/{which}"]
        lines = [
            Series(f"epoch {history.epochs[m]}", centres, values[m], colour=order) for order, m in enumerate(moments)
        ]
        panels.append(Panel(words, "distance of the inputs (1 - cosine)", _mean_name(kind), lines, levels={"": 0.0}))
    lengths = history.values[f"train/{kind}/critical_length"]
    known = [f"epoch {history.epochs[m]}: {lengths[m]:.2f}" for m in moments if np.isfinite(lengths[m])]
    note = f"critical length (linear fit within classes) {', '.join(known)}" if known else "no critical length"
    return plot_panels(panels, "Stiffness against the distance of the inputs", f"{note}\n{_caption(history)}")


def _mean_name(kind: Kind) -> str:
    return "mean sign of the gradients' product" if kind == "sign" else "mean cosine of the gradients"


def _write_values(axes: Axes, matrix: NDArray[np.float64], limit: float) -> None:
    for (row, column), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            colour = "white" if abs(value) > 0.65 * limit else style.INK
            text = f"{value:.2f}".replace("0.", ".")
            axes.text(column, row, text, ha="center", va="center", fontsize=6.5, color=colour)


def _caption(history: StiffnessHistory) -> str:
    attrs = history.attrs
    counts = f"{attrs.get('train_examples', '?')} training examples"
    if attrs.get("val_examples"):
        counts += f" and {attrs['val_examples']} validation examples"
    step = attrs.get("step_name", "the step")
    return f"{counts}, gradients of {step} in eval mode, pairs of an example with itself left out"


def _require_rows(history: StiffnessHistory) -> None:
    if not len(history.steps):
        raise RecordError("nothing of the stiffness is measured yet: wait for the callback's first measurement")
