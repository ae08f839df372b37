"""Small text files that are on disk whole or not at all."""

from __future__ import annotations

from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a text file, UTF-8: a process that is killed meanwhile leaves what was there before.

    Args:
        path: the file, in a folder that exists.
        text: all of it.

    Raises:
        OSError: if it cannot be written.
    """
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
