"""The console command, started as on a cluster: the processes of torchrun, those of Lightning, a sweep of Hydra's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_landscape import Surface

APP = "lightning_landscape.app"
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", APP]
TINY = [
    "~experiment",
    "mode=train",
    "model=mlp",
    "model.hidden=[4]",
    "logger=csv",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=3",
    "trainer.enable_progress_bar=false",
    "~callbacks.principal",
    "callbacks.random.resolution=5",
    "callbacks.random.examples=64",
]
DDP = ["trainer.strategy=ddp", "trainer.devices=2"]


def run(folder: Path, *arguments: str) -> str:
    """Run Python in an empty folder, and return what it prints."""
    root = Path(__file__).parents[2]
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-8000:]
    return result.stdout


def assert_one_run(folder: Path, printed: str) -> None:
    """Rank zero alone wrote, into one folder, and the surface is whole."""
    (record,) = folder.rglob("random-*.h5")
    assert Surface.load(record).complete
    assert printed.count("Written:") == 1
    (run_folder,) = (folder / "outputs/train").iterdir()
    assert record.is_relative_to(run_folder)
    assert [path.name for path in folder.iterdir()] == ["outputs"]


def test_torchrun(tmp_path: Path) -> None:
    """What a cluster's script starts on every node; nothing but the launcher differs from the command on one device."""
    assert_one_run(tmp_path, run(tmp_path, *TORCHRUN, *TINY, *DDP))


@pytest.mark.slow
def test_lightning_starts_the_other_processes(tmp_path: Path) -> None:
    assert_one_run(tmp_path, run(tmp_path, "-m", APP, *TINY, *DDP))


@pytest.mark.slow
def test_a_sweep_with_joblib(tmp_path: Path) -> None:
    """Two jobs, in processes of their own."""
    run(tmp_path, "-m", APP, "-m", *TINY, "seed=1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    records = [Surface.load(path) for path in sorted(tmp_path.rglob("random-*.h5"))]
    assert [record.complete for record in records] == [True, True]
    assert records[0].attrs["weights_sha256"] != records[1].attrs["weights_sha256"]
