"""Stiffness: how steps on single examples help or harm each other, while a run trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning.pytorch import LightningModule, Trainer

from lightning_landscape.callbacks.measuring import MeasuringCallback, first_loader
from lightning_landscape.curvature.stiffness import EDGES, Unpack, compute_stiffness
from lightning_landscape.engine.objective import OwnStep, Step, objective_of
from lightning_landscape.engine.strategies import require_supported
from lightning_landscape.figures import plot_class_stiffness, plot_stiffness, plot_stiffness_distance
from lightning_landscape.records.stiffness import StiffnessHistory
from lightning_landscape.sampling.subset import sample_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Stiffness(MeasuringCallback):
    r"""Measures the stiffness of a run at the start, after every n epochs and at the end, and draws and logs it.

    Stiffness is the mean sign, or the mean cosine, of the gradients of pairs of examples: of training examples with
    each other and with validation examples, class by class, and against the distance of the inputs. Each gradient is
    that of the user's own step in eval mode, for one example alone: a measurement costs as many steps of batch size 1
    as there are examples. Training with the callback ends with the same bits as training without it.

    The record, ``<log_dir>/landscape/stiffness.h5``, is a `StiffnessHistory`; every measurement is on disk when it is
    finished. A run that is resumed from a checkpoint goes on in the same file, from which later measurements are cut.
    Under DDP the ranks share the examples.

    Args:
        every_n_epochs: also after every n-th epoch; None for start and end alone.
        examples: how many training and how many validation examples, a fixed random choice; or all.
        step: whose loss it is: ``step(module, batch)``, or the name of the module's own step, for examples of both
            kinds.
        at_checkpoints: also whenever `ModelCheckpoint` has saved.
        unpack: maps a batch to inputs and labels; None for batches ``(inputs, labels, ...)``.
        seed: of the choice of examples.
        name: of the record and the figures.
        dirpath: another folder than ``<log_dir>/landscape``.

    Raises:
        LandscapeError: for an option out of its range.

    Source: Fort et al., arXiv 1901.09491.

    >>> Stiffness(every_n_epochs=0)
    Traceback (most recent call last):
    lightning_landscape.errors.LandscapeError: every_n_epochs=0: give a number of at least 1, or None
    """

    def __init__(
        self,
        every_n_epochs: int | None = 1,
        examples: int | Literal["all"] = 500,
        step: Step | OwnStep = "training_step",
        *,
        at_checkpoints: bool = False,
        unpack: Unpack | None = None,
        seed: int = 0,
        name: str = "stiffness",
        dirpath: str | Path | None = None,
    ) -> None:
        super().__init__(every_n_epochs, at_checkpoints, name, dirpath)
        sample_size(examples, least=2)
        self.examples = examples
        self.step = step
        self.unpack = unpack
        self.seed = seed

    def history(self) -> StiffnessHistory:
        """Read what has been measured so far, on rank zero.

        Raises:
            LandscapeError: before the first measurement.
        """
        return StiffnessHistory.load(self.recorded())

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse early a strategy or a module whose step cannot be differentiated example by example."""
        if stage == "fit":
            require_supported(trainer, "Stiffness")
            objective_of(pl_module, self.step)

    def measurement(self, trainer: Trainer, pl_module: LightningModule) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Measure the stiffness at the weights of this moment."""
        validation = trainer.val_dataloaders
        measured = compute_stiffness(
            pl_module,
            first_loader(trainer.train_dataloader, "Stiffness", "training"),
            None if validation is None else first_loader(validation, "Stiffness", "validation"),
            self.step,
            examples=self.examples,
            seed=self.seed,
            unpack=self.unpack,
            trainer=trainer,
        )
        return measured.values, {
            "record": "stiffness",
            "classes": measured.classes.tolist(),
            "edges": EDGES.tolist(),
            "train_examples": measured.training,
            "val_examples": measured.validation,
            "step_name": measured.step_name,
            "sample_seed": self.seed,
        }

    def recorded_figures(self) -> Mapping[str, Figure]:
        """Draw classes, training and distances."""
        history = self.history()
        return {
            "classes": plot_class_stiffness(history),
            "training": plot_stiffness(history),
            "distance": plot_stiffness_distance(history),
        }
