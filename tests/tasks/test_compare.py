"""The loss before training in the records and numbers of mode=compare."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_landscape import Grid, Line, Surface, Trajectory, compute_surface, weights_of
from lightning_landscape.errors import RecordMismatchError
from lightning_landscape.geometry.weights import place
from lightning_landscape.tasks import TASKS
from lightning_landscape.tasks.build import build_run, build_untrained
from tests.tasks.test_tasks import SMALL, TINY, configuration


def test_records_and_numbers_tell_the_loss_that_training_started_from(tmp_path: Path) -> None:
    runs = ["~experiment", "jobs=1", "+runs.narrow.model.hidden=[2]", "+runs.wide.model.hidden=[8]"]
    written = TASKS["compare"](configuration(tmp_path, *TINY, *SMALL, *runs))
    with (tmp_path / "networks.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert tmp_path / "networks.csv" in written
    assert rows.keys() == {"narrow", "wide"}
    for name, hidden in (("narrow", 2), ("wide", 8)):
        run = build_run(configuration(tmp_path, *TINY, f"model.hidden=[{hidden}]", f"name={name}"))
        with Trajectory.load(tmp_path / name / "landscape/trajectory.h5") as trajectory:
            place(run.module, trajectory[0])
        expected = compute_surface(
            run.module,
            run.data.evaluation_dataloader("train"),
            Line.random(weights_of(run.module)),
            Grid(x=(0.0, 0.0, 1)),
            "training_step",
            examples=32,
            progress=False,
        )["loss"][0]
        plane, principal = (
            Surface.load(next((tmp_path / name / "landscape").glob(f"{kind}-*.h5"))) for kind in ("random", "pca")
        )
        assert plane.attrs["initial_loss"] == pytest.approx(expected, rel=1e-6)
        assert principal.attrs["initial_loss"] == plane.attrs["initial_loss"]
        below = float(rows[name]["plane below the loss before training (%)"])
        assert below == pytest.approx(100 * (plane["loss"] <= expected).mean(), abs=0.06)
        wrong = 100 * (1 - float(rows[name]["test accuracy"]))
        assert float(rows[name]["test error (%)"]) == pytest.approx(wrong, abs=0.006)


def test_given_weights_are_compared_with_those_that_the_seed_gives_and_training_knows_nothing_of_it(
    tmp_path: Path,
) -> None:
    one = ["~experiment", "+runs.one.model.hidden=[4]", "logger=none"]
    TASKS["compare"](configuration(tmp_path / "trained", *TINY, *SMALL, *one))
    TASKS["train"](configuration(tmp_path / "alone", *TINY, *SMALL, "~experiment", "logger=none", "name=one"))
    given, alone = (tmp_path / folder / "one/checkpoints/last.ckpt" for folder in ("trained", "alone"))
    a, b = (torch.load(path, weights_only=True)["state_dict"] for path in (given, alone))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)

    only = [option for option in SMALL if "principal" not in option]
    again = [*TINY, "callbacks=surface", *only, *one, f"+runs.one.weights={given}"]
    TASKS["compare"](configuration(tmp_path / "again", *again))
    first, second = (
        Surface.load(next((tmp_path / folder / "one/landscape").glob("random-*.h5"))) for folder in ("trained", "again")
    )
    assert first.attrs["weights_sha256"] == second.attrs["weights_sha256"]
    assert first.attrs["initial_loss"] == second.attrs["initial_loss"]
    assert second.attrs["initial_loss"] != second["loss"][1, 1]


def test_the_loss_before_training_knows_no_depth(tmp_path: Path) -> None:
    """An untrained classifier guesses with BatchNorm statistics of data; with those it begins with, it need not."""
    deep = [
        "~experiment",
        "+runs.deep.model.shortcuts=true",
        "model.depth=110",
        "model.width=4",
        f"weights={tmp_path / 'untrained.pt'}",
        "callbacks=surface",
        "callbacks.random.resolution=3",
        "callbacks.random.examples=32",
        "logger=none",
        *(option for option in TINY if not option.startswith("model")),
    ]
    cfg = configuration(tmp_path, *deep)
    torch.save(build_untrained(cfg).state_dict(), cfg.weights)
    TASKS["compare"](cfg)
    surface = Surface.load(next((tmp_path / "deep/landscape").glob("random-*.h5")))
    assert surface.attrs["initial_loss"] == pytest.approx(np.log(10), abs=0.01)
    assert abs(surface["loss"][1, 1] - np.log(10)) > 0.5


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
def test_a_finished_network_is_not_trained_again(tmp_path: Path) -> None:
    """The same command does what is missing, and other settings are refused."""
    runs = ["~experiment", "logger=none", "jobs=1", "+runs.one.model.hidden=[2]", "+runs.two.model.hidden=[4]"]

    def written() -> dict[str, int]:
        return {path.parent.name: path.stat().st_mtime_ns for path in tmp_path.glob("*/finished.json")}

    def trained(*overrides: str) -> set[str]:
        before = written()
        TASKS["compare"](configuration(tmp_path, *TINY, *SMALL, *runs, *overrides))
        return {name for name, when in written().items() if when != before.get(name)}

    assert trained() == {"one", "two"}
    report, numbers = (tmp_path / "report.html").read_text(), (tmp_path / "networks.csv").read_text()
    assert trained() == set()
    assert (tmp_path / "networks.csv").read_text() == numbers
    assert trained("ceiling=3", "title=Again") == set()
    assert "Again" in (tmp_path / "report.html").read_text() != report
    next((tmp_path / "two/landscape").glob("random-*.h5")).unlink()
    assert trained() == {"two"}
    with pytest.raises(RecordMismatchError, match=r"one holds a network of other settings \(trainer, seed\)"):
        trained("seed=2", "trainer.max_epochs=4")
