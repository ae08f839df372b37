"""Figures of spectra, subspaces and convexity maps."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import plot_convexity, plot_sharpness, plot_spectrum, plot_subspace
from lightning_landscape.records.curvature import CurvatureHistory
from lightning_landscape.records.surface import Surface


def history(moments: int, kind: str = "spectrum") -> CurvatureHistory:
    generator = np.random.default_rng(0)
    t = np.arange(moments)
    largest = np.tile([40.0, 8.0, 7.0, 0.5], (moments, 1)) * (1 + t[:, None])
    common = {
        "largest": largest,
        "largest_residual": largest / 100,
        "loss": 2.0 / (1 + t),
        "gradient_norm": 1.0 / (1 + t),
    }
    values = {
        "spectrum": {
            "smallest": np.full((moments, 1), -2.0),
            "smallest_residual": np.full((moments, 1), 0.02),
            "nodes": generator.normal(size=(moments, 2, 6)),
            "weights": np.full((moments, 2, 6), 1 / 6),
            "trace": 50.0 + t,
            "trace_error": np.ones(moments),
        },
        "subspace": {
            "share": np.tile([0.1, 0.5, 0.8, 0.9], (moments, 1)),
            "overlap_previous": np.where(t > 0, 0.7, np.nan),
            "overlap_first": np.where(t > 0, 0.3, np.nan),
        },
    }[kind]
    facts = {"parameters": 1000, "examples": 64, "step_name": "Classifier.training_step", "tolerance": 0.01, "k": 3}
    return CurvatureHistory(10 * t, t, np.where(t < 2, 0.1, 0.0), common | values, facts)


@pytest.mark.parametrize(("moments", "panels"), [(1, 1), (2, 2), (5, 3)])
def test_the_density_at_first_middle_and_last(moments: int, panels: int) -> None:
    figure = plot_spectrum(history(moments))
    assert len(figure.axes) == panels
    assert f"epoch {moments - 1}" in figure.axes[-1].get_title("left")
    assert figure.axes[0].get_yscale() == "log"
    heights = figure.axes[0].lines[1].get_ydata()  # one eigenvalue of a thousand
    curve = np.asarray(figure.axes[0].lines[0].get_ydata())
    assert np.nanmin(curve) < heights[0] < np.nanmax(curve)


def test_sharpness_beside_its_threshold() -> None:
    axes = plot_sharpness(history(4)).axes[0]
    lines = {tuple(np.nan_to_num(line.get_ydata(), nan=-1)) for line in axes.lines}
    assert (20.0, 20.0, -1.0, -1.0) in lines  # 2 / lr, and none where the rate is zero
    assert (40.0, 80.0, 120.0, 160.0) in lines


def test_shares_overlaps_and_outliers() -> None:
    figure = plot_subspace(history(3, "subspace"))
    assert figure.axes[0].lines[0].get_ydata().tolist() == [0.8, 0.8, 0.8]
    assert figure.axes[2].get_title("left") == "eigenvalues at the end, 3 stand out"


def test_several_runs_get_a_row_each() -> None:
    for draw, kind in ((plot_spectrum, "spectrum"), (plot_sharpness, "spectrum"), (plot_subspace, "subspace")):
        figure = draw({"one": history(5, kind), "two": history(5, kind)})
        titles = [axes.get_title("left") for axes in figure.axes]
        assert [title[:3] for title in titles] == ["one"] * 3 + ["two"] * 3


def test_convexity_on_one_scale() -> None:
    values = np.array([[0.0, 0.2, 0.9], [0.1, np.nan, 0.3]])
    surface = Surface(
        x=[-1, 0, 1], y=[0, 1], channels={"loss": values, "ratio": values}, errors={"ratio": values / 100}
    )
    figure = plot_convexity({"one": surface, "two": surface})
    meshes = [axes.collections[0] for axes in figure.axes[:2]]
    assert [mesh.norm.vmax for mesh in meshes] == [0.5, 0.5]
    assert meshes[0].get_array().mask.sum() == 1
    text = figure.get_supxlabel()
    assert "one: median 0.2, largest 0.9, 1 of 5 points above 0.5, each within 0.009" in text.replace("\n", " ")
    assert "1 points without a value" in text.replace("\n", " ")


def test_other_records_are_refused() -> None:
    with pytest.raises(RecordError, match="holds no spectrum"):
        plot_spectrum(history(2, "subspace"))
    with pytest.raises(RecordError, match="holds no subspace"):
        plot_subspace(history(2))
    with pytest.raises(RecordError, match="no channel 'ratio'"):
        plot_convexity(Surface(x=[0, 1], y=[0, 1], channels={"loss": np.zeros((2, 2))}))
    with pytest.raises(RecordError, match="given no surface"):
        plot_convexity({})
