"""Sketches on disk: what is read off them, with its error, and how they are resumed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_landscape.errors import GeometryError, RecordError
from lightning_landscape.geometry import Projection
from lightning_landscape.records import Sketch, SketchFile, Trajectory

ENTRIES, ROWS = 3000, 40


def path_of_a_training() -> torch.Tensor:
    """Forty points of a path in 3,000 dimensions that slows down: [T, D], float64."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(ROWS, ENTRIES, dtype=torch.float64, generator=generator)
    drift = torch.randn(ENTRIES, dtype=torch.float64, generator=generator)
    sizes = torch.logspace(0, -4, ROWS, dtype=torch.float64)[:, None]
    return 5 + torch.cumsum(sizes * (drift + 0.7 * noise), dim=0)


def record(path: Path, points: torch.Tensor, project: Projection, capacity: int = 8) -> Path:
    with SketchFile.create(path, project, points.shape[1], capacity, {"name": "way"}) as file:
        for step, point in enumerate(points):
            file.append(SketchFile.row(project, {"w": point}), step=3 * step, epoch=step // 4, lr=0.1)
    return path


@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_read_off_lies_within_the_stated_errors(tmp_path: Path, seed: int) -> None:
    points = path_of_a_training()
    with Sketch.load(record(tmp_path / "s.h5", points, Projection(512, seed))) as sketch:
        assert len(sketch) == ROWS
        assert sketch.steps.tolist() == list(range(0, 3 * ROWS, 3))
        assert sketch.epochs.tolist() == [step // 4 for step in range(ROWS)]
        assert sketch.attrs == {"name": "way"}
        assert sketch.projection == Projection(512, seed)
        assert sketch.entries == ENTRIES
        assert sketch.error == pytest.approx(math.sqrt(2 / 512 * 5 / 6))
        np.testing.assert_allclose(sketch.squared_norms, points.square().sum(dim=1), rtol=1e-12)

        moved = points - points[:1]
        updates = points[1:] - points[:-1]
        lengths = updates.norm(dim=1)
        exact = {
            "distance_from_start": moved.norm(dim=1),
            "step_lengths": lengths,
            "distances": torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist"),
            "gram": moved @ moved.T,
            "angles": ((updates[1:] * updates[:-1]).sum(dim=1) / (lengths[1:] * lengths[:-1])).arccos(),
        }
        for name, truth in exact.items():
            found = getattr(sketch, name)()
            assert found.value.shape == found.error.shape == tuple(truth.shape)
            off = np.abs(found.value - truth.numpy())
            assert (off <= 4 * found.error + 1e-9).all(), name
            # Not far too careful either: errors of this size do occur.
            assert (off > 0.3 * found.error + 1e-9).any(), name


def test_steps_a_million_times_shorter_than_the_way_are_seen(tmp_path: Path) -> None:
    points = path_of_a_training()
    points[-1] = points[-2] + 1e-7
    with Sketch.load(record(tmp_path / "s.h5", points, Projection(512))) as sketch:
        exact = 1e-7 * math.sqrt(ENTRIES)
        assert sketch.step_lengths().value[-1] == pytest.approx(exact, rel=4 * sketch.error / 2)
        assert sketch.distances().value[-1, -2] == pytest.approx(exact, rel=4 * sketch.error / 2)


def test_small_models_are_exact(tmp_path: Path) -> None:
    points = path_of_a_training()[:, :50]
    with Sketch.load(record(tmp_path / "s.h5", points, Projection(64))) as sketch:
        assert sketch.error == 0
        for estimate in (sketch.distance_from_start(), sketch.gram(), sketch.angles(), sketch.distances()):
            assert not estimate.error.any()
        exact = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
        np.testing.assert_allclose(sketch.distances().value, exact, atol=1e-9)


def test_a_path_in_a_plane_is_found(tmp_path: Path) -> None:
    """An ellipse keeps its two axes, up to the stated error of lengths."""
    rows = 520  # more than the plane is found from
    angles = torch.linspace(0, 6.3, rows, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(ENTRIES, 2, generator=generator, dtype=torch.float64)).Q
    points = torch.stack([3 * angles.cos(), angles.sin()], dim=1) @ basis.T
    with Sketch.load(record(tmp_path / "s.h5", points, Projection(512), capacity=rows)) as sketch:
        coordinates, shares = sketch.principal_path()
        assert coordinates.shape == (rows, 2)
        assert shares.sum() == pytest.approx(1)
        extents = np.ptp(coordinates, axis=0)
        np.testing.assert_allclose(extents, [6, 2], rtol=4 * sketch.error)
        apart = np.linalg.norm(coordinates[:, None] - coordinates[None, ::50], axis=2)
        np.testing.assert_allclose(apart, sketch.distances().value[:, ::50], atol=1e-9)


def test_an_update_of_nothing_has_no_angle(tmp_path: Path) -> None:
    points = torch.tensor([[0.0, 0], [1, 0], [1, 0], [2, 0]], dtype=torch.float64)
    with Sketch.load(record(tmp_path / "s.h5", points, Projection(64))) as sketch:
        assert np.isnan(sketch.angles().value).all()
        with pytest.raises(GeometryError, match="2 principal directions"):
            sketch.principal_path()


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    points = path_of_a_training()
    points[3, 7] = math.inf
    with (
        Sketch.load(record(tmp_path / "s.h5", points, Projection(64))) as sketch,
        pytest.raises(GeometryError, match="not finite"),
    ):
        sketch.principal_path()


def test_a_row_takes_constant_space(tmp_path: Path) -> None:
    sizes = []
    for entries in (1_000, 100_000):
        point = torch.ones(1, entries)
        sizes.append(record(tmp_path / f"{entries}.h5", point, Projection(4096), capacity=100).stat().st_size)
    assert sizes[0] == sizes[1]
    assert sizes[0] < 1.02 * 100 * 8 * 4097 + 20_000


def test_resume(tmp_path: Path) -> None:
    points, project = path_of_a_training(), Projection(64, seed=5)
    whole = record(tmp_path / "whole.h5", points, project)
    part = record(tmp_path / "part.h5", points[:20], project)
    before = part.read_bytes()
    for path, source in ((tmp_path / "copy.h5", part), (part, None)):
        with SketchFile.resume(path, after_step=30, source=source) as file:
            file.require(project, ENTRIES)
            assert file.last_step == 30
            for step, point in enumerate(points[11:], 11):
                file.append(SketchFile.row(project, {"w": point}), step=3 * step, epoch=step // 4, lr=0.1)
        with Sketch.load(path) as resumed, Sketch.load(whole) as uninterrupted:
            np.testing.assert_array_equal(resumed.sketches, uninterrupted.sketches)
            np.testing.assert_array_equal(resumed.squared_norms, uninterrupted.squared_norms)
            np.testing.assert_array_equal(resumed.steps, uninterrupted.steps)
        if source is not None:
            assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("project", "entries"), [(Projection(128), ENTRIES), (Projection(64, 1), ENTRIES), (Projection(64), 7)]
)
def test_another_projection_is_refused(tmp_path: Path, project: Projection, entries: int) -> None:
    path = record(tmp_path / "s.h5", path_of_a_training()[:3], Projection(64))
    with pytest.raises(
        RecordError, match=r"s\.h5 holds sketches of 3000 parameters by Projection\(dimension=64, seed=0"
    ):
        SketchFile.resume(path, after_step=100).require(project, entries)
    SketchFile.resume(path, after_step=100).close()  # it has been let go of


def test_it_is_no_trajectory(tmp_path: Path) -> None:
    path = record(tmp_path / "s.h5", path_of_a_training()[:3], Projection(64))
    with pytest.raises(RecordError, match=r"s\.h5 holds no trajectory.*'sketch 1'"):
        Trajectory.load(path)
    with Sketch.load(path) as sketch:
        pass
    with pytest.raises(RecordError, match=r"closed: open it again with Sketch\.load"):
        sketch.sketches  # noqa: B018
