"""LossLandscape: loss surfaces of a run, at the moments that its user asks for."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.data import DataLoader

from lightning_landscape.callbacks.loggers import publish
from lightning_landscape.callbacks.output import output_folder, reported, unused
from lightning_landscape.callbacks.slices import principal_slice, random_slice
from lightning_landscape.callbacks.trajectory_recorder import TrajectoryRecorder
from lightning_landscape.engine._compat import last_checkpoint
from lightning_landscape.engine.acceleration.choice import Shortcuts, require_known
from lightning_landscape.engine.batch_norm import BatchNormMode
from lightning_landscape.engine.choice import Examples, check_examples
from lightning_landscape.engine.objective import OwnStep, Step, objective_of
from lightning_landscape.engine.ranks import Ranks
from lightning_landscape.engine.sharded import ShardedSlice, require_slice_fits
from lightning_landscape.engine.shards import shards_of
from lightning_landscape.engine.strategies import require_supported
from lightning_landscape.engine.surface import compute_surface
from lightning_landscape.errors import GeometryError, LandscapeError, ObjectiveError, RecordMismatchError
from lightning_landscape.figures import animate, plot_contours, plot_curves, plot_surface, plot_trajectory, write_html
from lightning_landscape.geometry.directions import Normalize
from lightning_landscape.geometry.path import Path as TrajectoryPath
from lightning_landscape.geometry.slices import Line, Plane
from lightning_landscape.quantization.binary_connect import require_roundings, rounded
from lightning_landscape.records.surface import Surface
from lightning_landscape.sampling.cost import seconds_of
from lightning_landscape.sampling.grid import Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STEPS: dict[str, OwnStep] = {"train": "training_step", "val": "validation_step"}


class LossLandscape(Callback):
    """Computes loss surfaces around the weights of a run, and writes and logs them.

    At the end of training; every n epochs, if asked; at the checkpoints that `ModelCheckpoint` saves, if asked; and in
    ``trainer.validate(model, ckpt_path=...)``, which makes the surface of any checkpoint. Training with the callback
    ends with the same bits as training without it. The record (HDF5), the figures (PNG) and, at the end, an interactive
    page (HTML) and an animation over the epochs (GIF) lie in ``<log_dir>/landscape/``; the figures go to every logger.

    Under DDP the points are shared among the ranks; under FSDP and ModelParallel (FSDP2) the examples are.

    Args:
        plane: "random" (filter-normalised random directions, as in the paper); "pca" (the principal directions of the
            trajectory that a `TrajectoryRecorder` of the same trainer records, with the path drawn); or a `Plane` or
            `Line`.
        resolution: points along each axis; odd, so that the trained weights are one of them.
        extent: the axes go from -extent to extent, in units of the directions: for random directions 1 is a step as
            long as the weights themselves. For "pca" the axes cover the trajectory instead.
        every_n_epochs: also after every n-th epoch.
        at_checkpoints: also whenever `ModelCheckpoint` has saved.
        step: ``step(module, batch)`` that returns the loss or a dictionary of scalars, or the name of the module's own
            step; None for the step that belongs to the data.
        name: of the files and figures; distinct names are found for several surfaces in one run.
        dimensions: 2, or 1 for the curve along the first direction.
        data: "val" (with the validation step), "train" (with the training step, in eval mode), or a data loader; None
            for the validation data where the trainer has any, else the training data.
        examples: how many examples each point is evaluated on, a fixed random choice, corrected by more of them on a
            coarse grid; "all"; or "auto" for the least work that keeps the error below 0.5 % of the surface's range,
            which is wide where the loss grows by orders of magnitude.
            Standard errors come with the surface.
        budget: the time that a surface may take, "60s" or "10min", instead of `examples`; `resolution` is then an upper
            bound. The log says which error to expect.
        seed: of the directions and the choice of examples.
        normalize: "filter", "layer", "weight" or None, for random directions.
        batch_norm: "keep" the running statistics of the trained network, or "recalibrate" them at each point.
        weights: "real" for the module's own weights, which layers of `binary_connect` round at every point, so that the
            surface has steps; "rounded" for the smooth surface around the rounded weights, which nothing rounds then.
        dirpath: another folder than ``<log_dir>/landscape``.
        shortcuts: "auto", or the names of faster ways to the same values; see `compute_surface`.
        attrs: more attributes for the records; "initial_loss", the loss before training, is drawn as a contour of its
            own and measured against by `measure`.

    Raises:
        LandscapeError: for an option out of its range.

    >>> LossLandscape(resolution=0)
    Traceback (most recent call last):
    lightning_landscape.errors.LandscapeError: resolution=0: give the number of points along each axis, at least 1
    """

    def __init__(
        self,
        plane: Literal["random", "pca"] | Plane | Line = "random",
        resolution: int = 51,
        extent: float = 1.0,
        every_n_epochs: int | None = None,
        at_checkpoints: bool = False,
        step: Step | OwnStep | None = None,
        name: str | None = None,
        *,
        dimensions: Literal[1, 2] = 2,
        data: Literal["train", "val"] | DataLoader[Any] | None = None,
        examples: Examples = 1024,
        budget: str | float | None = None,
        seed: int = 0,
        normalize: Normalize | None = "filter",
        batch_norm: Literal["keep", "recalibrate"] = "keep",
        weights: Literal["real", "rounded"] = "real",
        dirpath: str | Path | None = None,
        shortcuts: Shortcuts = "auto",
        attrs: Mapping[str, Any] | None = None,
    ) -> None:
        require_known(shortcuts)
        if isinstance(plane, str) and plane not in {"random", "pca"}:
            raise LandscapeError(f"plane={plane!r} is unknown: choose 'random' or 'pca', or give a Plane or Line")
        fewest = 2 if plane == "pca" else 1  # the axes of "pca" cover a path, which is longer than a point
        if resolution < fewest:
            raise LandscapeError(
                f"resolution={resolution}: give the number of points along each axis, at least {fewest}"
            )
        if not 0 < extent < math.inf:
            raise LandscapeError(f"extent={extent}: give half the length of an axis, above 0 and finite")
        check_examples(examples)
        if budget is not None:
            seconds_of(budget)
        for option, value, known in (
            ("data", data, _STEPS),
            ("normalize", normalize, get_args(Normalize)),
            ("batch_norm", batch_norm, ("keep", "recalibrate")),
            ("weights", weights, ("real", "rounded")),
        ):
            if value is not None and not isinstance(value, DataLoader) and value not in known:
                raise LandscapeError(f"{option}={value!r} is unknown: choose one of {', '.join(known)}")
        if every_n_epochs is not None and every_n_epochs < 1:
            raise LandscapeError(f"every_n_epochs={every_n_epochs}: give a number of at least 1, or None")
        if weights == "rounded" and plane == "pca":
            raise LandscapeError(
                "weights='rounded' with plane='pca': the recorded trajectory is that of the real-valued weights; "
                "choose plane='random', or weights='real'"
            )
        if dimensions not in {1, 2}:
            raise LandscapeError(f"dimensions={dimensions}: a curve has 1 and a surface 2")
        self.plane = plane
        self.resolution = resolution
        self.extent = extent
        self.every_n_epochs = every_n_epochs
        self.at_checkpoints = at_checkpoints
        self.step = step
        self.name = name or (plane if isinstance(plane, str) else plane.kind) + "-rounded" * (weights == "rounded")
        self.dimensions = dimensions if isinstance(plane, str) else plane.dim
        self.data = data
        self.examples: Examples = examples
        self.budget = budget
        self.seed = seed
        self.normalize = normalize
        self.batch_norm: BatchNormMode = batch_norm
        self.weights = weights
        self.dirpath = dirpath
        self.shortcuts = shortcuts
        self.attrs = dict(attrs or {})
        self.surfaces: list[Path] = []
        self._checkpoint = (0, "")
        self._folder: Path | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse early what could not be computed later, and give every surface of the run a name of its own."""
        if stage not in {"fit", "validate"}:
            return
        require_supported(trainer, "LossLandscape", sharded=True)
        objective_of(pl_module, self.step or (_STEPS[self.data] if isinstance(self.data, str) else None))
        if self.plane == "pca":
            self._recorder(trainer)
        if self.weights == "rounded":
            require_roundings(pl_module)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        others = [callback for callback in callbacks if isinstance(callback, LossLandscape)]
        earlier = {other.name for other in others[: others.index(self)]}
        base, number = self.name, 1
        while self.name in earlier:
            number += 1
            self.name = f"{base}-{number}"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the output folder and the data; learn now, not at the end, what would be missing then."""
        self.surfaces, self._folder, self._checkpoint = [], None, last_checkpoint(trainer)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        # Without a sanity check, Lightning may load the validation data only after some epochs.
        if trainer.val_dataloaders is not None or not trainer.enable_validation:
            self._data(trainer, pl_module)
        if not isinstance(self.plane, str):
            require_slice_fits(pl_module, self.plane, shards_of(pl_module, trainer))
        self._folder = output_folder(trainer, self.dirpath)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute the surface of a checkpoint that was saved at the end of the last epoch."""
        self._at_checkpoint(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Compute the surface of a checkpoint that was saved after the last batch."""
        self._at_checkpoint(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute the surface of every n-th epoch."""
        n = self.every_n_epochs
        last = trainer.max_epochs is not None and trainer.current_epoch + 1 == trainer.max_epochs
        # The surface at the end of training is the last epoch's.
        if n is not None and (trainer.current_epoch + 1) % n == 0 and not last:
            self._compute(trainer, pl_module, epoch=trainer.current_epoch + 1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute the surface of the trained weights, and the animation of all surfaces of the run."""
        self._compute(trainer, pl_module, epoch=trainer.current_epoch, final=True)
        if trainer.is_global_zero and len(self.surfaces) > 1 and self.dimensions == 2:
            with reported("the animation", self.surfaces[-1]):
                animate([Surface.load(path) for path in self.surfaces], self.surfaces[-1].with_name(f"{self.name}.gif"))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute the surface of the weights that ``trainer.validate`` was called with."""
        if trainer.state.fn == TrainerFn.VALIDATING and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._folder = output_folder(trainer, self.dirpath)
            checkpoint = Path(trainer.ckpt_path).stem if trainer.ckpt_path else "validate"
            self._compute(trainer, pl_module, epoch=None, final=True, moment=checkpoint)

    def _at_checkpoint(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.at_checkpoints:
            return
        saved = last_checkpoint(trainer)
        if saved != self._checkpoint:
            self._checkpoint = saved
            self._compute(trainer, pl_module, epoch=trainer.current_epoch)

    def _compute(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        *,
        epoch: int | None,
        final: bool = False,
        moment: str | None = None,
    ) -> None:
        """Compute one surface, on every rank, then draw and log it, on rank zero."""
        if self._folder is None:
            return
        with rounded(pl_module) if self.weights == "rounded" else nullcontext():
            self._compute_here(trainer, pl_module, self._folder, epoch=epoch, final=final, moment=moment)

    def _compute_here(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        folder: Path,
        *,
        epoch: int | None,
        final: bool,
        moment: str | None,
    ) -> None:
        ranks = Ranks(trainer.strategy.root_device)
        loader, step = self._data(trainer, pl_module)
        try:
            found = self._slice(trainer, pl_module, ranks, epoch)
        except GeometryError as error:
            # Weights that diverged, or too short a path, span no plane; that is no reason to lose the run.
            warnings.warn(f"no surface {self.name!r} at step {trainer.global_step}: {error}", stacklevel=2)
            return
        slice_, path = found
        moment = moment or f"step={trainer.global_step:06d}"
        record = ranks.broadcast(folder / f"{self.name}-{moment}.h5")
        if record in self.surfaces and not final:
            return
        attrs: dict[str, Any] = {**self.attrs, "global_step": trainer.global_step, "name": self.name}
        attrs.update({"epoch": epoch} if epoch is not None else {"checkpoint": moment})
        attrs.update({"weights": "rounded"} if self.weights == "rounded" else {})

        def compute(target: Path) -> Surface:
            return compute_surface(
                pl_module,
                loader,
                slice_,
                self.grid(path),
                step,
                target,
                examples=self.examples,
                budget=self.budget,
                seed=self.seed,
                batch_norm=self.batch_norm,
                trajectory=path,
                attrs=attrs,
                trainer=trainer,
                shortcuts=self.shortcuts,
            )

        try:
            surface = compute(record)
        except RecordMismatchError as error:
            # An earlier run wrote here: its record stays, ours goes beside it.
            record = ranks.broadcast(unused(record))
            warnings.warn(f"{error}; this surface goes to {record.name}", stacklevel=2)
            surface = compute(record)
        if record not in self.surfaces:
            self.surfaces.append(record)
        if trainer.is_global_zero:
            self._publish(trainer, surface, record, final=final)

    def _data(self, trainer: Trainer, pl_module: LightningModule) -> tuple[DataLoader[Any], Step | OwnStep | None]:
        """Return the loader and the step to evaluate on it.

        Raises:
            ObjectiveError: if the trainer has no loader that goes with a step of the module.
        """
        if isinstance(self.data, DataLoader):
            return self.data, self.step
        loaders: Mapping[str, Any] = {"val": trainer.val_dataloaders, "train": trainer.train_dataloader}
        wanted = [self.data] if self.data is not None else ["val", "train"]
        for kind in wanted:
            loader = loaders[kind]
            if isinstance(loader, list | tuple) and loader:
                loader = loader[0]
            if isinstance(loader, DataLoader) and (self.step or _can_evaluate(pl_module, _STEPS[kind])):
                return loader, self.step or _STEPS[kind]
        found = {kind: type(loader).__name__ for kind, loader in loaders.items()}
        raise ObjectiveError(
            f"LossLandscape finds no data loader with its own step for {' or '.join(wanted)} data (found {found}): "
            "give LossLandscape(data=DataLoader(...)), and step=callable(module, batch) if the module has none for it"
        )

    def _slice(
        self, trainer: Trainer, pl_module: LightningModule, ranks: Ranks, epoch: int | None
    ) -> tuple[Line | Plane | ShardedSlice, TrajectoryPath | None]:
        if not isinstance(self.plane, str):
            return self.plane, None
        if self.plane == "random":
            if (shards := shards_of(pl_module, trainer)) is not None:
                return ShardedSlice.random(shards, self.dimensions, self.seed, self.normalize), None
            return random_slice(pl_module, self.dimensions, self.seed, self.normalize), None
        recorder = self._recorder(trainer)
        recorder.record(trainer, pl_module, trainer.current_epoch if epoch is None else epoch)
        return principal_slice(pl_module, self.dimensions, recorder, ranks)

    def grid(self, path: TrajectoryPath | None = None) -> Grid:
        """Return the points of a surface: around the path where one is given, else out to the extent."""
        if path is not None:
            return Grid.covering(path.coordinates, resolution=self.resolution)
        axis = (-self.extent, self.extent, self.resolution) if self.resolution > 1 else (0.0, 0.0, 1)
        return Grid(x=axis, y=axis if self.dimensions == 2 else None)

    def _recorder(self, trainer: Trainer) -> TrajectoryRecorder:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for callback in callbacks:
            if isinstance(callback, TrajectoryRecorder) and callback.projection is None:
                return callback
        raise LandscapeError(
            "LossLandscape(plane='pca') draws the trajectory that a TrajectoryRecorder records, and the trainer has "
            "none (sketches hold no weights): Trainer(callbacks=[TrajectoryRecorder(), LossLandscape('pca')])"
        )

    def _publish(self, trainer: Trainer, surface: Surface, record: Path, *, final: bool) -> None:
        """Draw the surface beside its record and send the figures to the loggers; a failure warns and stops nothing."""
        with reported("the figures", record):
            figures = self._figures(surface)
            for kind, figure in figures.items():
                figure.savefig(record.with_name(f"{record.stem}-{kind}.png"), dpi=150)
            files = {f"landscape/{self.name}": record}
            if final and surface.dim == 2:
                page = record.with_suffix(".html")
                write_html(surface, page)
                files[f"landscape/{self.name}-page"] = page
            named = {f"landscape/{self.name}/{kind}": figure for kind, figure in figures.items()}
            publish(trainer.loggers, trainer.global_step, figures=named, files=files)

    def _figures(self, surface: Surface) -> dict[str, Figure]:
        if surface.dim == 1:
            return {"curve": plot_curves(surface)}
        flat = plot_trajectory(surface) if surface.path is not None else plot_contours(surface, filled=True)
        return {"contours": flat, "surface": plot_surface(surface)}


def _can_evaluate(pl_module: LightningModule, step: OwnStep) -> bool:
    try:
        objective_of(pl_module, step)
    except ObjectiveError:
        return False
    return True
