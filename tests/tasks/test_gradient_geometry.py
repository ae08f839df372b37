"""The experiments on the geometry of gradients and slices, each as small as it can be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_landscape import LandscapeError
from lightning_landscape.models import MLP
from lightning_landscape.records.stiffness import StiffnessHistory
from lightning_landscape.tasks import TASKS
from lightning_landscape.tasks.goldilocks import xavier_
from lightning_landscape.tasks.intrinsic_dimension import _first_reaching
from tests.tasks.test_tasks import configuration

SMALL = ["model.hidden=[4]", "trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.accelerator=cpu"]


def test_intrinsic_dimension(tmp_path: Path) -> None:
    overrides = ["search.dimensions=[2,9]", "search.seeds=1", "search.ratio=2", *SMALL]
    written = TASKS["intrinsic_dimension"](configuration(tmp_path, "experiment=intrinsic_dimension", *overrides))
    rows = written[0].read_text().splitlines()[2:]
    assert [row.split(",")[0] for row in rows[:3]] == ["0", "2", "9"]
    assert {row.split(",")[3] for row in rows} == {"310.0"}
    assert written[1].stat().st_size > 10_000
    # what is known is not trained again
    TASKS["intrinsic_dimension"](configuration(tmp_path, "experiment=intrinsic_dimension", *overrides))
    assert written[0].read_text().splitlines()[2:] == rows


def test_the_dimension_that_is_reached_is_followed_by_no_failure() -> None:
    assert _first_reaching({3: 0.5, 10: 0.95, 30: 0.85, 100: 0.92, 300: 0.95}, 0.9) == 100
    assert _first_reaching({3: 0.5}, 0.9) is None
    assert _first_reaching({3: 0.95, 10: 0.95}, 0.9) == 3


def test_goldilocks(tmp_path: Path) -> None:
    overrides = ["slices.draws=2", "slices.radii=[0.5,1.0]", "slices.dimension=3", "slices.examples=16"]
    written = TASKS["goldilocks"](configuration(tmp_path, "experiment=goldilocks", *overrides, *SMALL))
    rows = [row.split(",") for row in written[0].read_text().splitlines()[2:]]
    assert len(rows) == 2 * 2 * 2
    values = np.array([[float(cell) for cell in row[3:]] for row in rows])
    assert (np.abs(values[:, [0, 2]]) <= np.sqrt(3)).all()
    assert ((values[:, [1, 3]] >= 0) & (values[:, [1, 3]] <= 1)).all()
    assert written[1].stat().st_size > 10_000


def test_xavier_has_the_radius_of_the_formula() -> None:
    """784-200-200-10: the root of the sum of 2 a b / (a + b)."""
    torch.manual_seed(0)
    network = MLP(784, [200, 200])
    xavier_(network)
    assert sum(p.numel() for p in network.parameters()) == 199_210
    radius = torch.cat([p.detach().flatten() for p in network.parameters()]).norm().item()
    assert radius == pytest.approx(23.19, rel=0.01)


def test_batch_size_curvature(tmp_path: Path) -> None:
    overrides = ["batches.sizes=[16,64]", "batches.draws=2", "batches.noise={batch: 320, vectors: 2, directions: 1}"]
    written = TASKS["batch_size_curvature"](
        configuration(tmp_path, "experiment=batch_size_curvature", *overrides, *SMALL, "trainer.limit_val_batches=0")
    )
    rows = [row.split(",") for row in written[0].read_text().splitlines()[2:]]
    assert [row[0] for row in rows] == ["1280", "16", "16", "64", "64"]
    values = np.array([[float(cell) for cell in row[2:]] for row in rows])
    assert (values[:, 0] > values[:, 1]).all()  # largest above smallest
    assert (values[:, 2:] > 0).all()
    facts = dict(row.split(",")[:2] for row in written[1].read_text().splitlines()[2:])
    assert float(facts["rows"]) == 310
    assert 0 < float(facts["effective rows"]) < 310
    assert written[2].stat().st_size > 10_000


def test_stiffness_is_an_experiment(tmp_path: Path) -> None:
    overrides = ["logger=none", "callbacks.stiffness.examples=12", *SMALL]
    TASKS["train"](configuration(tmp_path, "experiment=stiffness", *overrides))
    history = StiffnessHistory.load(tmp_path / "run/landscape/stiffness.h5")
    assert history.steps.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["experiment=intrinsic_dimension", "search.dimensions=[]"], "needs search.dimensions"),
        (["experiment=goldilocks", "slices.draws=1"], "slices.draws"),
        (["experiment=batch_size_curvature", "batches.sizes=[9999]"], "up to 1280 training images"),
    ],
)
def test_refusals(tmp_path: Path, overrides: list[str], words: str) -> None:
    cfg = configuration(tmp_path, *overrides)
    with pytest.raises(LandscapeError, match=words):
        TASKS[cfg.mode](cfg)


def test_tables_of_an_experiment_belong_to_its_settings(tmp_path: Path) -> None:
    overrides = ["slices.draws=2", "slices.radii=[1.0]", "slices.dimension=2", "slices.examples=16", *SMALL]
    TASKS["goldilocks"](configuration(tmp_path, "experiment=goldilocks", *overrides))
    with pytest.raises(LandscapeError, match="other settings"):
        TASKS["goldilocks"](configuration(tmp_path, "experiment=goldilocks", *overrides, "seed=9"))
