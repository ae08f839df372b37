"""HessianSpectrum: eigenvalues, spectral density and trace of the Hessian while a run trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch.utils.data import DataLoader

from lightning_landscape.callbacks.curvature_callback import CurvatureCallback
from lightning_landscape.curvature.curvature import Curvature
from lightning_landscape.engine.objective import OwnStep, Step
from lightning_landscape.errors import LandscapeError
from lightning_landscape.figures import plot_sharpness, plot_spectrum
from lightning_landscape.records.curvature import CurvatureHistory

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class HessianSpectrum(CurvatureCallback):
    """Measures the leading eigenvalues, the spectral density and the trace of the Hessian of the module's own loss.

    At the start, after every n epochs and at the end; training with the callback ends with the same bits as training
    without it. The record, ``<log_dir>/landscape/spectrum.h5``, is a `CurvatureHistory`. The figures show the density,
    and the sharpness (the largest eigenvalue) beside 2 / lr, above which plain gradient descent is unstable; they lie
    beside the record and go to every logger.

    Args:
        every_n_epochs: also after every n-th epoch; None for start and end alone.
        at_checkpoints: also whenever `ModelCheckpoint` has saved.
        step: whose loss it is: ``step(module, batch)``, or the name of the module's own step; None for the step that
            belongs to the data.
        name: of the record and the figures.
        eigenvalues: how many of the largest.
        steps: Lanczos steps of each quadrature of the density.
        draws: quadratures, from whose spread the standard errors come.
        tolerance: residuals of the eigenvalues, in relation to them.
        data: "train" (with the training step, in eval mode), "val" or a data loader.
        examples: how many, a fixed random choice; or all.
        parameters: patterns such as ``"layer3.*"``; None for all that are trained.
        seed: of the examples and the random vectors.
        dirpath: another folder than ``<log_dir>/landscape``.

    Raises:
        LandscapeError: for an option out of its range.

    >>> HessianSpectrum(eigenvalues=0)
    Traceback (most recent call last):
    lightning_landscape.errors.LandscapeError: eigenvalues=0: give a number of at least 1
    """

    kind = "spectrum"

    def __init__(
        self,
        every_n_epochs: int | None = 1,
        at_checkpoints: bool = False,
        step: Step | OwnStep | None = None,
        name: str = "spectrum",
        *,
        eigenvalues: int = 10,
        steps: int = 30,
        draws: int = 2,
        tolerance: float = 1e-2,
        data: Literal["train", "val"] | DataLoader[Any] = "train",
        examples: int | Literal["all"] = 256,
        parameters: Sequence[str] | None = None,
        seed: int = 0,
        dirpath: str | Path | None = None,
    ) -> None:
        super().__init__(every_n_epochs, at_checkpoints, step, name, data, examples, parameters, seed, dirpath)
        for option, value in (("eigenvalues", eigenvalues), ("steps", steps), ("draws", draws)):
            if value < 1:
                raise LandscapeError(f"{option}={value}: give a number of at least 1")
        self.eigenvalues = eigenvalues
        self.steps = steps
        self.draws = draws
        self.tolerance = tolerance

    def measure(self, curvature: Curvature) -> Mapping[str, Any]:
        """Compute eigenvalues, density and gradient at the weights of this moment."""
        size = curvature.hessian.shape[0]
        loss, gradient = curvature.gradient()
        largest = curvature.eigenpairs(min(self.eigenvalues, size), tolerance=self.tolerance)
        smallest = curvature.eigenpairs(1, "smallest", tolerance=self.tolerance)
        density = curvature.density(min(self.steps, size), self.draws)
        return {
            "loss": loss,
            "gradient_norm": float(gradient.double().norm()),
            "largest": largest.values,
            "largest_residual": largest.residuals,
            "smallest": smallest.values,
            "smallest_residual": smallest.residuals,
            "nodes": density.nodes,
            "weights": density.weights,
            "trace": density.trace.mean,
            "trace_error": density.trace.error,
            "frobenius_norm": density.frobenius_norm.mean,
            "frobenius_norm_error": density.frobenius_norm.error,
        }

    def facts(self) -> Mapping[str, Any]:
        """Return the settings of the estimates."""
        return {"tolerance": self.tolerance, "sample_seed": self.seed}

    def figures(self, history: CurvatureHistory) -> Mapping[str, Figure]:
        """Draw density and sharpness."""
        return {"density": plot_spectrum(history), "sharpness": plot_sharpness(history)}
