"""What the callbacks that measure the Hessian share: the run's own step, and its loss over a fixed sample."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from lightning_landscape.callbacks.measuring import MeasuringCallback, first_loader
from lightning_landscape.curvature.curvature import Curvature
from lightning_landscape.engine.objective import OwnStep, Step, objective_of
from lightning_landscape.engine.strategies import require_supported
from lightning_landscape.errors import CurvatureError, LandscapeError
from lightning_landscape.records.curvature import CurvatureHistory
from lightning_landscape.sampling.subset import sample_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STEPS: dict[str, OwnStep] = {"train": "training_step", "val": "validation_step"}


class CurvatureCallback(MeasuringCallback):
    """Measures the curvature of the run's own loss.

    Weights that have diverged are no reason to lose a run: the measurement is left out, with a warning. Under DDP the
    ranks share the batches.

    The arguments are described where a callback derives from this class.

    Raises:
        LandscapeError: for an option out of its range.
    """

    kind: str
    """Of the record."""

    def __init__(
        self,
        every_n_epochs: int | None,
        at_checkpoints: bool,
        step: Step | OwnStep | None,
        name: str,
        data: Literal["train", "val"] | DataLoader[Any],
        examples: int | Literal["all"],
        parameters: Sequence[str] | None,
        seed: int,
        dirpath: str | Path | None,
    ) -> None:
        super().__init__(every_n_epochs, at_checkpoints, name, dirpath)
        sample_size(examples)
        if not isinstance(data, DataLoader) and data not in _STEPS:
            raise LandscapeError(f"data={data!r} is unknown: choose 'train' or 'val', or give a DataLoader")
        self.step = step
        self.data = data
        self.examples = examples
        self.parameters = parameters
        self.seed = seed

    @abstractmethod
    def measure(self, curvature: Curvature) -> Mapping[str, Any]:
        """Return the numbers of this moment by name, of the same shapes at each; called on every rank."""

    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """Return attributes for the record."""

    @abstractmethod
    def figures(self, history: CurvatureHistory) -> Mapping[str, Figure]:
        """Draw the record."""

    def history(self) -> CurvatureHistory:
        """Read what has been measured so far, on rank zero.

        Raises:
            LandscapeError: before the first measurement.
        """
        return CurvatureHistory.load(self.recorded())

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse early a strategy or a step that cannot be differentiated."""
        if stage == "fit":
            require_supported(trainer, type(self).__name__)
            objective_of(pl_module, self._step())

    def measurement(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
        """Measure; None, with a warning, where the curvature cannot be computed."""
        try:
            with Curvature(
                pl_module,
                self._loader(trainer),
                self._step(),
                parameters=self.parameters,
                examples=self.examples,
                seed=self.seed,
                trainer=trainer,
            ) as curvature:
                return self.measure(curvature), {
                    "record": self.kind,
                    "parameters": curvature.hessian.shape[0],
                    "examples": curvature.risk.sample.examples,
                    "step_name": curvature.risk.name,
                    **self.facts(),
                }
        except CurvatureError as error:
            warnings.warn(f"no {self.name} at step {trainer.global_step}: {error}", stacklevel=2)
            return None

    def recorded_figures(self) -> Mapping[str, Figure]:
        """Draw the record."""
        return self.figures(self.history())

    def _step(self) -> Step | OwnStep | None:
        return self.step or (_STEPS[self.data] if isinstance(self.data, str) else None)

    def _loader(self, trainer: Trainer) -> DataLoader[Any]:
        if isinstance(self.data, DataLoader):
            return self.data
        found = trainer.train_dataloader if self.data == "train" else trainer.val_dataloaders
        return first_loader(found, type(self).__name__, self.data)
