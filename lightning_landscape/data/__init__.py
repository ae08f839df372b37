"""Data modules in memory: images (digits without a download, torchvision's sets, .npz files), tables, text, rings."""

from lightning_landscape.data.digits import Digits
from lightning_landscape.data.images import ImageDataModule, Images
from lightning_landscape.data.npz import NpzImages
from lightning_landscape.data.ring import GaussianRing
from lightning_landscape.data.splits import EvaluationData, SplitDataModule
from lightning_landscape.data.tabular import Tabular
from lightning_landscape.data.text import CharacterText
from lightning_landscape.data.torchvision_images import TorchvisionImages

__all__ = [
    "CharacterText",
    "Digits",
    "EvaluationData",
    "GaussianRing",
    "ImageDataModule",
    "Images",
    "NpzImages",
    "SplitDataModule",
    "Tabular",
    "TorchvisionImages",
]
