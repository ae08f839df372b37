"""What the LightningModules of supervised learning share: a network, its loss, its optimizer and schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class Supervised(LightningModule):
    """Trains a network on pairs of inputs and targets.

    Each step takes a batch ``(inputs, targets)``, returns the mean loss over the batch and logs, as a mean over the
    epoch, ``train_loss``, ``val_loss`` or ``test_loss``; a subclass logs more in :meth:`measure`.

    Args:
        net: Maps inputs to outputs.
        optimizer: Makes the optimizer from the parameters, such as ``functools.partial(torch.optim.Adam, lr=1e-3)``
            (``_partial_: true`` in a Hydra configuration).
        scheduler: Makes the learning rate's schedule, from the optimizer, stepped after each epoch;
            None keeps the rate.
        loss: Maps outputs and targets to the mean loss over the batch.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[[Iterator[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler] | None,
        loss: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.net = net
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler
        self.loss = loss

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs of the network."""
        outputs: Tensor = self.net(inputs)
        return outputs

    def measure(self, outputs: Tensor, targets: Tensor, stage: str) -> None:
        """Log more than the loss, if a subclass has more to tell.

        Args:
            outputs: Of the network.
            targets: Of the batch.
            stage: "train", "val" or "test".
        """

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002
        """Mean loss over a training batch."""
        return self._step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002
        """Mean loss over a validation batch."""
        return self._step(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002
        """Mean loss over a test batch."""
        return self._step(batch, "test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over all parameters and, if there is one, its schedule."""
        optimizer = self.optimizer_factory(self.parameters())
        if self.scheduler_factory is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self.scheduler_factory(optimizer)}

    def _step(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        inputs, targets = batch
        outputs = self(inputs)
        loss = self.loss(outputs, targets)
        self.log(
            f"{stage}_loss", loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True, batch_size=len(targets)
        )
        self.measure(outputs, targets, stage)
        return loss
