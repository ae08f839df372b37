"""Data modules: images in memory (digits without a download, torchvision's sets, .npz files), rings of Gaussians."""

from lightning_landscape.data.digits import Digits
from lightning_landscape.data.images import ImageDataModule, Images
from lightning_landscape.data.npz import NpzImages
from lightning_landscape.data.ring import GaussianRing
from lightning_landscape.data.torchvision_images import TorchvisionImages

__all__ = ["Digits", "GaussianRing", "ImageDataModule", "Images", "NpzImages", "TorchvisionImages"]
