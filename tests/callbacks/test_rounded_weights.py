"""Loss landscapes of a module that rounds its weights: around the real-valued and around the rounded ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from lightning_landscape import LandscapeError, LossLandscape, QuantizationError, Quantizer, Surface, binary_connect
from lightning_landscape.optim import StochasticRounding
from tests.modules_under_test import Delicate, assert_same, loaders, state_of, train, trainer


class Rounded(Delicate):
    """The delicate module with binary weights, rounded at random in training."""

    def __init__(self) -> None:
        super().__init__()
        binary_connect(self.net, Quantizer(bits=1), stochastic=True, seed=1)


def run(folder: Path, *callbacks: pl.Callback) -> tuple[Rounded, pl.Trainer]:
    pl.seed_everything(7, verbose=False)
    module = Rounded()
    made = trainer(folder, callbacks, max_epochs=2)
    made.fit(module, **loaders())
    return module, made


def test_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    """The null test, with curves around both kinds of weights after every epoch."""
    options: dict[str, Any] = {"dimensions": 1, "resolution": 3, "examples": 20, "every_n_epochs": 1}
    ours = [LossLandscape(**options), LossLandscape(**options, weights="rounded")]
    ends = {}
    for name, callbacks in (("plain", []), ("watched", ours)):
        saver = ModelCheckpoint(tmp_path / name / "checkpoints", save_last=True)
        ends[name] = state_of(*run(tmp_path / name, *callbacks, saver))
    assert_same(ends["plain"], ends["watched"])
    saved = [torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True) for name in ends]
    for key in ("state_dict", "optimizer_states"):
        assert_same(saved[0][key], saved[1][key], key)
    assert len(list((tmp_path / "watched/landscape").glob("random-rounded-step=*.h5"))) == 2


def test_the_two_surfaces_agree_at_the_centre_and_only_the_rounded_one_is_smooth(tmp_path: Path) -> None:
    """Steps no larger than 0.01 of a weight: rounding sees hardly any, and the rounded weights all of them."""
    options: dict[str, Any] = {"dimensions": 1, "resolution": 21, "extent": 0.01, "examples": "all", "data": "val"}
    real, rounded = LossLandscape(**options), LossLandscape(**options, weights="rounded")
    run(tmp_path, real, rounded)
    surfaces = [Surface.load(each.surfaces[-1]) for each in (real, rounded)]
    assert surfaces[1].attrs["weights"] == "rounded"
    assert "weights" not in surfaces[0].attrs
    losses = [surface["val_loss"] for surface in surfaces]
    assert losses[0][10] == losses[1][10]
    assert len(np.unique(losses[0])) < len(np.unique(losses[1])) == 21
    norms = [float(surface.attrs["direction_norms"][0]) for surface in surfaces]
    assert norms[1] > norms[0]  # filters are as long as binary ones


def test_weights_that_an_optimizer_rounds_need_no_choice(tmp_path: Path) -> None:
    class OnGrid(Delicate):
        def configure_optimizers(self) -> Any:
            return StochasticRounding(torch.optim.Adam(self.parameters(), lr=0.05), Quantizer(bits=1))

    pl.seed_everything(7, verbose=False)
    landscape = LossLandscape(resolution=3, examples="all")
    module = OnGrid()
    trainer(tmp_path, [landscape]).fit(module, **loaders())
    surface = Surface.load(landscape.surfaces[-1])
    assert bool((module.net[0].weight.abs() == 1).all())
    with torch.no_grad():
        expected = loss_over(module)
    assert surface["val_loss"][1, 1] == pytest.approx(expected, rel=1e-6)


def loss_over(module: Delicate) -> float:
    module.eval()
    total: Tensor = torch.zeros((), dtype=torch.float64)
    count = 0
    for inputs, labels in loaders()["val_dataloaders"]:
        total += nn.functional.cross_entropy(module.net(inputs), labels, reduction="sum")
        count += len(labels)
    return float(total / count)


def test_mistakes_are_answered_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LandscapeError, match="weights='average' is unknown: choose one of real, rounded"):
        LossLandscape(weights="average")
    with pytest.raises(LandscapeError, match="trajectory is that of the real-valued weights"):
        LossLandscape("pca", weights="rounded")
    with pytest.raises(QuantizationError, match="no layer of Delicate rounds its weights"):
        train(tmp_path, [LossLandscape(weights="rounded")])
