"""Many runs of SGD at once on a function of one variable, in floating point or in low precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from lightning_landscape.optim.rounding import StochasticRounding
from lightning_landscape.quantization.binary_connect import binary_connect, clip_
from lightning_landscape.quantization.quantizer import Quantizer

ChainMethod: TypeAlias = Literal["float", "binaryconnect", "stochastic"]


class Chains(nn.Module):
    r"""Independent Markov chains of SGD with Gaussian gradient noise, each on one variable.

    .. math:: w_{t+1} = w_t - a\,(f'(\hat w_t) + \sigma n_t), \qquad n_t \sim N(0, 1)

    "float": :math:`\hat w = w`. "binaryconnect": :math:`\hat w` is :math:`w` rounded, at random if `random_forward`.
    "stochastic": :math:`w` is rounded at random after each step. The steps are made by the package's own optimizers.

    Args:
        method: see above.
        start: where the chains start, one number each, any shape.
        slope: the derivative :math:`f'`, elementwise.
        quantizer: the grid of the two methods that have one.
        noise: the standard deviation :math:`\sigma`.
        seed: of the noise and of the rounding.
        random_forward: for "binaryconnect".
    """

    weight: Tensor

    def __init__(
        self,
        method: ChainMethod,
        start: Tensor,
        slope: Callable[[Tensor], Tensor],
        quantizer: Quantizer,
        noise: float,
        seed: int = 0,
        random_forward: bool = False,
    ) -> None:
        super().__init__()
        parameter = nn.Parameter(start.clone())
        self.weight = parameter
        self._real = parameter
        self._slope = slope
        self._noise = noise
        self._generator = torch.Generator().manual_seed(seed)
        optimizer: torch.optim.Optimizer = torch.optim.SGD([parameter], lr=1.0)
        if method == "binaryconnect":
            binary_connect(self, quantizer, layers=[self], stochastic=random_forward, seed=seed)
            optimizer.register_step_post_hook(lambda *_: clip_(self))
        elif method == "stochastic":
            optimizer = StochasticRounding(optimizer, quantizer, [parameter], seed)
        self._optimizer = optimizer

    @property
    def real(self) -> Tensor:
        """The weights that the steps are taken from: real-valued ones, or with "stochastic" those of the grid."""
        return self._real.detach()

    @torch.no_grad()
    def run(self, rate: float, steps: int, measure: Callable[[Tensor], Tensor] | None = None) -> Tensor | None:
        """Take steps with one learning rate.

        Args:
            rate: the learning rate :math:`a`.
            steps: how many steps every chain takes.
            measure: if given, a function of the chains' real-valued weights.

        Returns:
            The mean of `measure` over the steps.
        """
        self._optimizer.param_groups[0]["lr"] = rate
        total = None
        for _ in range(steps):
            noise = torch.empty_like(self._real).normal_(std=self._noise, generator=self._generator)
            self._real.grad = noise.add_(self._slope(self.weight))
            self._optimizer.step()
            if measure is not None:
                value = measure(self.real)
                total = value if total is None else total.add_(value)
        return None if total is None else total / steps
