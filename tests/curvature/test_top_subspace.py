"""Shares and overlaps in closed form, and the count of outliers: C - 1 or C for classes that cluster."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from lightning_landscape import Curvature
from lightning_landscape.curvature.top_subspace import count_outliers, gradient_shares, subspace_overlap


def test_a_random_vector_has_its_share_of_the_dimensions() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.eye(400)[:40]
    shares = [gradient_shares(vectors, torch.randn(400, generator=generator))[-1] for _ in range(200)]
    assert np.mean(shares) == pytest.approx(0.1, abs=0.01)
    assert np.isnan(gradient_shares(vectors, torch.zeros(400))).all()


def test_the_overlap_is_that_of_spaces_and_not_of_bases() -> None:
    basis, _ = torch.linalg.qr(torch.randn(30, 4, generator=torch.Generator().manual_seed(0)))
    turn, _ = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)))
    assert subspace_overlap(basis.T, turn @ basis.T) == pytest.approx(1, abs=1e-6)
    assert subspace_overlap(torch.eye(9)[:3], torch.eye(9)[3:6]) == 0
    assert subspace_overlap(torch.eye(9)[:1], torch.eye(9)[:3]) == 1


def test_the_count_of_outliers() -> None:
    assert count_outliers([5.0, 4.0, 0.1, 0.09, -3.0]) == 2
    assert count_outliers([5.0, -1.0]) == 0
    assert count_outliers([-1.0]) == 0


def test_classes_that_cluster_give_as_many_outliers_as_classes_less_one() -> None:
    """Clusters of ten classes around orthogonal means, and logits without preference."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 10
    inputs = 3 * torch.eye(40)[labels] + 0.1 * torch.randn(300, 40, generator=generator)
    net = nn.Linear(40, 10, bias=False)
    nn.init.zeros_(net.weight)
    loader = DataLoader(TensorDataset(inputs.double(), labels), batch_size=300)
    with Curvature(net.double(), loader, lambda m, b: cross_entropy(m(b[0]), b[1])) as curvature:
        pairs = curvature.eigenpairs(100, tolerance=1e-6)
        _, gradient = curvature.gradient()
    # Every class mean has C - 1 directions of logits: diag p - p p^T annihilates the vector of ones.
    assert count_outliers(pairs.values) == 90
    assert gradient_shares(pairs.vectors, gradient)[89] > 0.99
