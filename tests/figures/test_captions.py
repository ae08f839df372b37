from __future__ import annotations

from dataclasses import replace

import numpy as np

from lightning_landscape.figures.captions import (
    axis_label,
    caption,
    origin_name,
    statements,
    title_of,
    title_of_several,
    unit_notes,
)
from lightning_landscape.records.surface import Surface
from tests.figures import examples


def test_axes_say_their_unit() -> None:
    bowl = examples.bowl()
    assert axis_label(bowl, "x") == "step along x (1 = the norm of the weights, filter by filter)"
    assert axis_label(bowl, "y", short=True) == "step along y"
    assert unit_notes(bowl) == ["on the axes 1 = the norm of the weights, filter by filter"]
    path = examples.trajectory()
    assert axis_label(path, "x") == "first principal direction (73 % of variance): distance in weight space"
    assert axis_label(path, "y") == "second principal direction (12 % of variance): distance in weight space"
    assert unit_notes(path) == ["on the axes: distance in weight space"]
    assert "0 = first, 1 = second; they are 31.7 apart" in axis_label(examples.between(), "x")
    raw = Surface([0, 1], None, {"loss": [0, 1]}, attrs={"kind": "random", "direction_norms": [88.0]})
    assert axis_label(raw, "x") == "step along the direction (1 = 88 in weight space)"


def test_a_record_without_attributes_is_described_without_inventing_any() -> None:
    bare = examples.oblong()
    assert axis_label(bare, "x") == "step along x"
    assert unit_notes(bare) == []
    assert statements(bare, "loss") == {"centre": "loss at the centre 1"}
    assert title_of(bare, "loss") == "Loss over a plane"
    assert origin_name(bare) == "trained weights"


def test_the_caption_says_how_far_to_trust_the_picture() -> None:
    said = statements(examples.gappy(), "val/loss")
    assert said["examples"] == "1,000 of 60,000 examples"
    assert said["centre"] == "val/loss at the centre 0.03 ± 0.0015 (standard error; median over the grid 0.13)"
    assert said["slice"] == "random directions, filter-normalised, seed 0"
    assert said["cosine"] == "|cos| of the directions 0.0012"
    assert said["gaps"] == "73 of 1353 points not finite, 205 of 1353 points not computed"
    assert said["weights"] == "weights 3fa9c2d1"


def test_errors_of_zero_are_not_written() -> None:
    """As where all examples were evaluated: everywhere, or at the centre alone."""
    bowl = examples.bowl()
    exact = np.zeros_like(bowl.errors["val/loss"])
    centre = bowl.errors["val/loss"] * (bowl["val/loss"] > bowl["val/loss"].min())
    everywhere, there = (replace(bowl, errors={"val/loss": errors}) for errors in (exact, centre))
    assert statements(everywhere, "val/loss")["centre"] == "val/loss at the centre 0.03"
    said = statements(there, "val/loss")["centre"]
    assert said == "val/loss at the centre 0.03, standard error 0.17 (median over the grid)"


def test_the_caption_of_a_trajectory_names_variance_and_distance() -> None:
    surface = examples.trajectory()
    assert surface.path is not None
    said = statements(surface, "train/loss")
    assert said["slice"] == "the plane holds 73 % + 12 % = 86 % of the variance"
    worst = int(surface.path.residual.argmax())
    share = surface.path.residual[worst] / surface.path.distance_from_origin[worst]
    assert f"{100 * share:.0f} % of that one's distance" in said["residual"]


def test_all_examples_and_unknown_numbers() -> None:
    assert statements(examples.between(), "train/loss")["examples"] == "all 50,000 examples"
    only = Surface([0, 1], None, {"loss": [0, 1]}, attrs={"examples": 7, "direction_cosine": float("nan")})
    assert statements(only, "loss")["examples"] == "7 examples"
    assert "slice" not in statements(only, "loss")


def test_statements_of_several_surfaces_are_shared_where_they_agree() -> None:
    one, two = examples.bowl(), examples.bowl(examples=60000)
    text = caption({"A": one, "B": two}, ["val/loss", "val/loss"], ["a note"])
    assert text.count("|cos|") == 1
    assert "A: 1,000 of 60,000 examples; B: all 60,000 examples" in text
    assert "a note" in text


def test_a_title_of_the_records_own_wins() -> None:
    assert title_of(examples.bowl(title="Epoch 3"), "val/loss") == "Epoch 3"
    assert title_of(examples.bowl(), "val/loss", "val/accuracy") == "Validation loss and accuracy over a random plane"


def test_surfaces_side_by_side_share_a_title_or_are_named() -> None:
    one, other = examples.bowl(), examples.trajectory()
    assert title_of_several({"A": one, "B": one}, ["train/loss"] * 2) == "Training loss over a random plane"
    assert title_of_several({"A": one, "B": other}, ["loss", "loss"]) == "Loss: A and B"
    assert title_of_several({"A": one, "B": one, "C": other}, ["loss", "accuracy", "loss"]) == "Loss: A, B and C"
