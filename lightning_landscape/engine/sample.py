"""The sample: the examples that every point is evaluated on, loaded once and kept where they fit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence, Sized
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.data import extract_batch_size
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, RandomSampler, Sampler, SequentialSampler

from lightning_landscape.engine._compat import before_batch_transfer, wrapped_sampler
from lightning_landscape.engine.data_split import share_of
from lightning_landscape.engine.generators import seeded_generators
from lightning_landscape.engine.guard import seed_rng
from lightning_landscape.engine.labels import labels_of
from lightning_landscape.engine.shards import Shards
from lightning_landscape.engine.streaming import pinned, streamed
from lightning_landscape.errors import ObjectiveError
from lightning_landscape.sampling.subset import balanced_order, subset_indices

_DEVICE_SHARE = 0.5  # of the free memory: the rest is for activations


class Sample:
    """Batches of examples that stay the same at every point.

    The user's loader is not iterated, for that would disturb a training run in progress: a loader of our own goes over
    the same data set, with the same batch size, collate function and workers, in an order that the seed fixes. A
    sampler that chooses examples (`SubsetRandomSampler`, say) is respected, and so are a custom batch sampler and an
    iterable data set, of which the first batches are taken as they come. Generators that samplers, data set and
    transformations keep for themselves start from the seed, too, and are put back. Where the whole sample takes less
    than half of the device's free memory it is kept there, otherwise in host memory, from where it streams.

    Call inside a `Guard`: loading draws random numbers.

    Args:
        dataloader: the user's loader.
        examples: how many examples to take; None for all.
        seed: of the subset and of random transformations in the data set.
        transfer: brings one loaded batch to the device.
        device: where the module is.
        shards: of a sharded module, whose ranks share the batches; None where each rank evaluates all of them.
        balanced: take the classes in their proportions, in every batch, where the labels are known (`labels_of`).
        batches: cut the examples into so many batches, or more, where the loader's are smaller.

    Attributes:
        sizes: examples in each batch.
        passes: which of the batches this rank evaluates, one for each forward pass, and whether it counts.
        dataset_size: examples in the whole data set; None for an iterable one.
        digest: SHA-256 of the content of all batches.

    Raises:
        ObjectiveError: if there are no examples.
    """

    def __init__(
        self,
        dataloader: DataLoader[Any],
        examples: int | None,
        seed: int,
        transfer: Callable[[Any], Any],
        device: torch.device,
        shards: Shards | None = None,
        *,
        balanced: bool = False,
        batches: int | None = None,
    ) -> None:
        seed_rng(seed)
        loaded: list[Any] = []
        self.sizes: list[int] = []
        own = (dataloader.dataset, dataloader.sampler, dataloader.batch_sampler, dataloader.collate_fn)
        with seeded_generators(seed, *own):
            loader, self.dataset_size, limit = _fixed_loader(dataloader, examples, seed, balanced, batches)
            for batch in loader:
                loaded.append(batch)
                self.sizes.append(extract_batch_size(batch))
                if limit is not None and sum(self.sizes) >= limit:
                    break
        if not loaded:
            raise ObjectiveError(
                f"the data loader over {type(dataloader.dataset).__name__} yields no batch: "
                "give one with at least one example"
            )
        self.digest = _digest(loaded)
        self.passes = share_of(*((shards.rank, shards.world) if shards is not None else (0, 1)), len(loaded))
        loaded = [loaded[position] for position, _ in self.passes]
        self.resident = _fits(loaded, device)
        self._transfer = transfer
        self._device = device
        self._batches = [transfer(batch) if self.resident else pinned(batch, device) for batch in loaded]
        # Whether the step changes its batch; unknown before the first one.
        self._changed: bool | None = None

    @property
    def examples(self) -> int:
        """The number of examples in the sample."""
        return sum(self.sizes)

    @property
    def nbytes(self) -> int:
        """The size of all tensors in the sample."""
        return _nbytes(self._batches)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.sizes)

    def batches(self, count: int | None = None) -> Iterator[Any]:
        """Iterate over the batches that this rank evaluates (the first `count` of them), on the device.

        A step may take entries out of its batch or change tensors in place: the next point finds them as they were.
        """
        if not self.resident:
            yield from streamed(islice(self._batches, count), self._transfer, self._device)
            return
        for batch in islice(self._batches, count):
            lent: list[Tensor] = []

            def lend(tensor: Tensor, lent: list[Tensor] = lent) -> Tensor:
                # Copies cost time, so those whose steps leave tensors alone get them themselves after the first batch.
                lent.append(tensor if self._changed is False else tensor.clone())
                return lent[-1]

            yield apply_to_collection(batch, Tensor, lend)
            if self._changed is None:
                self._changed = any(tensor._version > 0 for tensor in lent)


def transfer_of(module: nn.Module, trainer: Trainer | None, device: torch.device) -> Callable[[Any], Any]:
    """Return the function that brings a batch to the device as the run itself does: precision, hooks, then the move."""

    def with_trainer(batch: Any) -> Any:
        assert trainer is not None
        batch = trainer.precision_plugin.convert_input(batch)
        batch = before_batch_transfer(trainer.lightning_module, batch)
        return trainer.strategy.batch_to_device(batch, device=device, dataloader_idx=0)

    def with_hooks(batch: Any) -> Any:
        assert isinstance(module, LightningModule)
        batch = module.transfer_batch_to_device(module.on_before_batch_transfer(batch, 0), device, 0)
        return module.on_after_batch_transfer(batch, 0)

    def plain(batch: Any) -> Any:
        return move_data_to_device(batch, device)

    if trainer is not None:
        return with_trainer
    return with_hooks if isinstance(module, LightningModule) else plain


def population_of(loader: DataLoader[Any], seed: int) -> int | None:
    """Return how many examples a `Sample` can choose from; None where the user's batches are taken as they come.

    Call inside a `Guard`: a sampler of the user's may draw random numbers.
    """
    if isinstance(loader.dataset, IterableDataset) or loader.batch_size is None:
        return None
    seed_rng(seed)
    with seeded_generators(seed, loader.dataset, loader.sampler):
        return len(_eligible(loader))


def _fixed_loader(
    loader: DataLoader[Any], examples: int | None, seed: int, balanced: bool, batches: int | None
) -> tuple[DataLoader[Any], int | None, int | None]:
    """Return a loader over a fixed sample, the size of the whole data set, and where to stop (None: at the end)."""
    common: dict[str, Any] = {
        "num_workers": loader.num_workers,
        "collate_fn": loader.collate_fn,
        "worker_init_fn": loader.worker_init_fn,
        "multiprocessing_context": loader.multiprocessing_context,
        "generator": torch.Generator().manual_seed(seed),
    }
    dataset: Any = loader.dataset
    if isinstance(dataset, IterableDataset):
        size = loader.batch_size
        if batches is not None and examples is not None and size is not None:
            size = min(size, -(-examples // batches))
        return DataLoader(dataset, batch_size=size, **common), None, _at_least_one(examples)
    if loader.batch_size is None:
        # The user forms the batches: a batch sampler of their own, or a data set that yields whole batches.
        if loader.batch_sampler is not None:
            mine = DataLoader(dataset, batch_sampler=loader.batch_sampler, **common)
        else:
            mine = DataLoader(dataset, batch_size=None, sampler=example_indices(loader, None, seed), **common)
        return mine, len(dataset), _at_least_one(examples)
    indices = example_indices(loader, examples, seed, balanced=balanced)
    size = loader.batch_size if batches is None else min(loader.batch_size, -(-len(indices) // batches))
    return DataLoader(dataset, batch_size=size, sampler=indices, **common), len(dataset), None


def _eligible(loader: DataLoader[Any]) -> Sequence[Any]:
    """What the user's sampler chooses; everything, for one that only orders or divides."""
    sampler, dataset = wrapped_sampler(cast(Sampler[Any], loader.sampler)), cast(Sized, loader.dataset)
    if isinstance(sampler, SequentialSampler | RandomSampler | DistributedSampler):
        return range(len(dataset))
    return list(sampler)


def example_indices(loader: DataLoader[Any], count: int | None, seed: int, *, balanced: bool = False) -> list[Any]:
    """Choose `count` of the examples that a loader over a map-style data set visits, in random order; None for all."""
    eligible = _eligible(loader)
    positions = subset_indices(len(eligible), count, seed)
    labels = labels_of(loader.dataset) if balanced else None
    if labels is not None and all(isinstance(index, int) for index in eligible):
        positions = balanced_order(labels[np.asarray(eligible)], seed)[:count]
    return [eligible[position] for position in positions.tolist()]


def _at_least_one(examples: int | None) -> int | None:
    if examples is not None:
        subset_indices(1, examples, seed=0)  # words the refusal in one place
    return examples


def _digest(batches: list[Any]) -> str:
    total = hashlib.sha256()

    def add(tensor: Tensor) -> None:
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        total.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        total.update(flat.view(torch.uint8).numpy().data)

    apply_to_collection(batches, Tensor, add)
    return total.hexdigest()


def _fits(batches: list[Any], device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return _nbytes(batches) <= _DEVICE_SHARE * free


def _nbytes(batches: list[Any]) -> int:
    sizes: list[int] = []
    apply_to_collection(batches, Tensor, lambda tensor: sizes.append(tensor.nbytes))
    return sum(sizes)
