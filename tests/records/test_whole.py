"""A text file is replaced at once, or stays as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_landscape.records.whole import write_whole


def test_the_last_text_is_there_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    for text in ("a long first text\n", "ä\n"):
        write_whole(path, text)
    assert path.read_bytes() == "ä\n".encode()
    assert [found.name for found in tmp_path.iterdir()] == ["facts.json"]


def test_a_text_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    write_whole(path, "before\n")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "begins well \ud800")
    assert path.read_text(encoding="utf-8") == "before\n"
