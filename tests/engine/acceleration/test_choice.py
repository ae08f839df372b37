"""Which shortcuts are worth it; times are made up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lightning_landscape.engine.acceleration import choice
from lightning_landscape.engine.acceleration.choice import _automatic, _worthwhile
from tests.engine.acceleration.cases import CASES, largest_difference, module_of, surface_of


class Bench:
    """A trial in which each shortcut takes a known share of the time, and adding it is noted."""

    def __init__(self, seconds: float, shares: dict[str, float], layers: int = 3) -> None:
        self.seconds, self.shares = seconds, shares
        self.calls: Any = type("Calls", (), {"layers": range(layers)})
        self.tried: list[str] = []
        self.repeats = -1

    def add(self, name: str, pays: float = np.inf, repeats: int = 0) -> bool:
        self.tried.append(name)
        self.repeats = repeats
        if self.shares.get(name, np.inf) > pays:
            return False
        self.seconds *= self.shares[name]
        return True


def chosen(bench: Any, points: int, batches: int = 8) -> list[str]:
    return [str(name) for name in _worthwhile(bench, points, batches)]


def test_what_saves_three_percent_is_taken() -> None:
    bench = Bench(0.1, {"first_layer": 0.98, "channels_last": 0.96, "batch_norm_folding": 1.2})
    assert chosen(bench, 100) == ["channels_last"]
    assert bench.tried == ["first_layer", "channels_last", "batch_norm_folding"]


def test_a_surface_of_less_than_five_seconds_is_left_as_it_is() -> None:
    bench = Bench(0.1, {"channels_last": 0.1})
    assert chosen(bench, 49) == []
    assert bench.tried == []


def test_compilation_is_tried_where_a_fifth_of_the_time_is_longer_than_it_takes() -> None:
    """13 seconds for three layers; the others have halved the time of a point, one second, by then."""
    shares = {"channels_last": 0.5, "compilation": 0.9}
    assert chosen(Bench(1.0, shares), 129) == ["channels_last"]
    assert chosen(Bench(1.0, shares), 131) == ["channels_last", "compilation"]
    assert chosen(Bench(1.0, shares, layers=10), 131) == ["channels_last"]


def test_short_surfaces_are_not_measured_again() -> None:
    for points, repeats in ((10, 0), (25, 1), (75, 3), (2601, 5)):
        bench = Bench(1.0, {})
        chosen(bench, points)
        assert bench.repeats == repeats


class OtherRank:
    """The second of two ranks; the first has chosen a shortcut that is slow here."""

    rank = 1

    def on_zero(self, action: Any) -> None:
        return None

    def broadcast(self, _: Any) -> list[str]:
        return ["batch_norm_folding"]


def test_every_rank_takes_what_rank_zero_has_chosen() -> None:
    bench: Any = Bench(1.0, {"batch_norm_folding": 7.0})
    bench.shortcuts = ["folding"]
    ranks: Any = OtherRank()
    evaluator: Any = type("Evaluator", (), {"batches": 1, "probe_seconds": 0.0})
    assert _automatic(lambda: bench, 1, evaluator, ranks) == (["folding"], ["batch_norm_folding"])
    assert bench.tried == ["batch_norm_folding"]


def test_auto_keeps_what_is_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is proven is kept where anything pays; of two folded layers, the one that can be."""
    monkeypatch.setattr(choice, "_FEWEST_BATCHES", 0)
    monkeypatch.setattr(choice, "_FEWEST_SECONDS", 1e-9)  # less than any batch takes, but more than a time not known
    monkeypatch.setattr(choice, "_PAYS", np.inf)
    case = CASES["output reused"]
    module = module_of(case)
    plain, fast = surface_of(case, module, ()), surface_of(case, module, "auto")
    assert fast.attrs["shortcuts"] == "channels_last, batch_norm_folding"
    assert largest_difference(plain["loss"], fast["loss"]) < 1e-5


def test_auto_looks_at_nothing_in_a_small_surface(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a trial of a small surface")

    monkeypatch.setattr(choice, "Trial", refuse)
    case = CASES["conv"]
    module = module_of(case)
    surface = surface_of(case, module, "auto", examples=8)
    assert surface.attrs["shortcuts"] == "none"


def test_a_module_that_fails_on_trial_is_in_order_afterwards() -> None:
    case = CASES["order in memory"]
    module = module_of(case)
    with pytest.warns(UserWarning, match=r"\['channels_last'\] are not used"):
        fast = surface_of(case, module, ["channels_last"])
    assert largest_difference(surface_of(case, module, ())["loss"], fast["loss"]) == 0
    assert list(vars(module)) == list(vars(module_of(case)))
