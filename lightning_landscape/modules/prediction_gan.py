"""The LightningModule of a generative adversarial network, with or without the prediction step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_landscape.callbacks.loggers import publish
from lightning_landscape.engine.guard import Guard
from lightning_landscape.errors import LandscapeError, PredictionError
from lightning_landscape.figures.samples import plot_samples
from lightning_landscape.modules.gan_losses import LOSSES, AdversarialLoss, gradient_penalty
from lightning_landscape.optim.prediction import Prediction

Predicted = Literal["neither", "generator", "discriminator", "both"]
MakeOptimizer = Callable[[Iterator[nn.Parameter]], Optimizer]

# Of Radford, Metz and Chintala (2016), and of most GANs since.
DCGAN_ADAM: MakeOptimizer = partial(torch.optim.Adam, lr=2e-4, betas=(0.5, 0.999))


class PredictionGAN(LightningModule):
    """Trains a generator against a discriminator, either of which may be met at its prediction.

    One iteration, in the order of the paper's released code: the discriminator's step on a batch of real examples and
    on as many samples of the generator, which stands at its prediction; then the generator's step on the same noise,
    against the discriminator, which stands at its prediction. "generator" is the method of Yadav, Shah, Xu, Jacobs and
    Goldstein (ICLR 2018); "neither" is the usual GAN. Look-aheads begin with a player's second step.

    Each step logs ``discriminator_loss`` and, where the generator was stepped, ``generator_loss``, and returns both;
    after each epoch samples are published to the loggers as a figure: a grid of images, or points of the plane.

    A run that is resumed from a checkpoint goes on exactly: weights, optimizers and displacements are in the
    checkpoint, and the noise of a step is drawn from a generator of its own, seeded with ``seed``, the step's number
    and the rank. The order of the data is the loader's business. Checkpoints hold tensors and plain numbers alone; to
    restore one, pass the networks again.

    Under DDP each step uses the parameters of one player only: take ``strategy="ddp_find_unused_parameters_true"``.

    Args:
        generator: maps noise ``[N, *latent_shape]`` to examples ``[N, ...]``.
        discriminator: maps examples to scores without a sigmoid, ``[N]`` or ``[N, outputs]``.
        latent_shape: of the normal noise of one example.
        loss: "minimax", "non-saturating", "least-squares", "wasserstein" (with gradient penalty 10), or an
            `AdversarialLoss`.
        prediction: whom the opponent meets at the prediction.
        optimizer: makes a player's optimizer from its parameters.
        discriminator_optimizer: the same for the discriminator; None for one like the generator's.
        discriminator_steps: batches on which the discriminator is stepped for each step of the generator.
        samples: how many samples are drawn after each epoch; 0 for none.
        seed: of the noise.

    Raises:
        LandscapeError: for an unknown loss or prediction, or a number out of its range.

    Example:
        >>> gan = PredictionGAN(nn.Linear(2, 3), nn.Linear(3, 1), latent_shape=2)
        >>> gan.sample(5).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        latent_shape: int | Sequence[int],
        *,
        loss: str | AdversarialLoss = "minimax",
        prediction: Predicted = "generator",
        optimizer: MakeOptimizer = DCGAN_ADAM,
        discriminator_optimizer: MakeOptimizer | None = None,
        discriminator_steps: int = 1,
        samples: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if isinstance(loss, str) and loss not in LOSSES:
            raise LandscapeError(f"loss={loss!r} is unknown: choose one of {', '.join(LOSSES)}, or an AdversarialLoss")
        if prediction not in get_args(Predicted):
            raise LandscapeError(
                f"prediction={prediction!r} is unknown: choose one of {', '.join(get_args(Predicted))}"
            )
        for option, value, least in (
            ("discriminator_steps", discriminator_steps, 1),
            ("samples", samples, 0),
            ("seed", seed, 0),
        ):
            if value < least:
                raise LandscapeError(f"{option}={value}: give a whole number of at least {least}")
        self.save_hyperparameters("prediction", "discriminator_steps", "seed")
        self.automatic_optimization = False
        self.generator = generator
        self.discriminator = discriminator
        self.latent_shape = (latent_shape,) if isinstance(latent_shape, int) else tuple(latent_shape)
        self.loss = LOSSES[loss] if isinstance(loss, str) else loss
        self.prediction: Predicted = prediction
        self.generator_optimizer = optimizer
        self.discriminator_optimizer = discriminator_optimizer or optimizer
        self.discriminator_steps = discriminator_steps
        self.samples = samples
        self.seed = seed
        self._generator_prediction: Prediction | None = None
        self._discriminator_prediction: Prediction | None = None

    def forward(self, noise: Tensor) -> Tensor:
        """Examples ``[N, ...]`` from noise ``[N, *latent_shape]``."""
        examples: Tensor = self.generator(noise)
        return examples

    def sample(self, count: int, seed: int = 0) -> Tensor:
        """Draw samples in eval mode, without any effect on the training.

        Args:
            count: how many.
            seed: of their noise; the same seed gives the same noise whatever has happened in between.

        Returns:
            ``[count, ...]``, without a graph.
        """
        with Guard(self.generator):
            samples: Tensor = self(self._normal(count, torch.Generator(self.device).manual_seed(seed)))
            return samples

    def configure_optimizers(self) -> list[Optimizer]:
        """The generator's and the discriminator's optimizer."""
        optimizers = [
            self.generator_optimizer(self.generator.parameters()),
            self.discriminator_optimizer(self.discriminator.parameters()),
        ]
        predicted = self.prediction
        self._generator_prediction = Prediction(optimizers[0]) if predicted in {"generator", "both"} else None
        self._discriminator_prediction = Prediction(optimizers[1]) if predicted in {"discriminator", "both"} else None
        return optimizers

    def on_fit_start(self) -> None:
        """Refuse automatic optimization.

        Raises:
            PredictionError: if it was switched on.
        """
        if self.automatic_optimization:
            raise PredictionError(
                "PredictionGAN was given automatic_optimization=True, with which Lightning would step one optimizer "
                "around the whole training_step: leave it False, the module steps both players itself"
            )

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Step the discriminator and, every ``discriminator_steps`` batches, the generator."""
        real: Tensor = batch if isinstance(batch, Tensor) else batch[0]
        random = self._random()
        noise = self._normal(len(real), random)
        losses = {"discriminator_loss": self._step_discriminator(real, noise, random)}
        if (batch_idx + 1) % self.discriminator_steps == 0:
            losses["generator_loss"] = self._step_generator(noise)
        self.log_dict({name: loss.mean() for name, loss in losses.items()}, prog_bar=True)
        return losses

    def on_train_epoch_end(self) -> None:
        """Publish samples of the same noise after each epoch."""
        if self.samples and self.trainer.is_global_zero:
            figure = plot_samples(self.sample(self.samples).cpu().numpy())
            publish(self.trainer.loggers, self.global_step, figures={"samples": figure})

    def _step_discriminator(self, real: Tensor, noise: Tensor, random: torch.Generator) -> Tensor:
        _, optimizer = self._optimizers()
        with self._at(self._generator_prediction), torch.no_grad():
            fake = self(noise)
        losses = self.loss.discriminator(self.discriminator(real), self.discriminator(fake))
        total = losses.sum()
        if self.loss.penalty:
            mixture = torch.rand(len(real), generator=random, device=self.device)
            total = total + self.loss.penalty * gradient_penalty(self.discriminator, real, fake, mixture)
        optimizer.zero_grad()
        self.manual_backward(total)
        optimizer.step()
        return losses.detach()

    def _step_generator(self, noise: Tensor) -> Tensor:
        optimizer, _ = self._optimizers()
        self.toggle_optimizer(optimizer)
        with self._at(self._discriminator_prediction):
            losses = self.loss.generator(self.discriminator(self(noise)))
            optimizer.zero_grad()
            # Within the look-ahead: the way back goes through the discriminator's weights.
            self.manual_backward(losses.sum())
        optimizer.step()
        self.untoggle_optimizer(optimizer)
        return losses.detach()

    def _optimizers(self) -> Any:
        return self.optimizers()

    def _random(self) -> torch.Generator:
        """The generator of this step's noise, the same whether the run was interrupted or not."""
        seed = np.random.SeedSequence((self.seed, self.global_step, self.global_rank)).generate_state(1)
        return torch.Generator(self.device).manual_seed(int(seed[0]))

    def _normal(self, count: int, random: torch.Generator) -> Tensor:
        return torch.randn(count, *self.latent_shape, generator=random, device=self.device)

    def _at(self, prediction: Prediction | None) -> AbstractContextManager[None]:
        return prediction.lookahead() if prediction is not None and prediction.stepped else nullcontext()
