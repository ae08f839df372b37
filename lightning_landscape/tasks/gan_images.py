"""Images, learnt by a DCGAN without and with prediction, and judged by a classifier that is trained here."""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from lightning.pytorch import Trainer, seed_everything
from omegaconf import DictConfig
from torch import Tensor

from lightning_landscape.callbacks.collapse_monitor import CollapseMonitor
from lightning_landscape.data.images import ImageDataModule
from lightning_landscape.engine.guard import Guard
from lightning_landscape.figures.samples import plot_samples
from lightning_landscape.modules.classifier import Classifier
from lightning_landscape.modules.prediction_gan import PredictionGAN
from lightning_landscape.records.gan_runs import GANRun
from lightning_landscape.records.surface_file import check_writable
from lightning_landscape.sampling.modes import classifier_score
from lightning_landscape.tasks.gan_sweep import final_measures, fit, kept, report, settings_of

_MEASURES = ("classifier_score", "classes_covered")
_KEPT_SAMPLES = 25


def gan_images(cfg: DictConfig) -> list[Path]:
    """Train every combination of learning rate, beta1, prediction and seed in ``cfg.sweep``, one after the other.

    Weights, noise and order of the data at the start are the same without and with prediction.

    Returns:
        The table of runs, its figure, and samples of the first seed.
    """
    folder = Path(cfg.output_dir)
    check_writable(folder)
    data: ImageDataModule = instantiate(cfg.data, _convert_="all")
    data.prepare_data()
    classifier = _classifier(cfg, data, folder / "classifier.pt")
    accuracy, real = _on_real_images(classifier, data)
    runs: list[GANRun] = []
    for beta1, rate, seed, prediction in product(
        cfg.sweep.betas, cfg.sweep.rates, cfg.sweep.seeds, cfg.sweep.predictions
    ):
        name = _name(beta1, rate, seed, prediction)
        train = partial(_train, cfg, data, classifier, (beta1, rate, seed, prediction), folder / "runs" / f"{name}.npz")
        runs += kept(folder / "runs" / f"{name}.json", settings_of(cfg), train)
    caption = (
        f"{len(cfg.sweep.seeds)} seeds each, {_iterations(cfg, data):,} iterations of batch {data.batch_size}, "
        f"loss {cfg.gan.loss}. The score is of a classifier trained here (test accuracy "
        f"{accuracy:.1%}), which gives the real test images {real:.2f} (dashed); it is not the inception score. "
        f"Collapsed: discriminator loss below {cfg.sweep.threshold:g} for "
        f"{cfg.sweep.patience} iterations. Means over the last fifth of the training."
    )
    return [*report(cfg, runs, _MEASURES, real, caption), _samples(cfg, folder)]


def _name(beta1: float, rate: float, seed: int, prediction: str) -> str:
    return f"beta1={beta1:g}-rate={rate:g}-seed={seed}-{prediction}"


def _classifier(cfg: DictConfig, data: ImageDataModule, path: Path) -> Classifier:
    """Train the classifier, or load the one of an interrupted sweep."""
    seed_everything(cfg.seed, verbose=False)
    classifier = Classifier(
        instantiate(cfg.model, _convert_="all"), partial(torch.optim.Adam, lr=1e-3), num_classes=cfg.images.classes
    )
    if path.exists():
        classifier.load_state_dict(torch.load(path, weights_only=True))
        return classifier
    trainer = Trainer(
        max_epochs=cfg.sweep.classifier_epochs,
        accelerator=cfg.trainer.accelerator,
        limit_train_batches=cfg.trainer.limit_train_batches,
        limit_val_batches=0,
        enable_progress_bar=cfg.trainer.enable_progress_bar,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(classifier, datamodule=data)
    torch.save(classifier.state_dict(), path)
    return classifier


def _on_real_images(classifier: Classifier, data: ImageDataModule) -> tuple[float, float]:
    """The classifier's accuracy on the test images, and the score that it gives them."""
    with Guard(classifier):
        results = [(classifier(images), labels) for images, labels in data.test_dataloader()]
    logits, labels = torch.cat([r[0] for r in results]), torch.cat([r[1] for r in results])
    return (logits.argmax(1) == labels).float().mean().item(), classifier_score(logits)[_MEASURES[0]].item()


def _train(
    cfg: DictConfig,
    data: ImageDataModule,
    classifier: Classifier,
    combination: tuple[float, float, int, str],
    samples: Path,
) -> list[GANRun]:
    beta1, rate, seed, prediction = combination
    seed_everything(cfg.seed + seed, verbose=False)
    gan: PredictionGAN = instantiate(cfg.gan, _convert_="all")(
        generator=instantiate(cfg.sweep.generator, _convert_="all"),
        discriminator=instantiate(cfg.sweep.discriminator, _convert_="all"),
        latent_shape=cfg.sweep.generator.latent_dim,
        optimizer=partial(torch.optim.Adam, lr=rate, betas=(beta1, 0.999)),
        prediction=prediction,
        seed=cfg.seed + seed,
    )

    def quality(images: Tensor) -> dict[str, Tensor]:
        with Guard(classifier):
            return classifier_score(classifier.to(images.device)(images))

    monitor = CollapseMonitor(
        cfg.sweep.measure_every,
        threshold=cfg.sweep.threshold,
        patience=cfg.sweep.patience,
        quality=quality,
        samples=cfg.sweep.samples,
    )
    fit(cfg, _name(*combination), gan, data.train_dataloader(), [monitor])
    samples.parent.mkdir(parents=True, exist_ok=True)
    np.savez(samples, samples=gan.sample(_KEPT_SAMPLES).cpu().numpy())
    (at,) = monitor.collapsed_at
    return [GANRun(rate, beta1, prediction, seed, at, final_measures(monitor, _MEASURES))]


def _iterations(cfg: DictConfig, data: ImageDataModule) -> int:
    batches, limit = len(data.train_dataloader()), cfg.trainer.limit_train_batches
    return int(cfg.trainer.max_epochs * (limit * batches if isinstance(limit, float) else min(limit, batches)))


def _samples(cfg: DictConfig, folder: Path) -> Path:
    """The last samples of the first seed, for each learning rate and prediction."""
    panels = {}
    seed, beta1 = cfg.sweep.seeds[0], cfg.sweep.betas[0]
    for rate, prediction in product(cfg.sweep.rates, cfg.sweep.predictions):
        with np.load(folder / "runs" / f"{_name(beta1, rate, seed, prediction)}.npz") as file:
            words = "without" if prediction == "neither" else "with"
            panels[f"{rate:g}, {words}"] = file["samples"]
    path = folder / "samples.png"
    caption = f"First seed, beta1 {beta1:g}; learning rate, without or with prediction."
    plot_samples(panels, title=cfg.title, caption=caption).savefig(path, dpi=130)
    return path
