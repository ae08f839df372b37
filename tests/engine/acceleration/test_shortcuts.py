"""Every shortcut gives the values of the plain path, or is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_landscape import LandscapeError, Line, LossLandscape, Surface, weights_of
from lightning_landscape.engine.acceleration.trial import ShortcutName
from tests.engine.acceleration.cases import CASES, EXAMPLES, Case, largest_difference, module_of, surface_of
from tests.modules_under_test import assert_same, state_of, train

CHEAP = [name for name in get_args(ShortcutName) if name != "compilation"]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.filterwarnings("ignore:shortcuts .* are not used")
def test_values_are_the_plain_paths(case: Case) -> None:
    module = module_of(case)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    attributes = {name: sorted(vars(child)) for name, child in module.named_modules()}
    plain = surface_of(case, module, ())
    fast = surface_of(case, module, CHEAP)
    assert plain.attrs["shortcuts"] == "none"
    used = set(fast.attrs["shortcuts"].split(", ")) - {"none"}
    assert used == case.applies
    for name in plain.names:
        assert largest_difference(plain[name], fast[name]) < 1e-5, name
    # The centre, and nothing else, is evaluated as the module stands.
    assert fast["loss"][1, 1] == plain["loss"][1, 1]
    after = module.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert attributes == {name: sorted(vars(child)) for name, child in module.named_modules()}


def test_each_shortcut_is_used_where_it_applies_alone() -> None:
    for name, key in (("first_layer", "mlp"), ("channels_last", "resnet"), ("batch_norm_folding", "mlp")):
        module = module_of(CASES[key])
        fast = surface_of(CASES[key], module, [name])
        assert fast.attrs["shortcuts"] == name
        assert largest_difference(surface_of(CASES[key], module, ())["loss"], fast["loss"]) < 1e-5


def test_the_first_layers_products_are_computed_once() -> None:
    """At the two points of the proof and at 11 of 12 of the surface: three products for each batch, once."""
    module = module_of(CASES["tied"])
    rows = 0
    linear = torch.nn.functional.linear

    def counted(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        nonlocal rows
        rows += len(x)
        return linear(x, weight, bias)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "linear", counted)
        surface_of(CASES["tied"], module, ["first_layer"])
    probe_and_trial = 8 * (2 * 3 + 2)
    points = EXAMPLES * (12 + 1)  # the second layer everywhere, the first as it stands at the centre alone
    assert rows == probe_and_trial + points + 3 * EXAMPLES


def test_folding_follows_statistics_that_move() -> None:
    case = CASES["conv"]
    module, other = module_of(case), module_of(case)
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.buffers()):
            if tensor.is_floating_point():
                tensor.mul_(1.2)
    line = Line.between(weights_of(module, buffers=True), weights_of(other, buffers=True))
    plain, fast = (
        surface_of(case, module, shortcuts, plane=line, batch_norm="interpolate")
        for shortcuts in ((), ["batch_norm_folding"])
    )
    assert fast.attrs["shortcuts"] == "batch_norm_folding"
    assert np.ptp(plain["loss"]) > 0.01
    assert largest_difference(plain["loss"], fast["loss"]) < 1e-5


def test_recalibrated_statistics_are_not_folded() -> None:
    case = CASES["conv"]
    module = module_of(case)
    plain = surface_of(case, module, (), batch_norm="recalibrate")
    with pytest.warns(UserWarning, match="batch_norm_folding.* not used"):
        fast = surface_of(case, module, ["batch_norm_folding", "channels_last"], batch_norm="recalibrate")
    assert fast.attrs["shortcuts"] == "channels_last"
    assert largest_difference(plain["loss"], fast["loss"]) < 1e-5


def test_compilation_on_top_of_the_others() -> None:
    """The last, smaller batch goes another way; weights that move in place are seen."""
    case = CASES["conv"]
    module = module_of(case)
    plain, fast = (surface_of(case, module, shortcuts) for shortcuts in ((), get_args(ShortcutName)[1:]))
    assert fast.attrs["shortcuts"] == "channels_last, batch_norm_folding, compilation"
    assert largest_difference(plain["loss"], fast["loss"]) < 1e-5
    assert fast["loss"][1, 1] == plain["loss"][1, 1]
    assert "forward" not in vars(module)


@pytest.mark.slow
def test_compilation_around_the_first_layer() -> None:
    case = CASES["mlp"]
    module = module_of(case)
    plain, fast = (surface_of(case, module, shortcuts) for shortcuts in ((), ["first_layer", "compilation"]))
    assert fast.attrs["shortcuts"] == "first_layer, compilation"
    assert largest_difference(plain["loss"], fast["loss"]) < 1e-5


def test_without_a_compiler_all_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_(*_: Any, **__: Any) -> Any:
        def fail(*_: Any) -> Any:
            raise RuntimeError("no working C++ compiler")

        return fail

    monkeypatch.setattr(torch, "compile", compile_)
    case = CASES["conv"]
    module = module_of(case)
    with pytest.warns(UserWarning, match="'compilation'.* not used"):
        fast = surface_of(case, module, ["compilation", "channels_last"])
    assert fast.attrs["shortcuts"] == "channels_last"
    assert largest_difference(surface_of(case, module, ())["loss"], fast["loss"]) < 1e-5


def test_what_the_user_has_compiled_is_left_alone() -> None:
    case = CASES["conv"]
    module = module_of(case)
    module.compile(backend="eager")
    assert surface_of(case, module, CHEAP).attrs["shortcuts"] == "none"
    wrapped = torch.compile(module_of(case), backend="eager")
    assert surface_of(case, wrapped, CHEAP).attrs["shortcuts"] == "none"


def test_a_hooked_layer_is_left_alone() -> None:
    module = module_of(CASES["conv"])
    seen: list[Tensor] = []
    module[0].register_forward_hook(lambda _, __, output: seen.append(output.mean()))
    with pytest.warns(UserWarning, match="not used"):
        assert surface_of(CASES["conv"], module, CHEAP).attrs["shortcuts"] == "none"


def test_unknown_shortcuts_are_refused() -> None:
    for wrong in ("fold", ["fold"], "compilation"):
        with pytest.raises(LandscapeError, match=r"give 'auto', or a list of first_layer, channels_last"):
            LossLandscape(shortcuts=wrong)


def test_null_with_shortcuts_forced(tmp_path: Path) -> None:
    """Training ends with the same bits; the module has BatchNorm, dropout, metrics and random numbers in its step."""
    ours = LossLandscape(resolution=3, every_n_epochs=2, shortcuts=["first_layer", "batch_norm_folding"])
    plain = state_of(*train(tmp_path / "plain"))
    with pytest.warns(UserWarning, match="'batch_norm_folding'.* not used"):
        watched = state_of(*train(tmp_path / "watched", [ours]))
    assert_same(plain, watched)
    assert {Surface.load(path).attrs["shortcuts"] for path in ours.surfaces} == {"first_layer"}
