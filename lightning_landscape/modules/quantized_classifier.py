"""The LightningModule that trains a classifier with low-bit weights, by one of four methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import MultiStepLR

from lightning_landscape.errors import QuantizationError
from lightning_landscape.modules.classifier import Classifier
from lightning_landscape.optim.rounding import DeterministicRounding, StochasticRounding
from lightning_landscape.quantization.binary_connect import binary_connect, clip_, quantizable, roundings
from lightning_landscape.quantization.packing import save_packed
from lightning_landscape.quantization.quantizer import Quantizer

Method: TypeAlias = Literal["full", "round", "stochastic", "binaryconnect"]
"""``full``: floating-point weights. ``round``: every step ends on the nearest weights of the grid. ``stochastic``:
every step ends on the grid by a random rounding without bias. ``binaryconnect``: real-valued weights take the steps,
with gradients at the rounded ones."""

PAPER_ADAM: Callable[[Iterator[nn.Parameter]], Optimizer] = partial(torch.optim.Adam, lr=0.01)
PAPER_DROPS = (82 / 200, 122 / 200)
"""Shares of the training after which the paper lowers the learning rate (epochs 82 and 122 of 200)."""


class QuantizedClassifier(Classifier):
    """Trains a network to classify with low-bit weights, and says how many of them move.

    The weights of linear and convolutional layers are quantised; biases and the parameters of normalisation layers
    stay in floating point, and so do the layers that are named. Which layers the paper left out is not known; in the
    released code of BinaryConnect, as here by default, none is.

    Beside what `Classifier` logs, at the end of each epoch: ``weights_changed``, the share of quantised weights that
    one step moves to another place of the grid (the mean over the epoch's steps), and ``weights_differing``, the share
    that is not where training began. For "full" they tell where the weights would be, if they were rounded.

    Args:
        net: maps inputs to logits ``[N, num_classes]``; with "binaryconnect", its layers are parametrized.
        method: see `Method`.
        quantizer: the grid.
        floating: names of layers in `net`, or of modules with layers, that stay in floating point.
        stochastic_forward: with "binaryconnect", round at random in training.
        optimizer: makes the optimizer from the parameters.
        drops: the shares of the training after which the learning rate falls to a tenth.
        loss: maps logits and labels to the mean loss over the batch.
        num_classes: number of classes.
        seed: of the random rounding.

    Raises:
        QuantizationError: for an unknown method, or a layer that is not there.

    Source: Li, De, Xu, Studer, Samet, Goldstein, Training Quantized Nets (2017).

    >>> classifier = QuantizedClassifier(nn.Sequential(nn.Linear(2, 8), nn.Linear(8, 3)), "stochastic", floating=["1"])
    >>> [name for name, _ in classifier.quantized_parameters()]
    ['0.weight']
    """

    def __init__(
        self,
        net: nn.Module,
        method: Method = "binaryconnect",
        quantizer: Quantizer = Quantizer(bits=1),  # noqa: B008 it is frozen
        floating: Sequence[str] = (),
        stochastic_forward: bool = False,
        optimizer: Callable[[Iterator[nn.Parameter]], Optimizer] = PAPER_ADAM,
        drops: Sequence[float] = PAPER_DROPS,
        loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
        num_classes: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__(net, optimizer, loss=loss, num_classes=num_classes)
        if method not in get_args(Method):
            raise QuantizationError(f"method={method!r} is unknown: choose one of {', '.join(get_args(Method))}")
        self.method = method
        self.quantizer = quantizer
        self.drops = tuple(drops)
        self.seed = seed
        self._layers = list(quantizable(net, floating))
        if method == "binaryconnect":
            layers = [net.get_submodule(name) for name in self._layers]
            binary_connect(net, quantizer, layers=layers, stochastic=stochastic_forward, seed=seed)
        self._initial: list[Tensor] = []
        self._last: list[Tensor] = []
        self._steps = 0

    def quantized_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters behind the quantised weights, by the name that the weight has in the network."""
        found = roundings(self.net)
        for name in self._layers:
            parameter = found[name][0] if name in found else self.net.get_submodule(name).get_parameter("weight")
            yield f"{name}.weight".lstrip("."), parameter

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer with the method's rounding, and the paper's schedule.

        Raises:
            QuantizationError: if the trainer does not say how long training is.
        """
        optimizer = self.optimizer_factory(self.parameters())
        parameters = [parameter for _, parameter in self.quantized_parameters()]
        if self.method == "round":
            optimizer = DeterministicRounding(optimizer, self.quantizer, parameters)
        elif self.method == "stochastic":
            optimizer = StochasticRounding(optimizer, self.quantizer, parameters, self.seed)
        elif self.method == "binaryconnect":
            optimizer.register_step_post_hook(lambda *_: clip_(self.net))
        if not self.drops:
            return optimizer
        epochs = self.trainer.max_epochs
        if epochs is None or epochs < 1:
            raise QuantizationError(
                f"max_epochs={epochs}: the learning rate drops at shares of the training, so give its length, "
                "Trainer(max_epochs=...), or drops=() for a constant rate"
            )
        return [optimizer], [MultiStepLR(optimizer, [round(share * epochs) for share in self.drops])]

    def on_train_start(self) -> None:
        """Remember where the weights stand."""
        self._last = self._places()
        self._initial = self._initial or self._last
        self._steps = self.trainer.global_step

    def on_train_batch_end(self, *_: Any) -> None:
        """Log the share of weights that the step has moved."""
        if self.trainer.global_step == self._steps:
            return  # gradients are being accumulated, or the step was skipped
        self._steps = self.trainer.global_step
        places = self._places()
        self.log("weights_changed", _share(self._last, places), on_step=False, on_epoch=True, sync_dist=True)
        self._last = places

    def on_train_epoch_end(self) -> None:
        """Log the share of weights that are not where they began."""
        self.log("weights_differing", _share(self._initial, self._last), sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep where the weights began."""
        checkpoint["initial_places"] = [places.cpu() for places in self._initial]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up where the weights began."""
        self._initial = [places.to(self.device) for places in checkpoint.get("initial_places", [])]

    def save_packed(self, path: str | Path) -> None:
        """Write the trained network with as many bits a weight as the grid needs; see `save_packed`.

        Raises:
            QuantizationError: for a network with floating-point weights.
        """
        if self.method == "full":
            raise QuantizationError('method="full" leaves the weights off the grid: train with another method')
        optimized = self.method in {"round", "stochastic"}
        grids = {name: self.quantizer for name, _ in self.quantized_parameters()} if optimized else None
        save_packed(path, self.net, grids)

    def _places(self) -> list[Tensor]:
        return [self.quantizer.index(parameter) for _, parameter in self.quantized_parameters()]


def _share(before: list[Tensor], after: list[Tensor]) -> float:
    """The share of weights that stand elsewhere."""
    moved = sum(int(torch.count_nonzero(a != b.to(a.device))) for a, b in zip(before, after, strict=True))
    return moved / sum(places.numel() for places in before)
