"""Where the callbacks write: the folder `landscape` beside the run's logs, found writable before any computation."""

from __future__ import annotations

import warnings
from pathlib import Path

from lightning.pytorch import Trainer

from lightning_landscape.engine.ranks import Ranks
from lightning_landscape.records.surface_file import check_writable


def output_folder(trainer: Trainer, dirpath: str | Path | None) -> Path:
    """Return the folder for records and figures, created if need be; to be called on every rank.

    Args:
        trainer: the trainer of the run.
        dirpath: a folder of the user's choice, or None for ``trainer.log_dir/landscape``.

    Raises:
        RecordError: if rank zero cannot write there.
    """
    # `log_dir` is a collective: every rank asks, also where the answer is not needed.
    log_dir = trainer.log_dir
    folder = Path(dirpath) if dirpath is not None else Path(log_dir or trainer.default_root_dir) / "landscape"
    Ranks(trainer.strategy.root_device).on_zero(lambda: check_writable(folder))
    return folder


def unused(path: Path) -> Path:
    """Return `path`, or the first of ``<stem>-1``, ``<stem>-2``, ... that is free, so that nothing is overwritten."""
    candidate, number = path, 0
    while candidate.exists():
        number += 1
        candidate = path.with_stem(f"{path.stem}-{number}")
    return candidate


class reported:
    """Turn a failure to draw into a warning: the numbers are on disk, and training matters more than a picture."""

    def __init__(self, what: str, record: Path) -> None:
        self._what, self._record = what, record

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> bool:
        if not isinstance(error, Exception):
            return False
        warnings.warn(
            f"{self._what} of {self._record} could not be made ({type(error).__name__}: {error})", stacklevel=2
        )
        return True
