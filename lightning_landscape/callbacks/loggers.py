"""Publishing figures and files to every logger of a Trainer.

Lightning's loggers share no interface for images, so each class has a handler here; the handlers of other classes are
added with `register_logger`. Nothing here replaces the files on disk, which are written whatever the loggers are, and
no client library (wandb, mlflow, comet_ml, litlogger) is imported before its logger has to publish something.
"""

from __future__ import annotations

import io
import re
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import lightning.pytorch.loggers as lightning_loggers
import numpy as np
from lightning.pytorch.loggers import CometLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from lightning_landscape.engine.guard import snapshot_rng

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Handler = TypeVar("Handler", bound=Callable[..., object])

_FIGURE_HANDLERS: dict[type, Callable[[Any, str, Figure, int], object]] = {}
_FILE_HANDLERS: dict[type, Callable[[Any, str, Path, int], object]] = {}

# Loggers whose first failure has been reported. Weak, so that no run's logger is kept alive.
_REPORTED: weakref.WeakSet[Any] = weakref.WeakSet()


def register_logger(
    cls: type,
    *,
    figure: Callable[[Any, str, Figure, int], object] | None = None,
    file: Callable[[Any, str, Path, int], object] | None = None,
) -> None:
    """Teach `publish` what to do with the loggers of a class and of its subclasses.

    The handler of the nearest class in the method resolution order is used; a later registration replaces an earlier
    one of the same class. What is not given stays as it is, or comes from a base class.

    Args:
        cls: The logger's class.
        figure: Called as ``figure(logger, name, figure, step)`` with a `matplotlib.figure.Figure`.
        file: Called as ``file(logger, name, path, step)`` with a `pathlib.Path`.

    Raises:
        TypeError: If neither handler is given.

    Example:
        >>> from lightning.pytorch.loggers import CSVLogger
        >>> class NotebookLogger(CSVLogger):
        ...     "Shows what it gets."
        >>> register_logger(NotebookLogger, file=lambda logger, name, path, step: print(name, path.name, step))
        >>> log_file(NotebookLogger(""), "landscape/record", "surface.h5", 100)
        landscape/record surface.h5 100
        True
    """
    if figure is None and file is None:
        raise TypeError(f"register_logger({cls.__qualname__}) was given no handler: pass figure=, file= or both")
    if figure is not None:
        _FIGURE_HANDLERS[cls] = figure
    if file is not None:
        _FILE_HANDLERS[cls] = file


def log_figure(logger: Logger, name: str, figure: Figure, step: int) -> bool:
    """Send one figure to one logger.

    Whatever the logger's client raises is raised here; `publish` is the variant that only warns.

    Args:
        logger: A logger of a Trainer.
        name: The tag, key or title under which the logger shows the figure, such as ``"landscape/val_loss"``.
        figure: The figure; it is rendered at its own size and resolution and stays as it is.
        step: The optimizer step that the figure belongs to.

    Returns:
        Whether the logger has a place for figures; False, with nothing done, for `CSVLogger` and unknown classes.
    """
    handler = _handler(_FIGURE_HANDLERS, logger)
    if handler is None:
        return False
    handler(logger, name, figure, step)
    return True


def log_file(logger: Logger, name: str, path: str | Path, step: int) -> bool:
    """Send one file, such as a record or a page, to one logger as an artifact.

    Whatever the logger's client raises is raised here; `publish` is the variant that only warns.

    Args:
        logger: A logger of a Trainer.
        name: The name of the artifact, or the folder that it is put into, such as ``"landscape/record"``.
        path: The file.
        step: The optimizer step that the file belongs to.

    Returns:
        Whether the logger keeps files; False, with nothing done, for `TensorBoardLogger`, `CSVLogger` and unknown
        classes.
    """
    handler = _handler(_FILE_HANDLERS, logger)
    if handler is None:
        return False
    handler(logger, name, Path(path), step)
    return True


@rank_zero_only
def publish(
    loggers: Iterable[Logger],
    step: int,
    *,
    figures: Mapping[str, Figure] | None = None,
    files: Mapping[str, str | Path] | None = None,
) -> None:
    """Send figures and files to every logger, on rank zero only, without ever stopping the run.

    A logger that raises an `Exception` warns, once in its life, and the others go on. The random-number streams
    are as before afterwards: clients draw names and identifiers.

    Args:
        loggers: The loggers, as in ``trainer.loggers``.
        step: The optimizer step that all of it belongs to.
        figures: The figures by name, as for `log_figure`.
        files: The files by name, as for `log_file`.
    """
    restore_rng = snapshot_rng()
    try:
        for logger in loggers:
            jobs = [(name, partial(log_figure, logger, name, figure, step)) for name, figure in (figures or {}).items()]
            jobs += [(name, partial(log_file, logger, name, path, step)) for name, path in (files or {}).items()]
            for name, job in jobs:
                try:
                    job()
                except Exception as error:
                    _report(logger, name, error)
    finally:
        restore_rng()


def _handler(handlers: Mapping[type, Handler], logger: object) -> Handler | None:
    """The handler of the nearest class among the logger's own and its bases."""
    return next((handlers[cls] for cls in type(logger).__mro__ if cls in handlers), None)


def _report(logger: Logger, name: str, error: Exception) -> None:
    if logger in _REPORTED:
        return
    _REPORTED.add(logger)
    warnings.warn(
        f"{type(logger).__name__} could not take {name!r} ({type(error).__name__}: {error}). Training goes on and the "
        "files on disk are complete; further failures of this logger are not reported.",
        stacklevel=3,
    )


def _image(figure: Figure) -> Image.Image:
    """The figure as pixels. SummaryWriter.add_figure and wandb.Image(figure) would go through pyplot instead."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi="figure")
    buffer.seek(0)
    image = Image.open(buffer)
    image.load()
    return image


def _tensorboard_figure(logger: TensorBoardLogger, name: str, figure: Figure, step: int) -> None:
    logger.experiment.add_image(name, np.asarray(_image(figure)), global_step=step, dataformats="HWC")


def _wandb_figure(logger: WandbLogger, name: str, figure: Figure, step: int) -> None:
    # log_image puts the step under "trainer/global_step"; W&B's own step must only grow, and drops what comes late.
    logger.log_image(name, [_image(figure)], step=step)


def _wandb_file(logger: WandbLogger, name: str, path: Path, step: int) -> None:
    # Artifact names are unique in a project, hence the run's id; a name met again becomes a new version.
    artifact = f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)}-{logger.experiment.id}"
    logger.experiment.log_artifact(str(path), name=artifact, type="loss_landscape", aliases=["latest", f"step-{step}"])


def _mlflow_figure(logger: MLFlowLogger, name: str, figure: Figure, step: int) -> None:
    # A key and a step, rather than a file name, are what MLflow's page turns into a slider over steps.
    key = re.sub(r"[^A-Za-z0-9_\-./ ]+", "_", name)
    logger.experiment.log_image(logger.run_id, _image(figure), key=key, step=step)


def _mlflow_file(logger: MLFlowLogger, name: str, path: Path, step: int) -> None:
    logger.experiment.log_artifact(logger.run_id, str(path), artifact_path=f"{name}/step_{step:06d}")


def _comet_figure(logger: CometLogger, name: str, figure: Figure, step: int) -> None:
    logger.experiment.log_figure(figure_name=name, figure=figure, step=step, overwrite=False)


def _comet_file(logger: CometLogger, name: str, path: Path, step: int) -> None:
    logger.experiment.log_asset(str(path), file_name=f"{name}/{path.name}", step=step)


def _lit_figure(logger: Any, name: str, figure: Figure, step: int) -> None:
    logger.experiment[name].append(import_module("litlogger").Image(_image(figure)), step=step)


def _lit_file(logger: Any, name: str, path: Path, step: int) -> None:
    logger.experiment[name].append(import_module("litlogger").File(str(path)), step=step)


register_logger(TensorBoardLogger, figure=_tensorboard_figure)
register_logger(WandbLogger, figure=_wandb_figure, file=_wandb_file)
register_logger(MLFlowLogger, figure=_mlflow_figure, file=_mlflow_file)
register_logger(CometLogger, figure=_comet_figure, file=_comet_file)
# LitLogger came within Lightning 2.6, whose first releases are supported too.
if hasattr(lightning_loggers, "LitLogger"):
    register_logger(lightning_loggers.LitLogger, figure=_lit_figure, file=_lit_file)
