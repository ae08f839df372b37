"""The losses against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from lightning_landscape.modules import gan_losses
from lightning_landscape.modules.gan_losses import LOSSES, gradient_penalty

REAL = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
FAKE = torch.tensor([-0.7, 0.1, 1.5], dtype=torch.float64)


def sigmoid(values: Tensor) -> Tensor:
    return 1 / (1 + (-values).exp())


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        ("minimax", -(sigmoid(REAL).log() + (1 - sigmoid(FAKE)).log()).mean(), (1 - sigmoid(FAKE)).log().mean()),
        ("non-saturating", -(sigmoid(REAL).log() + (1 - sigmoid(FAKE)).log()).mean(), -sigmoid(FAKE).log().mean()),
        ("least-squares", ((REAL - 1) ** 2 + FAKE**2).mean() / 2, ((FAKE - 1) ** 2).mean() / 2),
        ("wasserstein", (FAKE - REAL).mean(), -FAKE.mean()),
    ],
)
def test_losses_are_their_formulas(name: str, discriminator: Tensor, generator: Tensor) -> None:
    loss = LOSSES[name]
    torch.testing.assert_close(loss.discriminator(REAL, FAKE), discriminator)
    torch.testing.assert_close(loss.generator(FAKE), generator)


def test_losses_keep_the_outputs_of_the_discriminator_apart() -> None:
    real, fake = torch.stack([REAL, -REAL], 1), torch.stack([FAKE, 2 * FAKE], 1)
    for loss in LOSSES.values():
        both = loss.discriminator(real, fake)
        assert both.shape == (2,)
        torch.testing.assert_close(both[1], loss.discriminator(-REAL, 2 * FAKE))
        torch.testing.assert_close(loss.generator(fake)[1], loss.generator(2 * FAKE))


def test_sure_discriminators_give_finite_losses() -> None:
    far = torch.full((2,), 1e4)
    assert LOSSES["minimax"].discriminator(far, -far) == 0
    assert LOSSES["minimax"].discriminator(-far, far) == 2e4
    assert LOSSES["non-saturating"].generator(-far) == 1e4


def test_only_minimax_is_a_zero_sum_game() -> None:
    """The generator's loss is the part of the discriminator's negative loss that depends on it, value and slope."""
    fake = FAKE.clone().requires_grad_()
    (slope,) = torch.autograd.grad(LOSSES["minimax"].generator(fake), fake)
    (opposite,) = torch.autograd.grad(LOSSES["minimax"].discriminator(REAL, fake), fake)
    torch.testing.assert_close(slope, -opposite)
    (slope,) = torch.autograd.grad(LOSSES["non-saturating"].generator(fake), fake)
    assert not torch.allclose(slope, -opposite)


def test_discriminators_that_cannot_tell_have_the_known_losses() -> None:
    assert LOSSES["minimax"].discriminator(torch.zeros(3), torch.zeros(3)).item() == pytest.approx(2 * math.log(2))
    assert LOSSES["least-squares"].discriminator(*[torch.full((3,), 0.5)] * 2).item() == pytest.approx(0.25)


def test_penalty_of_a_quadratic_critic() -> None:
    """D(x) = w |x|^2 / 2 has the slope w |x|: the penalty and its derivative with respect to w are known."""

    class Quadratic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor(3.0, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return self.w * x.square().flatten(1).sum(1) / 2

    torch.manual_seed(0)
    critic = Quadratic()
    real, fake = torch.randn(2, 6, 2, 3, dtype=torch.float64)
    mixture = torch.rand(6, dtype=torch.float64)
    penalty = gradient_penalty(critic, real, fake, mixture)
    lengths = (mixture[:, None, None] * real + (1 - mixture)[:, None, None] * fake).flatten(1).norm(dim=1)
    torch.testing.assert_close(penalty, (3 * lengths - 1).square().mean())
    penalty.backward()
    torch.testing.assert_close(critic.w.grad, (2 * (3 * lengths - 1) * lengths).mean())
    assert real.grad is None


def test_every_loss_is_documented_with_its_formula() -> None:
    for name, value in vars(gan_losses).items():
        if name.endswith(("_loss", "_penalty")):
            assert ".. math::" in value.__doc__
