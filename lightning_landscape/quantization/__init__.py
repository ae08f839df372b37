"""Low-bit weights: their grid, rounding onto it, training through the rounding, and files of a bit a weight."""

from lightning_landscape.quantization.binary_connect import (
    RoundedWeights,
    StochasticallyRoundedWeights,
    binary_connect,
    clip_,
    rounded,
)
from lightning_landscape.quantization.packing import load_packed, save_packed
from lightning_landscape.quantization.quantizer import Quantizer
from lightning_landscape.quantization.rounding import StochasticRounder, round_, stochastic_round_

__all__ = [
    "Quantizer",
    "RoundedWeights",
    "StochasticRounder",
    "StochasticallyRoundedWeights",
    "binary_connect",
    "clip_",
    "load_packed",
    "round_",
    "rounded",
    "save_packed",
    "stochastic_round_",
]
