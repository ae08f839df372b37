"""The Hessian's spectrum at some moments of a training, and its sharpness over time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lightning_landscape.curvature.density import SpectralDensity
from lightning_landscape.errors import RecordError
from lightning_landscape.figures.panels import Panel, Series, plot_panels
from lightning_landscape.figures.scale import number
from lightning_landscape.records.curvature import CurvatureHistory

Array = NDArray[np.float64]

_POINTS = 800
_WIDTHS = 100  # standard deviations of a bump that the range of the eigenvalues is wide


def plot_spectrum(histories: CurvatureHistory | Mapping[str, CurvatureHistory]) -> Figure:
    """Draw the spectral density at the first, the middle and the last moment, on a logarithmic scale.

    Each eigenvalue is drawn as a normal distribution, one hundredth of the spectrum's range in standard deviation.
    Points mark the eigenvalues that were computed one by one, at the height that a single eigenvalue has.

    Args:
        histories: from `HessianSpectrum`; or several by name, a row of panels for each.

    Raises:
        RecordError: if there is no moment, or a record is another one.
    """
    shown = _by_name(histories)
    panels = [_density(name, history, moment) for name, history in shown.items() for moment in _moments(history)]
    history = next(iter(shown.values()))
    rows, nodes = history["nodes"].shape[1:]
    caption = (
        f"{_sample(history)}; density from {rows} random directions with {nodes} Lanczos steps each, eigenvalues "
        "widened by a hundredth of their range; points stand at the height of one eigenvalue"
    )
    return plot_panels(panels, "Spectrum of the Hessian", caption)


def plot_sharpness(histories: CurvatureHistory | Mapping[str, CurvatureHistory]) -> Figure:
    """Draw the extreme eigenvalues over the epochs beside 2 / lr, the trace, and the loss.

    Above 2 / lr plain gradient descent on a quadratic of that curvature diverges (Cohen et al., arXiv 2103.00065);
    momentum raises the threshold, and batches lower it.

    Args:
        histories: from `HessianSpectrum`; or several by name, a row of panels for each.

    Raises:
        RecordError: if there is no moment, or a record is another one.
    """
    shown = _by_name(histories)
    panels = [panel for name, history in shown.items() for panel in _over_time(name, history)]
    history = next(iter(shown.values()))
    tolerance = number(100 * float(history.attrs["tolerance"]))
    caption = (
        f"{_sample(history)}; residuals within {tolerance} % of the eigenvalues; bands: residuals, and 2 standard "
        "errors of the trace; 2 / lr is the threshold of plain gradient descent"
    )
    return plot_panels(panels, "Sharpness during training", caption)


def _density(name: str, history: CurvatureHistory, moment: int) -> Panel:
    density = SpectralDensity(history["nodes"][moment], history["weights"][moment], _parameters(history))
    leading = np.concatenate([history["largest"][moment], history["smallest"][moment]])
    low, high = min(leading.min(), density.nodes.min()), max(leading.max(), density.nodes.max())
    width = max(high - low, 1e-12) / _WIDTHS
    points = np.linspace(low - 4 * width, high + 4 * width, _POINTS)
    single = 1 / (density.size * width * np.sqrt(2 * np.pi))
    curve = density.at(points, width)
    curve[curve < single / 30] = np.nan
    trace, error = float(history["trace"][moment]), float(history["trace_error"][moment])
    return Panel(
        f"{_prefix(name)}epoch {history.epochs[moment]}, trace {number(trace, 3)} ± {number(error, 3)}",
        "eigenvalue",
        "density",
        [
            Series("density", points, curve),
            Series("leading eigenvalues", leading, np.full(len(leading), single), look="points", colour=1),
        ],
        log_y=True,
    )


def _over_time(name: str, history: CurvatureHistory) -> list[Panel]:
    _moments(history)
    epochs, largest, smallest = history.epochs, history["largest"], history["smallest"][:, 0]
    with np.errstate(divide="ignore"):
        threshold = np.where(history.lr > 0, 2 / history.lr, np.nan)
    lines = [
        Series("largest eigenvalue (sharpness)", epochs, largest[:, 0], history["largest_residual"][:, 0] / 2),
        Series("size of the smallest, where negative", epochs, _positive(-smallest), look="dotted", colour=1),
        Series("2 / lr", epochs, threshold, look="dashed", colour=5),
    ]
    if (k := largest.shape[1]) > 1:
        lines.insert(1, Series(f"{k}th largest", epochs, _positive(largest[:, -1]), look="dashed"))
    trace = Series("trace", epochs, history["trace"], history["trace_error"], colour=2)
    loss = Series("loss", epochs, history["loss"], colour=3)
    return [
        Panel(f"{_prefix(name)}eigenvalues", "epoch", "eigenvalue", lines, log_y=True),
        Panel(f"{_prefix(name)}trace", "epoch", "trace of the Hessian", [trace]),
        Panel(f"{_prefix(name)}loss", "epoch", "loss", [loss], log_y=True),
    ]


def _by_name(histories: CurvatureHistory | Mapping[str, CurvatureHistory]) -> dict[str, CurvatureHistory]:
    shown = {"": histories} if isinstance(histories, CurvatureHistory) else dict(histories)
    if not shown:
        raise RecordError("no record was given: give one of HessianSpectrum, or several by name")
    return shown


def _prefix(name: str) -> str:
    return f"{name}: " if name else ""


def _moments(history: CurvatureHistory) -> list[int]:
    if not len(history) or "nodes" not in history.values:
        raise RecordError("this record holds no spectrum: give one of HessianSpectrum, with at least one measurement")
    last = len(history) - 1
    return sorted({0, (last + 1) // 2, last})


def _positive(values: Array) -> Array:
    return np.where(values > 0, values, np.nan)


def _parameters(history: CurvatureHistory) -> int:
    return int(history.attrs["parameters"])


def _sample(history: CurvatureHistory) -> str:
    facts = history.attrs
    return f"Hessian of {facts['step_name']} by {_parameters(history)} parameters, {facts['examples']} examples"
