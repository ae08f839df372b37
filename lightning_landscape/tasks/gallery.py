"""Many experiments, each in a process of its own, and one page with their pictures."""

from __future__ import annotations

import json
import logging
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from lightning_landscape.errors import LandscapeError
from lightning_landscape.figures import Exhibit, write_gallery
from lightning_landscape.figures.gallery import PICTURES
from lightning_landscape.records.surface_file import check_writable
from lightning_landscape.records.whole import write_whole

_log = logging.getLogger(__name__)
_MARKER = "gallery.json"
_OUTPUT = "output.log"
_LINES = 15  # of a failure's output


@dataclass(frozen=True)
class Entry:
    """One line of the list of experiments.

    Attributes:
        name: of the experiment.
        overrides: what follows it on the command line.
        folder: of what it writes.
    """

    name: str
    overrides: tuple[str, ...]
    folder: Path

    @property
    def arguments(self) -> list[str]:
        """What follows the command's name, without the folder."""
        return [f"experiment={self.name}", *self.overrides]


def gallery(cfg: DictConfig) -> list[Path]:
    """Run every experiment of ``cfg.experiments``, ``cfg.jobs`` at a time, and write ``gallery.html``.

    Each has a folder of its own below ``cfg.output_dir``, with all it prints in ``output.log``. One that fails does not
    keep the others from running; the page shows the last lines that it printed. Where the folder tells that the same
    was finished before, it is not run again. The page is written anew after each.

    Returns:
        The page; nothing on other ranks than zero, which leave all of it to that one.

    Raises:
        LandscapeError: if there are no experiments, or one is listed twice.
    """
    if rank_zero_only.rank:  # type: ignore[attr-defined]
        return []
    folder = Path(cfg.output_dir).absolute()
    check_writable(folder)
    entries = [_entry(str(line), folder) for line in cfg.experiments or ()]
    if not entries:
        raise LandscapeError("mode=gallery needs experiments: experiments=[skip_connections,...]")
    names = [entry.name for entry in entries]
    if twice := {name for name in names if names.count(name) > 1}:
        raise LandscapeError(f"experiments lists {', '.join(sorted(twice))} more than once: each has one folder")
    # Several at a time share the cores: more threads than those wait for each other.
    environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // cfg.jobs))} if cfg.jobs > 1 else {}
    page, made = folder / "gallery.html", dict[str, Exhibit]()
    pool = ThreadPoolExecutor(cfg.jobs)
    try:
        running = {pool.submit(_made, entry, environment | os.environ): entry.name for entry in entries}
        for done in as_completed(running):
            made[running[done]] = done.result()
            write_gallery(page, cfg.title, cfg.introduction, [made[name] for name in names if name in made])
    finally:
        pool.shutdown(cancel_futures=True)  # whoever interrupts the gallery does not want the rest of it
    if failed := [name for name in names if made[name].failure is not None]:
        _log.warning("%d of %d failed: %s", len(failed), len(names), ", ".join(failed))
    return [page]


def _entry(line: str, folder: Path) -> Entry:
    name, *overrides = shlex.split(line)
    return Entry(name, tuple(overrides), folder / name)


def _made(entry: Entry, environment: dict[str, str]) -> Exhibit:
    """Run an experiment, or find what it left behind when it was finished before."""
    marker = entry.folder / _MARKER
    if marker.exists():
        found = json.loads(marker.read_text(encoding="utf-8"))
        if found["arguments"] == entry.arguments and found["failure"] is None:
            _log.info("%s: finished before", entry.name)
            return _exhibit(entry, found)
    marker.unlink(missing_ok=True)
    entry.folder.mkdir(parents=True, exist_ok=True)
    _log.info("%s: running, its output is in %s", entry.name, entry.folder / _OUTPUT)
    quoted = str(entry.folder).replace("\\", "\\\\").replace("'", "\\'")
    command = [sys.executable, "-m", "lightning_landscape.app", *entry.arguments, f"hydra.run.dir='{quoted}'"]
    started = time.perf_counter()
    with (entry.folder / _OUTPUT).open("w", encoding="utf-8") as output:
        status = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False
        ).returncode
    found = {
        "arguments": entry.arguments,
        "seconds": time.perf_counter() - started,
        "machine": _machine(),
        "failure": None if status == 0 else f"{_last_lines(entry.folder / _OUTPUT)}\n[exit status {status}]",
    }
    write_whole(marker, json.dumps(found, indent=2) + "\n")
    _log.info("%s: %s after %.0f s", entry.name, "done" if status == 0 else "failed", found["seconds"])
    return _exhibit(entry, found)


def _exhibit(entry: Entry, found: dict[str, Any]) -> Exhibit:
    settings = entry.folder / ".hydra" / "config.yaml"
    cfg: Any = OmegaConf.load(settings) if settings.exists() else {}
    return Exhibit(
        name=entry.name,
        title=cfg.get("title", entry.name),
        command=shlex.join(["lightning-landscape", *entry.arguments]),
        folder=entry.folder,
        pictures=[path.relative_to(entry.folder).as_posix() for path in _pictures(entry.folder)],
        seconds=found["seconds"],
        seed=cfg.get("seed"),
        machine=found["machine"],
        failure=found["failure"],
    )


def _pictures(folder: Path) -> Iterator[Path]:
    """The pictures nearest to the top: those over all runs, where there are such, rather than those of each run."""
    found = sorted(path for path in folder.rglob("*") if path.suffix in PICTURES)
    top = min((len(path.parts) for path in found), default=0)
    return (path for path in found if len(path.parts) == top)


def _last_lines(path: Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()[-_LINES:])


def _machine() -> str:
    graphics = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{os.cpu_count()} cores of {_processor()}{graphics}, torch {torch.__version__}"


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
