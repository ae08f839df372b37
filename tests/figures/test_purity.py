"""Figures are pure: no window, no global settings, no change to what is drawn."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import matplotlib
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from lightning_landscape.figures import (
    animate,
    interactive_surface,
    plot_comparison,
    plot_contours,
    plot_curves,
    plot_surface,
    plot_trajectory,
    style,
    write_vtk,
)
from tests.figures import examples
from tests.figures.conftest import frozen

FIGURES: dict[str, Callable[[], Figure]] = {
    "contours": lambda: plot_contours(examples.bowl()),
    "surface": lambda: plot_surface(examples.bowl()),
    "curves": lambda: plot_curves(examples.line()),
    "trajectory": lambda: plot_trajectory(examples.trajectory()),
    "comparison": lambda: plot_comparison({"a": examples.bowl(), "b": examples.gappy()}),
}


def test_pyplot_is_never_imported() -> None:
    # The package's own __init__ imports libraries that import pyplot for themselves, so it is left out here.
    program = """
    import importlib.util, sys, types
    package = types.ModuleType("lightning_landscape")
    package.__path__ = list(importlib.util.find_spec("lightning_landscape").submodule_search_locations)
    sys.modules["lightning_landscape"] = package
    from lightning_landscape.figures import plot_contours, plot_curves, plot_surface
    from tests.figures import examples
    plot_contours(examples.gappy(), filled=True)
    plot_surface(examples.bowl())
    plot_curves(examples.line())
    assert "matplotlib.pyplot" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("name", FIGURES)
def test_global_settings_stay_and_do_not_matter(name: str) -> None:
    before = dict(matplotlib.rcParams)
    figure = FIGURES[name]()
    assert dict(matplotlib.rcParams) == before
    assert type(figure) is Figure
    assert figure.canvas.manager is None
    dark = {**matplotlib.style.library["dark_background"], "axes.grid": True, "xtick.labelsize": 30}
    with matplotlib.rc_context(dark):
        inside = dict(matplotlib.rcParams)
        figure = FIGURES[name]()
        assert dict(matplotlib.rcParams) == inside
        figure.draw_without_rendering()
    assert to_hex(figure.get_facecolor()) == "#ffffff"
    axes = figure.axes[0]
    assert to_hex(axes.get_facecolor()) == "#ffffff"
    assert to_hex(axes.xaxis.label.get_color()) == style.INK
    for label in axes.get_xticklabels():
        assert to_hex(label.get_color()) == style.INK
        assert label.get_fontsize() < 12


def test_nothing_that_is_drawn_is_altered(tmp_path: Path) -> None:
    plane, line, path = frozen(examples.gappy()), frozen(examples.between()), frozen(examples.trajectory())
    plot_contours(plane, filled=True, zmax=1.0)
    plot_surface(plane, zmax=1.0)
    plot_curves(line)
    plot_curves(plane)
    plot_trajectory(path)
    plot_comparison({"a": plane, "b": path})
    interactive_surface(plane, zmax=1.0)
    animate([plane], tmp_path / "a.gif")
    pytest.importorskip("pyvista")
    write_vtk(plane, tmp_path / "a.vts")
