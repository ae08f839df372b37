"""Gauss-Newton products against J^T H J of dense Jacobians."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from lightning_landscape import Curvature, ObjectiveError
from tests.curvature.networks import COUNT, data, dense, flat, functional, loader, network, step


def outputs(module: nn.Module, batch: Any) -> Tensor:
    return module(batch[0])


def loss(z: Tensor, batch: Any) -> Tensor:
    return cross_entropy(z, batch[1])


@pytest.mark.parametrize("batch_size", [4, COUNT])
def test_products_are_those_of_the_dense_matrix(batch_size: int) -> None:
    net = network().eval()
    inputs, labels = data().tensors
    call = functional(net)
    jacobian = torch.func.jacrev(lambda w: call(w, inputs).flatten())(flat(net))
    curved = torch.func.jacrev(torch.func.jacrev(lambda z: cross_entropy(z.view(COUNT, 3), labels)))(
        call(flat(net), inputs).flatten()
    )
    reference = jacobian.T @ curved @ jacobian
    with Curvature(net, loader(batch_size), step) as curvature:
        operator = curvature.gauss_newton(outputs, loss)
        found = operator @ torch.eye(len(reference)).double()
    torch.testing.assert_close(found, reference, rtol=0, atol=1e-10)
    assert torch.linalg.eigvalsh(found).min() > -1e-12


def test_it_is_the_hessian_of_a_network_that_is_linear() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).double()
    reference = dense(net)
    with Curvature(net, loader(), step) as curvature:
        found = curvature.gauss_newton(outputs, loss) @ torch.eye(len(reference)).double()
    torch.testing.assert_close(found, reference, rtol=0, atol=1e-10)


def test_a_loss_linear_in_the_outputs_gives_zero() -> None:
    with Curvature(network(), loader(), step) as curvature:
        operator = curvature.gauss_newton(outputs, lambda z, batch: z.mean())
        assert not (operator @ torch.ones(operator.shape[0]).double()).any()


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        ((lambda m, b: m(b[0]).detach(), loss), "gives no tensor with a graph to the parameters"),
        ((outputs, lambda z, b: mse_loss(z.detach(), torch.zeros_like(z))), "without a graph to the outputs"),
        ((outputs, lambda z, b: z.square()), r"shape \(4, 3\) with a graph"),
    ],
)
def test_parts_that_do_not_fit_are_refused(faulty: Any, message: str) -> None:
    with Curvature(network(), loader(), step) as curvature:
        operator = curvature.gauss_newton(*faulty)
        with pytest.raises(ObjectiveError, match=message):
            operator @ torch.ones(operator.shape[0]).double()
