"""The evaluator: all channels of an objective over a fixed sample, at the weights that stand in the module."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from lightning_landscape.engine.batch_norm import recalibrate
from lightning_landscape.engine.data_split import BatchMeans, gather_means
from lightning_landscape.engine.guard import seed_rng
from lightning_landscape.engine.objective import BatchMean, Objective
from lightning_landscape.engine.sample import Sample
from lightning_landscape.engine.shards import Shards
from lightning_landscape.engine.snapshot import Snapshot
from lightning_landscape.errors import ObjectiveError
from lightning_landscape.sampling.estimators import Estimate, mean_of_batches

_STAGES = ("train", "val", "valid", "validation", "test")


class Evaluator:
    """Evaluates an objective over one sample, or over several by name (training and validation data, say).

    With several samples each channel is called ``<sample>/<channel>``, and a channel that names its stage itself
    loses that: "val_accuracy" on the sample "train" is "train/accuracy". To be used inside a `Guard`, between
    entering and leaving the evaluator, too, which catches what the step logs.

    After each point everything but the parameters is as it was on entering: a step that counts its calls, or collects
    its outputs for the end of an epoch, meets every point in the same state.

    Args:
        module: the module that is evaluated; the evaluator changes its BatchNorm statistics only if it recalibrates.
        objective: the function from batches to channels.
        samples: the samples by name; a single one under the empty name.
        seed: every point starts its random-number streams here.
        forward_context: the precision's context of a forward pass, entered anew for each batch, because autocast keeps
            copies of the weights that it has cast for as long as its context lasts.
        recalibrate_batch_norm: estimate BatchNorm statistics at every point, on the first sample.
        shards: where the weights of a sharded module lie. Then all ranks stand at the same point and share the batches,
            and every call is a collective.
    """

    def __init__(
        self,
        module: nn.Module,
        objective: Objective,
        samples: Mapping[str, Sample],
        *,
        seed: int,
        forward_context: Callable[[], AbstractContextManager[object]],
        recalibrate_batch_norm: bool = False,
        shards: Shards | None = None,
    ) -> None:
        self._module = module
        self._objective = objective
        self._samples = samples
        self._seed = seed
        self._forward_context = forward_context
        self._recalibrate = recalibrate_batch_norm
        self._shards = shards
        self._call: Callable[[Any, int], dict[str, BatchMean]] = shards.forward(objective) if shards else objective
        self._metrics = [child for child in module.modules() if isinstance(child, Metric)]
        self._collections = [child for child in module.modules() if isinstance(child, MetricCollection)]
        self._active = ExitStack()
        self.names: list[str] = []

    def __enter__(self) -> Evaluator:
        self._active.enter_context(self._objective.active(self._shards))
        self._rewind = Snapshot(self._module, parameters=False).restore
        return self

    def __exit__(self, *exception: object) -> None:
        self._active.close()

    @property
    def together(self) -> bool:
        """Whether all ranks stand at the same point and share the examples."""
        return self._shards is not None

    @property
    def batches(self) -> float:
        """The number of batches of a point, on average over the samples."""
        return sum(map(len, self._samples.values())) / len(self._samples)

    def probe(self) -> list[str]:
        """Evaluate one batch of each sample, to learn the channels and to meet a faulty step before the long work.

        Returns:
            The channels, in the order in which the step gave them.

        Raises:
            ObjectiveError: as the objective does; also for a channel that is not a scalar.
        """
        self.names = list(self._evaluate(batches=1))
        return self.names

    def evaluate(self, batches: int | None = None) -> dict[str, Estimate]:
        """Evaluate every channel at the weights that stand in the module.

        Args:
            batches: how many batches of each sample; None for all.

        Returns:
            An estimate for each channel that `probe` found; NaN for one that was not given this time.
        """
        found = self._evaluate(batches)
        if surplus := found.keys() - set(self.names):
            warnings.warn(
                f"channels {sorted(surplus)} are not drawn: {self._objective.name} lacked them on its first batch",
                stacklevel=2,
            )
        missing = Estimate(float("nan"), float("nan"))
        return {name: found.get(name, missing) for name in self.names}

    def _evaluate(self, batches: int | None) -> dict[str, Estimate]:
        try:
            return self._evaluate_from_here(batches)
        finally:
            if self._shards is not None:
                self._shards.reshard()
            self._rewind()

    def _evaluate_from_here(self, batches: int | None) -> dict[str, Estimate]:
        seed_rng(self._seed)
        if self._recalibrate:
            first = next(iter(self._samples.values()))
            # The variance of a single example is none; the batch that is left over at the end may be one.
            smallest = min(2, max(first.sizes[:batches]))
            recalibrate(self._module, lambda: self._run(first, batches, {}, smallest))
        estimates: dict[str, Estimate] = {}
        for label, sample in self._samples.items():
            self._reset_metrics()
            means: BatchMeans = {}
            self._run(sample, batches, means)
            if self._shards is not None:
                means = gather_means(means, self._shards.group)
                self._require_batches(sample)
            found = {name: _combine(list(parts.values())) for name, parts in means.items()}
            # The object knows more than its batch values, so its result over all examples has the last word.
            found.update({name: _computed(name, metric) for name, metric in self._objective.metrics().items()})
            for name, estimate in found.items():
                estimates.setdefault(f"{label}/{_without_stage(name)}" if label else name, estimate)
        return estimates

    def _run(self, sample: Sample, batches: int | None, means: BatchMeans, smallest: int = 0) -> None:
        for (position, counts), batch in zip(sample.passes, sample.batches(batches), strict=False):
            if sample.sizes[position] < smallest:
                continue
            forget = [] if counts else [Snapshot(metric).restore for metric in self._fed_metrics()]
            with self._forward_context():
                channels = self._call(batch, position)
            for name, mean in channels.items() if counts else ():
                means.setdefault(name, {})[position] = mean
            for restore in forget:
                restore()

    def _fed_metrics(self) -> list[Metric | MetricCollection]:
        return [*self._metrics, *self._collections, *self._objective.metrics().values()]

    def _reset_metrics(self) -> None:
        for metric in self._fed_metrics():
            metric.reset()

    def _require_batches(self, sample: Sample) -> None:
        """Refuse to let ranks agree on a metric to which some of them have nothing to say.

        Raises:
            ObjectiveError: if there are fewer batches than ranks.
        """
        assert self._shards is not None
        if self._objective.metrics() and len(sample) < self._shards.world:
            raise ObjectiveError(
                f"{len(sample)} batches are shared among {self._shards.world} ranks, and the step logs metric objects "
                f"({', '.join(self._objective.metrics())}), which need a batch on every rank: give a data loader with "
                "a smaller batch_size, or more examples"
            )


def _combine(parts: list[BatchMean]) -> Estimate:
    """Bring a channel's batch means to the host at once, and combine them in float64."""
    tensors = [part.value for part in parts if isinstance(part.value, Tensor)]
    if len(tensors) == len(parts):
        values = torch.stack(tensors).cpu().double()
        return mean_of_batches(values.numpy(), [part.weight for part in parts])
    return mean_of_batches([float(part.value) for part in parts], [part.weight for part in parts])


def _computed(name: str, metric: Metric) -> Estimate:
    value = metric.compute()
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise ObjectiveError(
            f"the metric logged as {name!r} ({type(metric).__name__}) computes no single number: log a scalar, for "
            "instance by its `average` argument"
        )
    return Estimate(float(value), float("nan"))


def _without_stage(name: str) -> str:
    stage, separator, rest = name.replace("/", "_").partition("_")
    return rest if separator and stage in _STAGES else name
