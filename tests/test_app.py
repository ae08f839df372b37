"""What the command does with its arguments before Hydra sees them."""

from __future__ import annotations

import pytest

from lightning_landscape.app import at_size
from lightning_landscape.errors import LandscapeError


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], []),
        (["experiment=depth", "seed=2"], ["experiment=depth", "seed=2"]),
        (["experiment=depth", "size=small"], ["experiment=depth"]),
        (["size=paper", "jobs=1", "experiment=depth"], ["jobs=1", "experiment=paper_depth"]),
        (["-m", "experiment=depth,width", "size=paper"], ["-m", "experiment=paper_depth,paper_width"]),
        (["data.size=3", "images.size=28"], ["data.size=3", "images.size=28"]),
    ],
)
def test_a_size_chooses_the_file_of_the_experiment(arguments: list[str], expected: list[str]) -> None:
    assert at_size(arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["experiment=depth", "size=large"], "size=large: give either size=small or size=paper"),
        (["experiment=depth", "size=small", "size=paper"], "size=paper size=small: give either"),
        (["size=paper"], "size=paper needs an experiment"),
    ],
)
def test_other_sizes_are_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(LandscapeError, match=words):
        at_size(arguments)
