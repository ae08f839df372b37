"""Networks for the experiments: ResNets and DenseNet-121, VGG-9, MLPs, DCGAN and a transformer."""

from lightning_landscape.models.dcgan import DCGANDiscriminator, DCGANGenerator
from lightning_landscape.models.densenet import DenseNet
from lightning_landscape.models.initialization import initialize
from lightning_landscape.models.mlp import MLP
from lightning_landscape.models.resnet import ResNet
from lightning_landscape.models.stacked_mlp import StackedMLP
from lightning_landscape.models.transformer import Transformer
from lightning_landscape.models.vgg import VGG9

__all__ = [
    "MLP",
    "VGG9",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "DenseNet",
    "ResNet",
    "StackedMLP",
    "Transformer",
    "initialize",
]
