"""Companions of torch's optimizers: the prediction step for saddle points."""

from lightning_landscape.optim.prediction import Prediction

__all__ = ["Prediction"]
