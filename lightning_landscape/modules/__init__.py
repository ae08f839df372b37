"""LightningModules that train the networks of the experiments."""

from lightning_landscape.modules.classifier import Classifier

__all__ = ["Classifier"]
