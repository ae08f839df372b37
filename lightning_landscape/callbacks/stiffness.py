"""Stiffness: how steps on single examples help or harm each other, while a run trains."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from lightning_landscape.callbacks.loggers import publish
from lightning_landscape.callbacks.output import output_folder, unused
from lightning_landscape.curvature.stiffness import EDGES, StiffnessMeasurement, Unpack, compute_stiffness
from lightning_landscape.engine.objective import OwnStep, Step, objective_of
from lightning_landscape.engine.ranks import Ranks
from lightning_landscape.engine.strategies import require_supported
from lightning_landscape.errors import LandscapeError, ObjectiveError, RecordError
from lightning_landscape.figures import plot_class_stiffness, plot_stiffness, plot_stiffness_distance
from lightning_landscape.geometry.weights import Role, Weights
from lightning_landscape.records.stiffness import StiffnessHistory
from lightning_landscape.records.trajectory import TrajectoryFile

_ROWS = 64  # reserved; the file grows if there are more


class Stiffness(Callback):
    r"""Measures the stiffness of a run at the start, after every n epochs and at the end, and draws and logs it.

    Stiffness is the mean sign, or the mean cosine, of the gradients of pairs of examples: of training examples with
    each other and with validation examples, class by class, and against the distance of the inputs. Each gradient is
    that of the user's own step in eval mode, for one example alone: a measurement costs as many steps of batch size 1
    as there are examples. Training with the callback ends with the same bits as training without it.

    The record, ``<log_dir>/landscape/stiffness.h5``, is a `StiffnessHistory`; every measurement is on disk when it is
    finished. A run that is resumed from a checkpoint goes on in the same file, from which later measurements are cut.
    Under DDP the ranks share the examples.

    Args:
        every_n_epochs: measure after every n-th epoch.
        examples: how many training and how many validation examples, a fixed random choice; None for all.
        step: whose loss it is: ``step(module, batch)``, or the name of the module's own step, for examples of both
            kinds.
        unpack: maps a batch to inputs and labels; None for batches ``(inputs, labels, ...)``.
        seed: of the choice of examples.
        name: of the record and the figures.
        dirpath: another folder than ``<log_dir>/landscape``.

    Raises:
        LandscapeError: for an option out of its range.

    Source: Fort et al., arXiv 1901.09491.

    >>> Stiffness(every_n_epochs=0)
    Traceback (most recent call last):
    lightning_landscape.errors.LandscapeError: every_n_epochs=0: give a number of at least 1
    """

    def __init__(
        self,
        every_n_epochs: int = 1,
        examples: int | None = 500,
        step: Step | OwnStep = "training_step",
        *,
        unpack: Unpack | None = None,
        seed: int = 0,
        name: str = "stiffness",
        dirpath: str | Path | None = None,
    ) -> None:
        for option, value, least in (("every_n_epochs", every_n_epochs, 1), ("examples", examples, 2)):
            if value is not None and value < least:
                raise LandscapeError(f"{option}={value}: give a number of at least {least}")
        self.every_n_epochs = every_n_epochs
        self.examples = examples
        self.step = step
        self.unpack = unpack
        self.seed = seed
        self.name = name
        self.dirpath = dirpath
        self.path: Path | None = None
        self._file: TrajectoryFile | None = None
        self._last_step = -1
        self._restored = ""

    @property
    def state_key(self) -> str:
        """Several in one run are told apart by their names."""
        return self._generate_state_key(name=self.name)

    def state_dict(self) -> dict[str, Any]:
        """Return where the record is, as plain text."""
        return {"path": str(self.path.absolute())} if self.path is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the record of the run that is resumed."""
        self._restored = str(state_dict.get("path", ""))

    def history(self) -> StiffnessHistory:
        """Read what has been measured so far, on rank zero.

        Raises:
            LandscapeError: before the first measurement.
        """
        if self.path is None:
            raise LandscapeError("nothing is measured yet: the first measurement is made when training starts")
        return StiffnessHistory.load(self.path)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse early a strategy or a module whose step cannot be differentiated example by example."""
        if stage == "fit":
            require_supported(trainer, "Stiffness")
            objective_of(pl_module, self.step)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the record and measure before the first step, or after the last one of the resumed run."""
        self.path, self._last_step = None, -1
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        ranks, folder = Ranks(trainer.strategy.root_device), output_folder(trainer, self.dirpath)
        self.path = Path(ranks.broadcast(str(self._find(folder, trainer.global_step))))
        last = ranks.broadcast(self._resume(trainer) if trainer.is_global_zero else None)
        self._last_step = -1 if last is None else last
        if last is None:
            self._measure(trainer, pl_module, trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure when another n epochs are complete."""
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._measure(trainer, pl_module, trainer.current_epoch + 1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure at the final weights."""
        self._measure(trainer, pl_module, trainer.current_epoch)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the record; what was measured is on disk."""
        self._close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the record."""
        self._close()

    def _measure(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> None:
        if self.path is None or trainer.global_step == self._last_step:
            return
        self._last_step = trainer.global_step
        measured = compute_stiffness(
            pl_module,
            _first_loader(trainer.train_dataloader, "training"),
            None if trainer.val_dataloaders is None else _first_loader(trainer.val_dataloaders, "validation"),
            self.step,
            examples=self.examples,
            seed=self.seed,
            unpack=self.unpack,
            trainer=trainer,
        )
        if trainer.is_global_zero:
            self._write(measured, trainer.global_step, epoch)
            self._draw(trainer)

    def _write(self, measured: StiffnessMeasurement, step: int, epoch: int) -> None:
        rows = Weights(
            {name: torch.as_tensor(values, dtype=torch.float64) for name, values in measured.values.items()},
            dict.fromkeys(measured.values, Role(filter_dim=None, trainable=False)),
        )
        if self._file is None:
            assert self.path is not None
            attrs = {
                "record": "stiffness",
                "classes": measured.classes.tolist(),
                "edges": EDGES.tolist(),
                "train_examples": measured.training,
                "val_examples": measured.validation,
                "step_name": measured.step_name,
                "sample_seed": self.seed,
            }
            self._file = TrajectoryFile.create(self.path, rows, capacity=_ROWS, attrs=attrs)
        self._file.append(rows, step=step, epoch=epoch)

    def _draw(self, trainer: Trainer) -> None:
        """Draw the record and send the figures to the loggers; a failure warns and stops nothing."""
        assert self.path is not None
        try:
            history = self.history()
            figures = {
                "classes": plot_class_stiffness(history),
                "training": plot_stiffness(history),
                "distance": plot_stiffness_distance(history),
            }
            for kind, figure in figures.items():
                figure.savefig(self.path.with_name(f"{self.path.stem}-{kind}.png"), dpi=150)
        except Exception as error:
            warnings.warn(
                f"the figures of {self.path} could not be made ({type(error).__name__}: {error})", stacklevel=2
            )
            return
        named = {f"landscape/{self.name}/{kind}": figure for kind, figure in figures.items()}
        publish(trainer.loggers, trainer.global_step, figures=named, files={f"landscape/{self.name}": self.path})

    def _find(self, folder: Path, step: int) -> Path:
        """Return the file to write: the resumed run's own, or a new one."""
        target = folder / f"{self.name}.h5"
        if not self._restored or step == 0:
            return unused(target)
        restored = Path(self._restored)
        return restored if restored.exists() and restored.resolve() == target.resolve() else unused(target)

    def _resume(self, trainer: Trainer) -> int | None:
        """Open the resumed run's record, without what came after the checkpoint; return its last step.

        Raises:
            RecordError: if nothing is left of it.
        """
        source = Path(self._restored) if self._restored and trainer.global_step > 0 else None
        if source is None:
            return None
        if not source.exists():
            warnings.warn(
                f"the stiffness of the resumed run is gone from {source}: a new record begins at step "
                f"{trainer.global_step}",
                stacklevel=2,
            )
            return None
        assert self.path is not None
        other = source if source.resolve() != self.path.resolve() else None
        self._file = TrajectoryFile.resume(self.path, after_step=trainer.global_step, source=other)
        if self._file.last_step is None:
            raise RecordError(f"{self.path} holds no measurement up to step {trainer.global_step}: delete it")
        return self._file.last_step

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _first_loader(loaders: Any, what: str) -> DataLoader[Any]:
    loader = loaders[0] if isinstance(loaders, list | tuple) and loaders else loaders
    if not isinstance(loader, DataLoader):
        raise ObjectiveError(
            f"Stiffness takes single examples from a DataLoader, and the {what} data is a {type(loader).__name__}: "
            "train with a DataLoader"
        )
    return loader
