"""What the command does, by the name of its mode."""

from lightning_landscape.tasks.compare import compare
from lightning_landscape.tasks.convexity import convexity
from lightning_landscape.tasks.interpolate import interpolate
from lightning_landscape.tasks.plot import plot
from lightning_landscape.tasks.train import surface, train

TASKS = {
    "compare": compare,
    "train": train,
    "surface": surface,
    "interpolate": interpolate,
    "convexity": convexity,
    "plot": plot,
}

__all__ = ["TASKS", "compare", "convexity", "interpolate", "plot", "surface", "train"]
