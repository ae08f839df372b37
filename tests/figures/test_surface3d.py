from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import plot_surface, surface3d
from lightning_landscape.records.surface import Surface
from tests.figures import examples


@pytest.fixture
def meshes(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The corners [facets, 4, 3] of every mesh that is drawn."""
    drawn: list[np.ndarray] = []
    original = surface3d.Poly3DCollection

    def record(corners: np.ndarray, **style: object) -> object:
        drawn.append(np.array(corners))
        return original(corners, **style)

    monkeypatch.setattr(surface3d, "Poly3DCollection", record)
    return drawn


def test_heights_lie_where_the_values_say_on_a_grid_that_is_not_square(meshes: list[np.ndarray]) -> None:
    surface = examples.oblong()
    figure = plot_surface(surface)
    x, y, z = meshes[0].reshape(-1, 3).T
    np.testing.assert_allclose(z, 1 + x + 10 * y, atol=1e-12)
    corners = {(float(a), float(b)) for a, b in zip(x, y, strict=True)}
    assert {(float(a), float(b)) for a in surface.x for b in surface.y} <= corners
    axes = figure.axes[0]
    assert axes.get_xlim() == (-2, 2)
    assert axes.get_ylim() == (0, 2)
    assert axes.get_zlim() == (-1, 23)


def test_heights_are_logarithms_by_default(meshes: list[np.ndarray]) -> None:
    surface = examples.rough()
    axes = plot_surface(surface).axes[0]
    np.testing.assert_allclose(meshes[0][:, :, 2].min(), np.log10(surface["loss"].min()))
    np.testing.assert_allclose(meshes[0][:, :, 2].max(), np.log10(surface["loss"].max()))
    labels = [t.get_text() for t in axes.get_zticklabels()]
    np.testing.assert_allclose(axes.get_zticks(), np.log10([float(t.replace(",", "")) for t in labels]))


def test_linear_heights_and_accuracies(meshes: list[np.ndarray]) -> None:
    surface = examples.bowl()
    plot_surface(surface, log=False)
    plot_surface(surface, "val/accuracy")
    for mesh, name in zip(meshes, ("val/loss", "val/accuracy"), strict=True):
        assert mesh[:, :, 2].max() == pytest.approx(surface[name].max())
        assert mesh[:, :, 2].min() == pytest.approx(surface[name].min())


def test_losses_without_a_logarithm_are_drawn_and_the_caption_says_how(meshes: list[np.ndarray]) -> None:
    negative = " ".join(t.get_text() for t in plot_surface(examples.negative()).texts)
    assert "linear scale, because some values of loss are not positive" in negative.replace("\n", " ")
    assert meshes[0][:, :, 2].min() == -1900
    both = " ".join(t.get_text() for t in plot_surface(examples.both_signs()).texts)
    assert "symmetric log scale, because some values of loss are not positive" in both.replace("\n", " ")
    assert np.isfinite(meshes[1]).all()


def test_zmax_makes_a_plateau(meshes: list[np.ndarray]) -> None:
    surface = examples.huge()
    figure = plot_surface(surface, zmax=100.0)
    assert meshes[0][:, :, 2].max() == 2.0
    assert figure.axes[0].get_zlim()[1] == 2.0
    assert surface["loss"].max() > 1e7


def test_cells_with_a_missing_corner_are_holes(meshes: list[np.ndarray]) -> None:
    surface = examples.gappy()
    plot_surface(surface)
    missing = ~np.isfinite(surface["val/loss"])
    whole = ~(missing[:-1, :-1] | missing[1:, :-1] | missing[:-1, 1:] | missing[1:, 1:])
    assert surface.y is not None
    x, y = ((a[:-1] + a[1:]) / 2 for a in (surface.x, surface.y))
    centres = meshes[0].mean(axis=1)[:, :2]
    i, j = (
        np.searchsorted(axis, c, side="right") - 1 for axis, c in zip((surface.x, surface.y), centres.T, strict=True)
    )
    covered = np.zeros_like(whole)
    covered[j, i] = True
    np.testing.assert_array_equal(covered, whole)
    assert len(x) == whole.shape[1]
    assert len(y) == whole.shape[0]


def test_a_constant_and_a_surface_without_values(meshes: list[np.ndarray]) -> None:
    plot_surface(examples.constant())
    plot_surface(Surface([0, 1], [0, 1], {"loss": np.full((2, 2), np.inf)}))
    assert len(meshes) == 1


def test_a_line_is_refused() -> None:
    with pytest.raises(RecordError, match="over a line"):
        plot_surface(examples.line())


@pytest.mark.parametrize("name", ["bowl", "trajectory", "tiny_range", "negative", "oblong"])
def test_nothing_is_cut_off_and_nothing_overlaps(name: str, assert_well_laid_out: Callable[[Figure], None]) -> None:
    assert_well_laid_out(plot_surface(examples.PLANES[name]()))
