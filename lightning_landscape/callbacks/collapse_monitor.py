"""CollapseMonitor: when the training of a GAN collapses, and how good its samples are."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_landscape.engine.guard import Guard
from lightning_landscape.errors import LandscapeError

Quality = Callable[[Tensor], Mapping[str, Tensor]]


class CollapseMonitor(Callback):
    """Says when the training of a GAN collapses, and measures its samples along the way.

    **Collapse**, as defined here: the discriminator's loss stays below ``threshold`` for ``patience`` iterations on
    end, or is not finite for as long. With the cross-entropy of the "minimax" and "non-saturating" losses, 2 ln 2 =
    1.386 when real and generated examples cannot be told apart, a loss of 0.01 says that every example is told apart
    almost surely; the generator then gets no direction to improve in. The paper on the prediction step judges collapse
    by eye from loss curves and images; this definition is ours. It does not see a generator that makes good samples of
    one mode only: that is what ``quality`` is for.

    The measurements go to every logger under ``name/``, and stay in ``history``; a collapse also warns, once. The
    training does not notice: samples are drawn in eval mode from a random stream of their own.

    The module's ``training_step`` returns a dictionary with the discriminator's loss, a scalar or, for several
    networks side by side, ``[runs]``; `PredictionGAN` does.

    Args:
        every_n_steps: iterations (batches) between two measurements.
        threshold: of the discriminator's loss; None for losses without a natural zero, such as the Wasserstein loss:
            then only the samples are measured.
        patience: iterations on end that make a collapse.
        quality: measures samples, such as ``partial(mode_coverage, modes=...)``: names and values, scalars or
            ``[runs]``. It needs a module with a method ``sample(count, seed)``, as `PredictionGAN` has.
        samples: how many samples are drawn for a measurement.
        loss: the key of the discriminator's loss in what ``training_step`` returns.
        name: of the group of metrics, and what distinguishes several monitors of one run.
        seed: of the samples' noise, the same at each measurement.

    Raises:
        LandscapeError: for a number out of its range.

    >>> CollapseMonitor(patience=0)
    Traceback (most recent call last):
    lightning_landscape.errors.LandscapeError: patience=0: give a number of at least 1
    """

    def __init__(
        self,
        every_n_steps: int = 100,
        *,
        threshold: float | None = 0.01,
        patience: int = 500,
        quality: Quality | None = None,
        samples: int = 2500,
        loss: str = "discriminator_loss",
        name: str = "gan",
        seed: int = 0,
    ) -> None:
        for option, value in (("every_n_steps", every_n_steps), ("patience", patience), ("samples", samples)):
            if value < 1:
                raise LandscapeError(f"{option}={value}: give a number of at least 1")
        self.every_n_steps = every_n_steps
        self.threshold = threshold
        self.patience = patience
        self.quality = quality
        self.samples = samples
        self.loss = loss
        self.name = name
        self.seed = seed
        self.iteration = 0
        self.history: list[dict[str, Any]] = []
        self._streak = torch.zeros((), dtype=torch.long)
        self._collapsed_at = torch.full((), -1)

    @property
    def state_key(self) -> str:
        """Several monitors in one run are told apart by their names."""
        return self._generate_state_key(name=self.name)

    @property
    def collapsed_at(self) -> list[int | None]:
        """For each run, the iteration at which its collapse was complete, or None."""
        return [at if at >= 0 else None for at in self._collapsed_at.reshape(-1).tolist()]

    def state_dict(self) -> dict[str, Any]:
        """Return the counts and the history, as tensors and plain numbers."""
        return {
            "iteration": self.iteration,
            "streak": self._streak.cpu(),
            "collapsed_at": self._collapsed_at.cpu(),
            "history": self.history,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting where the run that is resumed was interrupted."""
        self.iteration = state_dict["iteration"]
        self._streak, self._collapsed_at = state_dict["streak"], state_dict["collapsed_at"]
        self.history = list(state_dict["history"])

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a module without samples.

        Raises:
            LandscapeError: if the quality of samples is asked for, and the module cannot draw any.
        """
        if stage == "fit" and self.quality is not None and not callable(getattr(pl_module, "sample", None)):
            raise LandscapeError(
                f"CollapseMonitor(quality=...) draws samples, and {type(pl_module).__name__} has no method "
                "sample(count, seed): add one, or leave the quality out"
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the iterations with a small loss; measure every n-th time.

        Raises:
            LandscapeError: if the step does not return the discriminator's loss, or that is negative.
        """
        self.iteration += 1
        if self.threshold is not None:
            if not isinstance(outputs, Mapping) or self.loss not in outputs:
                found = sorted(outputs) if isinstance(outputs, Mapping) else type(outputs).__name__
                raise LandscapeError(
                    f"CollapseMonitor looks for {self.loss!r} in what training_step returns, and found {found}: return "
                    "a dictionary with the discriminator's loss, or say its key with loss="
                )
            self._count(outputs[self.loss].detach(), self.threshold)
        if self.iteration % self.every_n_steps == 0:
            self._measure(trainer, pl_module, outputs)

    def _count(self, losses: Tensor, threshold: float) -> None:
        if self._streak.shape != losses.shape or self._streak.device != losses.device:
            self._streak = self._streak.to(losses.device).expand(losses.shape)
            self._collapsed_at = self._collapsed_at.to(losses.device).expand(losses.shape)
        # A loss that is not a number is not above the threshold either.
        above = (losses >= threshold) & losses.isfinite()
        self._streak = torch.where(above, 0, self._streak + 1)
        complete = (self._streak >= self.patience) & (self._collapsed_at < 0)
        self._collapsed_at = torch.where(complete, self.iteration, self._collapsed_at)

    def _measure(self, trainer: Trainer, pl_module: LightningModule, outputs: Any) -> None:
        module: Any = pl_module
        values: dict[str, Tensor] = {}
        if self.threshold is not None:
            losses = outputs[self.loss].detach()
            if (losses < 0).any():
                raise LandscapeError(
                    f"the discriminator's loss is {losses.min():.3g}, and collapse is defined for losses that cannot "
                    "be negative: give threshold=None, with which only the samples are measured"
                )
            values = {self.loss: losses, "collapsed": (self._collapsed_at >= 0).to(losses)}
            self._announce()
        if self.quality is not None:
            with Guard(pl_module, trainer):
                values |= self.quality(module.sample(self.samples, self.seed))
        plain = {name: value.reshape(-1).tolist() for name, value in values.items()}
        self.history.append({"iteration": self.iteration, **plain})
        if trainer.is_global_zero:
            means = {f"{self.name}/{name}": sum(each) / len(each) for name, each in plain.items()}
            for logger in trainer.loggers:
                logger.log_metrics(means, step=trainer.global_step)

    def _announce(self) -> None:
        known = self.history[-1]["collapsed"] if self.history else []
        for run, at in enumerate(self.collapsed_at):
            if at is not None and not (known and known[run]):
                which = f" of run {run}" if len(self.collapsed_at) > 1 else ""
                warnings.warn(
                    f"the training{which} collapsed at iteration {at}: for {self.patience} iterations the "
                    f"discriminator's loss was below {self.threshold}",
                    stacklevel=2,
                )
