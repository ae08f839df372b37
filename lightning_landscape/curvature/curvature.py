"""Curvature: the Hessian of a module's own loss, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_landscape.curvature.density import SpectralDensity, spectral_density
from lightning_landscape.curvature.eigenpairs import Eigenpairs, End, eigenpairs
from lightning_landscape.curvature.gauss_newton import GaussNewtonOperator, OutputLoss, Outputs
from lightning_landscape.curvature.operators import HessianOperator
from lightning_landscape.curvature.trace import TraceMethod, frobenius_norm, trace
from lightning_landscape.engine.risk import EmpiricalRisk, empirical_risk
from lightning_landscape.sampling.estimators import Estimate

if TYPE_CHECKING:
    from lightning_landscape.engine.objective import OwnStep, Step


class Curvature:
    r"""The curvature of a module's own loss over a fixed sample, at the weights that stand in the module.

    .. math:: H = \nabla_w^2 \frac{1}{N} \sum_n \ell_n(w)

    Everything is asked for inside a ``with`` statement, which keeps the run untouched: on leaving it the module, its
    gradients and all random-number streams are as they were, to the last bit. In eval mode, in the weights' own
    precision, averaged over examples, so that no value depends on how they are cut into batches.

    Where a process group of `torch.distributed` is initialised, every rank does the same with the same arguments; the
    ranks share the batches.

    A sample in one batch costs least: its graph is kept, and a product is then a single backward pass.

    Args:
        module: a LightningModule, or any module together with `step`.
        dataloader: a loader, whose data set is read by a loader of our own.
        step: ``step(module, batch)`` that returns the mean loss, or the name of the module's own step; None for its
            validation step, or its training step if it has no other.
        parameters: patterns such as ``"layer3.*"`` of the parameters to differentiate by; None for all that are
            trained.
        examples: the number of examples, a fixed random choice; or all.
        seed: of that choice, of the random numbers that a step draws, and of the estimates.
        trainer: the trainer that runs the module; found by itself for a module that is being trained.

    Raises:
        ObjectiveError: on entering, if the step gives no loss with a graph, or there are no parameters.
        UnsupportedStrategyError: on entering, if the trainer's strategy shards the model.

    >>> line, data = nn.Linear(3, 1, bias=False), DataLoader(torch.eye(3) * 2, batch_size=2)
    >>> with Curvature(line, data, lambda module, batch: module(batch).square().mean()) as curvature:
    ...     print(curvature.eigenpairs(1).values.round(4), curvature.trace())
    [2.6667] Estimate(mean=8.0, error=0.0)
    """

    def __init__(
        self,
        module: nn.Module,
        dataloader: DataLoader[Any],
        step: Step | OwnStep | None = None,
        *,
        parameters: Sequence[str] | None = None,
        examples: int | Literal["all"] = "all",
        seed: int = 0,
        trainer: Any = None,
    ) -> None:
        self._seed = seed
        self._opening = empirical_risk(
            module, dataloader, step, parameters=parameters, examples=examples, seed=seed, trainer=trainer
        )
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._risk = self._stack.enter_context(self._opening)
        return self

    def __exit__(self, *exception: Any) -> None:
        vars(self).pop("hessian", None)  # and the graph that it may keep
        self._stack.__exit__(*exception)

    @property
    def risk(self) -> EmpiricalRisk:
        """The risk itself, for operators of one's own."""
        return self._risk

    @cached_property
    def hessian(self) -> HessianOperator:
        """The Hessian by all chosen parameters, an operator of curvlinops: ``hessian @ v``, ``hessian.to_scipy()``."""
        return HessianOperator(self._risk)

    def layers(self) -> dict[str, HessianOperator]:
        """Return the diagonal blocks of the Hessian: one for each layer, by the parameters that it owns itself."""
        owners = dict.fromkeys(name.rpartition(".")[0] for name in self._risk.parameters)
        return {
            owner: HessianOperator(
                self._risk, [name for name in self._risk.parameters if name.rpartition(".")[0] == owner]
            )
            for owner in owners
        }

    def gauss_newton(self, outputs: Outputs, loss: OutputLoss) -> GaussNewtonOperator:
        """Return the Gauss-Newton matrix of a loss that is given in two parts; see `GaussNewtonOperator`."""
        return GaussNewtonOperator(self._risk, outputs, loss)

    def gradient(self) -> tuple[float, Tensor]:
        """Return the loss and its gradient ``[n]``, laid out as the operators' vectors."""
        loss, gradient = self._risk.gradient()
        return loss, torch.cat([tensor.flatten() for tensor in gradient])

    def eigenpairs(self, k: int = 1, which: End = "largest", *, tolerance: float = 1e-3) -> Eigenpairs:
        """Compute k leading eigenpairs of the Hessian; see `eigenpairs`."""
        return eigenpairs(self.hessian, k, which, tolerance=tolerance, seed=self._seed)

    def density(self, steps: int = 50, draws: int = 4) -> SpectralDensity:
        """Estimate the Hessian's spectral density; see `spectral_density`."""
        return spectral_density(self.hessian, steps, draws, seed=self._seed)

    def trace(self, draws: int = 32, *, method: TraceMethod = "hutchinson") -> Estimate:
        """Estimate the Hessian's trace; see `trace`."""
        return trace(self.hessian, draws, method=method, seed=self._seed)

    def frobenius_norm(self, draws: int = 32) -> Estimate:
        """Estimate the Hessian's Frobenius norm; see `frobenius_norm`."""
        return frobenius_norm(self.hessian, draws, seed=self._seed)
