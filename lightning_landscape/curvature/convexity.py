"""The convexity map: the extreme eigenvalues of the Hessian at every point of a plane."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils.data import DataLoader

from lightning_landscape.curvature.eigenpairs import eigenpairs
from lightning_landscape.curvature.operators import HessianOperator
from lightning_landscape.engine.risk import EmpiricalRisk
from lightning_landscape.engine.surface import compute_surface
from lightning_landscape.errors import CurvatureError
from lightning_landscape.geometry.slices import Line, Plane
from lightning_landscape.records.surface import Surface
from lightning_landscape.sampling.estimators import Estimate
from lightning_landscape.sampling.grid import Grid

if TYPE_CHECKING:
    from lightning_landscape.engine.objective import OwnStep, Step

_UNKNOWN = Estimate(math.nan, math.nan)


class ExtremeEigenvalues:
    """The largest and the smallest eigenvalue of the Hessian and the size of their ratio, as channels of a surface.

    Where a product is not finite, because the loss overflows at a point, all three are NaN. In the place of standard
    errors stand the residuals, within which an eigenvalue lies.

    Args:
        tolerance: residuals in relation to the eigenvalues; also the ratio below which an eigenvalue counts as zero.
        include_1d: also by biases and the scales of normalisation layers, which random directions do not move.
    """

    channels = ("lambda_max", "lambda_min", "ratio")

    def __init__(self, tolerance: float = 1e-2, *, include_1d: bool = False) -> None:
        self.name = f"extreme eigenvalues to {tolerance:g}{' with one-dimensional parameters' if include_1d else ''}"
        self._tolerance = tolerance
        self._include_1d = include_1d

    def __call__(self, risk: EmpiricalRisk) -> Mapping[str, Estimate]:
        """Compute both eigenvalues at the weights that stand in the module, from one Krylov basis."""
        moving = [name for name, parameter in risk.parameters.items() if self._include_1d or parameter.ndim > 1]
        try:
            operator = HessianOperator(risk, moving)
            pairs = eigenpairs(operator, 1, "both", tolerance=self._tolerance, floor=self._tolerance)
        except CurvatureError:
            return dict.fromkeys(self.channels, _UNKNOWN)
        (largest, smallest), (above, below) = pairs.values, pairs.residuals
        ratio = abs(smallest / largest) if largest else math.nan
        error = (below + ratio * above) / abs(largest) if largest else math.nan
        found = (Estimate(largest, above), Estimate(smallest, below), Estimate(ratio, error))
        return dict(zip(self.channels, found, strict=True))


def convexity_map(
    module: nn.Module,
    dataloader: DataLoader[Any],
    slice_: Line | Plane,
    grid: Grid,
    step: Step | OwnStep | None = None,
    path: str | Path | None = None,
    *,
    tolerance: float = 1e-2,
    include_1d: bool = False,
    **options: Any,
) -> Surface:
    r"""Evaluate the loss and the extreme eigenvalues of its Hessian at every point of a grid on a plane.

    .. math:: r = |\lambda_{\min} / \lambda_{\max}|

    A convex surface has r = 0. A plane that looks convex proves nothing about the directions that it does not show; a
    small r everywhere on it says that the picture misleads little. The eigenvalues are the algebraic extremes, of the
    mean loss, so that they depend neither on the number of batches nor on which of them has the larger magnitude.

    Args:
        module: as in `compute_surface`.
        dataloader: as in `compute_surface`, a single one; a sample in one batch costs least.
        slice_: the plane (or line).
        grid: the points on it.
        step: as in `compute_surface`.
        path: as in `compute_surface`; a map is resumed point by point.
        tolerance: residuals in relation to the eigenvalues, and the ratio below which an eigenvalue counts as zero;
            0.01, as in the authors' code.
        include_1d: also by biases and the scales of normalisation layers; the paper leaves them out.
        **options: `examples`, `seed` and the other options of `compute_surface`.

    Returns:
        A surface with the channels of the step and "lambda_max", "lambda_min" and "ratio", whose errors are residuals.

    Source: Li et al., arXiv 1712.09913, section 6 and figure 7.
    """
    measure = ExtremeEigenvalues(tolerance, include_1d=include_1d)
    return compute_surface(module, dataloader, slice_, grid, step, path, measures=[measure], **options)
