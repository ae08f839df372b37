"""GradientSubspace: how much of the gradient lies in the leading subspace of the Hessian, while a run trains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_landscape.callbacks.curvature_callback import CurvatureCallback
from lightning_landscape.curvature.curvature import Curvature
from lightning_landscape.curvature.top_subspace import gradient_shares, subspace_overlap
from lightning_landscape.engine.objective import OwnStep, Step
from lightning_landscape.errors import LandscapeError
from lightning_landscape.figures import plot_subspace
from lightning_landscape.geometry.weights import Role, Weights
from lightning_landscape.records.curvature import CurvatureHistory
from lightning_landscape.records.trajectory import Trajectory, TrajectoryFile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_VECTOR = "eigenvector"


class GradientSubspace(CurvatureCallback):
    """Measures the share of the gradient in the leading subspace of the Hessian, and how that subspace moves.

    At the start, after every n epochs and at the end; training with the callback ends with the same bits as training
    without it. The record, ``<log_dir>/landscape/subspace.h5``, is a `CurvatureHistory`; the eigenvectors lie beside it
    in ``subspace-vectors.h5``, so that a resumed run compares with what came before.

    Args:
        k: the dimension of the subspace: the number of classes, in the source.
        every_n_epochs: also after every n-th epoch; None for start and end alone.
        at_checkpoints: also whenever `ModelCheckpoint` has saved.
        step: as in `HessianSpectrum`.
        name: of the record and the figures.
        more: eigenvalues beyond the k-th, to see where the outliers end.
        tolerance: residuals of the eigenvalues, in relation to them.
        data: as in `HessianSpectrum`.
        examples: how many, a fixed random choice; or all.
        parameters: patterns such as ``"layer3.*"``; None for all that are trained.
        seed: of the examples and the start vector.
        dirpath: another folder than ``<log_dir>/landscape``.

    Raises:
        LandscapeError: for an option out of its range.

    Source: Gur-Ari, Roberts and Dyer, arXiv 1812.04754.

    >>> GradientSubspace(k=0)
    Traceback (most recent call last):
    lightning_landscape.errors.LandscapeError: k=0: give a number of at least 1
    """

    kind = "subspace"

    def __init__(
        self,
        k: int = 10,
        every_n_epochs: int | None = 1,
        at_checkpoints: bool = False,
        step: Step | OwnStep | None = None,
        name: str = "subspace",
        *,
        more: int = 5,
        tolerance: float = 1e-2,
        data: Literal["train", "val"] | DataLoader[Any] = "train",
        examples: int | Literal["all"] = 256,
        parameters: Sequence[str] | None = None,
        seed: int = 0,
        dirpath: str | Path | None = None,
    ) -> None:
        super().__init__(every_n_epochs, at_checkpoints, step, name, data, examples, parameters, seed, dirpath)
        for option, value, least in (("k", k, 1), ("more", more, 0)):
            if value < least:
                raise LandscapeError(f"{option}={value}: give a number of at least {least}")
        self.k = k
        self.more = more
        self.tolerance = tolerance
        self._first: Tensor | None = None
        self._previous: Tensor | None = None
        self._current: Tensor | None = None
        self._vectors: TrajectoryFile | None = None

    def measure(self, curvature: Curvature) -> Mapping[str, Any]:
        """Compute the leading eigenvectors and the gradient at the weights of this moment."""
        size = curvature.hessian.shape[0]
        loss, gradient = curvature.gradient()
        pairs = curvature.eigenpairs(min(self.k + self.more, size), tolerance=self.tolerance)
        self._current = pairs.vectors[: self.k].float().cpu()

        def overlap(other: Tensor | None) -> float:
            return math.nan if other is None or self._current is None else subspace_overlap(self._current, other)

        return {
            "loss": loss,
            "gradient_norm": float(gradient.double().norm()),
            "largest": pairs.values,
            "largest_residual": pairs.residuals,
            "share": gradient_shares(pairs.vectors, gradient),
            "overlap_previous": overlap(self._previous),
            "overlap_first": overlap(self._first),
        }

    def facts(self) -> Mapping[str, Any]:
        """Return the settings of the estimates."""
        return {"k": self.k, "tolerance": self.tolerance, "sample_seed": self.seed}

    def figures(self, history: CurvatureHistory) -> Mapping[str, Figure]:
        """Draw shares, overlaps and eigenvalues."""
        return {"share": plot_subspace(history)}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the record and its eigenvectors, and measure before the first step."""
        self._first = self._previous = None
        super().on_train_start(trainer, pl_module)

    def _resume(self, trainer: Trainer) -> int:
        """Also take up the eigenvectors of the resumed run."""
        last = super()._resume(trainer)
        if self._file is None or self.path is None:
            return last
        source, target = _beside(Path(self._restored)), _beside(self.path)
        if source.exists():
            other = source if source.resolve() != target.resolve() else None
            self._vectors = TrajectoryFile.resume(target, after_step=last, source=other)
            with Trajectory.load(target) as rows:
                if len(rows):
                    self._first, self._previous = (_vectors_at(rows, step) for step in (rows.steps[0], rows.steps[-1]))
        return last

    def _write(self, values: Mapping[str, Any], facts: Mapping[str, Any], trainer: Trainer, epoch: int) -> None:
        """Write the eigenvectors before the numbers that belong to them."""
        assert self._current is not None
        assert self.path is not None
        rows = [Weights({_VECTOR: vector}, {_VECTOR: Role(filter_dim=None)}) for vector in self._current]
        if self._vectors is None:
            self._vectors = TrajectoryFile.create(_beside(self.path), rows[0], capacity=8 * self.k)
        for row in rows:
            self._vectors.append(row, step=trainer.global_step, epoch=epoch)
        super()._write(values, facts, trainer, epoch)
        self._first = self._current if self._first is None else self._first
        self._previous = self._current

    def _close(self) -> None:
        super()._close()
        if self._vectors is not None:
            self._vectors.close()
            self._vectors = None


def _vectors_at(rows: Trajectory, step: int) -> Tensor:
    return torch.stack([rows[int(i)][_VECTOR] for i in np.flatnonzero(rows.steps == step)])


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}-vectors.h5")
