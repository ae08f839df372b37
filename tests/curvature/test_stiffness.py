"""Stiffness against its definition, and its closed forms."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_landscape import CurvatureError
from lightning_landscape.curvature.stiffness import (
    against_distance,
    between_classes,
    class_matrix,
    cosines,
    critical_length,
    gradient_gram,
    input_distances,
    within_classes,
)
from lightning_landscape.engine.risk import empirical_risk

F = nn.functional


def cross_entropy(module: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(module(batch[0]), batch[1])


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Tanh(), nn.Linear(7, 3)).double()


def data(count: int = 11) -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 5, generator=generator).double()
    return TensorDataset(inputs, torch.randint(3, (count,), generator=generator))


def gram_of(module: nn.Module, dataset: TensorDataset, **options: Any) -> np.ndarray[Any, Any]:
    with empirical_risk(module, DataLoader(dataset, batch_size=1), cross_entropy) as risk:
        return gradient_gram(risk, **options)


def order_of(dataset: TensorDataset) -> list[int]:
    """The order in which the sample visits the examples."""
    from lightning_landscape.sampling.subset import subset_indices

    return subset_indices(len(dataset), None, 0).tolist()


def gradients(module: nn.Module, dataset: TensorDataset) -> Tensor:
    """One by one, by hand, in eval mode."""
    module.eval()
    rows = []
    for index in order_of(dataset):
        x, y = dataset[index]
        found = torch.autograd.grad(cross_entropy(module, (x[None], y[None])), list(module.parameters()))
        rows.append(torch.cat([g.flatten() for g in found]))
    module.train()
    return torch.stack(rows)


@pytest.mark.parametrize("memory", [2**30, 8 * 11 * 13, 8 * 11 * 3, 1])
def test_products_of_gradients_whatever_fits_in_memory(memory: int) -> None:
    module = network()
    rows = gradients(module, data())
    np.testing.assert_allclose(gram_of(module, data(), memory=memory), (rows @ rows.T).numpy(), rtol=1e-12, atol=1e-15)


def test_an_example_agrees_with_itself_and_pairs_do_not_depend_on_their_order() -> None:
    values = cosines(gram_of(network(), data()))
    np.testing.assert_allclose(np.diag(values), 1, rtol=1e-14)
    np.testing.assert_array_equal(values, values.T)
    assert np.abs(values).max() <= 1


def test_a_linear_softmax_without_bias_on_orthogonal_inputs_has_none() -> None:
    torch.manual_seed(0)
    inputs = torch.linalg.qr(torch.randn(8, 6, dtype=torch.float64)).Q.T  # six orthogonal inputs
    values = cosines(gram_of(nn.Linear(8, 3, bias=False).double(), TensorDataset(inputs, torch.arange(6) % 3)))
    np.testing.assert_allclose(values, np.eye(6), atol=1e-14)


def test_the_loss_of_another_example_changes_by_minus_e_times_the_product() -> None:
    """... to first order: the error falls with the square of the step."""
    module = network().eval()
    (x1, y1), (x2, y2) = (data()[i] for i in order_of(data())[:2])
    expected = gram_of(module, data())[0, 1]
    start = [p.detach().clone() for p in module.parameters()]
    g1 = torch.autograd.grad(cross_entropy(module, (x1[None], y1[None])), list(module.parameters()))
    before = cross_entropy(module, (x2[None], y2[None])).item()
    errors = []
    for step in (1e-2, 1e-3):
        with torch.no_grad():
            for p, w, g in zip(module.parameters(), start, g1, strict=True):
                p.copy_(w - step * g)
        change = cross_entropy(module, (x2[None], y2[None])).item() - before
        errors.append(abs(change + step * expected))
    assert errors[0] < 0.2 * abs(1e-2 * expected)
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.2)


def test_class_means_leave_out_an_example_with_itself() -> None:
    labels = np.array([0, 1, 0, 2, 1, 0])
    values = np.random.default_rng(0).normal(size=(6, 6))
    values += values.T
    found = class_matrix(values, labels, labels, [0, 1, 2], same=True)
    for a in range(3):
        for b in range(3):
            pairs = [values[i, j] for i in range(6) for j in range(6) if (labels[i], labels[j]) == (a, b) and i != j]
            assert np.isnan(found[a, b]) if not pairs else found[a, b] == pytest.approx(np.mean(pairs))
    assert np.isnan(found[2, 2])  # a single example of its class
    assert within_classes(found) == pytest.approx((found[0, 0] + found[1, 1]) / 2)
    off = [found[a, b] for a in range(3) for b in range(3) if a != b]
    assert between_classes(found) == pytest.approx(sum(off) / (3 * 2))
    across = class_matrix(values[:, :2], labels, labels[:2], [0, 1, 2], same=False)
    assert across[0, 0] == pytest.approx(values[[0, 2, 5], 0].mean())
    assert np.isnan(across[:, 2]).all()


def test_a_gradient_of_zero_has_no_direction() -> None:
    assert cosines([[0.0, 0.0], [0.0, 2.0]]).tolist() == [[0.0, 0.0], [0.0, 1.0]]


def test_the_critical_length_is_where_the_line_crosses_zero() -> None:
    distances = input_distances(torch.randn(30, 4, generator=torch.Generator().manual_seed(0)))
    everyone = ~np.eye(30, dtype=bool)
    assert critical_length(0.6 - 2 * distances, distances, everyone) == pytest.approx(0.3)
    assert np.isnan(critical_length(0.6 + distances, distances, everyone))
    assert np.isnan(critical_length(-0.6 - distances, distances, everyone))
    bins = against_distance(0.6 - 2 * distances, distances, everyone, np.linspace(0, 2, 201))
    centres = np.linspace(0.005, 1.995, 200)
    known = np.isfinite(bins)
    np.testing.assert_allclose(bins[known], 0.6 - 2 * centres[known], atol=0.011)


def test_batches_of_several_examples_are_refused() -> None:
    make = partial(DataLoader, data(), batch_size=2)
    with empirical_risk(network(), make(), cross_entropy) as risk, pytest.raises(CurvatureError, match="batch_size=1"):
        gradient_gram(risk)


def test_gradients_that_are_not_finite_are_refused() -> None:
    module = network()
    with torch.no_grad():
        module[3].weight.fill_(float("inf"))
    with pytest.raises(CurvatureError, match="single example is not finite"):
        gram_of(module, data())
