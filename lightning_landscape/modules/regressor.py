"""The LightningModule that trains and evaluates a network for regression."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_landscape.modules.supervised import Supervised

ADAM: Callable[[Iterator[nn.Parameter]], Optimizer] = partial(torch.optim.Adam, lr=1e-3)


class Regressor(Supervised):
    """Trains a network to predict numbers; the loss is the mean squared error unless another is given.

    Each step takes a batch ``(inputs, targets)``, returns the mean loss over the batch and logs it as ``train_loss``,
    ``val_loss`` or ``test_loss``. To restore a checkpoint, pass the network again.

    Args:
        net: Maps inputs to outputs of the targets' shape, such as ``[N, 1]`` for one number an example.
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the learning rate's schedule, stepped after each epoch; None keeps the rate.
        loss: Maps outputs and targets to the mean loss over the batch.

    Example:
        >>> Regressor(nn.Linear(2, 1))(torch.zeros(4, 2)).shape
        torch.Size([4, 1])
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[[Iterator[nn.Parameter]], Optimizer] = ADAM,
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        loss: Callable[[Tensor, Tensor], Tensor] = F.mse_loss,
    ) -> None:
        super().__init__(net, optimizer, scheduler, loss)
