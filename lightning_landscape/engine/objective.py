"""The objective: the user's own step, seen as a function from a batch to named scalars."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.data import extract_batch_size
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from lightning_landscape.engine.shards import Shards
from lightning_landscape.errors import ObjectiveError

Step: TypeAlias = Callable[[Any, Any], Tensor | Mapping[str, Tensor]]
"""A step of the user's: ``step(module, batch)`` returns the mean loss over the batch, or a dictionary of means."""

OwnStep: TypeAlias = Literal["training_step", "validation_step", "test_step"]
"""A step that a LightningModule defines itself, by its name."""


@dataclass(frozen=True)
class BatchMean:
    """The mean of one channel over one batch, and the number of examples that it is a mean of."""

    value: Tensor | float
    weight: int


class Objective(Protocol):
    """A function from batches to named means, with the torchmetrics objects that it feeds."""

    name: str

    def __call__(self, batch: Any, batch_idx: int) -> dict[str, BatchMean]:
        """Evaluate one batch at the weights that stand in the module now."""

    def metrics(self) -> dict[str, Metric]:
        """Return the metrics that were logged as objects so far, by channel; each is computed once a point."""

    def active(self, shards: Shards | None = None) -> Any:
        """Return the context in which the objective may be called; `shards` says which ranks share the examples."""


def objective_of(module: nn.Module, step: Step | OwnStep | None) -> Objective:
    """Choose how a module is evaluated: by a callable, or by a LightningModule's own step.

    Args:
        module: the user's module.
        step: ``step(module, batch)``, or the name of the module's own step; None prefers its validation step to its
            training step.

    Raises:
        ObjectiveError: for a plain module without a callable, a LightningModule without the step, and the training
            step of a module that optimizes by hand, since such a step would train.
    """
    if callable(step):
        return CallableObjective(module, step)
    if not isinstance(module, LightningModule):
        raise ObjectiveError(
            f"{type(module).__name__} is not a LightningModule and has no step of its own: "
            "give step=callable(module, batch) that returns the mean loss of the batch"
        )
    hook = step or ("validation_step" if is_overridden("validation_step", module) else "training_step")
    if not is_overridden(hook, module):
        raise ObjectiveError(
            f"{type(module).__name__} defines no {hook}: define it, or give step=callable(module, batch)"
        )
    if hook == "training_step" and not module.automatic_optimization:
        raise ObjectiveError(
            f"the training_step of {type(module).__name__} steps its optimizers itself (manual optimization), so it "
            "cannot serve as an objective: give step=callable(module, batch) that returns the loss alone"
        )
    return ModuleObjective(module, hook)


def loss_channel(names: Sequence[str]) -> str:
    """Return the channel that is the loss: "loss", or one whose name ends or contains it, or else the first.

    >>> loss_channel(["val/accuracy", "val/loss"])
    'val/loss'
    """
    named = (name for name in names if name == "loss" or name.endswith("/loss"))
    return next(named, None) or next((name for name in names if "loss" in name.lower()), names[0])


class CallableObjective:
    """The objective of a user's callable ``step(module, batch)``: what it returns are the channels.

    Args:
        module: the module that is passed to the step.
        step: returns a scalar tensor (channel "loss") or a dictionary of scalars, each a mean over the batch.
    """

    def __init__(self, module: nn.Module, step: Step) -> None:
        self.name = f"{getattr(step, '__module__', '')}.{getattr(step, '__qualname__', type(step).__name__)}".lstrip(
            "."
        )
        self._module = module
        self._step = step

    def __call__(self, batch: Any, batch_idx: int) -> dict[str, BatchMean]:  # noqa: ARG002 part of the protocol
        """Evaluate one batch; see `Objective`.

        Raises:
            ObjectiveError: if the step returns no scalar.
        """
        returned = self._step(self._module, batch)
        channels = _returned_scalars(returned, self.name)
        if not channels:
            raise ObjectiveError(
                f"step {self.name} returned {_describe(returned)} and no loss: return a scalar tensor, or a "
                "dictionary of scalar tensors"
            )
        size = extract_batch_size(batch)
        return {name: BatchMean(value, size) for name, value in channels.items()}

    def metrics(self) -> dict[str, Metric]:
        """Return no metrics: a callable has only what it returns."""
        return {}

    @contextmanager
    def active(self, shards: Shards | None = None) -> Iterator[None]:  # noqa: ARG002 part of the protocol
        """Open the context of the evaluation, which for a callable is empty."""
        yield


class ModuleObjective:
    """The objective of a LightningModule: its own step, with everything that the step returns or logs as channels.

    The returned loss is the channel "loss", further scalars of a returned dictionary keep their keys, and what goes
    through `self.log` or `self.log_dict` keeps its name. Nothing reaches the trainer's results. A torchmetrics object
    that is logged is reset at every point and computed over all the examples there, on this rank alone unless the
    ranks share the examples.

    Args:
        module: the LightningModule.
        hook: the name of the step.
    """

    def __init__(self, module: LightningModule, hook: str) -> None:
        self.name = f"{type(module).__name__}.{hook}"
        self._module = module
        self._hook = hook
        self._logged: dict[str, BatchMean] = {}
        self._metrics: dict[str, Metric] = {}
        self._batch_size = 1
        parameters = inspect.signature(getattr(module, hook)).parameters.values()
        positional = [
            parameter
            for parameter in parameters
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
            and (parameter.default is parameter.empty or parameter.name == "batch_idx")
        ]
        takes_any = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
        self._arguments = 2 if takes_any else len(positional)

    def __call__(self, batch: Any, batch_idx: int) -> dict[str, BatchMean]:
        """Evaluate one batch; see `Objective`.

        Raises:
            ObjectiveError: if the step neither returns nor logs a loss.
        """
        self._logged = {}
        self._batch_size = extract_batch_size(batch)
        # A step takes (batch), (batch, batch_idx) or (batch, batch_idx, dataloader_idx).
        arguments = (batch, batch_idx, 0)[: self._arguments]
        returned = getattr(self._module, self._hook)(*arguments)
        channels = {
            name: BatchMean(value, self._batch_size) for name, value in _returned_scalars(returned, self.name).items()
        }
        for name, mean in self._logged.items():
            channels.setdefault(name, mean)
        if not any("loss" in name.lower() for name in channels) and not self._metrics:
            raise ObjectiveError(
                f"{self.name} returned {_describe(returned)} and logged {sorted(channels) or 'nothing'}: there is no "
                "loss to draw; return the loss, or log one under a name that contains 'loss', or give "
                "step=callable(module, batch)"
            )
        return channels

    def metrics(self) -> dict[str, Metric]:
        """Return the torchmetrics objects that the step has logged, by channel."""
        return dict(self._metrics)

    @contextmanager
    def active(self, shards: Shards | None = None) -> Iterator[None]:
        """Catch the module's logging, and let its metrics talk to those ranks alone that share the examples.

        To be entered inside a `Guard`, which takes the attributes back that are set here.
        """
        module: Any = self._module
        for child in module.modules():
            if isinstance(child, Metric) and shards is not None:
                child.process_group = shards.group
            elif isinstance(child, Metric):
                # The ranks stand at different points of the plane: a metric must not mix them.
                child.distributed_available_fn = _not_distributed
        module.log, module.log_dict = self._log, self._log_dict
        try:
            yield
        finally:
            vars(module).pop("log", None)
            vars(module).pop("log_dict", None)

    def _log(self, name: str, value: Any, *_: Any, batch_size: int | None = None, **__: Any) -> None:
        if isinstance(value, Metric):
            self._metrics[name] = value
        elif isinstance(value, MetricCollection | Mapping):
            self._log_dict(value)
        elif (scalar := _scalar(value)) is not None:
            self._logged[name] = BatchMean(scalar, self._batch_size if batch_size is None else batch_size)

    def _log_dict(self, dictionary: Mapping[str, Any] | MetricCollection, *_: Any, **options: Any) -> None:
        items = dictionary.items(keep_base=False) if isinstance(dictionary, MetricCollection) else dictionary.items()
        for name, value in items:
            self._log(name, value, batch_size=options.get("batch_size"))


def _not_distributed() -> bool:
    return False


def _scalar(value: Any) -> Tensor | float | None:
    if isinstance(value, Tensor):
        return value.detach().reshape(()) if value.numel() == 1 else None
    return float(value) if isinstance(value, int | float | np.number) else None


def _returned_scalars(returned: Any, name: str) -> dict[str, Tensor | float]:
    if isinstance(returned, Tensor):
        scalar = _scalar(returned)
        if scalar is None:
            raise ObjectiveError(
                f"{name} returned a tensor of shape {tuple(returned.shape)}: return the mean over the batch, a scalar"
            )
        return {"loss": scalar}
    if isinstance(returned, Mapping):
        scalars = {str(key): _scalar(value) for key, value in returned.items()}
        return {key: value for key, value in scalars.items() if value is not None}
    return {}


def _describe(returned: Any) -> str:
    if isinstance(returned, Mapping):
        return f"a dictionary with the keys {sorted(map(str, returned))}"
    return "None" if returned is None else f"a {type(returned).__name__}"
