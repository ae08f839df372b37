"""What the command does, by the name of its mode."""

from lightning_landscape.tasks.batch_size_curvature import batch_size_curvature
from lightning_landscape.tasks.compare import compare
from lightning_landscape.tasks.convexity import convexity
from lightning_landscape.tasks.curvature import curvature
from lightning_landscape.tasks.goldilocks import goldilocks
from lightning_landscape.tasks.interpolate import interpolate
from lightning_landscape.tasks.intrinsic_dimension import intrinsic_dimension
from lightning_landscape.tasks.plot import plot
from lightning_landscape.tasks.train import surface, train

TASKS = {
    "compare": compare,
    "train": train,
    "surface": surface,
    "interpolate": interpolate,
    "convexity": convexity,
    "curvature": curvature,
    "plot": plot,
    "intrinsic_dimension": intrinsic_dimension,
    "goldilocks": goldilocks,
    "batch_size_curvature": batch_size_curvature,
}

__all__ = [
    "TASKS",
    "batch_size_curvature",
    "compare",
    "convexity",
    "curvature",
    "goldilocks",
    "interpolate",
    "intrinsic_dimension",
    "plot",
    "surface",
    "train",
]
