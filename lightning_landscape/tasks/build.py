"""From a configuration to the objects of one run."""

from __future__ import annotations

import logging
import math
import re
import warnings
from dataclasses import dataclass
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader

from lightning_landscape.callbacks.loss_landscape import LossLandscape
from lightning_landscape.data.splits import EvaluationData
from lightning_landscape.engine.checkpoint import weights_from_checkpoint
from lightning_landscape.errors import LandscapeError
from lightning_landscape.geometry.weights import place

OmegaConf.register_new_resolver("product", lambda *factors: math.prod(int(f) for f in factors), replace=True)


@dataclass(frozen=True)
class Run:
    """The objects of one run.

    Attributes:
        cfg: its configuration.
        data: the data module.
        module: the LightningModule, with the weights of ``cfg.weights`` where one is given.
        trainer: the trainer, with its callbacks and loggers.
    """

    cfg: DictConfig
    data: LightningDataModule
    module: LightningModule
    trainer: Trainer

    @property
    def landscapes(self) -> list[LossLandscape]:
        """The callbacks that compute surfaces."""
        callbacks: list[Any] = self.trainer.callbacks  # type: ignore[attr-defined]
        return [callback for callback in callbacks if isinstance(callback, LossLandscape)]

    def loader(self, landscape: LossLandscape) -> DataLoader[Any]:
        """The data of one of the surfaces, before the trainer has any.

        Raises:
            LandscapeError: if there is none.
        """
        if isinstance(landscape.data, DataLoader):
            return landscape.data
        self.data.prepare_data()
        self.data.setup("fit")
        loader = self.data.train_dataloader() if landscape.data == "train" else self.data.val_dataloader()
        if isinstance(loader, list | tuple) and loader:
            loader = loader[0]
        if not isinstance(loader, DataLoader):
            raise LandscapeError(f"found no data loader for the surface {landscape.name!r}: give `data`")
        return loader


def of_run(cfg: DictConfig, name: str) -> DictConfig:
    """Return the configuration of one of ``cfg.runs``: with what sets it apart, and named after it."""
    merged = OmegaConf.merge(cfg, cfg.runs[name])
    assert isinstance(merged, DictConfig)
    merged.name = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
    return merged


def build_untrained(cfg: DictConfig) -> LightningModule:
    """Build the module around its network, with the weights that the seed gives."""
    seed_everything(cfg.seed, verbose=False)
    module: LightningModule = instantiate(cfg.module, net=instantiate(cfg.model), _convert_="all")
    return module


def build_module(cfg: DictConfig) -> LightningModule:
    """Build the module around its network, and load ``cfg.weights`` into it if given.

    Raises:
        RecordError: if the weights cannot be read.
        GeometryError: if they do not fit.
    """
    module = build_untrained(cfg)
    if cfg.weights is not None:
        place(module, weights_from_checkpoint(cfg.weights, module, buffers=True))
    return module


def build_run(cfg: DictConfig) -> Run:
    """Build everything that one run needs.

    Surfaces on training data are evaluated without augmentation, where the data module offers that.
    """
    module = build_module(cfg)
    data: LightningDataModule = instantiate(cfg.data, _convert_="all")
    callbacks = list(instantiate(cfg.callbacks, _convert_="all").values())
    for callback in callbacks:
        if isinstance(callback, LossLandscape) and callback.data == "train" and isinstance(data, EvaluationData):
            data.prepare_data()
            callback.data, callback.step = data.evaluation_dataloader("train"), callback.step or "training_step"
    loggers = list(instantiate(cfg.logger, _convert_="all").values())
    trainer: Trainer = instantiate(cfg.trainer, callbacks=callbacks, logger=loggers, _convert_="all")
    return Run(cfg, data, module, trainer)


def execute(run: Run) -> None:
    """Train the module, or, where its weights are given, compute the callbacks' surfaces of these."""
    if run.cfg.weights is None:
        run.trainer.fit(run.module, datamodule=run.data)
    else:
        run.trainer.validate(run.module, dataloaders=run.data.test_dataloader(), verbose=False)


def quieten() -> None:
    """Silence Lightning's advice on workers and its makers' services, and its use of a deprecated function."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
