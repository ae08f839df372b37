"""Training in low precision: optimizers after whose every step the weights stand on a grid."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lightning_landscape.errors import QuantizationError
from lightning_landscape.quantization.quantizer import Quantizer
from lightning_landscape.quantization.rounding import StochasticRounder, generator_of, round_, warn_of_clipping


class Rounding(Optimizer):
    """An optimizer that does another one's steps and rounds the weights after each; the base of the two roundings.

    Parameter groups, defaults and state are the wrapped optimizer's own, so learning-rate schedules, gradient clipping,
    accumulation, loss scaling and Lightning see one optimizer. The weights are rounded once when it is made.

    Args:
        optimizer: any optimizer whose steps do not depend on the weights that it left last.
        quantizer: the grid.
        parameters: which of its parameters are rounded; None for all with more than one dimension, so that biases and
            the scales of normalisation layers stay in floating point.

    Raises:
        QuantizationError: for LBFGS, for parameters that the optimizer has not or that lie on several devices, and for
            a filter of zeros where each filter has a scale.
    """

    optimizer: Optimizer
    quantizer: Quantizer

    def __init__(self, optimizer: Optimizer, quantizer: Quantizer, parameters: Iterable[Tensor] | None = None) -> None:
        if isinstance(optimizer, torch.optim.LBFGS):
            raise QuantizationError(
                "LBFGS compares the weights with those that it left, and rounding moves them in between: wrap SGD, "
                "Adam or another optimizer of single steps"
            )
        # Everything that Optimizer.__init__ would make is the wrapped optimizer's, but for the hooks.
        super().__setstate__({"optimizer": optimizer, "quantizer": quantizer})
        known = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self._rounded = [p for p in known if p.ndim > 1] if parameters is None else list(parameters)
        if strangers := len({id(p) for p in self._rounded} - {id(p) for p in known}):
            raise QuantizationError(
                f"{strangers} of the {len(self._rounded)} parameters to round are none of the optimizer's: give "
                "parameters from its param_groups"
            )
        if len({parameter.device for parameter in self._rounded}) > 1:
            raise QuantizationError(
                "the parameters to round lie on several devices: wrap one optimizer for each device"
            )
        self._scales = self._scales_of_filters()
        self._prepare()
        warn_of_clipping(self._rounded, quantizer)
        self._round()

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The parameter groups of the wrapped optimizer."""
        return self.optimizer.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        """The state of the wrapped optimizer, by parameter."""
        return self.optimizer.state

    @property
    def defaults(self) -> dict[str, Any]:  # type: ignore[override]
        """The default options of the wrapped optimizer."""
        return self.optimizer.defaults

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do a step of the wrapped optimizer, then round.

        Args:
            closure: evaluates the loss and its gradients at the weights of the grid.

        Returns:
            What the wrapped optimizer returns: the closure's loss, or None.
        """
        result = self.optimizer.step() if closure is None else self.optimizer.step(closure)
        self._round()
        return result

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Give the wrapped optimizer more parameters; they stay in floating point."""
        self.optimizer.add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the wrapped optimizer, with what rounding needs under the key "rounding"."""
        return {**self.optimizer.state_dict(), "rounding": {"scales": self._scales, **self._rounding_state()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a state up again; one of the wrapped optimizer alone leaves the rounding as it is."""
        own = {key: value for key, value in state_dict.items() if key != "rounding"}
        self.optimizer.load_state_dict(own)
        rounding = state_dict.get("rounding")
        if rounding is None:
            return
        if self._scales is not None:
            for scale, saved in zip(self._scales, rounding["scales"], strict=True):
                scale.copy_(saved)
        self._load_rounding_state(rounding)

    def __getstate__(self) -> dict[str, Any]:
        kept = ("optimizer", "quantizer", "seed", "_rounded", "_scales", "_generator")
        return {name: getattr(self, name) for name in kept if hasattr(self, name)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._prepare()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.optimizer!r}, {self.quantizer!r})"

    def _scales_of_filters(self) -> list[Tensor] | None:
        if self.quantizer.scale is None:
            return None
        scales = [self.quantizer.scale_of(parameter) for parameter in self._rounded]
        if zeros := sum(int(torch.count_nonzero(scale == 0)) for scale in scales):
            raise QuantizationError(
                f"{zeros} filters hold zeros alone, so their scale would be 0 for ever: initialise them otherwise"
            )
        return scales

    def _prepare(self) -> None:
        """Make what can be made anew at any time."""

    def _round(self) -> None:
        raise NotImplementedError

    def _rounding_state(self) -> dict[str, Any]:
        return {}

    def _load_rounding_state(self, state: dict[str, Any]) -> None:
        """Take up what `_rounding_state` returned."""


class DeterministicRounding(Rounding):
    r"""Wraps an optimizer so that every step ends on the nearest weights of a grid, :math:`w \leftarrow Q_d(w + u)`.

    A step :math:`u` of less than half the grid's resolution changes nothing, so training stalls once the steps are
    small: the method is here for comparison.

    Args:
        optimizer: any optimizer of single steps.
        quantizer: the grid.
        parameters: which parameters are rounded; None for all with more than one dimension.

    Source: Li, De, Xu, Studer, Samet, Goldstein (2017), "R".

    >>> w = torch.nn.Parameter(torch.ones(1, 1))
    >>> optimizer = DeterministicRounding(torch.optim.SGD([w], lr=0.2), Quantizer(delta=0.5, limit=2.0))
    >>> w.grad = torch.ones(1, 1)
    >>> for _ in range(10):
    ...     optimizer.step()
    >>> w.item()
    1.0
    """

    def _round(self) -> None:
        round_(self._rounded, self.quantizer, self._scales)


class StochasticRounding(Rounding):
    r"""Wraps an optimizer so that every step ends on a grid, :math:`w \leftarrow Q_s(w + u)`, with mean :math:`w + u`.

    No weight is kept in floating point. A step :math:`u` of a hundredth of the grid's resolution moves a weight one
    time in a hundred, so training goes on however small the steps are; but the distribution that it tends to does not
    narrow with the learning rate, as that of other methods does.

    The random numbers come from a generator of its own, whose state is in the state dict: a resumed run makes the same
    steps. Ranks of a distributed run draw the same ones, and so hold the same weights.

    Args:
        optimizer: any optimizer of single steps.
        quantizer: the grid.
        parameters: which parameters are rounded; None for all with more than one dimension.
        seed: of the random numbers.

    Source: Li, De, Xu, Studer, Samet, Goldstein (2017), "SR".

    >>> w = torch.nn.Parameter(torch.zeros(1000, 10))
    >>> optimizer = StochasticRounding(torch.optim.SGD([w], lr=0.2), Quantizer(delta=0.5, limit=8.0))
    >>> w.grad = -torch.ones(1000, 10)
    >>> for _ in range(10):
    ...     optimizer.step()
    >>> round(w.mean().item(), 1), bool((w % 0.5 == 0).all())
    (2.0, True)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        quantizer: Quantizer,
        parameters: Iterable[Tensor] | None = None,
        seed: int = 0,
    ) -> None:
        self.seed = seed
        super().__init__(optimizer, quantizer, parameters)

    def _prepare(self) -> None:
        self._rounder = StochasticRounder(self._rounded, self.quantizer, self._scales)
        if not hasattr(self, "_generator"):
            device = self._rounded[0].device if self._rounded else "cpu"
            self._generator = generator_of(device, self.seed)

    def _round(self) -> None:
        self._rounder.round_(self._generator)

    def _rounding_state(self) -> dict[str, Any]:
        return {"device": self._generator.device.type, "generator": self._generator.get_state()}

    def _load_rounding_state(self, state: dict[str, Any]) -> None:
        if state["device"] == self._generator.device.type:
            self._generator.set_state(state["generator"].cpu())
        else:
            warnings.warn(
                f"the state was saved on {state['device']}; the random numbers of {self._generator.device.type} are "
                "others, so this is not the run that would have gone on there",
                stacklevel=4,
            )
