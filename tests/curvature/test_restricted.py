"""The restricted Hessian against dense matrices, and the closed forms of a uniformly random frame."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lightning_landscape.curvature.operators import HessianOperator
from lightning_landscape.curvature.restricted import (
    curvature_of,
    expected_square_norm,
    expected_trace,
    on_sphere,
    restricted_hessian,
    tangent_frame,
)
from lightning_landscape.engine.risk import empirical_risk
from lightning_landscape.geometry.projections import orthonormal_frame

DRAWS = 4000


def symmetric(size: int, seed: int) -> Tensor:
    matrix = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return matrix + matrix.T + torch.diag(torch.arange(size, dtype=torch.float64))


def test_trace_and_norm_of_a_random_frame_have_the_means_of_the_formulas() -> None:
    size, d = 12, 4
    hessian = symmetric(size, 1)
    frames = torch.stack([orthonormal_frame(size, d, seed) for seed in range(DRAWS)])
    small = frames.mT @ hessian @ frames
    traces = small.diagonal(dim1=1, dim2=2).sum(1)
    squares = small.square().sum((1, 2))
    trace, square = float(hessian.trace()), float(hessian.square().sum())
    for values, expected in (
        (traces, expected_trace(trace, size, d)),
        (squares, expected_square_norm(trace, square, size, d)),
    ):
        error = float(values.std()) / math.sqrt(DRAWS)
        assert abs(float(values.mean()) - expected) < 4 * error
        assert error < 0.02 * abs(expected)


def test_the_identity_gives_the_root_of_d() -> None:
    frame = orthonormal_frame(50, 9, 0)
    assert curvature_of(restricted_hessian(lambda v: v, frame)).convexity == pytest.approx(3.0, abs=1e-12)
    assert curvature_of(restricted_hessian(lambda v: v, frame)).positive == 1.0
    assert curvature_of(restricted_hessian(lambda v: -v, frame)).convexity == pytest.approx(-3.0, abs=1e-12)
    assert expected_square_norm(50, 50, 50, 9) == pytest.approx(9.0, abs=1e-12)


def test_a_symmetric_random_matrix_gives_zero_on_average() -> None:
    found = []
    for seed in range(300):
        noise = torch.randn(10, 10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        found.append(curvature_of(noise + noise.T).convexity)
    assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(len(found))
    assert curvature_of(torch.zeros(3, 3)).convexity != curvature_of(torch.zeros(3, 3)).convexity  # NaN


def test_against_the_dense_hessian_of_a_network() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    data = TensorDataset(torch.randn(10, 3).double(), torch.randint(2, (10,)))
    step = lambda m, batch: torch.nn.functional.cross_entropy(m(batch[0]), batch[1])  # noqa: E731
    names = [name for name, _ in module.named_parameters()]
    shapes = [p.shape for p in module.parameters()]
    flat = torch.cat([p.detach().flatten() for p in module.parameters()])
    frame = orthonormal_frame(len(flat), 5, 3)

    def loss(z: Tensor, sphere: bool, frame: Tensor) -> Tensor:
        w = flat + frame @ z
        if sphere:
            w = w * flat.norm() / w.norm()
        pieces = w.split([s.numel() for s in shapes])
        weights = {n: p.view(s) for n, p, s in zip(names, pieces, shapes, strict=True)}
        outputs = torch.func.functional_call(module, weights, (data.tensors[0],))
        return torch.nn.functional.cross_entropy(outputs, data.tensors[1])

    zero = torch.zeros(5, dtype=torch.float64)
    tangent = tangent_frame(frame, flat)
    torch.testing.assert_close(tangent.T @ tangent, torch.eye(5, dtype=torch.float64))
    assert (flat @ tangent).abs().max() < 1e-12
    with empirical_risk(module, DataLoader(data, batch_size=4), step) as risk:
        operator = HessianOperator(risk)
        plane = restricted_hessian(operator.__matmul__, frame)
        sphere = restricted_hessian(operator.__matmul__, tangent)
        gradient = torch.cat([g.flatten() for g in risk.gradient()[1]])
    dense = torch.autograd.functional.hessian(lambda z: loss(z, False, frame), zero)
    torch.testing.assert_close(plane, dense, rtol=1e-9, atol=1e-12)
    dense = torch.autograd.functional.hessian(lambda z: loss(z, True, tangent), zero)
    torch.testing.assert_close(on_sphere(sphere, gradient, flat), dense, rtol=1e-9, atol=1e-12)
