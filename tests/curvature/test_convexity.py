"""Convexity maps against closed forms; resumed, and where the loss overflows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_landscape import Grid, Plane, RecordMismatchError, Surface, convexity_map, weights_of
from lightning_landscape.curvature import convexity


class Saddle(nn.Module):
    """``(3 a^2 - b^2) / 2 + c^4 / 12`` of a matrix [[a, b, c]], and a bias of which the loss knows a little."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[0.0, 0.0, 1.0]]).double())
        self.bias = nn.Parameter(torch.zeros(1).double())


def saddle(module: Saddle, batch: Tensor) -> dict[str, Tensor]:
    a, b, c = module.matrix[0]
    loss = (3 * a**2 - b**2) / 2 + c**4 / 12 + 50 * module.bias.square().sum()
    return {"loss": loss * batch.mean(), "distance": c.abs()}


def plane() -> Plane:
    w = weights_of(Saddle())
    x, y = weights_of(Saddle()), weights_of(Saddle())
    x["matrix"], y["matrix"] = torch.tensor([[1.0, 0, 0]]).double(), torch.tensor([[0, 0, 1.0]]).double()
    return Plane(origin=w, x=x, y=y)


GRID, ONES = Grid(x=(-1, 1, 3), y=(-1, 2, 4)), DataLoader(torch.ones(6, 1).double(), batch_size=4)


def mapped(**options: Any) -> Surface:
    return convexity_map(Saddle(), ONES, plane(), GRID, saddle, progress=False, **options)


def test_the_extremes_of_a_saddle() -> None:
    """Along y the curvature by c is c^2 = (1 + y)^2, which at last exceeds 3; the bias has one dimension."""
    surface = mapped()
    assert surface.names == ["loss", "distance", "lambda_max", "lambda_min", "ratio"]
    assert surface.loss_name == "loss"
    top = np.maximum(3, (1 + surface.y[:, None]) ** 2) * np.ones((1, 3))
    np.testing.assert_allclose(surface["lambda_max"], top, rtol=1e-10)
    np.testing.assert_allclose(surface["lambda_min"], -1, rtol=1e-10)
    np.testing.assert_allclose(surface["ratio"], 1 / top, rtol=1e-10)
    assert (surface.error("ratio") < 1e-10).all()


def test_biases_count_if_asked_for() -> None:
    np.testing.assert_allclose(mapped(include_1d=True)["lambda_max"], 100, rtol=1e-10)


def test_the_smallest_stays_the_smallest_where_it_has_the_larger_magnitude() -> None:
    """The original tool takes the larger magnitude for the maximum."""

    def concave(module: Saddle, batch: Tensor) -> Tensor:
        return -saddle(module, batch)["loss"]

    surface = convexity_map(Saddle(), ONES, plane(), GRID, concave, progress=False)
    np.testing.assert_allclose(surface["lambda_max"], 1, rtol=1e-10)
    assert (surface["lambda_min"] <= -3).all()
    assert (surface["ratio"] >= 3).all()


def test_a_map_is_resumed_and_refuses_another_tolerance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, calls = tmp_path / "map.h5", {"number": 0}
    whole = mapped()

    def counted(*arguments: Any, **options: Any) -> Any:
        calls["number"] += 1
        if calls["number"] == 6:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    original = convexity.eigenpairs
    monkeypatch.setattr(convexity, "eigenpairs", counted)
    with pytest.raises(KeyboardInterrupt):
        mapped(path=path)
    assert Surface.load(path).done.sum() == 5
    resumed = mapped(path=path)
    assert calls["number"] == 6 + 7
    for name in whole.names:
        np.testing.assert_array_equal(resumed[name], whole[name])
    with pytest.raises(RecordMismatchError, match=r"extreme eigenvalues to 0\.1"):
        mapped(path=path, tolerance=0.1)


def test_a_point_where_the_loss_overflows_is_a_gap_and_no_end() -> None:
    def steep(module: Saddle, batch: Tensor) -> Tensor:
        return (module.matrix * 400).exp().sum().exp() * batch.mean()

    surface = convexity_map(Saddle(), ONES, plane(), GRID, steep, progress=False)
    assert surface.complete
    assert np.isnan(surface["ratio"]).any()
