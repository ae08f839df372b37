"""The LightningModule that trains and evaluates a classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics.classification import MulticlassAccuracy

from lightning_landscape.modules.supervised import Supervised

# The optimizer of the paper's networks (Li et al. 2018, section 5).
PAPER_SGD: Callable[[Iterator[nn.Parameter]], Optimizer] = partial(
    torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
)


class Classifier(Supervised):
    """Trains a network to classify: a loss of logits and labels, an optimizer, perhaps a schedule, and the accuracy.

    Each step takes a batch ``(inputs, labels)``, returns the mean loss over the batch and logs, as means over the
    epoch, ``train_loss`` and ``train_accuracy``, ``val_loss`` and ``val_accuracy``, or ``test_loss`` and
    ``test_accuracy``. The accuracy is a share in [0, 1].

    Checkpoints hold tensors and plain numbers alone, so that ``torch.load(path, weights_only=True)`` reads them; to
    restore one, pass the network again: ``Classifier.load_from_checkpoint(path, net=..., optimizer=...)``.

    Args:
        net: Maps inputs to logits ``[N, num_classes]``, or ``[N, num_classes, ...]`` for labels ``[N, ...]`` with a
            class for each position.
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
        super().__init__(net, optimizer, scheduler, loss)
        # Only this plain number: a checkpoint with a pickled network or function would need weights_only=False.
        self.save_hyperparameters("num_classes")
        self.train_accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.val_accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.test_accuracy = MulticlassAccuracy(num_classes, average="micro")

    def measure(self, outputs: Tensor, targets: Tensor, stage: str) -> None:
        """Log the accuracy."""
        accuracy: MulticlassAccuracy = getattr(self, f"{stage}_accuracy")
        accuracy(outputs, targets)
        self.log(f"{stage}_accuracy", accuracy, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(targets))
