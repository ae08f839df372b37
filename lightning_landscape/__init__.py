"""See the loss landscape of any Lightning run, compare runs by it, and train with methods that change it."""

from importlib.metadata import version as _version

from lightning_landscape.callbacks import CollapseMonitor, LossLandscape, TrajectoryRecorder, register_logger
from lightning_landscape.engine import compute_surface, weights_from_checkpoint
from lightning_landscape.errors import (
    GeometryError,
    LandscapeError,
    ObjectiveError,
    PredictionError,
    QuantizationError,
    RecordError,
    RecordMismatchError,
    UnsupportedStrategyError,
)
from lightning_landscape.geometry.directions import random_direction
from lightning_landscape.geometry.slices import Line, Plane
from lightning_landscape.geometry.weights import Weights, weights_of
from lightning_landscape.modules import PredictionGAN
from lightning_landscape.modules.quantized_classifier import QuantizedClassifier
from lightning_landscape.optim import Prediction
from lightning_landscape.optim.rounding import DeterministicRounding, StochasticRounding
from lightning_landscape.quantization.binary_connect import binary_connect, clip_
from lightning_landscape.quantization.packing import load_packed, save_packed
from lightning_landscape.quantization.quantizer import Quantizer
from lightning_landscape.records.measures import measure
from lightning_landscape.records.sketch import Sketch
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
    # records
    "Sketch",
    "Surface",
    "Trajectory",
    "measure",
    # callbacks
    "CollapseMonitor",
    "LossLandscape",
    "TrajectoryRecorder",
    "register_logger",
    # quantised training
    "DeterministicRounding",
    "QuantizedClassifier",
    "Quantizer",
    "StochasticRounding",
    "binary_connect",
    "clip_",
    "load_packed",
    "save_packed",
    # training methods
    "Prediction",
    "PredictionGAN",
    # errors
    "GeometryError",
    "LandscapeError",
    "ObjectiveError",
    "QuantizationError",
    "PredictionError",
    "RecordError",
    "RecordMismatchError",
    "UnsupportedStrategyError",
]
