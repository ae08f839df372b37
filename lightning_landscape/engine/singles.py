"""Examples one by one: batches of a single example each, of a loader's own data set and collate function."""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader, Dataset, IterableDataset

from lightning_landscape.engine.generators import seeded_generators
from lightning_landscape.engine.guard import seed_rng
from lightning_landscape.engine.sample import example_indices
from lightning_landscape.errors import ObjectiveError
from lightning_landscape.sampling.subset import subset_indices


class Singles(Dataset[Any]):
    """Chosen examples of several loaders, one loader after the other, each collated as a batch of one.

    ``DataLoader(singles, batch_size=None)`` gives them to a `Sample`. Make it inside a `Guard`: samplers draw random
    numbers.

    Args:
        loaders: loaders over map-style data sets.
        examples: how many examples to take from each, a fixed random choice; None for all.
        seed: of the choice.

    Attributes:
        counts: how many examples come from each loader.

    Raises:
        ObjectiveError: for an iterable data set, or a loader whose batches its user forms.
    """

    def __init__(self, loaders: list[DataLoader[Any]], examples: int | None, seed: int) -> None:
        for loader in loaders:
            if isinstance(loader.dataset, IterableDataset) or loader.batch_size is None:
                raise ObjectiveError(
                    f"single examples cannot be taken from a loader over {type(loader.dataset).__name__} whose batches "
                    "are formed elsewhere: give a DataLoader with a batch_size over a map-style data set"
                )
        self._datasets: list[Any] = [loader.dataset for loader in loaders]
        self._collate = [loader.collate_fn for loader in loaders]
        seed_rng(seed)
        with seeded_generators(seed, *self._datasets, *(loader.sampler for loader in loaders)):
            chosen = [example_indices(loader, examples, seed) for loader in loaders]
        self.counts = [len(indices) for indices in chosen]
        self._places = [(which, index) for which, indices in enumerate(chosen) for index in indices]

    def __len__(self) -> int:
        """Return the number of examples of all loaders."""
        return len(self._places)

    def __getitem__(self, position: int) -> Any:
        """Return one example as a batch."""
        which, index = self._places[position]
        dataset = self._datasets[which]
        found = dataset.__getitems__([index]) if hasattr(dataset, "__getitems__") else [dataset[index]]
        return self._collate[which](found)

    def order(self, seed: int) -> list[int]:
        """Return the positions in the order in which a `Sample` with this seed visits them."""
        return [int(position) for position in subset_indices(len(self), None, seed)]
