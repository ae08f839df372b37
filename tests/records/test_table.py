"""Tables: nothing computed is lost, and nothing of other settings is taken over."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_landscape import RecordError, RecordMismatchError
from lightning_landscape.records.table import Table


def table(path: Path, settings: str = "a") -> Table:
    return Table(path, ["name", "d"], ["accuracy"], settings)


def test_a_row_is_computed_once(tmp_path: Path) -> None:
    calls = []

    def compute() -> dict[str, float]:
        calls.append(1)
        return {"accuracy": 1 / 3}

    first = table(tmp_path / "t.csv")
    assert first.row(["mlp", 3], compute) == {"accuracy": 1 / 3}
    assert first.row(["mlp", 3], compute) == {"accuracy": 1 / 3}
    first.row(["mlp", 10], compute)
    again = table(tmp_path / "t.csv")
    assert again.row(["mlp", 3], compute) == {"accuracy": 1 / 3}
    assert len(calls) == 2
    assert again.column("d", name="mlp").tolist() == [3, 10]
    assert again.column("accuracy", d=10).tolist() == [1 / 3]


def test_an_unfinished_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    table(path).row(["a", 1], lambda: {"accuracy": 0.5})
    with path.open("a") as file:
        file.write("a,2,0.")
    again = table(path)
    assert again.column("d").tolist() == [1]
    assert again.row(["a", 2], lambda: {"accuracy": 0.25}) == {"accuracy": 0.25}
    assert table(path).column("accuracy").tolist() == [0.5, 0.25]


def test_other_settings_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    table(path)
    with pytest.raises(RecordMismatchError, match="other settings"):
        table(path, "b")
    path.write_text("hello\n")
    with pytest.raises(RecordError, match="no table"):
        table(path)
