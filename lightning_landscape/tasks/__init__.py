"""What the command does, by the name of its mode."""

from lightning_landscape.tasks.compare import compare
from lightning_landscape.tasks.gan_images import gan_images
from lightning_landscape.tasks.gan_rings import gan_rings
from lightning_landscape.tasks.gan_saddle import gan_saddle
from lightning_landscape.tasks.interpolate import interpolate
from lightning_landscape.tasks.plot import plot
from lightning_landscape.tasks.train import surface, train

TASKS = {
    "compare": compare,
    "train": train,
    "surface": surface,
    "interpolate": interpolate,
    "plot": plot,
    "gan_saddle": gan_saddle,
    "gan_rings": gan_rings,
    "gan_images": gan_images,
}

__all__ = ["TASKS", "compare", "gan_images", "gan_rings", "gan_saddle", "interpolate", "plot", "surface", "train"]
