"""Fixed random subsets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_landscape.errors import ObjectiveError
from lightning_landscape.sampling.subset import balanced_order, subset_indices


@pytest.mark.parametrize(("population", "examples"), [(10, 3), (10, 10), (10, 25), (1, 1), (10, None)])
def test_a_sample_without_replacement(population: int, examples: int | None) -> None:
    found = subset_indices(population, examples, seed=4)
    assert found.dtype == np.int64
    assert found.shape == (min(population, examples or population),)
    assert len(set(found.tolist())) == len(found)
    assert set(found.tolist()) <= set(range(population))


def test_it_depends_on_the_seed_alone() -> None:
    np.random.seed(0)  # noqa: NPY002 the global stream
    first = subset_indices(100, 20, seed=1)
    assert np.random.rand() == np.random.RandomState(0).rand()  # noqa: NPY002
    assert np.array_equal(first, subset_indices(100, 20, seed=1))
    assert not np.array_equal(first, subset_indices(100, 20, seed=2))


def test_a_smaller_sample_begins_a_larger_one() -> None:
    whole = subset_indices(50, None, seed=9)
    for count in (1, 7, 49):
        assert np.array_equal(subset_indices(50, count, seed=9), whole[:count])


def test_all_examples_come_in_random_order() -> None:
    """A data set sorted by class would otherwise inflate the standard error between batches."""
    assert subset_indices(100, None, seed=0).tolist() != list(range(100))


def test_every_example_is_as_likely() -> None:
    """4000 draws of 3 out of 10: each index 1200 times, give or take four standard deviations."""
    counts = np.zeros(10)
    for seed in range(4000):
        counts[subset_indices(10, 3, seed)] += 1
    assert np.abs(counts - 1200).max() < 4 * np.sqrt(4000 * 0.3 * 0.7)


def test_refusals() -> None:
    with pytest.raises(ObjectiveError, match="no examples: give a data loader"):
        subset_indices(0, None, seed=0)
    for examples in (0, -3):
        with pytest.raises(ObjectiveError, match=f"examples={examples}: give the number"):
            subset_indices(5, examples, seed=0)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 60), st.integers(0, 3))
def test_every_beginning_of_a_balanced_order_has_the_classes_in_proportion(
    labels: list[int], count: int, seed: int
) -> None:
    order = balanced_order(labels, seed)
    assert sorted(order.tolist()) == list(range(len(labels)))
    chosen = np.asarray(labels)[order[:count]]
    for label in set(labels):
        share = labels.count(label) / len(labels)
        others = len(set(labels)) - 1
        assert abs((chosen == label).sum() - share * len(chosen)) <= 1 + others


def test_a_balanced_order_is_random_within_a_class() -> None:
    first = [int(balanced_order([0] * 20, seed)[0]) for seed in range(300)]
    assert len(set(first)) == 20
