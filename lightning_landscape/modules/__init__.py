"""LightningModules that train the networks of the experiments."""

from lightning_landscape.modules.classifier import Classifier
from lightning_landscape.modules.quantized_classifier import QuantizedClassifier

__all__ = ["Classifier", "QuantizedClassifier"]
