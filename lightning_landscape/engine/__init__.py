"""The only floor that touches strategies: the objective, the guard, the placement of weights, the evaluator."""

from lightning_landscape.engine.checkpoint import weights_from_checkpoint
from lightning_landscape.engine.surface import compute_surface

__all__ = ["compute_surface", "weights_from_checkpoint"]
