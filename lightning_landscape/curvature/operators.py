"""The Hessian of an empirical risk as a linear operator: products with vectors, never the matrix."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from lightning_landscape.curvature._curvlinops import PyTorchLinearOperator
from lightning_landscape.engine.risk import EmpiricalRisk
from lightning_landscape.errors import CurvatureError, ObjectiveError
from lightning_landscape.geometry.weights import Weights, weights_of

BatchProduct: TypeAlias = Callable[[list[Tensor]], Sequence[Tensor]]
"""The product of one batch's matrix with a vector, both as lists of tensors with the parameters' shapes."""


class RiskOperator(PyTorchLinearOperator):  # type: ignore[misc] # curvlinops has no types
    r"""A symmetric matrix that belongs to an `EmpiricalRisk`, known by its products with vectors.

    .. math:: A = \frac{\sum_b n_b A_b}{\sum_b n_b}

    with the matrix :math:`A_b` of batch b and its number of examples :math:`n_b`, at the weights that stand in the
    module. Rows and columns are the entries of the chosen parameters, flattened one after the other. ``operator @ v``
    takes and gives a tensor ``[n]`` or ``[n, k]`` on the module's device, or a list of tensors with the parameters'
    shapes; several columns at once cost less than one after the other, because they share a forward and a backward
    pass. It is an operator of curvlinops, whose estimators take it, and ``operator.to_scipy()`` is one of SciPy.

    A product is a collective: every rank contributes its batches and gets the same bits.

    Where the sample is one batch, its graph is kept from product to product, since a product needs that memory in any
    case: after the weights have moved, make a new operator.

    Args:
        risk: the risk.
        parameters: patterns such as ``"layer3.*"`` that choose among its parameters; None for all of them.

    Attributes:
        names: the parameters' names, in the order of the rows.

    Raises:
        ObjectiveError: if the patterns choose no parameter.
    """

    SELF_ADJOINT = True

    def __init__(self, risk: EmpiricalRisk, parameters: Sequence[str] | None = None) -> None:
        self._risk = risk
        self.names = [
            name
            for name in risk.parameters
            if parameters is None or any(fnmatch.fnmatchcase(name, pattern) for pattern in parameters)
        ]
        if not self.names:
            raise ObjectiveError(
                f"none of the {len(risk.parameters)} parameters matches one of {list(parameters or [])}; the first are "
                f"{', '.join(list(risk.parameters)[:3])}"
            )
        self._parameters = [risk.parameters[name] for name in self.names]
        self._kept: list[tuple[BatchProduct, int]] = []
        self._examined = False
        shapes = [tuple(parameter.shape) for parameter in self._parameters]
        super().__init__(shapes, shapes)

    @property
    def device(self) -> torch.device:
        """The device of the parameters, and of vectors."""
        return self._parameters[0].device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of vectors: the widest of the parameters'."""
        dtype = self._parameters[0].dtype
        for parameter in self._parameters:
            dtype = torch.promote_types(dtype, parameter.dtype)
        return dtype

    def as_weights(self, vector: Tensor) -> Weights:
        """Turn a vector ``[n]`` of this space into a direction in weight space, with the parameters' roles."""
        roles = weights_of(self._risk.module).roles
        pieces = zip(self.names, torch.split(vector, self._in_shape_flat), self._parameters, strict=True)
        return Weights({name: piece.view(p.shape) for name, piece, p in pieces}, {n: roles[n] for n in self.names})

    def _each_batch(self, use: Callable[[BatchProduct, int], object]) -> None:
        """Call ``use(product, examples)`` for each batch of this rank."""
        raise NotImplementedError

    def _gradients(self, outputs: Tensor, cotangent: Tensor | None) -> Sequence[Tensor | None]:
        """Return gradients by the parameters that can be differentiated again; None for parameters that are not used.

        Raises:
            ObjectiveError: if they cannot.
        """

        def differentiate() -> Sequence[Tensor | None]:
            found = torch.autograd.grad(outputs, self._parameters, cotangent, create_graph=True, allow_unused=True)
            # Where an operation is differentiated once only, torch leaves a node that is tied to no parameter; it would
            # raise when it is reached, and is never reached on the way to the parameters: what it cuts off is lost.
            if not self._examined and _leads_to_an_error(found):
                raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")
            self._examined = True
            return found

        return self._risk.differentiated(differentiate)

    def _matmat(self, M: list[Tensor]) -> list[Tensor]:
        """Multiply the columns of a matrix, given as tensors ``[*shape, k]``; `@` calls this.

        Raises:
            CurvatureError: if a product is not finite.
        """
        totals = [torch.zeros_like(columns) for columns in M]
        examples = 0

        def add(product: BatchProduct, weight: int) -> None:
            nonlocal examples
            examples += weight
            for column in range(M[0].shape[-1]):
                found = product([columns[..., column] for columns in M])
                torch._foreach_add_([total[..., column] for total in totals], list(found), alpha=weight)

        if not self._risk.has_one_batch:
            self._each_batch(add)
        elif not self._kept:
            self._each_batch(lambda product, weight: self._kept.append((product, weight)))
        for product, weight in self._kept:
            add(product, weight)
        means = self._risk.mean_over_ranks(totals, examples)
        if not all(bool(mean.isfinite().all()) for mean in means):
            raise CurvatureError(
                f"a product with the {type(self).__name__} of {self._risk.name} is not finite: the loss or its "
                "derivatives overflow at these weights; look at the loss there, or evaluate the module in float64"
            )
        return means


def _leads_to_an_error(tensors: Sequence[Tensor | None]) -> bool:
    found = [tensor.grad_fn for tensor in tensors if tensor is not None]
    seen = set(found)
    while found:
        node = found.pop()
        if node is None:
            continue
        if node.name() == "torch::autograd::Error":
            return True
        further = {following for following, _ in node.next_functions} - seen
        seen |= further
        found.extend(further)
    return False


class HessianOperator(RiskOperator):
    r"""The Hessian of an empirical risk.

    .. math:: H v = \nabla_w \left( v^\top \nabla_w L(w) \right)

    by differentiating twice, so that nothing larger than the graph of the loss is ever held, whatever the size of the
    network's outputs.

    Source: Pearlmutter, Neural Computation 6 (1994).

    >>> from torch.utils.data import DataLoader
    >>> from lightning_landscape.engine.risk import empirical_risk
    >>> line, data = torch.nn.Linear(2, 1, bias=False), DataLoader(torch.tensor([[1.0, 0.0], [1.0, 2.0]]))
    >>> with empirical_risk(line, data, lambda module, batch: module(batch).square().mean() / 2) as risk:
    ...     HessianOperator(risk) @ torch.eye(2)  # the mean of x x^T
    tensor([[1., 1.],
            [1., 2.]])
    """

    def _each_batch(self, use: Callable[[BatchProduct, int], object]) -> None:
        """Differentiate the loss of each batch once; the product differentiates again."""

        def differentiate(loss: Tensor, weight: int) -> None:
            gradients = self._gradients(loss, None)
            # A parameter that the loss does not use, or uses linearly, has a gradient without a graph: zero rows.
            curved = {i: g for i, g in enumerate(gradients) if g is not None and g.requires_grad}

            def product(vector: list[Tensor]) -> Sequence[Tensor]:
                if not curved:
                    return [torch.zeros_like(parameter) for parameter in self._parameters]
                return self._risk.differentiated(
                    lambda: torch.autograd.grad(
                        list(curved.values()),
                        self._parameters,
                        [vector[i].to(gradient.dtype) for i, gradient in curved.items()],
                        retain_graph=True,
                        materialize_grads=True,
                    )
                )

            use(product, weight)

        self._risk.each_loss(differentiate)
