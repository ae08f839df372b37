"""The command `lightning-landscape`: a Hydra application over the tasks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import hydra
import torch.distributed as dist
from hydra.errors import InstantiationException
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from lightning_landscape.errors import LandscapeError
from lightning_landscape.tasks import TASKS, plan
from lightning_landscape.tasks.build import quieten


def _config_path() -> str:
    """Find the configuration: inside the installed package, or at the top of the repository in an editable install."""
    packaged = Path(__file__).parent / "conf"
    return str(packaged if packaged.is_dir() else Path(__file__).parents[1] / "conf")


@hydra.main(version_base="1.3", config_path=_config_path(), config_name="config")
def _run(cfg: DictConfig) -> None:
    quieten()
    started = time.perf_counter()
    try:
        if cfg.mode not in TASKS:
            raise LandscapeError(f"mode={cfg.mode} is unknown: choose one of {', '.join(TASKS)}")
        task: Callable[[DictConfig], list[Path]] = plan if cfg.plan else TASKS[cfg.mode]
        written = task(cfg)
    except (LandscapeError, InstantiationException) as error:
        # Hydra wraps what a constructor raises, and prints a traceback for anything but SystemExit.
        mistake = error if isinstance(error, LandscapeError) else error.__cause__
        if not isinstance(mistake, LandscapeError):
            raise
        sys.exit(f"lightning-landscape: {mistake}")
    if written:
        print(f"\nDone in {time.perf_counter() - started:.0f} s. Written:", *written, sep="\n  ")


def at_size(arguments: list[str]) -> list[str]:
    """Turn ``experiment=X size=paper`` into ``experiment=paper_X``; ``size=small`` is X itself.

    The sizes of an experiment differ in groups such as the data. Hydra lets an experiment override groups, but nothing
    that it finds by interpolation, which a group ``size`` would have to be: hence a file for each size.

    Raises:
        LandscapeError: Another size is asked for, or a size of no experiment.
    """
    sizes = {argument.removeprefix("size=") for argument in arguments if argument.startswith("size=")}
    if not sizes:
        return arguments
    if len(sizes) > 1 or not sizes <= {"small", "paper"}:
        raise LandscapeError(f"size={' size='.join(sorted(sizes))}: give either size=small or size=paper")
    if not any(argument.startswith("experiment=") for argument in arguments):
        raise LandscapeError(f"size={sizes.pop()} needs an experiment: add experiment=skip_connections")
    prefix = "paper_" if sizes == {"paper"} else ""
    return [
        "experiment=" + ",".join(prefix + name for name in argument.removeprefix("experiment=").split(","))
        if argument.startswith("experiment=")
        else argument
        for argument in arguments
        if not argument.startswith("size=")
    ]


def _on_this_rank(arguments: list[str]) -> list[str]:
    """Return the arguments for this process, of which torchrun or SLURM has started one for each rank.

    Hydra would give every rank a folder and a log of its own, named by the second in which it came to that.
    """
    if not rank_zero_only.rank or any(argument.startswith("hydra.run.dir=") for argument in arguments):  # type: ignore[attr-defined]
        return arguments
    return [*arguments, "hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=stdout"]


def main() -> None:
    """Run the command; a mistake in its use ends it with one sentence and exit status 1."""
    try:
        sys.argv[1:] = _on_this_rank(at_size(sys.argv[1:]))
    except LandscapeError as mistake:
        sys.exit(f"lightning-landscape: {mistake}")
    _run()
    if dist.is_available() and dist.is_initialized():
        # Lightning leaves the group alive, and gloo's threads abort an interpreter that ends before them.
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
