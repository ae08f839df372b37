"""mode=trajectories: the numbers of paths on their principal planes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lightning_landscape import LandscapeError, Surface, Trajectory
from lightning_landscape.tasks import TASKS
from tests.tasks.test_tasks import TINY, configuration

NETWORK = ["model.depth=8", "model.width=2", *(option for option in TINY if not option.startswith("model"))]


def test_paths_are_measured_on_their_principal_planes(tmp_path: Path) -> None:
    few = [
        *NETWORK,
        "trainer.max_epochs=12",
        "module.scheduler.milestones=[4,8]",
        "callbacks.principal.resolution=5",
        "callbacks.principal.examples=32",
    ]
    cfg = configuration(tmp_path, "experiment=trajectories", *few)
    figure, panels, report, *records = TASKS["trajectories"](cfg)
    assert min(path.stat().st_size for path in (figure, panels)) > 10_000
    found = json.loads(report.read_text())
    assert list(found) == list(cfg.runs)
    assert len(records) == 4
    for name, record, recorded in zip(cfg.runs, records[::2], records[1::2], strict=True):
        surface, numbers = Surface.load(record), found[name]
        with Trajectory.load(recorded) as trajectory:
            assert trajectory.lr is not None
            # The scheduler's rates, each that of the steps which follow the checkpoint.
            np.testing.assert_allclose(trajectory.lr, [0.1] * 4 + [0.01] * 4 + [0.001] * 5)
            size = sum(tensor.numel() for tensor in trajectory[0].values())
        assert numbers["random_plane_expected"] == 2 / size
        assert numbers["random_plane"] == pytest.approx(2 / size, rel=0.8)
        assert numbers["principal"][1] == pytest.approx(sum(surface.attrs["explained_variance"]))
        assert len(numbers["descent_by_phase"]) == 3
        assert len(numbers["turns_at_falls"]) == 2
        assert 0 <= numbers["test_accuracy"] <= 1


def test_a_run_without_a_principal_plane_is_refused(tmp_path: Path) -> None:
    cfg = configuration(tmp_path, *NETWORK, "experiment=trajectories", "callbacks=surface")
    with pytest.raises(LandscapeError, match="use callbacks=principal"):
        TASKS["trajectories"](cfg)
