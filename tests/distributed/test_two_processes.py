"""Two processes under DDP: the null test, and the surface that one process gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lightning_landscape import Surface
from tests.distributed.two_processes import estimate, surface


def test_two_processes_give_the_surface_of_one(folder: Path, tmp_path: Path) -> None:
    """An odd number of points and of examples, split over two ranks; both ranks return the whole."""
    single = surface(tmp_path)
    assert single.shape == (5, 7)
    for rank in (0, 1):
        values = torch.load(folder / f"rank{rank}.pt", weights_only=True)
        assert list(values) == single.names
        for name in single.names:
            np.testing.assert_allclose(values[name].numpy(), single[name], rtol=1e-6, err_msg=name)
    stored = Surface.load(folder / "surface.h5")
    assert stored.complete
    np.testing.assert_allclose(stored["val_accuracy"], single["val_accuracy"], rtol=0, atol=0)
    np.testing.assert_allclose(stored.error("val_loss"), single.error("val_loss"), rtol=1e-6)


def test_the_run_of_two_processes_wrote_its_surfaces_once(folder: Path) -> None:
    """The null test itself is asserted inside both processes; here, what they left on disk."""
    names = sorted(path.name for path in (folder / "watched/landscape").glob("*.h5"))
    assert "trajectory.h5" in names
    assert sum(name.startswith("random-step=") for name in names) == 3
    principal = Surface.load(next((folder / "watched/landscape").glob("pca-*.h5")))
    assert principal.complete
    assert principal.path is not None
    assert np.all(np.isfinite(principal.path.residual))


def test_two_processes_give_the_estimate_of_one(folder: Path, tmp_path: Path) -> None:
    """Both passes are shared, and both ranks return the whole, with its errors on disk."""
    single = estimate(tmp_path)
    assert single.attrs["coarse_points"] == [5, 5]
    for rank in (0, 1):
        values = torch.load(folder / f"estimate{rank}.pt", weights_only=True)
        for name in single.names:
            np.testing.assert_allclose(values[name].numpy(), single[name], rtol=1e-6, atol=1e-9, err_msg=name)
    stored = Surface.load(folder / "estimate.h5")
    assert stored.complete
    np.testing.assert_allclose(stored.error("val_loss"), single.error("val_loss"), rtol=1e-4, atol=1e-9)
