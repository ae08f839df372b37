from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import interactive_surface, write_html
from tests.figures import examples
from tests.figures.test_report import Page, assert_self_contained


def heights(trace) -> np.ndarray:
    return np.asarray(trace.z, dtype=np.float64)


def test_heights_lie_where_the_values_say_on_a_grid_that_is_not_square() -> None:
    surface = examples.oblong()
    figure = interactive_surface(surface)
    (trace,) = figure.data
    np.testing.assert_array_equal(trace.x, surface.x)
    np.testing.assert_array_equal(trace.y, surface.y)
    np.testing.assert_allclose(heights(trace), surface["loss"], atol=1e-4)
    assert heights(trace).shape == (len(trace.y), len(trace.x))
    assert trace.text[2][0] == "loss 19"
    assert trace.hovertemplate is None
    assert list(figure.layout.scene.xaxis.range) == [-2, 2]
    assert list(figure.layout.scene.yaxis.range) == [0, 2]


def test_buttons_change_the_scale() -> None:
    surface = examples.rough()
    figure = interactive_surface(surface)
    np.testing.assert_allclose(heights(figure.data[0]), np.log10(surface["loss"]), atol=1e-4)
    (menu,) = figure.layout.updatemenus
    by_label = {button.label: button.args for button in menu.buttons}
    assert list(by_label)[:2] == ["log scale", "linear scale"]
    restyle, relayout = by_label["linear scale"]
    np.testing.assert_allclose(restyle["z"][0], surface["loss"], rtol=1e-4, atol=0.1)
    assert restyle["cmax"] == pytest.approx(surface["loss"].max())
    assert len(relayout["scene.zaxis.tickvals"]) == len(relayout["scene.zaxis.ticktext"])
    clipped = next(args for label, args in by_label.items() if label.startswith("linear, up to"))
    assert np.max(clipped[0]["z"][0]) < surface["loss"].max()


def test_ticks_are_labelled_with_the_values_themselves() -> None:
    axis = interactive_surface(examples.huge()).layout.scene.zaxis
    np.testing.assert_allclose(axis.tickvals, np.log10([float(t.replace(",", "")) for t in axis.ticktext]))


def test_negative_losses_and_accuracies_are_linear_without_buttons() -> None:
    for surface, channel in ((examples.negative(), None), (examples.bowl(), "val/accuracy")):
        figure = interactive_surface(surface, channel)
        assert len(figure.layout.updatemenus) == 0
        np.testing.assert_allclose(heights(figure.data[0]), surface[channel or "loss"], atol=0.1)


def test_several_surfaces_share_the_scale() -> None:
    figure = interactive_surface({"a": examples.bowl(), "b": examples.rough()})
    assert [t.scene for t in figure.data] == ["scene", "scene2"]
    assert len({(t.cmin, t.cmax) for t in figure.data}) == 1
    assert list(figure.layout.scene.zaxis.range) == list(figure.layout.scene2.zaxis.range)


def test_gaps_are_holes() -> None:
    surface = examples.gappy()
    trace = interactive_surface(surface).data[0]
    np.testing.assert_array_equal(np.isnan(heights(trace)), ~np.isfinite(surface["val/loss"]))
    assert trace.connectgaps is False


def test_zmax_cuts_every_scale() -> None:
    figure = interactive_surface(examples.huge(), zmax=1e3)
    assert np.nanmax(heights(figure.data[0])) == pytest.approx(3.0, abs=1e-4)
    for button in figure.layout.updatemenus[0].buttons:
        scaled = 1e3 if button.label != "log scale" else 3.0
        assert np.nanmax(np.asarray(button.args[0]["z"][0], dtype=float)) <= scaled * (1 + 1e-4)


def test_a_page_stands_alone_and_holds_the_data(tmp_path: Path) -> None:
    surfaces = {"A & B": examples.bowl(9, 7), "</script><script>alert(1)</script>": examples.gappy()}
    path = write_html(surfaces, tmp_path / "new" / "page.html")
    page = Page(path.read_text(encoding="utf-8"))
    assert_self_contained(page)
    assert page.text.count("plotly.js v") >= 1
    contents = [json.loads(s) for kind, s in page.scripts if kind == "application/json"]
    assert len(contents) == 2
    (trace,) = contents[1]["figure"]["data"]
    assert contents[1]["figure"]["layout"]["scene"]["xaxis"]["title"]["text"] == "step along x"
    assert trace["type"] == "surface"
    linear = contents[0]["modes"][1]["restyle"]["z"][0]
    np.testing.assert_allclose(linear, surfaces["A & B"]["val/loss"], atol=1e-3)
    holes = contents[1]["modes"][0]["restyle"]["z"][0]
    missing = ~np.isfinite(surfaces["</script><script>alert(1)</script>"]["val/loss"])
    np.testing.assert_array_equal([[v is None for v in row] for row in holes], missing)
    # Plotly's own default would offer to send the data to its maker.
    assert all(c["config"]["showSendToCloud"] is False for c in contents)
    assert all(c["config"]["plotlyServerURL"] == "" for c in contents)
    assert len(page.tags["script"]) == 2 + 2
    assert "alert(1)" in page.visible


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="over a line"):
        write_html(examples.line(), tmp_path / "a.html")
    with pytest.raises(RecordError, match="no surface"):
        interactive_surface({})
