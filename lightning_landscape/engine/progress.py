"""A progress bar over the points, beside the Trainer's own and in its style."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar
from tqdm.auto import tqdm


@contextmanager
def progress_bar(
    total: int, done: int, label: str, trainer: Trainer | None, *, show: bool
) -> Iterator[Callable[[int], None]]:
    """Show how many of the points are done; yield the function that advances the bar.

    Args:
        total: the number of points.
        done: how many of them were found done at the start.
        label: the text before the bar.
        trainer: where there is one, its progress bar decides: none if it has none, a task of the same display if it is
            rich's, since two live displays exclude each other.
        show: whether this process shows anything.
    """
    # A user's own bar need not know whether it is disabled.
    display: Any = trainer.progress_bar_callback if trainer is not None else None
    if not show or (trainer is not None and (display is None or getattr(display, "is_disabled", False))):
        yield lambda _: None
        return
    if isinstance(display, RichProgressBar):
        progress = display.progress
        if progress is not None and progress.live.is_started:
            task = progress.add_task(label, total=total, completed=done)
            try:
                yield lambda count: progress.advance(task, count)
            finally:
                progress.remove_task(task)
            return
    position = 2 * display.process_position + 1 if isinstance(display, TQDMProgressBar) else 0
    bar = tqdm(
        total=total,
        initial=done,
        desc=label,
        unit="point",
        position=position,
        leave=trainer is None,
        dynamic_ncols=True,
        file=sys.stdout if trainer is not None else sys.stderr,
    )
    with bar:
        yield lambda count: (bar.update(count), None)[1]
