"""The GAN in a real trainer: its order of steps, prediction, checkpoints, samples and refusals."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_landscape import (
    Grid,
    LandscapeError,
    LossLandscape,
    ObjectiveError,
    Plane,
    Prediction,
    PredictionError,
    PredictionGAN,
    Surface,
    TrajectoryRecorder,
    compute_surface,
    weights_of,
)
from lightning_landscape.data import GaussianRing
from lightning_landscape.models import DCGANDiscriminator, DCGANGenerator, StackedMLP
from lightning_landscape.modules.gan_losses import LOSSES, gradient_penalty

ADAM = partial(torch.optim.Adam, lr=0.01, betas=(0.5, 0.999))


def networks() -> tuple[nn.Module, nn.Module]:
    seed_everything(0, verbose=False)
    generator = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))
    return generator, nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))


def gan(**options: Any) -> PredictionGAN:
    return PredictionGAN(*networks(), **{"latent_shape": 3, "optimizer": ADAM, "samples": 0, **options})


def trainer(folder: Path, callbacks: Sequence[Callback] = (), **options: Any) -> Trainer:
    settings = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": folder,
    }
    return Trainer(callbacks=list(callbacks), **settings | options)


def ring(batches: int = 4, batch_size: int = 8, **options: Any) -> GaussianRing:
    return GaussianRing(batches=batches, batch_size=batch_size, **options)


def weights(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def reference(
    loss: str, predicted: str, batches: list[Tensor], discriminator_steps: int = 1
) -> tuple[nn.Module, nn.Module]:
    """The same training in plain torch, with 2 w - w_old written out, in the order of the released code."""
    generator, discriminator = networks()
    players = (generator, discriminator)
    optimizers = [ADAM(player.parameters()) for player in players]
    old: list[list[Tensor] | None] = [None, None]
    game = LOSSES[loss]

    def moved(number: int) -> list[Tensor]:
        """Put a player to its prediction and return where it was."""
        here = weights(players[number])
        before = old[number]
        if before is not None and predicted in (("generator", "discriminator")[number], "both"):
            with torch.no_grad():
                for parameter, past in zip(players[number].parameters(), before, strict=True):
                    parameter.copy_(2 * parameter - past)
        return here

    def back(number: int, here: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(players[number].parameters(), here, strict=True):
                parameter.copy_(value)

    steps = 0
    for index, real in enumerate(batches):
        # seed, number of optimizer steps so far, rank
        seed = np.random.SeedSequence((0, steps, 0)).generate_state(1)
        random = torch.Generator().manual_seed(int(seed[0]))
        noise = torch.randn(len(real), 3, generator=random)
        here = moved(0)
        fake = generator(noise).detach()
        back(0, here)
        total = game.discriminator(discriminator(real), discriminator(fake)).sum()
        if game.penalty:
            mixture = torch.rand(len(real), generator=random)
            total = total + game.penalty * gradient_penalty(discriminator, real, fake, mixture)
        optimizers[1].zero_grad()
        total.backward()
        old[1] = weights(discriminator)
        optimizers[1].step()
        steps += 1
        if (index + 1) % discriminator_steps:
            continue
        here = moved(1)
        optimizers[0].zero_grad()
        game.generator(discriminator(generator(noise))).sum().backward()
        back(1, here)
        old[0] = weights(generator)
        optimizers[0].step()
        steps += 1
    return generator, discriminator


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("predicted", ["neither", "generator", "discriminator", "both"])
def test_training_is_that_of_plain_torch(tmp_path: Path, loss: str, predicted: Any) -> None:
    module, data = gan(loss=loss, prediction=predicted), ring()
    trainer(tmp_path).fit(module, data)
    expected = reference(loss, predicted, list(data.train_dataloader()))
    for found, player in zip((module.generator, module.discriminator), expected, strict=True):
        for a, b in zip(found.parameters(), player.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_several_discriminator_steps(tmp_path: Path) -> None:
    module, data = gan(loss="wasserstein", discriminator_steps=3), ring(batches=7)
    trainer(tmp_path).fit(module, data)
    expected = reference("wasserstein", "generator", list(data.train_dataloader()), 3)
    for a, b in zip(module.generator.parameters(), expected[0].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_predictions_differ_from_each_other(tmp_path: Path) -> None:
    ends = []
    for predicted in ("neither", "generator", "discriminator", "both"):
        module = gan(prediction=predicted)
        trainer(tmp_path).fit(module, ring())
        ends.append(module.generator[0].weight.detach())
    assert all(not torch.equal(a, b) for i, a in enumerate(ends) for b in ends[:i])


def test_stacked_networks_train_as_each_would_alone(tmp_path: Path) -> None:
    """Two learning rates and two seeds side by side, against one of them by itself with the same noise and data."""
    from lightning_landscape.tasks.gan_rings import adam_with_rates

    class Given(PredictionGAN):
        """Takes the noise of one of the networks of a stack."""

        run: int | None = None

        def _normal(self, count: int, random: torch.Generator) -> Tensor:
            noise = torch.randn(count, 4, 3, generator=random)
            return noise if self.run is None else noise[:, self.run : self.run + 1]

    def stack(count: int, outputs: int, inputs: int, groups: int) -> StackedMLP:
        return StackedMLP(count, inputs, (6, 5), outputs, groups)

    seed_everything(0, verbose=False)
    data = ring(count=4)
    rates = [0.001, 0.01]
    whole = Given(
        stack(4, 2, 3, 2),
        stack(4, 1, 2, 2),
        (4, 3),
        optimizer=partial(adam_with_rates, rates=rates, beta1=0.5),
        samples=0,
    )
    run = 3  # the second of those with the second rate
    alone = Given(stack(1, 2, 3, 1), stack(1, 1, 2, 1), (1, 3), optimizer=partial(ADAM, lr=rates[1]), samples=0)
    alone.run = run
    for player in ("generator", "discriminator"):
        for many, one in zip(getattr(whole, player).layers, getattr(alone, player).layers, strict=True):
            one.weights[0].data.copy_(many.weights[1][1:2])
            one.biases[0].data.copy_(many.biases[1][1:2])
    trainer(tmp_path).fit(whole, data)
    batches = [batch[:, run : run + 1] for batch in data.train_dataloader()]
    trainer(tmp_path).fit(alone, DataLoader(batches, batch_size=None))
    for player in ("generator", "discriminator"):
        for many, one in zip(getattr(whole, player).layers, getattr(alone, player).layers, strict=True):
            torch.testing.assert_close(many.weights[1][1], one.weights[0][0], rtol=0, atol=1e-6)
            torch.testing.assert_close(many.biases[1][1], one.biases[0][0], rtol=0, atol=1e-6)


def test_resumed_it_ends_in_the_same_place(tmp_path: Path) -> None:
    """Weights, statistics and optimizers, bit for bit; the file is read without pickles."""

    class Elsewhere(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            torch.rand(3)  # another user of the global stream, which is not in the checkpoint

    def run(epochs: int, resume: Path | None) -> tuple[PredictionGAN, Trainer]:
        module = gan(prediction="both", loss="wasserstein")
        fit = trainer(tmp_path, [Elsewhere()] if resume else [], max_epochs=epochs)
        fit.fit(module, ring(), ckpt_path=resume, weights_only=True)
        return module, fit

    whole, _ = run(2, None)
    half, fit = run(1, None)
    fit.save_checkpoint(tmp_path / "half.ckpt")
    assert "prediction" in torch.load(tmp_path / "half.ckpt", weights_only=True)["optimizer_states"][0]
    resumed, _ = run(2, tmp_path / "half.ckpt")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert not torch.equal(half.generator[0].weight, whole.generator[0].weight)


def test_without_the_displacement_the_resumed_run_would_differ(tmp_path: Path) -> None:
    """The previous test can fail."""
    whole, fit = gan(), trainer(tmp_path)
    fit.fit(whole, ring())
    fit.save_checkpoint(tmp_path / "half.ckpt")
    checkpoint = torch.load(tmp_path / "half.ckpt", weights_only=True)
    del checkpoint["optimizer_states"][0]["prediction"]
    torch.save(checkpoint, tmp_path / "poor.ckpt")
    ends = []
    for name in ("half", "poor"):
        module = gan()
        trainer(tmp_path, max_epochs=2).fit(module, ring(), ckpt_path=tmp_path / f"{name}.ckpt", weights_only=True)
        ends.append(module.discriminator[0].weight)
    assert not torch.equal(*ends)


class OwnGAN(LightningModule):
    """A user's own module, generator first; two lines make it a predicted one."""

    def __init__(self, predicted: bool) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator, self.discriminator = networks()
        self.predicted = predicted

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        optimizers = [ADAM(self.generator.parameters()), ADAM(self.discriminator.parameters())]
        self.prediction = Prediction(optimizers[0]) if self.predicted else None
        return optimizers

    def training_step(self, real: Tensor, batch_idx: int) -> None:
        generator_optimizer, discriminator_optimizer = self.optimizers()
        noise = torch.randn(len(real), 3, generator=torch.Generator().manual_seed(batch_idx))
        loss = nn.functional.softplus(-self.discriminator(self.generator(noise))).mean()
        generator_optimizer.zero_grad()
        self.manual_backward(loss)
        generator_optimizer.step()
        with self.prediction.lookahead() if self.prediction is not None else nullcontext():
            fake = self.generator(noise).detach()
        loss = LOSSES["minimax"].discriminator(self.discriminator(real), self.discriminator(fake)).sum()
        discriminator_optimizer.zero_grad()
        self.manual_backward(loss)
        discriminator_optimizer.step()


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_two_lines_change_a_users_own_module(tmp_path: Path, precision: str) -> None:
    ends = []
    for predicted in (False, True):
        module = OwnGAN(predicted)
        trainer(tmp_path, precision=precision).fit(module, ring())
        ends.append(module.discriminator[0].weight.detach())
    assert ends[0].isfinite().all()
    assert not torch.equal(*ends)


def test_it_logs_losses_and_samples(tmp_path: Path) -> None:
    seed_everything(0, verbose=False)
    module = PredictionGAN(
        DCGANGenerator(4, 1, 8, 2), DCGANDiscriminator(1, 8, 2), 4, samples=5, optimizer=ADAM, loss="least-squares"
    )
    images = [torch.rand(6, 1, 8, 8) for _ in range(3)]
    fit = trainer(tmp_path, logger=TensorBoardLogger(tmp_path), log_every_n_steps=1, max_epochs=2)
    fit.fit(module, DataLoader([[batch, torch.zeros(6)] for batch in images], batch_size=None))
    assert set(fit.callback_metrics) == {"discriminator_loss", "generator_loss"}
    events = EventAccumulator(str(fit.log_dir)).Reload()
    assert len(events.Images("samples")) == 2
    assert len(events.Scalars("generator_loss")) == 6


def test_samples_do_not_touch_the_training(tmp_path: Path) -> None:
    module = gan()
    trainer(tmp_path).fit(module, ring())
    module.train()
    state, stream = {k: v.clone() for k, v in module.state_dict().items()}, torch.get_rng_state()
    first = module.sample(10)
    assert first.shape == (10, 2)
    assert not first.requires_grad
    assert torch.equal(first, module.sample(10))
    assert not torch.equal(first, module.sample(10, seed=1))
    assert module.training
    assert module.generator[1].training
    assert torch.equal(stream, torch.get_rng_state())
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def discriminator_loss(module: PredictionGAN, batch: Tensor) -> dict[str, Tensor]:
    noise = torch.randn(len(batch), 3)
    scores = module.discriminator(batch), module.discriminator(module(noise))
    return {"discriminator_loss": module.loss.discriminator(*scores).sum()}


def test_the_landscape_of_a_gan(tmp_path: Path) -> None:
    """With a step of the user's; the training step itself would train, and is refused."""
    module, data = gan(), ring()
    landscape = LossLandscape(resolution=3, examples="all", data="train", step=discriminator_loss)
    fit = trainer(tmp_path, [landscape, TrajectoryRecorder(every_n_steps=2)])
    fit.fit(module, data)
    surface = Surface.load(landscape.surfaces[-1])
    assert surface.complete
    plane = Plane.random(weights_of(module), 0)
    again = compute_surface(
        module, data.train_dataloader(), plane, Grid(x=(-1, 1, 3), y=(-1, 1, 3)), discriminator_loss, progress=False
    )
    torch.testing.assert_close(again["discriminator_loss"], surface["discriminator_loss"])
    with pytest.raises(ObjectiveError, match="step="):
        compute_surface(module, data.train_dataloader(), plane, Grid(x=(0, 1, 2), y=(0, 1, 2)), "training_step")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss": "hinge"}, "choose one of minimax, non-saturating, least-squares, wasserstein"),
        ({"prediction": "all"}, "choose one of neither, generator, discriminator, both"),
        ({"discriminator_steps": 0}, "discriminator_steps=0"),
        ({"samples": -1}, "samples=-1"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(LandscapeError, match=words):
        gan(**options)


def test_automatic_optimization_is_refused(tmp_path: Path) -> None:
    module = gan()
    module.configure_optimizers = lambda: ADAM(module.parameters())  # type: ignore[method-assign]
    module.automatic_optimization = True
    with pytest.raises(PredictionError, match="leave it False"):
        trainer(tmp_path).fit(module, ring())


def test_a_look_ahead_under_automatic_optimization_is_refused(tmp_path: Path) -> None:
    class Automatic(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(2, 1)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            optimizer = ADAM(self.parameters())
            self.prediction = Prediction(optimizer)
            return optimizer

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            with self.prediction.lookahead():
                return self.net(batch).square().mean()

    with pytest.raises(PredictionError, match=r"self\.automatic_optimization = False"):
        trainer(tmp_path).fit(Automatic(), ring())
