"""Where stochastic rounding ends: the stationary law of its Markov chain as the learning rate goes to zero."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_landscape.errors import QuantizationError


def limit_law(slopes: Tensor, noise: float) -> Tensor:
    r"""Return the probability of each weight of a grid, for SGD with stochastic rounding on a function of one variable.

    A step of size :math:`a g` moves a weight up the grid with a probability of :math:`a (-g)_+ / \Delta` and down with
    :math:`a (g)_+ / \Delta`, once :math:`a |g| < \Delta`. For Gaussian gradients :math:`g \sim N(f'(w), \sigma^2)` this
    is a birth-death chain with the rates

    .. math:: u = \sigma \varphi(m / \sigma) - m \Phi(-m / \sigma), \qquad
              d = \sigma \varphi(m / \sigma) + m \Phi(m / \sigma), \qquad m = f'(w)

    whose law satisfies :math:`\pi(w + \Delta) / \pi(w) = u(w) / d(w + \Delta)`. The learning rate :math:`a` cancels:
    the law does not narrow as the rate falls, as that of SGD does, whose standard deviation is proportional to
    :math:`\sqrt a`.

    Args:
        slopes: the derivative :math:`f'` at the weights of the grid, in order ``[N]``.
        noise: the standard deviation :math:`\sigma` of the gradients.

    Returns:
        Probabilities ``[N]`` in float64.

    Raises:
        QuantizationError: without noise, with which there is no such law.

    >>> limit_law(torch.tensor([-1.0, 0.0, 1.0]), noise=1.0)
    tensor([0.2114, 0.5772, 0.2114], dtype=torch.float64)
    """
    if not noise > 0:
        raise QuantizationError(f"noise={noise}: give the standard deviation of the gradients, above 0")
    slopes = slopes.double()
    density = noise / math.sqrt(2 * math.pi) * torch.exp(-0.5 * (slopes / noise) ** 2)
    smallest = torch.finfo(torch.float64).tiny
    up = (density - slopes * torch.special.ndtr(-slopes / noise)).clamp(min=smallest)
    down = (density + slopes * torch.special.ndtr(slopes / noise)).clamp(min=smallest)
    logarithms = torch.cat([torch.zeros(1, dtype=torch.float64), (up[:-1].log() - down[1:].log()).cumsum(0)])
    return torch.softmax(logarithms, 0)
