"""The Gauss-Newton matrix of an empirical risk as a linear operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lightning_landscape.curvature.operators import BatchProduct, RiskOperator
from lightning_landscape.engine.risk import EmpiricalRisk
from lightning_landscape.errors import ObjectiveError

Outputs: TypeAlias = Callable[[Any, Any], Tensor]
"""``outputs(module, batch)``: what the network says, a tensor of any shape."""
OutputLoss: TypeAlias = Callable[[Tensor, Any], Tensor]
"""``loss(outputs, batch)``: the mean loss over the batch, a scalar."""


class GaussNewtonOperator(RiskOperator):
    r"""The generalised Gauss-Newton matrix: the curvature of the loss as if the network were linear in its parameters.

    .. math:: G = \frac{\sum_b n_b J_b^\top (\nabla_z^2 \ell_b) J_b}{\sum_b n_b}

    with the Jacobian :math:`J_b` of the outputs z of batch b by the parameters, and the Hessian of its mean loss
    :math:`\ell_b` by the outputs. For cross-entropy and squared error it is positive semi-definite. Which part of a
    step is the network and which the loss cannot be seen from the scalar that the step returns; therefore both are
    given here. No matrix is ever formed: a product is one with J (by differentiating the pullback), one with the
    loss's Hessian, and one with J transposed.

    Args:
        risk: the risk; its own step is not called.
        outputs: ``outputs(module, batch)``.
        loss: ``loss(outputs, batch)``, a mean over the batch.
        parameters: as in `RiskOperator`.

    Source: Schraudolph, Neural Computation 14 (2002).
    """

    def __init__(
        self, risk: EmpiricalRisk, outputs: Outputs, loss: OutputLoss, parameters: Sequence[str] | None = None
    ) -> None:
        super().__init__(risk, parameters)
        self._outputs = outputs
        self._loss = loss

    def _each_batch(self, use: Callable[[BatchProduct, int], object]) -> None:
        """Evaluate the outputs of each batch, and linearise network and loss there.

        Raises:
            ObjectiveError: if outputs or loss have no graph, or the loss is no scalar.
        """

        def linearise(batch: Any, examples: int) -> None:
            z = self._outputs(self._risk.module, batch)
            if not isinstance(z, Tensor) or not z.requires_grad:
                raise ObjectiveError(
                    "outputs(module, batch) gives no tensor with a graph to the parameters: return what the network "
                    "gives, before anything is detached or made discrete"
                )
            point = z.detach().requires_grad_()
            loss = self._loss(point, batch)
            if loss.numel() != 1 or not loss.requires_grad:
                raise ObjectiveError(
                    f"loss(outputs, batch) gives a tensor of shape {tuple(loss.shape)} "
                    f"{'with' if loss.requires_grad else 'without'} a graph to the outputs: return a differentiable "
                    "scalar, the mean over the batch"
                )
            differentiated = self._risk.differentiated
            (slope,) = differentiated(lambda: torch.autograd.grad(loss.reshape(()), point, create_graph=True))
            cotangent = torch.zeros_like(z, requires_grad=True)
            pullback = differentiated(
                lambda: torch.autograd.grad(z, self._parameters, cotangent, create_graph=True, allow_unused=True)
            )
            used = [i for i, pulled in enumerate(pullback) if pulled is not None]

            def product(vector: list[Tensor]) -> Sequence[Tensor]:
                def differentiate() -> Sequence[Tensor]:
                    # The pullback is linear in its cotangent, with J transposed as its matrix.
                    (pushed,) = torch.autograd.grad(
                        [pullback[i] for i in used],
                        cotangent,
                        [vector[i].to(pullback[i].dtype) for i in used],
                        retain_graph=True,
                        materialize_grads=True,
                    )
                    if not slope.requires_grad:
                        return [torch.zeros_like(parameter) for parameter in self._parameters]
                    (curved,) = torch.autograd.grad(slope, point, pushed, retain_graph=True, materialize_grads=True)
                    return torch.autograd.grad(z, self._parameters, curved, retain_graph=True, materialize_grads=True)

                return differentiated(differentiate)

            use(product, examples)

        self._risk.each_batch(linearise)
