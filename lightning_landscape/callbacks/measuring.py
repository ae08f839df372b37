"""What callbacks that measure share: when they do, and the record that grows with the run."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from lightning_landscape.callbacks.loggers import publish
from lightning_landscape.callbacks.output import output_folder, unused
from lightning_landscape.engine._compat import last_checkpoint
from lightning_landscape.engine.ranks import Ranks
from lightning_landscape.errors import LandscapeError, ObjectiveError
from lightning_landscape.geometry.weights import Role, Weights
from lightning_landscape.records.trajectory import TrajectoryFile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROWS = 64  # reserved; the file grows if there are more


class MeasuringCallback(Callback):
    """Measures at the start, after every n epochs, at checkpoints if asked, and at the end of training.

    A measurement is a row of numbers, on disk when it is finished. A run that is resumed from a checkpoint goes on in
    the same file, from which later rows are cut; in another folder it goes on in a copy. What derives from this class
    says what is measured and how it is drawn.

    Args:
        every_n_epochs: also after every n-th epoch; None for start and end alone.
        at_checkpoints: also whenever `ModelCheckpoint` has saved.
        name: of the record and the figures, and what distinguishes several of one run.
        dirpath: another folder than ``<log_dir>/landscape``.

    Raises:
        LandscapeError: for an interval below 1.
    """

    def __init__(self, every_n_epochs: int | None, at_checkpoints: bool, name: str, dirpath: str | Path | None) -> None:
        if every_n_epochs is not None and every_n_epochs < 1:
            raise LandscapeError(f"every_n_epochs={every_n_epochs}: give a number of at least 1, or None")
        self.every_n_epochs = every_n_epochs
        self.at_checkpoints = at_checkpoints
        self.name = name
        self.dirpath = dirpath
        self.path: Path | None = None
        self._file: TrajectoryFile | None = None
        self._last_step = -1
        self._checkpoint = (0, "")
        self._restored = ""

    @abstractmethod
    def measurement(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
        """Return the numbers of this moment by name, of the same shapes at each, and the record's attributes.

        Called on every rank; None where there is nothing to record.
        """

    @abstractmethod
    def recorded_figures(self) -> Mapping[str, Figure]:
        """Draw the record, by the kind of figure."""

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

    def recorded(self) -> Path:
        """Return the file with what has been measured so far, on rank zero.

        Raises:
            LandscapeError: before the first measurement.
        """
        if self.path is None or not self.path.exists():
            raise LandscapeError("nothing is measured yet: the first measurement is made when training starts")
        return self.path

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the record, and measure before the first step, unless the resumed run has."""
        self.path, self._last_step, self._checkpoint = None, -1, last_checkpoint(trainer)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        ranks, folder = Ranks(trainer.strategy.root_device), output_folder(trainer, self.dirpath)
        self.path = Path(ranks.broadcast(str(self._find(folder, trainer.global_step))))
        self._last_step = ranks.broadcast(self._resume(trainer) if trainer.is_global_zero else -1)
        if self._last_step < 0:
            self._measure(trainer, pl_module, trainer.current_epoch)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure a checkpoint that was saved at the end of the last epoch."""
        self._at_checkpoint(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Measure a checkpoint that was saved after the last batch."""
        self._at_checkpoint(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure when another n epochs are complete."""
        if self.every_n_epochs is not None and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
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

    def _at_checkpoint(self, trainer: Trainer, pl_module: LightningModule) -> None:
        saved = last_checkpoint(trainer)
        if self.at_checkpoints and saved != self._checkpoint:
            self._checkpoint = saved
            self._measure(trainer, pl_module, trainer.current_epoch)

    def _measure(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> None:
        if self.path is None or trainer.global_step == self._last_step:
            return
        self._last_step = trainer.global_step
        measured = self.measurement(trainer, pl_module)
        if measured is not None and trainer.is_global_zero:
            self._write(*measured, trainer, epoch)
            self._draw(trainer)

    def _write(self, values: Mapping[str, Any], facts: Mapping[str, Any], trainer: Trainer, epoch: int) -> None:
        row = Weights(
            {name: torch.as_tensor(np.asarray(value), dtype=torch.float64) for name, value in values.items()},
            dict.fromkeys(values, Role(filter_dim=None, trainable=False)),
        )
        if self._file is None:
            assert self.path is not None
            self._file = TrajectoryFile.create(self.path, row, capacity=_ROWS, attrs=facts)
        groups = trainer.optimizers[0].param_groups if trainer.optimizers else []
        lr = float(groups[0]["lr"]) if groups else None
        self._file.append(row, step=trainer.global_step, epoch=epoch, lr=lr)

    def _draw(self, trainer: Trainer) -> None:
        """Draw the record and send the figures to the loggers; a failure warns and stops nothing."""
        path = self.recorded()
        try:
            figures = self.recorded_figures()
            for kind, figure in figures.items():
                figure.savefig(path.with_name(f"{path.stem}-{kind}.png"), dpi=150)
        except Exception as error:
            warnings.warn(f"the figures of {path} could not be made ({type(error).__name__}: {error})", stacklevel=2)
            return
        named = {f"landscape/{self.name}/{kind}": figure for kind, figure in figures.items()}
        publish(trainer.loggers, trainer.global_step, figures=named, files={f"landscape/{self.name}": path})

    def _find(self, folder: Path, step: int) -> Path:
        """Return the file to write: the resumed run's own, or a new one."""
        target = folder / f"{self.name}.h5"
        if not self._restored or step == 0:
            return unused(target)
        restored = Path(self._restored)
        return restored if restored.exists() and restored.resolve() == target.resolve() else unused(target)

    def _resume(self, trainer: Trainer) -> int:
        """Open the resumed run's record, without what came after the checkpoint; return its last step, -1 for none."""
        source = Path(self._restored) if self._restored and trainer.global_step > 0 else None
        if source is None:
            return -1
        if not source.exists():
            warnings.warn(
                f"the record of the resumed run is gone from {source}: a new one begins at step {trainer.global_step}",
                stacklevel=2,
            )
            return -1
        assert self.path is not None
        other = source if source.resolve() != self.path.resolve() else None
        self._file = TrajectoryFile.resume(self.path, after_step=trainer.global_step, source=other)
        return -1 if self._file.last_step is None else self._file.last_step

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def first_loader(loaders: Any, asking: str, what: str) -> DataLoader[Any]:
    """Return the data loader, or the first of several.

    Args:
        loaders: what the trainer holds.
        asking: the callback that asks, for the message.
        what: the kind of data, for the message.

    Raises:
        ObjectiveError: if it is none.
    """
    loader = loaders[0] if isinstance(loaders, list | tuple) and loaders else loaders
    if not isinstance(loader, DataLoader):
        raise ObjectiveError(
            f"{asking} reads the {what} data from a DataLoader and found a {type(loader).__name__}: train with a "
            "DataLoader, or give one"
        )
    return loader
