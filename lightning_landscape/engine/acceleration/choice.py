"""Which shortcuts a surface is computed with: those that are proven on the module, and pay."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection
from itertools import product
from typing import Literal, TypeAlias, get_args

from torch import nn

from lightning_landscape.engine.acceleration.accelerated import AcceleratedParameters
from lightning_landscape.engine.acceleration.trial import ShortcutName, Trial
from lightning_landscape.engine.evaluator import Evaluator
from lightning_landscape.engine.parameters import ReplicatedParameters
from lightning_landscape.engine.ranks import Ranks
from lightning_landscape.errors import LandscapeError
from lightning_landscape.geometry.slices import Line, Plane
from lightning_landscape.sampling.grid import Grid

Shortcuts: TypeAlias = Literal["auto"] | Collection[ShortcutName]
"""``"auto"``, or the names of the shortcuts to use; none of them if empty."""

# A surface is looked at if it takes so many batches, and so many seconds as it is.
_FEWEST_BATCHES, _FEWEST_SECONDS = 32, 2.0
# The part of its time that may be spent on measuring again, up to so often.
_MEASURING, _MOST_REPEATS = 0.01, 5
# A shortcut is kept if a point then takes at most this part of the time.
_PAYS = 0.97
# Compilation is tried if this part of the time is longer than it takes, by these seconds and those for each layer.
_COMPILED_SAVES, _COMPILER_STARTS, _COMPILER_A_LAYER = 0.2, 10.0, 1.0


def require_known(shortcuts: Shortcuts) -> None:
    """Refuse shortcuts that do not exist.

    Raises:
        LandscapeError: for anything but "auto" or names of shortcuts.
    """
    known = get_args(ShortcutName)
    if shortcuts != "auto" and (isinstance(shortcuts, str) or not set(shortcuts) <= set(known)):
        raise LandscapeError(
            f"shortcuts={shortcuts!r} is unknown: give 'auto', or a list of {', '.join(known)}, an empty one for none"
        )


def accelerated(
    module: nn.Module,
    slice_: Line | Plane,
    parameters: ReplicatedParameters,
    evaluator: Evaluator,
    grid: Grid,
    shortcuts: Shortcuts,
    ranks: Ranks,
) -> tuple[AcceleratedParameters, list[ShortcutName]]:
    """Choose the shortcuts that a surface is computed with.

    A shortcut is proven before it is used: at the grid's point nearest to the origin and at the one farthest from it,
    one batch must give every channel's value to 3e-6 (relative, in float32). With "auto" it must also be faster; a
    surface that takes less than two seconds is computed as it is, and compilation is tried where a fifth of the
    surface's time is longer than ten seconds and one more for each layer. What cannot be used is left out, with a
    warning if it was asked for by name. A module that its user has compiled is left alone.

    Args:
        module: the module, in a `Guard`.
        slice_: the line or plane.
        parameters: the module's parameters.
        evaluator: the evaluator, probed.
        grid: the points.
        shortcuts: "auto", or the names of those to use.
        ranks: all use what rank zero has chosen.

    Returns:
        The parameters, to be placed with their shortcuts, and the names of these.
    """
    axes = [axis.tolist() for axis in (grid.x_axis, grid.y_axis) if axis is not None]
    points = sorted((point for point in product(*axes) if any(point)), key=lambda point: math.hypot(*point))
    few = shortcuts == "auto" and len(points) * evaluator.batches < _FEWEST_BATCHES
    if not shortcuts or not points or few or _is_compiled(module):
        return AcceleratedParameters(parameters), []
    trial = Trial(module, slice_, parameters, evaluator, (points[0], points[-1]))
    if shortcuts != "auto":
        wanted = [name for name in get_args(ShortcutName) if name in shortcuts]
        names = [name for name in wanted if trial.add(name)]
        if left_out := set(wanted) - set(names):
            warnings.warn(
                f"shortcuts {sorted(left_out)} are not used: there is nothing in {type(module).__name__} that they "
                "apply to, or they change a value",
                stacklevel=3,
            )
        return AcceleratedParameters(parameters, trial.shortcuts), names
    names = ranks.broadcast(_worthwhile(trial, len(points), evaluator.batches) if ranks.rank == 0 else [])
    if ranks.rank != 0:
        for name in names:
            trial.add(name)
    return AcceleratedParameters(parameters, trial.shortcuts), names


def _worthwhile(trial: Trial, points: int, batches: float) -> list[ShortcutName]:
    """Add the shortcuts that save time, and return their names."""
    whole = trial.seconds * points
    if whole < _FEWEST_SECONDS:
        return []
    repeats = int(min(_MEASURING * points * batches / 2, _MOST_REPEATS))
    names: list[ShortcutName] = []
    for name in get_args(ShortcutName):
        compiling = _COMPILER_STARTS + _COMPILER_A_LAYER * len(trial.calls.layers)
        if name == "compilation" and _COMPILED_SAVES * trial.seconds * points < compiling:
            continue
        if trial.add(name, _PAYS, repeats):
            names.append(name)
    return names


def _is_compiled(module: nn.Module) -> bool:
    return any(hasattr(m, "_orig_mod") or m._compiled_call_impl is not None for m in module.modules())
