"""LightningModules that train the networks of the experiments."""

from lightning_landscape.modules.classifier import Classifier
from lightning_landscape.modules.gan_losses import AdversarialLoss
from lightning_landscape.modules.prediction_gan import PredictionGAN

__all__ = ["AdversarialLoss", "Classifier", "PredictionGAN"]
