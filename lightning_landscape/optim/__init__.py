"""Optimizers, and wrappers that change what an optimizer does."""

from lightning_landscape.optim.prediction import Prediction
from lightning_landscape.optim.rounding import DeterministicRounding, StochasticRounding

__all__ = ["DeterministicRounding", "Prediction", "StochasticRounding"]
