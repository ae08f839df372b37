"""The LightningModule that trains and evaluates a classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics.classification import MulticlassAccuracy

# The optimizer of the paper's networks (Li et al. 2018, section 5).
PAPER_SGD: Callable[[Iterator[nn.Parameter]], Optimizer] = partial(
    torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
)


class Classifier(LightningModule):
    """Trains a network to classify: a loss of logits and labels, an optimizer, perhaps a schedule, and the accuracy.

    Each step takes a batch ``(inputs, labels)``, returns the mean loss over the batch and logs, as means over the
    epoch, ``train_loss`` and ``train_accuracy``, ``val_loss`` and ``val_accuracy``, or ``test_loss`` and
    ``test_accuracy``. The accuracy is a share in [0, 1].

    Checkpoints hold tensors and plain numbers alone, so that ``torch.load(path, weights_only=True)`` reads them; to
    restore one, pass the network again: ``Classifier.load_from_checkpoint(path, net=..., optimizer=...)``.

    Args:
        net: Maps inputs to logits ``[N, num_classes]``.
        optimizer: Makes the optimizer from the parameters, such as ``functools.partial(torch.optim.Adam, lr=1e-3)``
            (``_partial_: true`` in a Hydra configuration).
        scheduler: Makes the learning rate's schedule, from the optimizer, stepped after each epoch;
            None keeps the rate.
        loss: Maps logits and labels to the mean loss over the batch.
        num_classes: Number of classes.

    Example:
        >>> classifier = Classifier(nn.Linear(2, 3), optimizer=partial(torch.optim.Adam, lr=1e-3), num_classes=3)
        >>> classifier(torch.zeros(4, 2)).shape
        torch.Size([4, 3])
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[[Iterator[nn.Parameter]], Optimizer] = PAPER_SGD,
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        # Only this plain number: a checkpoint with a pickled network or function would need weights_only=False.
        self.save_hyperparameters("num_classes")
        self.net = net
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler
        self.loss = loss
        self.train_accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.val_accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.test_accuracy = MulticlassAccuracy(num_classes, average="micro")

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[N, num_classes]``."""
        logits: Tensor = self.net(inputs)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002
        """Mean loss over a training batch."""
        return self._step(batch, "train", self.train_accuracy)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002
        """Mean loss over a validation batch."""
        return self._step(batch, "val", self.val_accuracy)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002
        """Mean loss over a test batch."""
        return self._step(batch, "test", self.test_accuracy)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over all parameters and, if there is one, its schedule."""
        optimizer = self.optimizer_factory(self.parameters())
        if self.scheduler_factory is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self.scheduler_factory(optimizer)}

    def _step(self, batch: tuple[Tensor, Tensor], stage: str, accuracy: MulticlassAccuracy) -> Tensor:
        inputs, labels = batch
        logits = self(inputs)
        loss = self.loss(logits, labels)
        accuracy(logits, labels)
        size = len(labels)
        self.log(f"{stage}_loss", loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True, batch_size=size)
        self.log(f"{stage}_accuracy", accuracy, on_step=False, on_epoch=True, prog_bar=True, batch_size=size)
        return loss
