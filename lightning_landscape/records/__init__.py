"""Records: what was computed, in HDF5 files that survive a killed job and that other tools can read."""

from __future__ import annotations

from lightning_landscape.records.curvature import CurvatureHistory
from lightning_landscape.records.hdf5 import check_writable
from lightning_landscape.records.measures import SurfaceMeasures, measure
from lightning_landscape.records.rise import rise
from lightning_landscape.records.sketch import Sketch, SketchFile
from lightning_landscape.records.stiffness import StiffnessHistory
from lightning_landscape.records.surface import Surface
from lightning_landscape.records.surface_file import SurfaceFile
from lightning_landscape.records.trajectory import Trajectory, TrajectoryFile

__all__ = [
    "CurvatureHistory",
    "Sketch",
    "SketchFile",
    "StiffnessHistory",
    "Surface",
    "SurfaceFile",
    "SurfaceMeasures",
    "Trajectory",
    "TrajectoryFile",
    "check_writable",
    "measure",
    "rise",
]
