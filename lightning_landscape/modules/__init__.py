"""LightningModules that train the networks of the experiments."""

from lightning_landscape.modules.classifier import Classifier
from lightning_landscape.modules.gan_losses import AdversarialLoss
from lightning_landscape.modules.prediction_gan import PredictionGAN
from lightning_landscape.modules.quantized_classifier import QuantizedClassifier
from lightning_landscape.modules.regressor import Regressor
from lightning_landscape.modules.supervised import Supervised

__all__ = ["AdversarialLoss", "Classifier", "PredictionGAN", "QuantizedClassifier", "Regressor", "Supervised"]
