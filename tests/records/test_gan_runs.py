"""Runs of GANs: written and read, and their table."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_landscape.errors import RecordError
from lightning_landscape.records.gan_runs import GANRun, load_runs, markdown_table, save_runs

RUNS = [
    GANRun(0.01, 0.5, "neither", 0, 700, {"modes": 0.0}),
    GANRun(0.01, 0.5, "neither", 1, None, {"modes": 2.0}),
    GANRun(0.01, 0.5, "generator", 0, None, {"modes": 8.0}),
    GANRun(0.001, 0.5, "generator", 0, None, {"modes": 6.0}),
]


def test_runs_come_back_as_they_were(tmp_path: Path) -> None:
    save_runs(tmp_path / "runs.json", RUNS, {"batch": 3})
    assert load_runs(tmp_path / "runs.json") == (RUNS, {"batch": 3})
    assert [path.name for path in tmp_path.iterdir()] == ["runs.json"]


@pytest.mark.parametrize("text", ["", "[]", '{"runs": [{"rate": 1}], "settings": {}}'])
def test_what_holds_no_runs_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "runs.json").write_text(text)
    with pytest.raises(RecordError, match="holds no runs"):
        load_runs(tmp_path / "runs.json")


def test_table_counts_collapses_and_averages_seeds() -> None:
    lines = markdown_table(RUNS, ["modes"]).splitlines()
    head = "| rate | beta1 | collapsed: neither | collapsed: generator | modes: neither | modes: generator |"
    assert lines[0] == head
    assert lines[2] == "| 0.001 | 0.5 | 0 of 0 | 0 of 1 |  | 6 |"
    assert lines[3] == "| 0.01 | 0.5 | 1 of 2 | 0 of 1 | 1 ± 1.4 | 8 |"
    assert lines[4] == "| all |  | 1 of 2 | 0 of 2 | 1 ± 1.4 | 7 ± 1.4 |"
