"""A shortcut on trial: made for the module at hand, proven on one batch at two points, and timed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

from torch import nn

from lightning_landscape.engine.acceleration.accelerated import AcceleratedParameters
from lightning_landscape.engine.acceleration.batch_norm_folding import BatchNormFolding
from lightning_landscape.engine.acceleration.calls import Calls
from lightning_landscape.engine.acceleration.channels_last import ChannelsLast
from lightning_landscape.engine.acceleration.compilation import Compilation
from lightning_landscape.engine.acceleration.first_layer import FirstLayer
from lightning_landscape.engine.acceleration.shortcut import Shortcut
from lightning_landscape.engine.evaluator import Evaluator
from lightning_landscape.engine.parameters import ReplicatedParameters
from lightning_landscape.geometry.slices import Line, Plane
from lightning_landscape.sampling.estimators import Estimate

_log = logging.getLogger(__name__)

ShortcutName: TypeAlias = Literal["first_layer", "channels_last", "batch_norm_folding", "compilation"]
"""The shortcuts, in the order in which they build on each other."""

# Relative differences that pass the proof. A third of what is promised, since the promise is for every point.
_TOLERANCE = 3e-6
# Where activations have 16 bits: each is off by up to 4e-3 (bfloat16) in either computation.
_TOLERANCE_OF_16_BITS = 1e-3
_MOST_PROOFS = 16  # for the parts of one shortcut


class Trial:
    """Adds shortcuts one by one, each on top of those before it.

    Args:
        module: the module, in a `Guard`.
        slice_: the line or plane.
        parameters: the module's parameters.
        evaluator: the evaluator, probed.
        points: where values must agree, the last of them also where time is taken.

    Attributes:
        shortcuts: those that were added.
        calls: the modules' calls at the first point.
        seconds: what a point takes now, from the last measurement.
    """

    def __init__(
        self,
        module: nn.Module,
        slice_: Line | Plane,
        parameters: ReplicatedParameters,
        evaluator: Evaluator,
        points: Sequence[tuple[float, ...]],
    ) -> None:
        self._parameters = parameters
        self._evaluator = evaluator
        self._points = points
        self.shortcuts: list[Shortcut] = []
        self.calls, again = Calls(), Calls()
        with self.calls:
            first, _ = self._measure(self._with(), points[0])
        with again:
            last, self.seconds = self._measure(self._with(), points[-1])
        self._truth = [first, last]
        self._make: dict[ShortcutName, Callable[[], Shortcut | None]] = {
            "first_layer": lambda: FirstLayer.of(self.calls, again, module, slice_),
            "channels_last": lambda: ChannelsLast.of(self.calls, again),
            "batch_norm_folding": lambda: BatchNormFolding.of(self.calls),
            "compilation": lambda: Compilation.of(self.calls),
        }

    def add(self, name: ShortcutName, pays: float = math.inf, repeats: int = 0) -> bool:
        """Add a shortcut, or as much of it as can be proven, if that pays.

        Args:
            name: the shortcut.
            pays: the part of the present time that a point may take with it; the shortest times count.
            repeats: how often both times are measured again, in turn.

        Returns:
            Whether anything was added.
        """
        here = self._with()
        try:
            # A shortcut is made for the module as those before it leave it.
            here.place(*self._points[-1])
            made = self._make[name]()
            here.withdraw()
            self._proofs = 0
            proven = [] if made is None else self._proven([], made)
            for _ in range(repeats if proven else 0):
                self.seconds = min(self.seconds, self._measure(here, self._points[-1])[1])
                self._faster = min(self._faster, self._measure(self._with(*proven), self._points[-1])[1])
        except Exception as error:
            # Anything: a compiler that is not there, a module that looks into its own tables.
            here.withdraw()
            _log.debug("shortcut %s failed", name, exc_info=error)
            return False
        if not proven or self._faster > pays * self.seconds:
            return False
        self.seconds = self._faster
        self.shortcuts += proven
        return True

    def _proven(self, added: list[Shortcut], shortcut: Shortcut) -> list[Shortcut]:
        """Return the shortcut if it changes nothing, else those of its parts that change nothing together."""
        self._proofs += 1
        if self._proofs > _MOST_PROOFS:
            return []
        parameters = self._with(*added, shortcut)
        for truth, point in zip(self._truth, self._points, strict=True):
            found, seconds = self._measure(parameters, point)
            if not _agree(truth, found, _TOLERANCE_OF_16_BITS if self.calls.narrow else _TOLERANCE):
                break
        else:
            self._faster = seconds
            return [shortcut]
        _log.debug("%s changes a value", type(shortcut).__name__)
        proven: list[Shortcut] = []
        for half in shortcut.halves():
            proven += self._proven([*added, *proven], half)
        return proven

    def _with(self, *added: Shortcut) -> AcceleratedParameters:
        return AcceleratedParameters(self._parameters, [*self.shortcuts, *added])

    def _measure(
        self, parameters: AcceleratedParameters, point: tuple[float, ...]
    ) -> tuple[dict[str, Estimate], float]:
        """Evaluate one batch at a point; return the channels, and the seconds that the whole point would take."""
        started = time.perf_counter()
        parameters.place(*point)
        placed = time.perf_counter()
        estimates = self._evaluator.evaluate(batches=1)
        evaluated = time.perf_counter()
        parameters.withdraw()
        return estimates, placed - started + (evaluated - placed) * self._evaluator.batches


def _agree(truth: Mapping[str, Estimate], found: Mapping[str, Estimate], tolerance: float) -> bool:
    """Whether all channels agree, and one of them is a number, since NaN agrees with anything that overflows."""
    pairs = [(estimate.mean, found[name].mean) for name, estimate in truth.items()]
    return any(math.isfinite(a) for a, _ in pairs) and all(
        a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=tolerance) for a, b in pairs
    )
