from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from lightning_landscape.errors import RecordError
from lightning_landscape.figures import plot_interpolations
from lightning_landscape.records.surface import Surface
from tests.figures import examples
from tests.figures.conftest import frozen


def between(height: float = 1.0) -> Surface:
    x = np.linspace(-0.5, 1.5, 41)
    loss = 0.02 + height * np.minimum(x**2, 5 * (x - 1) ** 2)
    channels = {f"{split}/loss": factor * loss for split, factor in (("train", 1), ("test", 1.5))}
    channels |= {f"{split}/accuracy": np.exp(-factor * loss) for split, factor in (("train", 1), ("test", 1.5))}
    attrs = {"kind": "between", "batch_norm": "interpolate", "direction_norms": [31.7], "examples": 900}
    return frozen(Surface(x, None, channels, attrs={**attrs, "dataset_size": 900}))


def weights(scale: float) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    return {"batch 8": scale * generator.normal(size=4000), "batch 512": 0.5 * scale * generator.normal(size=4000)}


def given() -> tuple[dict[str, Surface], dict[str, dict[str, Any]]]:
    names = ("weight decay 0", "weight decay 0.0005")
    return dict(zip(names, (between(), between(40.0)), strict=True)), {n: weights(k + 1) for k, n in enumerate(names)}


def test_lines_and_histograms_show_what_was_given() -> None:
    lines, pairs = given()
    figure = plot_interpolations(lines, pairs)
    losses, histograms, accuracies = figure.axes[0:4:2], figure.axes[1:4:2], figure.axes[4:]
    for loss, histogram, accuracy, (name, line) in zip(losses, histograms, accuracies, lines.items(), strict=True):
        for axes, quantity in ((loss, "loss"), (accuracy, "accuracy")):
            for drawn, split in zip(axes.get_lines(), ("train", "test"), strict=False):
                np.testing.assert_array_equal(drawn.get_ydata(), line[f"{split}/{quantity}"])
        assert [t.get_text() for t in loss.get_xticklabels()][-2:] == ["0: batch 8", "1: batch 512"]
        assert loss.get_ylim() == losses[0].get_ylim()
        assert (histogram.get_xlim(), histogram.get_ylim()) == (histograms[0].get_xlim(), histograms[0].get_ylim())
        for stairs, values in zip(histogram.patches, pairs[name].values(), strict=True):
            shares, edges, _ = stairs.get_data()
            assert np.nansum(shares) == pytest.approx(1)
            assert edges[-1] == -edges[0] == max(np.abs(v).max() for pair in pairs.values() for v in pair.values())
            index = int(np.nanargmax(shares))
            inside = (values >= edges[index]) & (values < edges[index + 1])
            assert shares[index] == pytest.approx(inside.mean())
        legend = histogram.get_legend()
        assert legend is not None
        norm = np.linalg.norm(pairs[name]["batch 8"])
        assert legend.get_texts()[0].get_text() == f"batch 8: norm {norm:.3g}"


def test_what_cannot_be_drawn_is_refused() -> None:
    lines, pairs = given()
    with pytest.raises(RecordError, match="was given no line"):
        plot_interpolations({}, {})
    with pytest.raises(RecordError, match="'plane' is over a plane"):
        plot_interpolations({"plane": examples.bowl()}, {"plane": weights(1.0)})
    with pytest.raises(RecordError, match="weights of two networks for 'weight decay 0'"):
        plot_interpolations(lines, {**pairs, "weight decay 0": {"batch 8": np.ones(3)}})
    with pytest.raises(RecordError, match="no channel 'test/loss'"):
        plot_interpolations({"line": examples.between()}, {"line": weights(1.0)})


@pytest.mark.parametrize("log", [False, True])
def test_nothing_is_cut_off_and_nothing_overlaps(assert_well_laid_out: Callable[[Figure], None], log: bool) -> None:
    lines, pairs = given()
    first = lines["weight decay 0"]
    walls = {name: np.where(first.x > 1.2, np.nan, values) for name, values in first.channels.items()}
    lines["weight decay 0"] = Surface(first.x, None, walls, attrs=first.attrs)
    figure = plot_interpolations(lines, pairs, title="From batch 8 to batch 512, SGD", log=log)
    assert_well_laid_out(figure)
    legend = figure.axes[2].get_legend()
    assert legend is not None
    assert legend.get_texts()[-1].get_text() == "not finite"
