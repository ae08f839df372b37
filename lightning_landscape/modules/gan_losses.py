r"""The losses of generative adversarial networks, as means over the examples.

The discriminator D gives scores :math:`s = D(x)` without a sigmoid (logits), ``[N]`` or ``[N, outputs]``; a
discriminator with several outputs for an example is judged by each of them, and every loss has one value an output.
Below, E is the mean over real examples x or over generated ones G(z), and :math:`\sigma` the logistic function. Both
players minimise what is given for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DiscriminatorLoss = Callable[[Tensor, Tensor], Tensor]
GeneratorLoss = Callable[[Tensor], Tensor]


def logistic_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    r"""Cross-entropy of telling real from generated examples (Goodfellow et al. 2014, eq. 1).

    .. math:: -E \log \sigma(D(x)) - E \log(1 - \sigma(D(G(z))))

    Nats, and ``2 ln 2`` for a discriminator that cannot tell them apart.

    Args:
        real: scores of real examples.
        fake: scores of generated examples.

    Returns:
        One value for each output of the discriminator.

    Example:
        >>> logistic_discriminator_loss(torch.zeros(3), torch.zeros(3))
        tensor(1.3863)
    """
    return F.softplus(-real).mean(0) + F.softplus(fake).mean(0)


def minimax_generator_loss(fake: Tensor) -> Tensor:
    r"""What the discriminator maximises, minimised: the original, saturating loss (Goodfellow et al. 2014, eq. 1).

    .. math:: E \log(1 - \sigma(D(G(z))))

    Its gradient vanishes where the discriminator is sure.

    Args:
        fake: scores of generated examples.

    Returns:
        One value for each output of the discriminator.
    """
    return -F.softplus(fake).mean(0)


def non_saturating_generator_loss(fake: Tensor) -> Tensor:
    r"""The loss that most GANs are trained with (Goodfellow et al. 2014, section 3): no zero-sum game any more.

    .. math:: -E \log \sigma(D(G(z)))

    Args:
        fake: scores of generated examples.

    Returns:
        One value for each output of the discriminator.
    """
    return F.softplus(-fake).mean(0)


def least_squares_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    r"""Regression to 1 on real and to 0 on generated examples (Mao et al. 2017, eq. 9).

    .. math:: \tfrac12 E (D(x) - 1)^2 + \tfrac12 E D(G(z))^2

    It is 1/4 for the best discriminator that cannot tell them apart, which says 1/2.

    Args:
        real: scores of real examples.
        fake: scores of generated examples.

    Returns:
        One value for each output of the discriminator.

    Example:
        >>> least_squares_discriminator_loss(torch.full((3,), 0.5), torch.full((3,), 0.5))
        tensor(0.2500)
    """
    return ((real - 1).square().mean(0) + fake.square().mean(0)) / 2


def least_squares_generator_loss(fake: Tensor) -> Tensor:
    r"""Regression to 1 on generated examples (Mao et al. 2017, eq. 9).

    .. math:: \tfrac12 E (D(G(z)) - 1)^2

    Args:
        fake: scores of generated examples.

    Returns:
        One value for each output of the discriminator.
    """
    return (fake - 1).square().mean(0) / 2


def wasserstein_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    r"""The negative estimate of the Wasserstein distance, for a critic with slopes of at most 1 (Arjovsky et al. 2017).

    .. math:: E D(G(z)) - E D(x)

    Args:
        real: scores of real examples.
        fake: scores of generated examples.

    Returns:
        One value for each output of the discriminator.
    """
    return fake.mean(0) - real.mean(0)


def wasserstein_generator_loss(fake: Tensor) -> Tensor:
    r"""The generator's part of the estimated Wasserstein distance (Arjovsky et al. 2017).

    .. math:: -E D(G(z))

    Args:
        fake: scores of generated examples.

    Returns:
        One value for each output of the discriminator.
    """
    return -fake.mean(0)


def gradient_penalty(discriminator: nn.Module, real: Tensor, fake: Tensor, mixture: Tensor) -> Tensor:
    r"""The squared deviation of the critic's slope from 1 between real and generated examples (Gulrajani et al. 2017).

    .. math:: E (\lVert \nabla_x D(\hat x) \rVert_2 - 1)^2, \qquad \hat x = \epsilon x + (1 - \epsilon) G(z)

    It is differentiable with respect to the discriminator's weights.

    Args:
        discriminator: gives one score an example.
        real: real examples ``[N, ...]``.
        fake: generated examples of the same shape.
        mixture: the :math:`\epsilon`, in [0, 1], one for each example: ``[N]``.

    Returns:
        A scalar.

    Example:
        >>> critic = nn.Linear(2, 1)
        >>> _ = nn.init.constant_(critic.weight, 3.0)  # the slope is 3 sqrt 2 everywhere
        >>> gradient_penalty(critic, torch.zeros(5, 2), torch.ones(5, 2), torch.rand(5)).item()
        10.514...
    """
    share = mixture.view(-1, *[1] * (real.dim() - 1))
    between = (share * real + (1 - share) * fake).detach().requires_grad_()
    (slopes,) = torch.autograd.grad(discriminator(between).sum(), between, create_graph=True)
    lengths: Tensor = slopes.flatten(1).norm(dim=1)
    return (lengths - 1).square().mean()


@dataclass(frozen=True)
class AdversarialLoss:
    """What the two players minimise.

    Attributes:
        discriminator: of the scores of real and of generated examples.
        generator: of the scores of generated examples.
        penalty: weight of the discriminator's `gradient_penalty`.
    """

    discriminator: DiscriminatorLoss
    generator: GeneratorLoss
    penalty: float = 0.0


LOSSES: Final[Mapping[str, AdversarialLoss]] = {
    "minimax": AdversarialLoss(logistic_discriminator_loss, minimax_generator_loss),
    "non-saturating": AdversarialLoss(logistic_discriminator_loss, non_saturating_generator_loss),
    "least-squares": AdversarialLoss(least_squares_discriminator_loss, least_squares_generator_loss),
    "wasserstein": AdversarialLoss(wasserstein_discriminator_loss, wasserstein_generator_loss, penalty=10.0),
}
