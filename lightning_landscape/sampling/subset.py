"""Which examples: a fixed random subset, so that every point of every surface sees the same ones."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from lightning_landscape.errors import LandscapeError, ObjectiveError


def sample_size(examples: int | Literal["all"], least: int = 1) -> int | None:
    """Return how many examples to take; None for all.

    Args:
        examples: the user's choice.
        least: the smallest number that makes sense.

    Raises:
        LandscapeError: if it is neither "all" nor a number of at least `least`.
    """
    if examples == "all":
        return None
    if not isinstance(examples, int) or isinstance(examples, bool) or examples < least:
        raise LandscapeError(f"examples={examples!r}: give a number of at least {least}, or 'all'")
    return examples


def subset_indices(population: int, examples: int | None, seed: int) -> npt.NDArray[np.int64]:
    """Draw a simple random sample without replacement, in random order; all of them, shuffled, for None.

    The order is random also when all are taken: standard errors come from the spread between batches, and a data set
    sorted by class would inflate it.

    Args:
        population: the number of examples there are.
        examples: how many to take; more than there are means all.
        seed: of the draw; the same seed gives the same examples in the same order, on every rank.

    Returns:
        Indices, int64, shape ``[min(examples, population)]``. A smaller sample is the beginning of a larger one.

    Raises:
        ObjectiveError: if there are no examples, or fewer than one is asked for.

    >>> subset_indices(5, 3, seed=0).tolist() == subset_indices(5, None, seed=0).tolist()[:3]
    True
    >>> sorted(subset_indices(4, None, seed=1).tolist())
    [0, 1, 2, 3]
    """
    if population < 1:
        raise ObjectiveError("the data set holds no examples: give a data loader over at least one")
    if examples is not None and examples < 1:
        raise ObjectiveError(
            f"examples={examples}: give the number of examples to evaluate, at least 1, or None for all"
        )
    order = np.random.default_rng(seed).permutation(population)
    return order[:examples].astype(np.int64)


def balanced_order(labels: npt.ArrayLike, seed: int) -> npt.NDArray[np.int64]:
    """Put examples in a random order in which every stretch holds the classes in their proportions.

    Within a class the order is random; the examples of a class of size c are then spread evenly, 1/c apart from a
    random start, and all classes are merged. So the first n are a proportionally stratified sample, whatever n, and so
    is every batch cut from them.

    Args:
        labels: the class of each example, ``[N]``.
        seed: of the order.

    Returns:
        Indices, int64, ``[N]``.

    Source: proportional allocation (Cochran, Sampling Techniques, 1977, section 5), drawn systematically.

    >>> order = balanced_order([0] * 50 + [1] * 50, seed=0)
    >>> int((order[:10] < 50).sum())
    5
    """
    labels = np.asarray(labels)
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        place[members] = (np.arange(len(members)) + generator.random()) / len(members)
    return np.argsort(place, kind="stable").astype(np.int64)
