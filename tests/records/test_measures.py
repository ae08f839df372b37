from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_landscape.errors import RecordError
from lightning_landscape.records import Surface, measure
from lightning_landscape.records.measures import nonconvex_share, roughness

X, Y = np.linspace(-1, 1, 21), np.linspace(-2, 2, 17)


def surface(loss: Any, x: Any = X, y: Any = Y, **changes: Any) -> Surface:
    return Surface(x=x, y=y, channels={"loss": loss}, **changes)


def quadratic(a: float, b: float, c: float, x: Any = X, y: Any = Y) -> Any:
    """Half of a x^2 + 2 b x y + c y^2, plus terms that do not curve."""
    y = np.asarray(y)[:, None]
    return (a * x**2 + 2 * b * x * y + c * y**2) / 2 + 3 * x - y + 7


@pytest.mark.parametrize(
    ("hessian", "expected"),
    [
        ((2.0, 0.0, 1.0), 0.0),
        ((1.0, 0.0, -1.0), 1.0),
        ((-1.0, 0.0, -3.0), 1.0),
        ((1.0, 0.9, 1.0), 0.0),
        ((1.0, 1.1, 1.0), 1.0),
        ((1.0, -1.1, 1.0), 1.0),
        ((1.0, 1.0, 1.0), 0.0),
        ((0.0, 0.0, 0.0), 0.0),
        ((10.0, 0.0, -0.5), 1.0),
    ],
)
def test_quadratics_are_judged_by_their_least_eigenvalue(hessian: tuple[float, float, float], expected: float) -> None:
    uneven = np.sort(np.random.default_rng(0).uniform(-1, 1, 12))
    for x, y in [(X, Y), (uneven, Y), (X * 1e-3, uneven * 50), (X[::-1], Y)]:
        scale = np.abs(x).max(), np.abs(y).max()
        a, b, c = hessian
        values = quadratic(a / scale[0] ** 2, b / (scale[0] * scale[1]), c / scale[1] ** 2, x, y)
        values -= values.min() - 1
        assert nonconvex_share(values, x, y) == expected
        assert nonconvex_share(1e6 * values, x, y) == expected


def test_share_is_counted() -> None:
    # The sign of the second derivative of x^3 is that of x; the middle of 21 points is 0 and curves nowhere.
    assert nonconvex_share(X**3, X) == 9 / 19
    assert nonconvex_share(X**3 + Y[:, None] ** 2, X, Y) == 9 / 19


def test_rounding_of_float32_does_not_count() -> None:
    rng = np.random.default_rng(0)
    plain = 2.5 + 1e-3 * X + Y[:, None]
    noisy = (plain * (1 + 1e-7 * rng.uniform(-1, 1, plain.shape))).astype(np.float32).astype(np.float64)
    assert nonconvex_share(noisy, X, Y) == 0.0
    assert nonconvex_share(plain * (1 + 1e-3 * rng.uniform(-1, 1, plain.shape)), X, Y) > 0.5
    constant = np.full((17, 21), 2.3) * (1 + 1e-7 * rng.uniform(-1, 1, (17, 21)))
    assert roughness(constant) == 0.0


def test_gaps_leave_their_neighbours_out() -> None:
    values = quadratic(1, 0, 1)
    values[5, 5] = -np.inf
    values[8, 8] = np.nan
    assert nonconvex_share(values, X, Y) == 0.0
    assert roughness(np.where(np.isfinite(values), values - quadratic(1, 0, 1).min() + 1, values)) == 0.0
    assert math.isnan(nonconvex_share(np.full((17, 21), np.nan), X, Y))
    assert math.isnan(nonconvex_share(values[:2], X, Y[:2]))
    assert math.isnan(nonconvex_share(np.ones(2), np.arange(2.0)))
    assert math.isnan(roughness(np.full(5, np.inf)))


@pytest.mark.parametrize("count", [21, 51, 201])
def test_roughness_of_one_valley_or_hill_is_nothing(count: int) -> None:
    t = np.linspace(-1, 1, count)
    plane = np.exp(t**2 + 0.5 * t * t[:, None] + t[:, None] ** 2)
    for values in (t + 2, 2 - t, (t - 0.3) ** 2 + 0.1, 3 - t**2, plane, 1 / plane, plane * np.inf ** (plane > 4)):
        assert roughness(values) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("periods", [1, 2, 4])
@pytest.mark.parametrize("count", [81, 161, 801])
def test_roughness_of_a_sine(periods: int, count: int) -> None:
    t = np.linspace(0, 1, count)
    sine = np.sin(2 * np.pi * periods * t)
    assert roughness(np.exp(sine)) == pytest.approx(2 * periods - 1, rel=0.01)
    # On logarithms it is the same for any power and factor, and on values that are not positive for any scale.
    assert roughness(5 * np.exp(3 * sine)) == pytest.approx(roughness(np.exp(sine)))
    assert roughness(3 * sine - 10) == pytest.approx(2 * periods - 1, rel=0.01)
    plane = np.exp(sine + np.zeros((5, 1)))
    assert roughness(plane) == pytest.approx(2 * periods - 1, rel=0.01)


def test_chaos_is_rougher_than_a_bowl_at_any_resolution() -> None:
    found = []
    for count in (31, 61, 121):
        t = np.linspace(-1, 1, count)
        bowl = 2 * (t**2 + t[:, None] ** 2)
        waves = np.sin(9 * t) * np.cos(8 * t[:, None] + t)
        assert roughness(np.exp(bowl)) == pytest.approx(0, abs=1e-12)
        found.append((roughness(np.exp(bowl + 0.2 * waves)), roughness(np.exp(bowl + waves))))
    for slight, chaotic in found:
        assert 0 < slight < 0.2 < 0.7 < chaotic
        np.testing.assert_allclose((slight, chaotic), found[-1], rtol=0.2)


def test_measures_of_an_unfinished_surface() -> None:
    loss = quadratic(1, 0, 1)
    done = np.ones(loss.shape, dtype=bool)
    done[:, -1] = False
    loss[0, 0], loss[0, 1], loss[0, 2] = np.nan, np.inf, -np.inf
    found = measure(surface(loss, done=done, attrs={"initial_loss": 8.0}))
    computed = loss[:, :-1]
    finite = computed[np.isfinite(computed)]
    assert found.channel == "loss"
    assert found.centre == 7.0
    assert found.minimum == finite.min()
    assert found.maximum == finite.max()
    assert found.finite_share == 1 - 3 / computed.size
    assert found.share_above_initial == (2 + (finite > 8).sum()) / computed.size
    assert found.nonconvex_share == 0.0


def test_centre_is_the_origin_of_the_slice() -> None:
    t = np.linspace(0, 1, 5)
    assert measure(surface(t + 3, x=t, y=None)).centre == 3.0
    assert measure(surface(t + 3, x=t - 1, y=None)).centre == 4.0


def test_other_channels() -> None:
    both = Surface(
        x=X, y=None, channels={"val/loss": X**2, "accuracy": X}, attrs={"loss": "val/loss", "initial_loss": 0.25}
    )
    for channel in (None, "loss", "val/loss"):
        found = measure(both, channel)
        assert found.channel == "val/loss"
        assert found.share_above_initial == pytest.approx(10 / 21)
    found = measure(both, "accuracy")
    assert found.maximum == 1.0
    assert found.share_above_initial is None
    with pytest.raises(RecordError, match="no channel 'f1'"):
        measure(both, "f1")
    assert measure(surface(X, y=None)).share_above_initial is None


def test_nothing_computed() -> None:
    found = measure(surface(np.ones((17, 21)), done=False, attrs={"initial_loss": 1.0}))
    for name in ("centre", "minimum", "maximum", "nonconvex_share", "roughness", "finite_share", "share_above_initial"):
        assert math.isnan(getattr(found, name))


def test_published_surfaces(shared: Path) -> None:
    for name in ("cnn_nll", "small_dense_margin"):
        found = measure(Surface.load(shared / "surfaces" / name / "surface.h5"))
        assert found.finite_share == 1.0
        assert found.minimum <= found.centre <= found.maximum
        assert 0 <= found.nonconvex_share <= 1
        assert 0 <= found.roughness < 0.5
