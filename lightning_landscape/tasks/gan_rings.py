"""Rings of Gaussians, learnt without and with prediction: collapsed runs, covered modes, and the samples in motion."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from lightning.pytorch import seed_everything
from omegaconf import DictConfig
from torch import Tensor, nn

from lightning_landscape.callbacks.collapse_monitor import CollapseMonitor
from lightning_landscape.data.ring import GaussianRing
from lightning_landscape.figures.samples import animate_samples, headings, plot_samples
from lightning_landscape.modules.prediction_gan import PredictionGAN
from lightning_landscape.records.gan_runs import GANRun
from lightning_landscape.records.surface_file import check_writable
from lightning_landscape.sampling.modes import mode_coverage
from lightning_landscape.tasks.gan_sweep import final_measures, fit, kept, report, settings_of

_MEASURES = ("modes_covered", "good_samples", "distance")
_KEPT_SAMPLES = 400  # of each run and measurement, for the animation


def gan_rings(cfg: DictConfig) -> list[Path]:
    """Train every combination of learning rate, beta1, prediction and seed in ``cfg.sweep``.

    One training of a `PredictionGAN` holds all rates and seeds side by side, each network with a learning rate, noise
    and data of its own (`StackedMLP`). Weights, noise and data at the start are the same without and with prediction.

    Returns:
        The table of runs, its figure, the animation of the samples and their last frame.
    """
    folder = Path(cfg.output_dir)
    check_writable(folder)
    runs: list[GANRun] = []
    for beta1, prediction in product(cfg.sweep.betas, cfg.sweep.predictions):
        name = _name(beta1, prediction)
        runs += kept(
            folder / "runs" / f"{name}.json",
            settings_of(cfg),
            partial(_train, cfg, beta1, prediction, folder / "runs" / f"{name}.npz"),
        )
    data: GaussianRing = instantiate(cfg.data)
    modes = data.modes.numpy()
    caption = (
        f"{cfg.sweep.seeds} seeds each, {cfg.sweep.iterations:,} iterations of batch {data.batch_size}, loss "
        f"{cfg.gan.loss}. Collapsed: discriminator loss below {cfg.sweep.threshold:g} for {cfg.sweep.patience} "
        "iterations. A mode is covered with 0.08 / modes of the samples, a sample good within 0.1 of a mode. Means "
        "over the last fifth of the training."
    )
    written = report(cfg, runs, ("modes_covered", "good_samples"), len(modes), caption)
    return [*written, *_animate(cfg, modes, folder)]


def _name(beta1: float, prediction: str) -> str:
    return f"beta1={beta1:g}-{prediction}"


def _train(cfg: DictConfig, beta1: float, prediction: str, frames: Path) -> list[GANRun]:
    seed_everything(cfg.seed, verbose=False)
    rates, seeds = list(cfg.sweep.rates), int(cfg.sweep.seeds)
    count = len(rates) * seeds
    data: GaussianRing = instantiate(cfg.data, count=count, batches=cfg.sweep.iterations, seed=cfg.seed)
    gan: PredictionGAN = instantiate(cfg.gan, _convert_="all")(
        generator=instantiate(cfg.sweep.generator, _convert_="all")(count=count, groups=len(rates)),
        discriminator=instantiate(cfg.sweep.discriminator, _convert_="all")(count=count, groups=len(rates)),
        latent_shape=(count, cfg.sweep.generator.in_features),
        optimizer=partial(adam_with_rates, rates=rates, beta1=beta1),
        prediction=prediction,
        seed=cfg.seed,
    )
    clouds: list[Tensor] = []

    def quality(samples: Tensor) -> dict[str, Tensor]:
        clouds.append(samples[:_KEPT_SAMPLES].cpu())
        return mode_coverage(samples, data.modes)

    monitor = CollapseMonitor(
        cfg.sweep.measure_every, threshold=cfg.sweep.threshold, patience=cfg.sweep.patience, quality=quality
    )
    fit(cfg, _name(beta1, prediction), gan, data, [monitor])
    frames.parent.mkdir(parents=True, exist_ok=True)
    steps = [row["iteration"] for row in monitor.history]
    np.savez(frames, samples=torch.stack(clouds).numpy(), iterations=np.array(steps))
    return [
        GANRun(
            rates[run // seeds], beta1, prediction, run % seeds, at, final_measures(monitor, _MEASURES, run)
        )
        for run, at in enumerate(monitor.collapsed_at)
    ]  # fmt: skip


def adam_with_rates(parameters: Iterator[nn.Parameter], rates: list[float], beta1: float) -> torch.optim.Adam:
    """Adam for stacked networks: the first group of parameters of each layer learns with the first rate, and so on."""
    every = list(parameters)
    groups = [{"params": every[number :: len(rates)], "lr": rate} for number, rate in enumerate(rates)]
    return torch.optim.Adam(groups, betas=(beta1, 0.999), fused=True)


def _animate(cfg: DictConfig, modes: np.ndarray, folder: Path) -> list[Path]:
    """The samples over training at one learning rate and beta1, without and with prediction side by side."""
    shown = cfg.sweep.animate
    run = list(cfg.sweep.rates).index(shown.rate) * cfg.sweep.seeds + shown.seed
    panels: dict[str, np.ndarray] = {}
    iterations: list[int] = []
    for prediction in cfg.sweep.predictions:
        with np.load(folder / "runs" / f"{_name(shown.beta1, prediction)}.npz") as file:
            panels[_WORDS.get(prediction, prediction)] = file["samples"][:, :, run]
            iterations = file["iterations"].tolist()
    frames = {
        heading: {name: clouds[number] for name, clouds in panels.items()}
        for number, heading in enumerate(headings(iterations))
    }
    words = f"rate {shown.rate:g}, beta1 {shown.beta1:g}"
    path = animate_samples(frames, folder / "samples.gif", modes=modes, title=words)
    last, heading = list(frames.values())[-1], list(frames)[-1]
    picture = folder / "samples.png"
    plot_samples(last, modes=modes, title=f"{words}, {heading}").savefig(picture, dpi=130)
    return [path, picture]


_WORDS = {"neither": "without prediction", "generator": "with prediction"}
