"""The sample: the same examples at every point, of any loader, and the loader's own run does not notice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from lightning_landscape.engine.guard import Guard
from lightning_landscape.engine.sample import Sample, transfer_of
from lightning_landscape.errors import ObjectiveError
from tests.modules_under_test import assert_same

CPU = torch.device("cpu")
NUMBERS = TensorDataset(torch.arange(20.0))


def sample_of(loader: DataLoader[Any], examples: int | None = None, seed: int = 0) -> Sample:
    with Guard(nn.Identity()):
        return Sample(loader, examples, seed, lambda batch: batch, CPU)


def numbers_in(sample: Sample) -> list[float]:
    return torch.cat([batch[0] for batch in sample.batches()]).tolist()


def test_all_examples_once() -> None:
    sample = sample_of(DataLoader(NUMBERS, batch_size=8))
    assert sample.sizes == [8, 8, 4]
    assert len(sample) == 3
    assert sample.examples == sample.dataset_size == 20
    assert sorted(numbers_in(sample)) == list(range(20))


@pytest.mark.parametrize("examples", [7, 20, 100, None])
def test_the_loaders_order_does_not_matter(examples: int | None) -> None:
    plain, shuffled = (DataLoader(NUMBERS, batch_size=8, shuffle=shuffle) for shuffle in (False, True))
    dropping = DataLoader(NUMBERS, batch_size=8, shuffle=True, drop_last=True)
    first = sample_of(plain, examples)
    assert first.examples == min(examples or 20, 20)
    for loader in (shuffled, shuffled, dropping):
        again = sample_of(loader, examples)
        assert again.digest == first.digest
        assert numbers_in(again) == numbers_in(first)


def test_the_seed_chooses() -> None:
    loader = DataLoader(NUMBERS, batch_size=8)
    assert sample_of(loader, 5, seed=0).digest == sample_of(loader, 5, seed=0).digest
    assert sample_of(loader, 5, seed=0).digest != sample_of(loader, 5, seed=1).digest


def test_a_sampler_that_chooses_is_respected() -> None:
    own = torch.Generator().manual_seed(3)
    loader = DataLoader(NUMBERS, batch_size=2, sampler=SubsetRandomSampler([3, 5, 7, 11, 13], generator=own))
    state = own.get_state()
    sample = sample_of(loader)
    assert sorted(numbers_in(sample)) == [3, 5, 7, 11, 13]
    assert torch.equal(own.get_state(), state)
    assert set(numbers_in(sample_of(loader, 3))) < {3, 5, 7, 11, 13}
    list(loader)  # an epoch of the run, which moves the sampler's generator
    assert sample_of(loader).digest == sample.digest


def test_weighted_sampling_is_respected() -> None:
    weights = [0.0] * 19 + [1.0]
    assert set(numbers_in(sample_of(DataLoader(NUMBERS, sampler=WeightedRandomSampler(weights, 6))))) == {19}


@pytest.mark.parametrize("batch_size", [4, None])
def test_the_generator_of_the_loader_is_the_runs(batch_size: int | None) -> None:
    """A loader with its own generator gives the run the same examples after a sample as without."""
    own = torch.Generator().manual_seed(3)
    loader = DataLoader(NUMBERS, batch_size=batch_size, shuffle=True, generator=own)
    sample_of(loader)
    with_sample = [batch[0].tolist() for batch in loader]
    own.manual_seed(3)
    assert [batch[0].tolist() for batch in loader] == with_sample


class Buckets(BatchSampler):
    """Batches of the user's own making, drawn from a generator of its own."""

    def __init__(self) -> None:
        super().__init__(SequentialSampler(range(6)), 3, drop_last=False)
        self.random = random.Random(1)

    def __iter__(self) -> Iterator[list[int]]:
        batches = [[0, 1, 2], [4], [3, 5]]
        self.random.shuffle(batches)
        return iter(batches)

    def __len__(self) -> int:
        return 3


def test_a_custom_batch_sampler_is_respected() -> None:
    sampler = Buckets()
    loader = DataLoader(NUMBERS, batch_sampler=sampler)
    state = sampler.random.getstate()
    sample = sample_of(loader)
    assert sorted(sample.sizes) == [1, 2, 3]
    assert sorted(numbers_in(sample)) == [0, 1, 2, 3, 4, 5]
    assert sampler.random.getstate() == state
    list(loader)
    assert sample_of(loader).digest == sample.digest
    assert sample_of(loader, 1).sizes == sample.sizes[:1]


class Stream(IterableDataset[Tensor]):
    def __init__(self, length: int) -> None:
        self.length = length

    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.arange(float(self.length)).unbind())


def test_an_iterable_data_set_gives_its_first_batches() -> None:
    loader = DataLoader(Stream(1000), batch_size=4)
    sample = sample_of(loader, 10)
    assert torch.cat(list(sample.batches())).tolist() == list(range(12))
    assert sample.sizes == [4, 4, 4]
    assert sample.dataset_size is None
    assert sample_of(DataLoader(Stream(6), batch_size=4)).sizes == [4, 2]


class Whole(Dataset[Tensor]):
    """Each item is a batch already."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Tensor:
        return torch.full((index + 1,), float(index))


def test_data_sets_that_yield_whole_batches() -> None:
    sample = sample_of(DataLoader(Whole(), batch_size=None))
    assert sorted(sample.sizes) == [1, 2, 3, 4, 5]
    assert sample.digest == sample_of(DataLoader(Whole(), batch_size=None, shuffle=True)).digest
    assert sum(sample_of(DataLoader(Whole(), batch_size=None), 3).sizes) >= 3
    chosen = DataLoader(Whole(), batch_size=None, sampler=SubsetRandomSampler([1, 4]))
    assert sorted(sample_of(chosen).sizes) == [2, 5]


class Pairs(Dataset[dict[str, Any]]):
    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"name": f"n{index}", "x": torch.full((2, 2), float(index)), "y": index}


def test_dictionary_batches() -> None:
    sample = sample_of(DataLoader(Pairs(), batch_size=2))
    assert sample.sizes == [2, 2, 1]
    names, values = [], []
    for batch in sample.batches():
        assert set(batch) == {"name", "x", "y"}
        names += batch["name"]
        values += batch["y"].tolist()
    assert names == [f"n{value}" for value in values]


def test_custom_collation_is_used() -> None:
    loader = DataLoader(NUMBERS, batch_size=20, collate_fn=lambda items: torch.stack([item[0] for item in items]) * 2)
    assert sorted(next(sample_of(loader).batches()).tolist()) == list(range(0, 40, 2))


class Augmented(Dataset[Tensor]):
    """Transforms at random, from the global streams and from a generator of its own."""

    def __init__(self) -> None:
        self.transforms = [np.random.default_rng(5)]

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Tensor:
        own = self.transforms[0].random()
        return torch.rand(2) + random.random() + np.random.rand() + own  # noqa: NPY002


@pytest.mark.parametrize("shuffle", [False, True])
def test_random_transformations_are_the_same_again(shuffle: bool) -> None:
    data = Augmented()
    before = data.transforms[0].bit_generator.state
    first = sample_of(DataLoader(data, batch_size=4, shuffle=shuffle))
    assert data.transforms[0].bit_generator.state == before
    torch.rand(3)
    data.transforms[0].random()
    again = sample_of(DataLoader(data, batch_size=4))
    assert again.digest == first.digest
    assert sample_of(DataLoader(data, batch_size=4), seed=1).digest != first.digest
    for one, other in zip(first.batches(), first.batches(), strict=True):
        assert torch.equal(one, other)


def test_the_digest_depends_on_content_type_and_shape() -> None:
    def digest(tensor: Tensor) -> str:
        return sample_of(DataLoader(TensorDataset(tensor), batch_size=4)).digest

    base = torch.ones(4, 2)
    changed = base.clone()
    changed[1, 1] = 1.0000001
    other = [changed, base.double(), base.reshape(4, 2, 1), base.to(torch.bfloat16), base.bool()]
    assert len({digest(base), *map(digest, other)}) == 6
    assert digest(base) == digest(base.clone())


def test_empty_data_is_refused() -> None:
    with pytest.raises(ObjectiveError, match="no examples"):
        sample_of(DataLoader(TensorDataset(torch.zeros(0, 1)), batch_size=2))
    with pytest.raises(ObjectiveError, match="no examples"):
        sample_of(DataLoader(NUMBERS, sampler=SubsetRandomSampler([])))
    with pytest.raises(ObjectiveError, match="the data loader over Stream yields no batch"):
        sample_of(DataLoader(Stream(0), batch_size=2))
    for loader in (DataLoader(NUMBERS), DataLoader(Stream(3)), DataLoader(Whole(), batch_size=None)):
        with pytest.raises(ObjectiveError, match="examples=0"):
            sample_of(loader, 0)


def test_the_loader_in_use_is_undisturbed() -> None:
    """An iterator of the run is in the middle of an epoch: it goes on as if nothing had happened."""
    torch.manual_seed(0)
    loader = DataLoader(NUMBERS, batch_size=4, shuffle=True)
    expected = [batch[0].tolist() for batch in loader]
    following = torch.rand(1)
    torch.manual_seed(0)
    live, found = iter(loader), []
    for position in range(5):
        found.append(next(live)[0].tolist())
        if position == 2:
            sample_of(loader)
    assert found == expected
    assert torch.equal(torch.rand(1), following)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded.*fork:DeprecationWarning")
def test_worker_processes_that_the_run_is_using() -> None:
    """Two persistent workers in the middle of an epoch; the sample has its own, and draws the same every time."""
    loader = DataLoader(Augmented(), batch_size=2, num_workers=2, persistent_workers=True)
    live = iter(loader)
    next(live)
    first = sample_of(loader)
    assert live is loader._iterator  # iterating the loader itself would have started this one anew
    assert sample_of(loader).digest == first.digest
    assert len(list(live)) == 2
    del live, loader


def test_a_step_may_take_its_batch_apart() -> None:
    """The next point finds the batch as it was: entries and values."""
    sample = sample_of(DataLoader(Pairs(), batch_size=2))
    found = []
    for _ in range(3):
        seen = []
        for batch in sample.batches():
            seen.append((batch.pop("y").tolist(), batch["x"].clone()))
            batch["x"].add_(100)
        found.append(seen)
    assert_same(found[0], found[1])
    assert_same(found[0], found[2])


def test_tensors_are_copied_only_for_steps_that_change_them() -> None:
    sample = sample_of(DataLoader(NUMBERS, batch_size=8))
    pointers = [[batch[0].data_ptr() for batch in sample.batches()] for _ in range(3)]
    assert pointers[1] == pointers[2]


def test_the_first_batches() -> None:
    sample = sample_of(DataLoader(NUMBERS, batch_size=8))
    assert len(list(sample.batches(1))) == 1
    assert len(list(sample.batches(2))) == 2


def test_batches_beyond_the_memory_are_brought_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_landscape.engine.sample._fits", lambda batches, device: False)
    brought: list[int] = []

    def transfer(batch: list[Tensor]) -> list[Tensor]:
        brought.append(len(batch[0]))
        return [batch[0] + 1]

    with Guard(nn.Identity()):
        sample = Sample(DataLoader(NUMBERS, batch_size=8), None, 0, transfer, CPU)
    assert not sample.resident
    assert brought == []
    assert sorted(numbers_in(sample)) == list(range(1, 21))
    assert brought == [8, 8, 4]


def test_transfer_of_a_plain_module() -> None:
    transfer = transfer_of(nn.Identity(), None, torch.device("meta"))
    assert transfer({"x": [torch.ones(2)], "name": "a"})["x"][0].device.type == "meta"


def test_random_subsets_of_subsets() -> None:
    """Generators are found through the data sets around a data set."""
    data = Augmented()
    before = data.transforms[0].bit_generator.state
    loader = DataLoader(Subset(data, [1, 2]), sampler=RandomSampler(range(2)))
    assert sample_of(loader).digest == sample_of(loader).digest
    assert data.transforms[0].bit_generator.state == before
