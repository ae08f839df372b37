"""The modes that measure curvature, each as small as it can be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lightning_landscape import CurvatureHistory, LandscapeError, Surface
from lightning_landscape.tasks import TASKS
from lightning_landscape.tasks.build import build_module
from tests.tasks.test_tasks import configuration

SMALL = ["model.depth=8", "model.width=2", "trainer.max_epochs=1", "trainer.limit_train_batches=2"]


def test_the_spectra_of_a_network(tmp_path: Path) -> None:
    options = [
        "~runs.plain",
        "+callbacks.spectrum.eigenvalues=2",
        "callbacks.spectrum.steps=3",
        "callbacks.spectrum.examples=16",
    ]
    written = TASKS["curvature"](configuration(tmp_path, "experiment=hessian_spectrum", *SMALL, *options))
    assert [path.name for path in written] == ["sharpness.png", "spectrum.png", "spectrum.h5"]
    assert all(path.stat().st_size > 10_000 for path in written)
    assert CurvatureHistory.load(written[-1]).steps.tolist() == [0, 2]


def test_the_gradient_in_the_leading_subspace(tmp_path: Path) -> None:
    options = ["model.hidden=[4]", "callbacks.subspace.examples=16", "+callbacks.subspace.k=3"]
    written = TASKS["curvature"](configuration(tmp_path, "experiment=gradient_subspace", *SMALL[2:], *options))
    assert [path.name for path in written] == ["subspace.png", "subspace.h5"]


def test_a_run_that_measures_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LandscapeError, match="give callbacks"):
        TASKS["curvature"](configuration(tmp_path, "callbacks=none", "logger=none", "runs={}", *SMALL))


def test_convexity_maps_of_given_weights(tmp_path: Path) -> None:
    options = ["mode=convexity", "convexity.resolution=2", "convexity.examples=8", *SMALL[:2]]
    cfg = configuration(tmp_path, "~experiment", "logger=none", *options)
    with pytest.raises(LandscapeError, match=r"mode=convexity needs trained weights, and \['run'\] have none"):
        TASKS["convexity"](cfg)
    cfg.weights = str(tmp_path / "weights.pt")
    module = build_module(configuration(tmp_path, "~experiment", *SMALL[:2]))
    torch.save(module.state_dict(), cfg.weights)
    figure, record = TASKS["convexity"](cfg)
    surface = Surface.load(record)
    assert figure.name == "convexity.png"
    assert surface.complete
    assert (surface["lambda_min"] <= surface["lambda_max"]).all()
