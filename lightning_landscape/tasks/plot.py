"""The figures of a record, drawn again."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from lightning_landscape.errors import LandscapeError
from lightning_landscape.figures import (
    plot_contours,
    plot_curves,
    plot_errors,
    plot_surface,
    plot_trajectory,
    write_html,
)
from lightning_landscape.records.surface import Surface
from lightning_landscape.records.surface_file import check_writable


def plot(cfg: DictConfig) -> list[Path]:
    """Draw every figure that the record ``cfg.record`` allows, into ``cfg.output_dir``.

    Returns:
        The pictures and the interactive page; nothing on other ranks than zero.

    Raises:
        LandscapeError: if no record is given.
    """
    if cfg.record is None:
        raise LandscapeError("mode=plot needs a record: record=path/to/surface.h5 (ours, or one of the original tool)")
    if rank_zero_only.rank:  # type: ignore[attr-defined]
        return []
    check_writable(cfg.output_dir)
    surface, stem = Surface.load(cfg.record), Path(cfg.output_dir) / Path(cfg.record).stem
    if surface.dim == 1:
        figures = {"curve": plot_curves(surface, None if cfg.channel is None else [cfg.channel])}
    else:
        figures = {
            "contours": plot_contours(surface, cfg.channel),
            "filled": plot_contours(surface, cfg.channel, filled=True),
            "surface": plot_surface(surface, cfg.channel),
        }
        if "coarse_points" in surface.attrs:
            figures["errors"] = plot_errors(surface, cfg.channel)
        if surface.path is not None:
            figures["trajectory"] = plot_trajectory(surface, cfg.channel)
    written = []
    for kind, figure in figures.items():
        written.append(stem.with_name(f"{stem.name}-{kind}.png"))
        figure.savefig(written[-1], dpi=150)
    if surface.dim == 2:
        written.append(stem.with_name(f"{stem.name}.html"))
        write_html(surface, written[-1], cfg.channel)
    return written
