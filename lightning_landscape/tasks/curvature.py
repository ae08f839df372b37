"""Trainings with the callbacks that measure curvature, and their figures side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from omegaconf import DictConfig

from lightning_landscape.callbacks.curvature_callback import CurvatureCallback
from lightning_landscape.errors import LandscapeError
from lightning_landscape.figures import plot_sharpness, plot_spectrum, plot_subspace
from lightning_landscape.records.curvature import CurvatureHistory
from lightning_landscape.records.surface_file import check_writable
from lightning_landscape.tasks.build import build_run, execute, of_run

_FIGURES: dict[str, dict[str, Callable[[Mapping[str, CurvatureHistory]], Figure]]] = {
    "spectrum": {"spectrum": plot_spectrum, "sharpness": plot_sharpness},
    "subspace": {"subspace": plot_subspace},
}


def curvature(cfg: DictConfig) -> list[Path]:
    """Train every run of ``cfg.runs`` (or the one run), and draw what its callbacks measured, a row for each run.

    Returns:
        The figures and the records.

    Raises:
        LandscapeError: if no callback measures curvature.
    """
    folder = Path(cfg.output_dir)
    check_writable(folder)
    measured: dict[str, dict[str, Path]] = {}
    for name, merged in {str(n): of_run(cfg, n) for n in cfg.runs}.items() or {"": cfg}.items():
        run = build_run(merged)
        execute(run)
        for callback in run.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, CurvatureCallback) and callback.path is not None:
                measured.setdefault(callback.kind, {})[name] = callback.path
    if not measured:
        raise LandscapeError("mode=curvature draws what HessianSpectrum or GradientSubspace measure: give callbacks")
    if rank_zero_only.rank:  # type: ignore[attr-defined]
        return []
    written = [path for paths in measured.values() for path in paths.values()]
    for kind, paths in measured.items():
        histories = {name: CurvatureHistory.load(path) for name, path in paths.items()}
        for figure, draw in _FIGURES[kind].items():
            written.insert(0, folder / f"{figure}.png")
            draw(histories).savefig(written[0], dpi=150)
    return written
