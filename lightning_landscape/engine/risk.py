"""The empirical risk: the mean loss of a user's own step over a sample, as a function that can be differentiated."""

from __future__ import annotations

import fnmatch
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, TypeVar

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader

from lightning_landscape.engine._compat import attached_trainer
from lightning_landscape.engine.guard import Guard, seed_rng, snapshot_rng
from lightning_landscape.engine.objective import Objective, OwnStep, Step, loss_among, objective_of
from lightning_landscape.engine.ranks import Ranks
from lightning_landscape.engine.sample import Sample, transfer_of
from lightning_landscape.engine.snapshot import Snapshot
from lightning_landscape.engine.strategies import require_supported
from lightning_landscape.errors import ObjectiveError
from lightning_landscape.sampling.subset import sample_size

T = TypeVar("T")


class EmpiricalRisk:
    r"""The mean loss over a sample, as a differentiable function of the parameters that stand in the module.

    .. math:: L(w) = \frac{\sum_b n_b L_b(w)}{\sum_b n_b}

    with the mean loss :math:`L_b` of batch b and its number of examples :math:`n_b`. The batches are dealt to the
    ranks; sums over them are completed by `mean_over_ranks`.

    To be made and used inside a `Guard`, while the objective is active; `empirical_risk` sees to both.

    The module is called itself, never its DDP wrapper, in eval mode and in the weights' own precision: an autocast of
    the trainer's is left out, because its rounding exceeds the small eigenvalues that derivatives are asked for.
    Whatever the step changes in the module is put back after each pass, and each batch draws the same random numbers.

    Args:
        module: the module, as its user wrote it.
        objective: the function from batches to channels, made with ``keep_graph=True``.
        sample: the examples.
        parameters: the parameters to differentiate by, by name.
        seed: of the random numbers that a step draws.
        forward_context: the precision's context of a forward pass.
        ranks: the processes that share the batches.
    """

    def __init__(
        self,
        module: nn.Module,
        objective: Objective,
        sample: Sample,
        parameters: dict[str, nn.Parameter],
        *,
        seed: int,
        forward_context: Callable[[], AbstractContextManager[object]],
        ranks: Ranks,
    ) -> None:
        self.module = module
        self.sample = sample
        self.parameters = parameters
        self.name = objective.name
        self.ranks = ranks
        self._objective = objective
        self._seed = seed
        self._forward_context = forward_context
        self._device = next(iter(parameters.values())).device
        self._mine = range(ranks.rank, len(sample), ranks.world)
        self._rewind = Snapshot(module, parameters=False).restore
        self._loss = ""

    @property
    def has_one_batch(self) -> bool:
        """Whether this rank evaluates one batch at most, whose graph fits in memory if any product does."""
        return len(self._mine) <= 1

    def probe(self) -> None:
        """Evaluate one batch, to learn which channel is the loss and to meet a faulty step before the long work.

        Raises:
            ObjectiveError: if the loss has no graph.
        """
        self._visit(range(1), self._evaluate)

    def each_loss(self, use: Callable[[Tensor, int], object]) -> None:
        """Call ``use(loss, weight)`` for each batch of this rank: its mean loss, with a graph, and its examples.

        Raises:
            ObjectiveError: if the loss has no graph.
        """

        def visit(batch: Any, position: int) -> None:
            use(*self._evaluate(batch, position))

        self._visit(self._mine, visit)

    def each_batch(self, use: Callable[[Any, int], object]) -> None:
        """Call ``use(batch, examples)`` for each batch of this rank, with gradients on and the module protected."""
        self._visit(self._mine, lambda batch, position: use(batch, self.sample.sizes[position]))

    def mean_over_ranks(self, totals: Sequence[Tensor], weight: float) -> list[Tensor]:
        """Complete sums over the batches of this rank, weighted by examples, to means over all examples.

        A collective: every rank calls it.

        Args:
            totals: the sums, of the same shapes on every rank; overwritten.
            weight: the sum of the weights.
        """
        if self.ranks.active:
            flat = torch.cat([total.double().flatten() for total in totals] + [totals[0].new_tensor([weight]).double()])
            flat = self.ranks.sum(flat)
            weight = float(flat[-1])
            pieces = torch.split_with_sizes(flat[:-1], [total.numel() for total in totals])
            totals = [piece.view(total.shape).to(total.dtype) for piece, total in zip(pieces, totals, strict=True)]
        torch._foreach_div_(list(totals), weight)
        return list(totals)

    def gradient(self) -> tuple[float, list[Tensor]]:
        """Return the loss and its gradient by each of the parameters, means over all examples.

        Raises:
            ObjectiveError: if the loss has no graph.
        """
        parameters = list(self.parameters.values())
        totals = [torch.zeros_like(parameter) for parameter in parameters]
        value, total_weight = torch.zeros((), dtype=torch.float64, device=self._device), 0

        def add(loss: Tensor, weight: int) -> None:
            nonlocal total_weight
            gradients = self.differentiated(lambda: torch.autograd.grad(loss, parameters, materialize_grads=True))
            torch._foreach_add_(totals, gradients, alpha=weight)
            value.add_(loss.detach(), alpha=weight)
            total_weight += weight

        self.each_loss(add)
        mean, *gradient = self.mean_over_ranks([value, *totals], total_weight)
        return float(mean), gradient

    def differentiated(self, differentiate: Callable[[], T]) -> T:
        """Return ``differentiate()``; say it plainly where the loss has no derivative of that order.

        Raises:
            ObjectiveError: if an operation in the loss cannot be differentiated, or not twice.
            RuntimeError: as it comes, if there is too little memory.
        """
        try:
            return differentiate()
        except RuntimeError as error:  # NotImplementedError is one
            if isinstance(error, torch.OutOfMemoryError):
                raise
            if "aot_autograd" in str(error) or "compile" in str(error):
                reason = (
                    "it runs compiled, and compiled code is differentiated once only: give the module as it was before "
                    'torch.compile, or call this under torch.compiler.set_stance("force_eager")'
                )
            else:
                reason = (
                    "an operation in it has no such derivative (a fused kernel, a quantised layer, or an "
                    "autograd.Function that is once_differentiable): give a step that goes without it"
                )
            raise ObjectiveError(
                f"the loss of {self.name} cannot be differentiated twice: {reason} ({error})"
            ) from error

    def _evaluate(self, batch: Any, position: int) -> tuple[Tensor, int]:
        channels = self._objective(batch, position)
        self._loss = self._loss or loss_among(list(channels))
        if self._loss not in channels:
            raise ObjectiveError(
                f"{self.name} gave {self._loss!r} for its first batch, and for batch {position} only "
                f"{sorted(channels)}: return the loss for every batch"
            )
        loss = channels[self._loss]
        if not isinstance(loss.value, Tensor) or not loss.value.requires_grad:
            raise ObjectiveError(
                f"{self._loss!r}, which {self.name} gives, has no graph: it was detached, computed under "
                "torch.no_grad(), made by an operation without a derivative (argmax, rounding, .item()), or depends on "
                f"none of the {len(self.parameters)} parameters to differentiate by; return the loss as the network "
                "gives it"
            )
        return loss.value, loss.weight

    def _visit(self, positions: range, use: Callable[[Any, int], object]) -> None:
        """Call ``use(batch, position)`` for some batches, so that module and generators do not notice."""
        restore_rng = snapshot_rng()
        try:
            # The fused kernels of attention have no second derivative.
            with (
                warnings.catch_warnings(),
                self._forward_context(),
                torch.autocast(self._device.type, enabled=False),
                sdpa_kernel(SDPBackend.MATH),
                torch.enable_grad(),
            ):
                # A validation step may well take float(loss): that gradients are on is our doing.
                warnings.filterwarnings("ignore", message="Converting a tensor with requires_grad=True to a scalar")
                for position, batch in enumerate(self.sample.batches(positions[-1] + 1 if positions else 0)):
                    if position in positions:
                        seed_rng(self._seed + position)
                        use(batch, position)
        finally:
            self._rewind()
            restore_rng()


@contextmanager
def empirical_risk(
    module: nn.Module,
    dataloader: DataLoader[Any],
    step: Step | OwnStep | None = None,
    *,
    parameters: Sequence[str] | None = None,
    examples: int | Literal["all"] = "all",
    seed: int = 0,
    trainer: Trainer | None = None,
) -> Iterator[EmpiricalRisk]:
    """Open the risk of a module's own step over a fixed sample, under a `Guard`; the ranks share its batches.

    Args:
        module: a LightningModule, or any module together with `step`.
        dataloader: whose data set is read by a loader of our own.
        step: as in `compute_surface`.
        parameters: patterns such as ``"layer3.*"`` of the parameters to differentiate by; None for all that are
            trained.
        examples: the number of examples, a fixed random choice; or all.
        seed: of the choice, and of the random numbers that a step draws.
        trainer: found by itself for a module that is being trained.

    Raises:
        LandscapeError: if `examples` is neither a number of at least 1 nor "all".
        ObjectiveError: if the step gives no loss with a graph, or no parameter is selected.
        UnsupportedStrategyError: if the trainer's strategy shards the model.
    """
    if trainer is None and isinstance(module, LightningModule):
        trainer = attached_trainer(module)
    if trainer is not None:
        require_supported(trainer, "curvature")
    chosen = trained_parameters(module, parameters)
    objective = objective_of(module, step, keep_graph=True)
    device = next(iter(chosen.values())).device
    context: Callable[[], AbstractContextManager[Any]] = (
        trainer.precision_plugin.forward_context if trainer is not None else nullcontext
    )
    with Guard(module, trainer):
        sample = Sample(dataloader, sample_size(examples), seed, transfer_of(module, trainer, device), device)
        with objective.active():
            risk = EmpiricalRisk(
                module, objective, sample, chosen, seed=seed, forward_context=context, ranks=Ranks(device)
            )
            risk.probe()
            yield risk


def trained_parameters(module: nn.Module, patterns: Sequence[str] | None = None) -> dict[str, nn.Parameter]:
    """Return the floating-point parameters that require gradients and match one of the patterns, by name.

    Raises:
        ObjectiveError: if there are none.
    """
    trained = {
        name: parameter
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and parameter.is_floating_point()
    }
    chosen = {
        name: parameter
        for name, parameter in trained.items()
        if patterns is None or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    }
    if not chosen:
        found = f"its {len(trained)} trained parameters begin with {list(trained)[:3]}"
        raise ObjectiveError(
            f"{type(module).__name__} has no parameter to differentiate by"
            + (
                f" that matches one of {list(patterns or [])}: {found}"
                if trained
                else ": all are frozen, or packed integers as in a quantised module; unfreeze some, or give the module "
                "before it was quantised"
            )
        )
    return chosen
