from __future__ import annotations

import numpy as np
import pytest

from lightning_landscape.errors import RecordError
from lightning_landscape.figures.channels import (
    centre_index,
    channel_of,
    drawn_values,
    gaps,
    is_loss,
    is_score,
    quantity_of,
    require_plane,
    split_of,
)
from lightning_landscape.records.surface import Surface
from tests.figures import examples


def test_names_tell_split_and_quantity() -> None:
    for name, split, quantity in (
        ("train/loss", "train", "loss"),
        ("valid_acc", "val", "accuracy"),
        ("test/top1", "test", "top1"),
        ("loss", "", "loss"),
        ("trainability", "", "trainability"),
    ):
        assert (split_of(name), quantity_of(name)) == (split, quantity)
    assert [is_score(n) for n in ("val/accuracy", "acc", "loss", "acceleration")] == [True, True, False, False]
    assert [is_loss(n) for n in ("train_loss", "nll", "val/ce_loss", "accuracy", "floss")] == [
        True,
        True,
        True,
        False,
        True,
    ]


def test_gaps_tell_what_is_not_finite_from_what_is_not_computed() -> None:
    surface = examples.gappy()
    found = gaps(surface, "val/loss")
    assert found.not_computed.sum() == 5 * 41
    assert not (found.not_finite & found.not_computed).any()
    computed = surface["val/loss"][surface.done]
    assert found.not_finite.sum() == (~np.isfinite(computed)).sum() > 0
    np.testing.assert_array_equal(np.isnan(drawn_values(surface, "val/loss")), found.any)


def test_a_finite_value_that_is_not_done_is_a_gap() -> None:
    surface = Surface([0, 1], None, {"loss": [1.0, 2.0]}, done=[True, False])
    np.testing.assert_array_equal(drawn_values(surface, "loss"), [1.0, np.nan])


def test_the_channel_is_the_loss_unless_asked_for() -> None:
    surface = examples.bowl()
    assert channel_of(surface, None) == "val/loss"
    assert channel_of(surface, "loss") == "val/loss"
    assert channel_of(surface, "val/accuracy") == "val/accuracy"
    with pytest.raises(RecordError, match="val/accuracy"):
        channel_of(surface, "train/loss")


def test_the_centre_is_the_origin_wherever_it_lies_in_the_grid() -> None:
    assert centre_index(Surface([-1, 0, 2, 3], [0, 5], {"loss": np.zeros((2, 4))})) == (0, 1)
    assert centre_index(Surface([-1, -0.5, 0.5, 1], None, {"loss": np.zeros(4)})) is None


def test_planes_are_required_with_a_way_out() -> None:
    with pytest.raises(RecordError, match="plot_curves"):
        require_plane(examples.line(), "plot_contours")
    with pytest.raises(RecordError, match="2 x 2 points, found 1 x 3"):
        require_plane(Surface([0, 1, 2], [0], {"loss": np.zeros((1, 3))}), "plot_contours")
