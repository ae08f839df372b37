"""What the command does, by the name of its mode."""

from lightning_landscape.tasks.compare import compare
from lightning_landscape.tasks.interpolate import interpolate
from lightning_landscape.tasks.plan import plan
from lightning_landscape.tasks.plot import plot
from lightning_landscape.tasks.train import surface, train

TASKS = {"compare": compare, "train": train, "surface": surface, "interpolate": interpolate, "plot": plot}

__all__ = ["TASKS", "compare", "interpolate", "plan", "plot", "surface", "train"]
