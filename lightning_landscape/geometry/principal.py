"""Principal directions of a training's checkpoints, computed without holding them in memory together.

Source: Li et al., arXiv 1712.09913, section 7, where the path is shown in the plane of the two leading directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_landscape.errors import GeometryError
from lightning_landscape.geometry.weights import (
    Weights,
    borrow,
    check_compatible,
    direction_dtype,
    without_buffers,
)

# Below this share of the leading variance a direction is made of rounding errors: the eigenvectors of the Gram matrix
# hold the leading one with an error of 1e-16, which weighs 1e-16 * sqrt(1 / share) in the direction.
_NEGLIGIBLE = 1e-12


@runtime_checkable
class Checkpoints(Protocol):
    """Weights at several times of a training, which may lie on disk."""

    @property
    def names(self) -> list[str]:
        """Names of the tensors."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Weights: ...

    def block(self, name: str, start: int, stop: int) -> Tensor:
        """Entries start to stop of the flattened tensor `name`, of all checkpoints: [T, stop - start]."""


@dataclass(frozen=True, eq=False)
class PrincipalDirections:
    """The leading principal components of T checkpoints.

    Args:
        directions: k directions of unit norm, orthogonal to each other, of decreasing variance. Their sign is such
            that the checkpoint farthest from the mean along a direction (the first one, of several) has a positive
            score.
        explained_variance: Share of the total variance along each direction, float64 [k].
        all_variance: Variances along all T components (sum of squares over T - 1), decreasing, float64 [T].
        scores: Coordinates of the checkpoints along the directions, about their mean, float64 [T, k].
    """

    directions: list[Weights]
    explained_variance: npt.NDArray[np.float64]
    all_variance: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]


class _CheckpointList:
    """Checkpoints that are held in memory."""

    def __init__(self, checkpoints: Sequence[Mapping[str, Tensor]]) -> None:
        self._checkpoints = [borrow(weights) for weights in checkpoints]
        for t, weights in enumerate(self._checkpoints):
            check_compatible(weights, self._checkpoints[0], what=f"checkpoint {t} (against checkpoint 0)")
        self.names = list(self._checkpoints[0]) if self._checkpoints else []

    def __len__(self) -> int:
        return len(self._checkpoints)

    def __getitem__(self, index: int, /) -> Weights:
        return self._checkpoints[index]

    def block(self, name: str, start: int, stop: int) -> Tensor:
        return torch.stack([weights[name].reshape(-1)[start:stop].double().cpu() for weights in self._checkpoints])


class JoinedCheckpoints:
    """Several trainings one after another, as one sequence of checkpoints; nothing is read before it is asked for.

    Args:
        parts: The trainings, of tensors of the same names and shapes.

    Raises:
        GeometryError: If there are none, or the tensors of one differ from those of the first.
    """

    def __init__(self, parts: Sequence[Checkpoints]) -> None:
        if not parts or not all(len(part) for part in parts):
            raise GeometryError("checkpoints of several trainings are to be joined, and there are none of some")
        for part in parts:
            check_compatible(part[0], parts[0][0], what="a training to join with others")
        self._parts = list(parts)
        self._rows = [(part, index) for part in parts for index in range(len(part))]
        self.names = parts[0].names

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int, /) -> Weights:
        part, row = self._rows[index]
        return part[row]

    def block(self, name: str, start: int, stop: int) -> Tensor:
        """Entries start to stop of the flattened tensor `name`, of all checkpoints: [T, stop - start]."""
        return torch.cat([part.block(name, start, stop) for part in self._parts])


def as_checkpoints(trajectory: Checkpoints | Sequence[Mapping[str, Tensor]]) -> Checkpoints:
    """See a list of weights as checkpoints; a recorded trajectory is returned as it is.

    Args:
        trajectory: A recorded trajectory, or a list of weights in the order of the training.

    Raises:
        GeometryError: If the checkpoints of a list have different names or shapes.
    """
    if isinstance(trajectory, Checkpoints):
        return trajectory
    return _CheckpointList(trajectory)


@torch.no_grad()
def principal_directions(
    trajectory: Checkpoints | Sequence[Mapping[str, Tensor]], k: int = 2, *, block_size: int = 1 << 15
) -> PrincipalDirections:
    r"""Find the k directions along which checkpoints vary most (principal component analysis).

    With the checkpoints, less their mean, in the rows of :math:`M \in R^{T \times P}`, the eigenvectors of the small
    Gram matrix :math:`M M^T = U \Lambda U^T` give the directions :math:`v_i = M^T u_i / \sqrt{\lambda_i}`. Both passes
    read blocks of columns, so memory is O(T^2 + T * block_size) beside the k directions. All sums are in float64.

    Running statistics (roles with `buffer`) take no part; the directions are 0 there.

    Args:
        trajectory: A recorded trajectory or a list of weights.
        k: How many directions.
        block_size: Columns that are read at a time; the result does not depend on it.

    Raises:
        GeometryError: If the checkpoints span fewer than k directions (as identical ones do), or are not finite.

    Source:
        arXiv 1712.09913, section 7. There the final weights are subtracted; the mean, which is subtracted here as in
        the paper's published code, gives directions that do not depend on the choice of an origin.

    Example:
        >>> line = [{"w": torch.tensor([3.0 * t, 4.0 * t])} for t in range(3)]
        >>> pca = principal_directions(line, k=1)
        >>> pca.explained_variance, pca.all_variance
        (array([1.]), array([25.,  0.,  0.]))
    """
    checkpoints = as_checkpoints(trajectory)
    count = len(checkpoints)
    if count < 2:
        raise GeometryError(f"principal directions need at least 2 checkpoints, found {count}: record more of them")
    layout = borrow(checkpoints[count - 1])
    gram = torch.zeros(count, count, dtype=torch.float64)
    for _, _, rows in _centred_blocks(checkpoints, layout, block_size):
        gram += rows @ rows.T
    _check_finite(gram, checkpoints)
    eigenvalues, eigenvectors = torch.linalg.eigh(gram)
    eigenvalues, eigenvectors = eigenvalues.flip(0).clamp(min=0), eigenvectors.flip(1)
    rank = int((eigenvalues > _NEGLIGIBLE * eigenvalues[0]).sum())
    if rank < k:
        found = "are identical" if rank == 0 else f"span {rank}"
        raise GeometryError(
            f"{k} principal directions were asked of {count} checkpoints that {found}: "
            "record checkpoints that differ, or take a line or a random plane"
        )
    eigenvectors = _signed(eigenvectors[:, :k])
    directions = [Weights({n: torch.zeros_like(t, dtype=direction_dtype(t)) for n, t in layout.items()}, layout.roles)]
    directions += [
        Weights({n: torch.zeros_like(t) for n, t in directions[0].items()}, layout.roles) for _ in range(k - 1)
    ]
    for name, start, rows in _centred_blocks(checkpoints, layout, block_size):
        parts = (eigenvectors / eigenvalues[:k].sqrt()).T @ rows
        for direction, part in zip(directions, parts, strict=True):
            flat = direction[name].view(-1)
            flat[start : start + len(part)] = part.to(flat.device, flat.dtype)
    return PrincipalDirections(
        directions=directions,
        explained_variance=(eigenvalues[:k] / eigenvalues.sum()).numpy(),
        all_variance=(eigenvalues / (count - 1)).numpy(),
        scores=(eigenvectors * eigenvalues[:k].sqrt()).numpy(),
    )


@torch.no_grad()
def captured_variance(
    trajectory: Checkpoints | Sequence[Mapping[str, Tensor]],
    directions: Sequence[Mapping[str, Tensor]],
    *,
    block_size: int = 1 << 15,
) -> float:
    r"""The share of the checkpoints' variance that lies in the span of some directions.

    With the checkpoints less their mean in the rows of :math:`M` and the directions in the rows of :math:`D`,

    .. math:: \frac{\operatorname{tr}\left(M D^T (D D^T)^{-1} D M^T\right)}{\operatorname{tr}(M M^T)}

    For k directions drawn alike in all of n dimensions its expectation is k / n, whatever the checkpoints; the k
    leading principal directions have the largest.

    Args:
        trajectory: A recorded trajectory or a list of weights.
        directions: Linearly independent directions, of the checkpoints' names and shapes.
        block_size: Columns that are read at a time; the result does not depend on it.

    Returns:
        A number from 0 to 1; NaN for checkpoints that are all alike.

    Raises:
        GeometryError: If a direction does not fit the checkpoints.

    Example:
        >>> path = [{"w": torch.tensor([3.0 * t, 4.0 * t])} for t in range(3)]
        >>> round(captured_variance(path, [{"w": torch.tensor([2.0, 0.0])}]), 6)
        0.36
    """
    checkpoints = as_checkpoints(trajectory)
    layout = borrow(checkpoints[len(checkpoints) - 1])
    for direction in directions:
        check_compatible(borrow(direction), layout, what="a direction (against the checkpoints)")
    products = torch.zeros(len(checkpoints), len(directions), dtype=torch.float64)
    gram = torch.zeros(len(directions), len(directions), dtype=torch.float64)
    total = 0.0
    for name, start, rows in _centred_blocks(checkpoints, layout, block_size):
        span = slice(start, start + rows.shape[1])
        parts = torch.stack([direction[name].detach().reshape(-1)[span].cpu().double() for direction in directions])
        products += rows @ parts.T
        gram += parts @ parts.T
        total += float(rows.square().sum())
    inside = float((products * torch.linalg.solve(gram, products.T).T).sum())
    return inside / total if total else float("nan")


def _centred_blocks(checkpoints: Checkpoints, layout: Weights, block_size: int) -> Iterator[tuple[str, int, Tensor]]:
    """Name, first column and columns [T, block_size] of the checkpoints less their mean, float64 on the CPU."""
    for name, tensor in without_buffers(layout).items():
        for start in range(0, tensor.numel(), block_size):
            rows = checkpoints.block(name, start, min(start + block_size, tensor.numel())).cpu().double()
            # Less the first one to begin with: then weights that never change give zeros, and no rounding of the mean.
            rows = rows - rows[:1]
            yield name, start, rows - rows.mean(dim=0)


def _check_finite(gram: Tensor, checkpoints: Checkpoints) -> None:
    if bool(torch.isfinite(gram).all()):
        return
    broken = [t for t in range(len(checkpoints)) if not all(bool(w.isfinite().all()) for w in checkpoints[t].values())]
    raise GeometryError(
        f"weights are not finite in checkpoint(s) {', '.join(map(str, broken[:5]))} of {len(checkpoints)}: "
        "leave out the part of the training that diverged"
    )


def _signed(eigenvectors: Tensor) -> Tensor:
    """Columns whose first entry of (almost) largest magnitude is positive."""
    magnitude = eigenvectors.abs()
    # "Almost": so that rounding does not choose between a checkpoint and its mirror image.
    leading = (magnitude >= (1 - 1e-6) * magnitude.max(dim=0).values).to(torch.int8).argmax(dim=0)
    return eigenvectors * eigenvectors.gather(0, leading[None]).sign()
