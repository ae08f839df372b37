"""Loss surfaces: the objective at every point of a grid on a line or plane, point by point on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from lightning_landscape.engine._compat import attached_trainer
from lightning_landscape.engine.acceleration.choice import Shortcuts, require_known
from lightning_landscape.engine.batch_norm import BatchNormMode, has_statistics
from lightning_landscape.engine.choice import Examples, check_examples, choose, plan_attributes
from lightning_landscape.engine.estimation import Estimation
from lightning_landscape.engine.evaluator import Measure
from lightning_landscape.engine.guard import Guard
from lightning_landscape.engine.objective import OwnStep, Step, loss_among, objective_of
from lightning_landscape.engine.points import Results
from lightning_landscape.engine.ranks import Ranks
from lightning_landscape.engine.sample import Sample
from lightning_landscape.engine.sharded import ShardedSlice, parameters_of
from lightning_landscape.engine.shards import shards_of
from lightning_landscape.engine.strategies import require_supported
from lightning_landscape.engine.workbench import Workbench
from lightning_landscape.errors import GeometryError, ObjectiveError
from lightning_landscape.geometry.path import Path as TrajectoryPath
from lightning_landscape.geometry.slices import Line, Plane
from lightning_landscape.records.surface import Surface
from lightning_landscape.records.surface_file import SurfaceFile, check_writable
from lightning_landscape.sampling.cost import seconds_of
from lightning_landscape.sampling.grid import Grid

_PACKAGES = ("lightning-landscape", "lightning", "torch")


def compute_surface(
    module: nn.Module,
    dataloader: DataLoader[Any] | Mapping[str, DataLoader[Any]],
    slice_: Line | Plane | ShardedSlice,
    grid: Grid,
    step: Step | OwnStep | None = None,
    path: str | Path | None = None,
    *,
    examples: Examples = "all",
    budget: str | float | None = None,
    seed: int = 0,
    batch_norm: BatchNormMode = "keep",
    trajectory: TrajectoryPath | None = None,
    attrs: Mapping[str, Any] | None = None,
    progress: bool = True,
    trainer: Trainer | None = None,
    shortcuts: Shortcuts = "auto",
    measures: Sequence[Measure] = (),
) -> Surface:
    r"""Evaluate a module's own step at every point of a grid on a line or plane in weight space.

    .. math:: f_{ji} = L(w_0 + x_i\, d_x + y_j\, d_y), \qquad L(w) = \frac{1}{N} \sum_n \ell_n(w)

    in eval mode, without gradients, over a fixed sample of examples, accumulated in float64. The module and all
    random-number streams are afterwards as they were, to the last bit, whatever happens. Every channel that the step
    returns or logs is recorded, each mean with its standard error.

    Where a process group of `torch.distributed` is initialised, every rank calls this function with the same arguments;
    the points are shared among the ranks, rank zero writes, and each rank returns the whole surface. Of a model that a
    strategy shards (FSDP, ModelParallel) the examples are shared instead.

    Args:
        module: a LightningModule, or any module together with `step`.
        dataloader: a loader, whose data set is read by a loader of our own; or several by name, as in
            ``{"train": ..., "val": ...}``, whose channels are then called ``train/loss`` and so on.
        slice_: the line or plane, of whole tensors; or, of a sharded model, in shards (`ShardedSlice`).
        grid: the points on it; one axis for a line, two for a plane.
        step: ``step(module, batch)`` that returns the loss or a dictionary of scalars, each a mean over the batch; or
            the name of the module's own step; None for its validation step, or its training step if it has no other.
        path: where the HDF5 record is written as points are finished. A record that is there already is continued if it
            belongs to the same weights, slice, grid, step and examples. None keeps the surface in memory alone.
        examples: "all"; or a number of examples to evaluate at every point, the same everywhere, corrected by what a
            larger number shows on a coarse grid, at no more work than theirs again; or "auto", which finds the least
            work that keeps the error below 0.5 % of the surface's range. See `sampling.control_variate.estimate`.
        budget: the time that the surface may take, in seconds or as "60s", "10min", "2h", instead of `examples`: the
            resolution of `grid` is then an upper bound.
        seed: of the choice of examples, and of the random numbers that a step draws (the same at each point).
        batch_norm: see `BatchNormMode`.
        trajectory: a projected trajectory to store with the surface.
        attrs: more attributes for the record (strings, numbers, lists of them).
        progress: show a progress bar.
        trainer: the trainer that runs the module, for its precision, batch hooks and progress bar; found by itself for
            a module that is being trained.
        shortcuts: faster ways to the same values, each proven on this module before it is used: "auto" takes those that
            save time, a list of names forces those ("first_layer", "channels_last", "batch_norm_folding",
            "compilation"), an empty one forbids all. The values agree to 1e-5 (relative, in float32); the origin is
            evaluated as the module stands, in any case.
        measures: further channels of every point, such as the curvature that `convexity_map` adds; without shortcuts,
            and with a number of examples that is the same at every point, since they are no means over examples.

    Returns:
        The surface, every point done.

    Raises:
        GeometryError: if slice, grid and module do not fit together.
        LandscapeError: if `examples` or `budget` is out of its range, or a shortcut unknown.
        ObjectiveError: if the step gives no loss or the data no examples.
        RecordError: if the record cannot be written or is corrupt; RecordMismatchError, one of these, if it belongs to
            something else.
        UnsupportedStrategyError: if the trainer's strategy or precision places weights where they cannot be reached.

    Source: Li et al., arXiv 1712.09913, sections 4 and 5.

    >>> from lightning_landscape.geometry.weights import weights_of
    >>> line = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.constant_(line.weight, 2.0)
    >>> data = DataLoader(torch.ones(4, 1), batch_size=2)
    >>> slice_ = Line(origin=weights_of(line), x=weights_of(line))
    >>> square = lambda module, batch: module(batch).square().mean()
    >>> compute_surface(line, data, slice_, Grid(x=(-1, 1, 3)), square, progress=False)["loss"].tolist()
    [0.0, 4.0, 16.0]
    """
    if trainer is None and isinstance(module, LightningModule):
        trainer = attached_trainer(module)
    _require_consistent(slice_, grid, batch_norm)
    check_examples(examples)
    if budget is not None:
        seconds_of(budget)
    require_known(shortcuts)
    if trainer is not None:
        require_supported(trainer, "a loss surface", sharded=not measures)
    loaders = dataloader if isinstance(dataloader, Mapping) else {"": dataloader}
    if not loaders:
        raise ObjectiveError("no data loader given: give one, or several by name")
    objective = objective_of(module, step, keep_graph=bool(measures))
    shards = shards_of(module, trainer)
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    if trainer is not None and shards is not None:
        device = trainer.strategy.root_device  # shards may wait on the host
    ranks = Ranks(device)
    record_path = Path(path) if path is not None else None
    if record_path is not None:
        folder = record_path.parent
        ranks.on_zero(lambda: check_writable(folder))
    if batch_norm == "recalibrate":
        _require_recalibration(module, ranks, sharded=shards is not None)
    with ExitStack() as stack:
        stack.enter_context(Guard(module, trainer, shards))
        ranks.broadcast_buffers(module)
        parameters = parameters_of(module, slice_, shards, move_buffers=batch_norm == "interpolate")
        weights_sha256 = parameters.place_origin()
        bench = Workbench(
            module=module,
            objective=objective,
            loaders=loaders,
            slice_=slice_,
            parameters=parameters,
            ranks=ranks,
            device=device,
            trainer=trainer,
            shards=shards,
            seed=seed,
            batch_norm=batch_norm,
            shortcuts=shortcuts,
            context=trainer.precision_plugin.forward_context if trainer is not None else nullcontext,
            progress=progress,
            measures=measures,
        )
        grid, plan = (grid, None) if measures else choose(bench, grid, examples, budget, record_path)
        estimation = Estimation(bench, plan, grid) if plan is not None else None
        counts = [examples] * len(loaders) if measures and isinstance(examples, int) else None
        samples = estimation.reference if estimation is not None else bench.samples(counts)
        with bench.evaluator(samples) as evaluator:
            names, probe_seconds = evaluator.probe(), evaluator.probe_seconds
        # Nearly all of an estimated surface's points are the subset's.
        seen = samples if estimation is None else estimation.subset
        with bench.evaluator(seen, names, probe_seconds) as evaluator:
            placed, used = bench.accelerated(evaluator, grid)
        identity = {
            "weights_sha256": weights_sha256,
            "slice_sha256": str(slice_.metadata()["digest"]),
            "sample_sha256": _joint_digest(samples, estimation.subset if estimation is not None else {}),
            "step": objective.name,
            "batch_norm": batch_norm if has_statistics(module) else "none",
            "sample_seed": str(seed),
            "autocast": _autocast(trainer),
        }
        if measures:
            identity["measures"] = ", ".join(measure.name for measure in measures)
        _require_same_on_all_ranks(ranks, {**identity, "channels": ", ".join(names)})
        facts = estimation.attributes() if estimation is not None else _examples(samples)
        attributes = {**_attributes(slice_), **facts, **plan_attributes(plan), **(attrs or {})}
        attributes["shortcuts"] = ", ".join(used) or "none"
        loss, rows = loss_among(names), estimation.rows(names) if estimation is not None else {}
        results = Results.empty(grid, names)
        file = None
        if record_path is not None:
            target = record_path
            file = ranks.on_zero(
                lambda: SurfaceFile.open(
                    target,
                    *_axes(grid),
                    names,
                    attributes,
                    identity=identity,
                    loss=loss,
                    path_projection=trajectory,
                    rows=rows,
                )
            )
            if file is not None:
                stack.enter_context(file)
                results = Results.of(file.surface())
        results = ranks.broadcast(results)
        if estimation is None:
            with bench.evaluator(samples, names) as evaluator:
                bench.evaluate_missing(evaluator, placed, grid, results, file)
        elif not results.done.all():
            results = estimation.compute(names, placed, file)
            if file is not None:
                results.write(names, file)
    return Surface(
        *_axes(grid),
        channels={name: results.means[k].reshape(grid.shape) for k, name in enumerate(names)},
        errors={name: results.errors[k].reshape(grid.shape) for k, name in enumerate(names)},
        done=results.done.reshape(grid.shape),
        attrs={**attributes, **identity, "loss": loss},
        path=trajectory,
    )


def _require_consistent(slice_: Line | Plane | ShardedSlice, grid: Grid, batch_norm: str) -> None:
    if slice_.dim != grid.dim:
        raise GeometryError(
            f"a {type(slice_).__name__} has {slice_.dim} and the grid {grid.dim} axes: give Grid(x=...) for a Line and "
            "Grid(x=..., y=...) for a Plane"
        )
    if batch_norm not in get_args(BatchNormMode):
        raise GeometryError(f"batch_norm={batch_norm!r} is unknown: choose one of {', '.join(get_args(BatchNormMode))}")


def _require_recalibration(module: nn.Module, ranks: Ranks, *, sharded: bool) -> None:
    """Refuse BatchNorm statistics that would be found from a part of the examples, or from several points at once.

    Raises:
        GeometryError: if the model is sharded, or its BatchNorm layers synchronise several processes.
    """
    if sharded:
        raise GeometryError(
            'batch_norm="recalibrate" is not possible where the ranks share the examples, each of which would find '
            'other statistics: use batch_norm="keep", or a strategy that does not shard the model'
        )
    if ranks.world > 1 and any(isinstance(m, nn.SyncBatchNorm) for m in module.modules()):
        raise GeometryError(
            'batch_norm="recalibrate" is not possible with SyncBatchNorm in several processes, which evaluate '
            'different points: use batch_norm="keep", or one process'
        )


def _require_same_on_all_ranks(ranks: Ranks, facts: dict[str, str]) -> None:
    """Refuse ranks that are about to evaluate different things, which would be mixed in one picture.

    Raises:
        ObjectiveError: on every rank, if one of them differs.
    """
    mine = torch.frombuffer(bytearray(hashlib.sha256(repr(facts).encode()).digest()), dtype=torch.uint8)
    everyone = ranks.gather(mine)
    if not bool((everyone == everyone[0]).all()):
        theirs = ranks.broadcast(facts)
        differing = [key for key in facts if facts[key] != theirs.get(key)] or ["another rank's"]
        raise ObjectiveError(
            f"the ranks do not evaluate the same thing; rank {ranks.rank} differs from rank 0 in: "
            f"{', '.join(differing)}; give every rank the same weights and a data set that does not depend on the rank"
        )


def _axes(grid: Grid) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
    return grid.x_axis, grid.y_axis


def _autocast(trainer: Trainer | None) -> str:
    """The precision of the forward pass where it is another than that of the weights, which their digest knows."""
    precision = str(trainer.precision_plugin.precision) if trainer is not None else ""
    return precision if "mixed" in precision else "none"


def _joint_digest(*several: Mapping[str, Sample]) -> str:
    digests = (f"{label}{sample.digest}" for samples in several for label, sample in samples.items())
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _attributes(slice_: Line | Plane | ShardedSlice) -> dict[str, Any]:
    """What a reader needs to judge the picture, beside the examples: the slice and the versions."""
    metadata = {key: value for key, value in slice_.metadata().items() if key != "digest" and value is not None}
    return {**metadata, **{f"version_{name.replace('-', '_')}": version(name) for name in _PACKAGES}}


def _examples(samples: Mapping[str, Sample]) -> dict[str, Any]:
    first = next(iter(samples.values()))
    size = {} if first.dataset_size is None else {"dataset_size": first.dataset_size}
    return {"examples": first.examples, **size}
