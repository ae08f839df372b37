"""What the command does, by the name of its mode."""

from lightning_landscape.tasks.compare import compare
from lightning_landscape.tasks.interpolate import interpolate
from lightning_landscape.tasks.plot import plot
from lightning_landscape.tasks.scale_invariance import scale_invariance
from lightning_landscape.tasks.train import surface, train

TASKS = {
    "compare": compare,
    "train": train,
    "surface": surface,
    "interpolate": interpolate,
    "plot": plot,
    "scale_invariance": scale_invariance,
}

__all__ = ["TASKS", "compare", "interpolate", "plot", "scale_invariance", "surface", "train"]
