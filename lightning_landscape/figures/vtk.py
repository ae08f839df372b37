"""A surface as a structured grid for ParaView and other VTK programs."""

from __future__ import annotations

import os
import pathlib

import numpy as np

from lightning_landscape.errors import RecordError
from lightning_landscape.figures.channels import channel_of, drawn_values, require_plane
from lightning_landscape.records.surface import Surface


def write_vtk(surface: Surface, path: str | os.PathLike[str], channel: str | None = None) -> pathlib.Path:
    """Write a surface over a plane as a VTK structured grid whose heights are the values of one channel.

    Point (j, i) lies at (x[i], y[j], value[j, i]). All channels, their standard errors and the mask of computed points
    are point data under their own names. Points whose value is not finite or not computed are hidden, as VTK's ghost
    points, and lie at the lowest height; their data keep the NaN or infinity.

    Args:
        surface: a surface over a plane.
        path: the file, ending in ".vts" (XML) or ".vtk" (legacy); its folder is created if need be.
        channel: the channel that makes the heights; None for the loss.

    Returns:
        The path of the file.

    Raises:
        RecordError: if pyvista is not installed, the surface is over a line, the channel is missing, or the path ends
            in something else.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() not in {".vts", ".vtk"}:
        raise RecordError(f"write_vtk writes .vts and .vtk files, and {path.name!r} is neither")
    y = require_plane(surface, "write_vtk")
    name = channel_of(surface, channel)
    try:
        import pyvista
    except ImportError as error:
        raise RecordError('write_vtk needs pyvista: pip install "lightning-landscape[vtk]"') from error

    heights = drawn_values(surface, name)
    missing = ~np.isfinite(heights)
    floor = 0.0 if missing.all() else float(np.nanmin(heights))
    grid = pyvista.StructuredGrid()
    # VTK counts x fastest: C order of [Y, X].
    x_of, y_of = np.meshgrid(surface.x, y)
    grid.points = np.stack([x_of.ravel(), y_of.ravel(), np.where(missing, floor, heights).ravel()], axis=1)
    grid.dimensions = (len(surface.x), len(y), 1)
    for key, values in surface.channels.items():
        grid.point_data[key] = values.ravel()
    for key, values in surface.errors.items():
        grid.point_data[f"{key}_error"] = values.ravel()
    grid.point_data["done"] = surface.done.ravel().astype(np.uint8)
    grid.point_data.active_scalars_name = name
    if missing.any():
        grid.hide_points(missing.ravel())
    path.parent.mkdir(parents=True, exist_ok=True)
    grid.save(path)
    return path
