"""See the loss landscape of any Lightning run, compare runs by it, and train with methods that change it."""

from importlib.metadata import version as _version

from lightning_landscape.callbacks import (
    GradientSubspace,
    HessianSpectrum,
    LossLandscape,
    Stiffness,
    TrajectoryRecorder,
    register_logger,
)
from lightning_landscape.curvature.convexity import convexity_map
from lightning_landscape.curvature.curvature import Curvature
from lightning_landscape.engine import compute_surface, weights_from_checkpoint
from lightning_landscape.errors import (
    CurvatureError,
    GeometryError,
    LandscapeError,
    ObjectiveError,
    RecordError,
    RecordMismatchError,
    UnsupportedStrategyError,
)
from lightning_landscape.geometry.directions import random_direction
from lightning_landscape.geometry.slices import Line, Plane
from lightning_landscape.geometry.weights import Weights, weights_of
from lightning_landscape.modules.subspace import RandomSubspace
from lightning_landscape.records.curvature import CurvatureHistory
from lightning_landscape.records.measures import measure
from lightning_landscape.records.surface import Surface
from lightning_landscape.records.trajectory import Trajectory
from lightning_landscape.sampling.grid import Grid

__version__ = _version("lightning-landscape")

__all__ = [
    # geometry
    "Line",
    "Plane",
    "Weights",
    "random_direction",
    "weights_of",
    # evaluation
    "Grid",
    "compute_surface",
    "weights_from_checkpoint",
    # curvature
    "Curvature",
    "convexity_map",
    # records
    "CurvatureHistory",
    "Surface",
    "Trajectory",
    "measure",
    # callbacks
    "GradientSubspace",
    "HessianSpectrum",
    "LossLandscape",
    "Stiffness",
    "TrajectoryRecorder",
    "register_logger",
    # training in a slice
    "RandomSubspace",
    # errors
    "CurvatureError",
    "GeometryError",
    "LandscapeError",
    "ObjectiveError",
    "RecordError",
    "RecordMismatchError",
    "UnsupportedStrategyError",
]
