"""TrajectoryRecorder: the path of the optimizer through weight space, in one file that grows with the run."""

from __future__ import annotations

import fnmatch
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_landscape.callbacks.loggers import publish
from lightning_landscape.callbacks.output import output_folder, reported, unused
from lightning_landscape.engine.ranks import Ranks
from lightning_landscape.engine.strategies import require_supported
from lightning_landscape.errors import LandscapeError
from lightning_landscape.figures import plot_sketch
from lightning_landscape.geometry.sketch import DIMENSION, Projection
from lightning_landscape.geometry.weights import Role, Weights, weights_of
from lightning_landscape.records.background import BackgroundWriter
from lightning_landscape.records.rows import RowsFile
from lightning_landscape.records.sketch import Sketch, SketchFile
from lightning_landscape.records.trajectory import Trajectory, TrajectoryFile

_UNKNOWN_ROWS = 64


class TrajectoryRecorder(Callback):
    """Writes the weights to ``<log_dir>/landscape/trajectory.h5`` at the start, then after every n epochs or steps.

    The run does not notice: weights are copied, nothing else is read or drawn, and a thread takes the copy to the disk
    while the training goes on. A failure to write ends the run at the next record, with everything before it on disk.
    A run that is resumed from a checkpoint goes on in the same file, from which the steps after the checkpoint are cut;
    in another folder it goes on in a copy.

    For a model that is too large to be recorded at every step there are sketches: a few thousand numbers a step, from
    which distances, angles and the path's principal plane come out within a stated error. At the end of training they
    are drawn (PNG, and to every logger).

    Args:
        every_n_epochs: record after every n-th epoch.
        every_n_steps: record after every n-th optimizer step instead.
        sketch: record a seeded random projection of the weights to so many numbers (a power of two; True for 4,096) in
            place of the weights. A squared distance then has a standard error of a share sqrt(2 / sketch).
        seed: of that projection; sketches of one seed and size can be compared between runs.
        dtype: "float16" halves the file (11 bits of each weight are kept); None keeps the module's own dtypes.
        parameters: patterns such as ``"layer3.*"`` of the parameters to record; None for all.
        name: of the file, and what distinguishes several recorders of one run; None for "trajectory" or "sketch".
        dirpath: another folder than ``<log_dir>/landscape``.

    Raises:
        LandscapeError: for an interval below 1, a sketch of another size, or a dtype for a sketch.

    >>> TrajectoryRecorder(every_n_steps=100).state_key
    "TrajectoryRecorder{'name': 'trajectory'}"
    >>> TrajectoryRecorder(sketch=1024, every_n_steps=1).projection
    Projection(dimension=1024, seed=0)
    """

    def __init__(
        self,
        every_n_epochs: int = 1,
        every_n_steps: int | None = None,
        *,
        sketch: bool | int = False,
        seed: int = 0,
        dtype: Literal["float16"] | None = None,
        parameters: Sequence[str] | None = None,
        name: str | None = None,
        dirpath: str | Path | None = None,
    ) -> None:
        for option, value in (("every_n_epochs", every_n_epochs), ("every_n_steps", every_n_steps)):
            if value is not None and value < 1:
                raise LandscapeError(f"{option}={value}: give a number of at least 1")
        if sketch and dtype is not None:
            raise LandscapeError(
                f"dtype={dtype!r} is for weights: sketches are float64, for fewer bytes give fewer numbers"
            )
        self.every_n_epochs = every_n_epochs
        self.every_n_steps = every_n_steps
        self.projection = Projection(DIMENSION if sketch is True else sketch, seed) if sketch else None
        self.dtype = dtype
        self.parameters = list(parameters) if parameters is not None else None
        self.name = name or ("sketch" if sketch else "trajectory")
        self.dirpath = dirpath
        self.path: Path | None = None
        self._writer: BackgroundWriter | None = None
        self._roles: dict[str, Role] = {}
        self._last_step = -1
        self._restored = ""

    @property
    def state_key(self) -> str:
        """Several recorders in one run are told apart by their names."""
        return self._generate_state_key(name=self.name)

    def state_dict(self) -> dict[str, Any]:
        """Return where the trajectory is, as plain text."""
        return {"path": str(self.path.absolute())} if self.path is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the trajectory of the run that is resumed."""
        self._restored = str(state_dict.get("path", ""))

    def trajectory(self) -> Trajectory:
        """Open what has been recorded so far, on rank zero.

        Raises:
            LandscapeError: before the first record, if something could not be written, or if the recorder sketches.
        """
        if self.projection is not None:
            raise LandscapeError(
                "sketches hold no weights: open them with sketch(), or add a TrajectoryRecorder() that records weights"
            )
        return Trajectory.load(self._flushed())

    def sketch(self) -> Sketch:
        """Open what has been sketched so far, on rank zero.

        Raises:
            LandscapeError: before the first record, if something could not be written, or if the recorder does not
                sketch.
        """
        if self.projection is None:
            raise LandscapeError("nothing is sketched: give TrajectoryRecorder(sketch=True), or open trajectory()")
        return Sketch.load(self._flushed())

    def record(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> None:
        """Append the weights as they are now, unless this step is recorded already.

        Args:
            trainer: the trainer.
            pl_module: the module.
            epoch: the number of epochs finished.

        Raises:
            LandscapeError: if an earlier record could not be written.
        """
        if self._writer is None or trainer.global_step == self._last_step:
            return
        self._last_step = trainer.global_step
        groups = trainer.optimizers[0].param_groups if trainer.optimizers else []
        lr = float(groups[0]["lr"]) if groups else None
        parameters = dict(pl_module.named_parameters())
        values: Mapping[str, Tensor] = Weights({name: parameters[name].detach() for name in self._roles}, self._roles)
        if self.projection is not None:
            values = SketchFile.row(self.projection, values)
        self._writer.append(values, step=trainer.global_step, epoch=epoch, lr=lr)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a strategy under which no rank holds whole weights, and a pattern that selects nothing."""
        if stage == "fit":
            require_supported(trainer, "TrajectoryRecorder")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the file and record the weights before the first step, or go on in the resumed run's."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        selected = self._selected(pl_module)
        folder = output_folder(trainer, self.dirpath)
        path = Ranks(trainer.strategy.root_device).broadcast(str(self._find(folder, trainer.global_step)))
        self.path = Path(path)
        if trainer.is_global_zero:
            self._roles = selected.roles
            file = self._open(trainer, selected)
            self._writer, last = BackgroundWriter(file), file.last_step
            self._last_step = -1 if last is None else last
            if last is None:
                self.record(trainer, pl_module, trainer.current_epoch)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record when another n steps are complete; gradient accumulation takes no step and records nothing."""
        n = self.every_n_steps
        if n is not None and trainer.global_step // n > max(self._last_step, 0) // n:
            self.record(trainer, pl_module, trainer.current_epoch + trainer.is_last_batch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record when another n epochs are complete."""
        if self.every_n_steps is None and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self.record(trainer, pl_module, trainer.current_epoch + 1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the final weights, so that the path ends where the run ends; draw a sketch."""
        self.record(trainer, pl_module, trainer.current_epoch)
        if self._writer is None:
            return
        path = self._flushed()
        if self.projection is not None:
            with reported("the figure", path), Sketch.load(path) as sketch:
                figure = plot_sketch(sketch)
                figure.savefig(path.with_suffix(".png"), dpi=150)
                name = f"landscape/{self.name}"
                publish(trainer.loggers, trainer.global_step, figures={name: figure}, files={name: path})

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write what is left and close the file; a failure then is a warning, for another error is on its way."""
        try:
            self._close()
        except LandscapeError as error:
            if error is not exception:
                warnings.warn(f"the end of the trajectory is not recorded: {error}", stacklevel=2)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the file."""
        self._close()

    def _selected(self, pl_module: LightningModule) -> Weights:
        weights = weights_of(pl_module)
        if self.parameters is None:
            return weights
        names = [n for n in weights if any(fnmatch.fnmatchcase(n, pattern) for pattern in self.parameters)]
        if not names:
            raise LandscapeError(
                f"TrajectoryRecorder(parameters={self.parameters}) selects none of the {len(weights)} parameters, the "
                f"first of which are {list(weights)[:3]}: give patterns that match some names"
            )
        return Weights({n: weights[n] for n in names}, {n: weights.roles[n] for n in names})

    def _find(self, folder: Path, step: int) -> Path:
        """Return the file to write: the resumed run's own, a copy of it, or a new one."""
        target = folder / f"{self.name}.h5"
        if not self._restored or step == 0:
            return unused(target)
        restored = Path(self._restored)
        if not restored.exists():
            warnings.warn(
                f"the trajectory of the resumed run is gone from {restored}: a new one begins at step {step}",
                stacklevel=2,
            )
            return unused(target)
        return restored if restored.resolve() == target.resolve() else unused(target)

    def _flushed(self) -> Path:
        """The path of the record, when all of it is written.

        Raises:
            LandscapeError: before the first record, or if something could not be written.
        """
        if self.path is None:
            raise LandscapeError("nothing is recorded yet: the trajectory begins when training starts")
        if self._writer is not None:
            self._writer.flush()
        return self.path

    def _open(self, trainer: Trainer, weights: Weights) -> RowsFile:
        assert self.path is not None
        entries = sum(tensor.numel() for tensor in weights.values())
        restored = Path(self._restored) if self._restored and trainer.global_step > 0 else None
        if restored is not None and restored.exists():
            source = restored if restored.resolve() != self.path.resolve() else None
            if self.projection is None:
                return TrajectoryFile.resume(self.path, after_step=trainer.global_step, source=source)
            sketch = SketchFile.resume(self.path, after_step=trainer.global_step, source=source)
            sketch.require(self.projection, entries)
            return sketch
        capacity, attrs = self._expected_rows(trainer), {"name": self.name}
        if self.projection is None:
            return TrajectoryFile.create(self.path, weights, capacity, attrs, self.dtype)
        return SketchFile.create(self.path, self.projection, entries, capacity, attrs)

    def _expected_rows(self, trainer: Trainer) -> int:
        """Return the rows to lay the file out for; it grows if there are more."""
        epochs = trainer.max_epochs or -1
        if self.every_n_steps is None:
            return epochs // self.every_n_epochs + 2 if epochs > 0 else _UNKNOWN_ROWS
        try:
            steps = trainer.estimated_stepping_batches
        except MisconfigurationException:  # gradient accumulation that changes with the epoch
            return _UNKNOWN_ROWS
        return int(steps // self.every_n_steps) + 2 if 0 < steps < float("inf") else _UNKNOWN_ROWS

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
