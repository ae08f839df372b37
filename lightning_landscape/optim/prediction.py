"""The prediction step of saddle-point problems: looking ahead along the optimizer's last displacement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim import Optimizer

from lightning_landscape.errors import PredictionError

_KEY = "prediction"


class Prediction:
    r"""Lets one player of a game see where the other is heading.

    For :math:`\min_u \max_v L(u, v)` the step of u is followed by a step of v that is taken not at the new u but at its
    prediction (Yadav, Shah, Xu, Jacobs and Goldstein, ICLR 2018, eq. 2-3):

    .. math:: \bar u = u + (u - u_{\text{previous}}).

    Alternating steps then converge on saddles around which they would circle for ever. Two lines change a GAN with
    manual optimization::

        self.prediction = Prediction(generator_optimizer)  # in configure_optimizers

        with self.prediction.lookahead():  # around the generator's samples for the discriminator
            fake = self.generator(noise)

    Within the look-ahead the weights stand at the prediction; outside of it they are exactly, bit for bit, what they
    were, also after an exception. The displacement is that of the last step which the optimizer took, by whatever rule
    (momentum, Adam): of several steps between two look-aheads the last one counts, a step that a gradient scaler
    leaves out does not, and several look-aheads after one step see the same prediction. Buffers, such as BatchNorm's
    running statistics, are not predicted. Parameters that the step leaves alone stay where they are.

    The optimizer stays the user's own: schedulers, gradient scalers and loggers do not notice. Its ``state_dict``
    carries the previous weights under the key "prediction", so that a run which is resumed goes on exactly; optimizers
    without a prediction ignore that key. Memory: one copy of the optimizer's parameters, and another one within the
    look-ahead.

    The weights are moved in place. A graph built on one side of the look-ahead's border must not be differentiated with
    respect to these weights on the other: torch refuses that with "modified by an inplace operation".

    Args:
        optimizer: any torch optimizer, also in Lightning's wrapper (``self.optimizers()``).

    Example:
        >>> w = torch.tensor([1.0], requires_grad=True)
        >>> optimizer = torch.optim.SGD([w], lr=0.25)
        >>> prediction = Prediction(optimizer)
        >>> w.square().sum().backward()
        >>> optimizer.step()  # from 1 to 0.5
        >>> with prediction.lookahead():
        ...     print(w.item())
        0.0
        >>> w.item()
        0.5
    """

    def __init__(self, optimizer: Optimizer | LightningOptimizer) -> None:
        self._optimizer: Optimizer = optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        self._parameters: list[Tensor] = []
        self._previous: list[Tensor] = []
        self._in_step = False
        self._ahead = False
        self._optimizer.register_step_pre_hook(self._before_step)
        self._optimizer.register_step_post_hook(self._after_step)
        self._optimizer.register_state_dict_post_hook(self._save)
        self._optimizer.register_load_state_dict_pre_hook(self._load)

    @property
    def stepped(self) -> bool:
        """Whether the displacement of a step is known: after the first step, and after resuming from a later one."""
        return bool(self._previous) and not self._in_step

    @contextmanager
    def lookahead(self) -> Iterator[None]:
        """Put the weights to ``w + (w - w_previous)`` as long as the context lasts.

        Raises:
            PredictionError: before the first step, within a step, or within another look-ahead.
        """
        self._require_lookahead()
        weights = [parameter.detach().clone() for parameter in self._parameters]
        self._ahead = True
        try:
            with torch.no_grad():
                torch._foreach_add_(self._parameters, torch._foreach_sub(weights, self._previous))
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._parameters, weights)
            self._ahead = False

    def _require_lookahead(self) -> None:
        name = type(self._optimizer).__name__
        if self._ahead:
            raise PredictionError(
                f"a look-ahead of {name} within a look-ahead of the same optimizer: the weights stand at their "
                "prediction already, so leave the inner one out"
            )
        if self._in_step:
            raise PredictionError(
                f"a look-ahead within a step of {name}, or after one that failed: look ahead between two steps. Under "
                "Lightning's automatic optimization the whole training_step runs within the optimizer's step: set "
                "self.automatic_optimization = False and call the steps yourself"
            )
        if not self._previous:
            raise PredictionError(
                f"a look-ahead before the first step of {name}, when there is no displacement to predict from: step "
                "this optimizer first, or look ahead from the second iteration on (`if prediction.stepped`). If it "
                "was stepped, Prediction was given another optimizer than the one that steps"
            )

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:  # noqa: ARG002 torch's signature
        if self._ahead:
            raise PredictionError(
                f"{type(optimizer).__name__}.step() within its own look-ahead would start from the prediction and be "
                "undone at the end: step outside of the context"
            )
        self._in_step = True
        self._previous = []  # freed before the new copy is made
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._previous = [parameter.detach().clone() for parameter in self._parameters]

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:  # noqa: ARG002 torch's signature
        self._in_step = False

    def _save(self, optimizer: Optimizer, state_dict: dict[str, Any]) -> None:  # noqa: ARG002 torch's signature
        if self._previous:
            state_dict[_KEY] = list(self._previous)

    def _load(self, optimizer: Optimizer, state_dict: dict[str, Any]) -> None:
        if self._ahead:
            raise PredictionError("a state was loaded within a look-ahead, at whose end the old weights return")
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        # A checkpoint from before the first step, or of a run without prediction, knows no displacement.
        previous = state_dict.get(_KEY, [])
        self._parameters = parameters if previous else []
        self._previous = [
            weights.detach().clone().to(parameter)
            for weights, parameter in zip(previous, self._parameters, strict=True)
        ]
        self._in_step = False
