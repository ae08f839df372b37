"""What the command does, by the name of its mode."""

from lightning_landscape.tasks.batch_size_curvature import batch_size_curvature
from lightning_landscape.tasks.compare import compare
from lightning_landscape.tasks.convexity import convexity
from lightning_landscape.tasks.curvature import curvature
from lightning_landscape.tasks.gallery import gallery
from lightning_landscape.tasks.gan_images import gan_images
from lightning_landscape.tasks.gan_rings import gan_rings
from lightning_landscape.tasks.gan_saddle import gan_saddle
from lightning_landscape.tasks.goldilocks import goldilocks
from lightning_landscape.tasks.interpolate import interpolate
from lightning_landscape.tasks.intrinsic_dimension import intrinsic_dimension
from lightning_landscape.tasks.paths import paths
from lightning_landscape.tasks.plan import plan
from lightning_landscape.tasks.plot import plot
from lightning_landscape.tasks.quantized_images import quantized_images
from lightning_landscape.tasks.quantized_quadratic import quantized_quadratic
from lightning_landscape.tasks.quantized_toy import quantized_toy
from lightning_landscape.tasks.scale_invariance import scale_invariance
from lightning_landscape.tasks.sharpness import sharpness
from lightning_landscape.tasks.train import surface, train
from lightning_landscape.tasks.trajectories import trajectories

TASKS = {
    "compare": compare,
    "train": train,
    "surface": surface,
    "interpolate": interpolate,
    "convexity": convexity,
    "curvature": curvature,
    "plot": plot,
    "paths": paths,
    "scale_invariance": scale_invariance,
    "trajectories": trajectories,
    "sharpness": sharpness,
    "quantized_quadratic": quantized_quadratic,
    "quantized_toy": quantized_toy,
    "quantized_images": quantized_images,
    "gan_saddle": gan_saddle,
    "gan_rings": gan_rings,
    "gan_images": gan_images,
    "intrinsic_dimension": intrinsic_dimension,
    "goldilocks": goldilocks,
    "batch_size_curvature": batch_size_curvature,
    "gallery": gallery,
}

__all__ = [
    "TASKS",
    "batch_size_curvature",
    "compare",
    "convexity",
    "curvature",
    "gallery",
    "gan_images",
    "gan_rings",
    "gan_saddle",
    "goldilocks",
    "interpolate",
    "intrinsic_dimension",
    "paths",
    "plan",
    "plot",
    "quantized_images",
    "quantized_quadratic",
    "quantized_toy",
    "scale_invariance",
    "sharpness",
    "surface",
    "train",
    "trajectories",
]
