"""Directions in weight space, and what makes them comparable between networks: normalisation by filters.

Source: Li, Xu, Taylor, Studer, Goldstein, *Visualizing the Loss Landscape of Neural Nets*, arXiv 1712.09913, section 4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_landscape.errors import GeometryError
from lightning_landscape.geometry.weights import (
    Role,
    Weights,
    borrow,
    check_compatible,
    direction_dtype,
    inner,
    norm,
)

Normalize = Literal["filter", "layer", "weight"]


@torch.no_grad()
def random_direction(
    weights: Mapping[str, Tensor],
    normalize: Normalize | None = "filter",
    seed: int = 0,
    *,
    include_1d: bool = False,
) -> Weights:
    r"""Draw a Gaussian direction and scale it to the weights.

    Entries are drawn independently from N(0, 1); with filters indexed by j, normalisation by filters is

    .. math:: d_j \leftarrow \frac{d_j}{\lVert d_j \rVert} \lVert w_j \rVert

    so that a step of length 1 changes each filter by its own size. That removes the freedom of networks with ReLU and
    batch normalisation to rescale their filters without changing their function. A filter of zeros does not move.

    Each tensor is drawn by its own generator on the CPU, seeded by the seed and the tensor's name: one tensor's draw
    depends neither on the other tensors nor on devices and dtypes.

    Args:
        weights: The point to scale to.
        normalize: `"filter"`; `"layer"` (one scale for each tensor); `"weight"` (:math:`d \odot |w|`); None (no
            scaling).
        seed: Seed of the draw.
        include_1d: Let tensors without filters (biases, scales of normalisations) move too, each as a single filter.
            They rest otherwise. Frozen parameters and buffers rest always.

    Returns:
        A direction of the shapes and devices of the weights, float32 (float64 where the weights are).

    Raises:
        GeometryError: If `normalize` is none of these.

    Source:
        arXiv 1712.09913, section 4; the rest of biases and normalisations is what its published figures use.

    Example:
        >>> w = {"weight": torch.tensor([[3.0, 4.0], [0.0, 0.0]]), "bias": torch.ones(2)}
        >>> d = random_direction(w, seed=1)
        >>> d["weight"].norm(dim=1), d["bias"]
        (tensor([5., 0.]), tensor([0., 0.]))
    """
    _require_known(normalize)
    weights = borrow(weights)
    return _scaled_to(weights, lambda name: _gaussian(weights[name], seed, name), normalize, include_1d)


@torch.no_grad()
def normalize_direction(
    direction: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    normalize: Normalize | None = "filter",
    *,
    include_1d: bool = False,
) -> Weights:
    """Scale a direction of one's own to the weights, as `random_direction` does with its draw.

    Args:
        direction: A direction; it is not changed.
        weights: The point to scale to.
        normalize: As in `random_direction`.
        include_1d: As in `random_direction`.

    Returns:
        A direction of the shapes, devices and roles of the weights, float32 (float64 where the weights are).

    Raises:
        GeometryError: If the names or shapes differ, or `normalize` is unknown.

    Example:
        >>> w, d = {"weight": torch.tensor([[3.0, 4.0]])}, {"weight": torch.tensor([[0.0, 2.0]])}
        >>> normalize_direction(d, w)["weight"]
        tensor([[0., 5.]])
    """
    _require_known(normalize)
    direction, weights = borrow(direction), borrow(weights)
    check_compatible(direction, weights, what="the direction")
    return _scaled_to(weights, direction.__getitem__, normalize, include_1d)


def cosine(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    r"""Cosine of the angle between two directions, in float64.

    Two independent Gaussian directions of n entries have :math:`E|\cos| \approx \sqrt{2 / (\pi n)}`.

    Args:
        a: A direction.
        b: A direction of the same names and shapes.

    Raises:
        GeometryError: If names or shapes differ, or one of them is zero.

    Example:
        >>> round(cosine({"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([1.0, 1.0])}), 6)
        0.707107
    """
    product = norm(a) * norm(b)
    if product == 0:
        raise GeometryError("the cosine with a direction of length 0 is undefined: check that something moves in both")
    return inner(a, b) / product


def derived_seed(seed: int, label: str) -> int:
    """A seed of 63 bits for one of several independent draws that belong to one seed."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{label}".encode()).digest()[:8], "little") >> 1


def _require_known(normalize: Normalize | None) -> None:
    if normalize is not None and normalize not in get_args(Normalize):
        raise GeometryError(f"normalize is {normalize!r}: use one of {', '.join(get_args(Normalize))}, or None")


def _scaled_to(
    weights: Weights, draw: Callable[[str], Tensor], normalize: Normalize | None, include_1d: bool
) -> Weights:
    """Scale what is drawn for each name to the weights; one tensor at a time, since models may be large."""
    # Made before what is temporary, which then leaves no holes between tensors that stay.
    zeros = {name: torch.zeros_like(w, dtype=direction_dtype(w)) for name, w in weights.items()}
    result = Weights(zeros, weights.roles)
    for name, w in weights.items():
        if not _rests(w, weights.roles[name], include_1d):
            result[name].copy_(_scaled(draw(name), w, weights.roles[name], normalize))
    return result


def _gaussian(tensor: Tensor, seed: int, name: str) -> Tensor:
    generator = torch.Generator().manual_seed(derived_seed(seed, name))
    return torch.randn(tensor.shape, generator=generator, dtype=torch.float32)


def _rests(w: Tensor, role: Role, include_1d: bool) -> bool:
    if role.buffer or not role.trainable:
        return True
    return (role.filter_dim is None or w.ndim <= 1) and not include_1d


def _scaled(d: Tensor, w: Tensor, role: Role, normalize: Normalize | None) -> Tensor:
    """Scale one tensor of a direction: in float64 and on the CPU, so that a seed gives the same bits everywhere."""
    d, w = d.cpu().double(), w.cpu().double()
    if role.padding_index is not None:
        d = d.index_fill(0, torch.tensor(role.padding_index), 0.0)
    if normalize is None:
        return d
    if normalize == "weight":
        return d * w.abs()
    d_norm, w_norm = _norms(d, role, normalize), _norms(w, role, normalize)
    scale = torch.where(d_norm > 0, w_norm / d_norm, torch.zeros_like(w_norm))
    return (_parts(d, role, normalize) * scale).reshape(d.shape)


def _parts(t: Tensor, role: Role, normalize: Normalize) -> Tensor:
    """View with one leading index (layers) or the two indices 0 and 1 + filter_dim (filters) for the parts to scale."""
    if normalize == "layer":
        return t.reshape(role.blocks, -1)
    if role.filter_dim is None or t.ndim <= 1:
        return t.reshape(1, -1)
    return t.reshape(role.groups, t.shape[0] // role.groups, *t.shape[1:])


def _norms(t: Tensor, role: Role, normalize: Normalize) -> Tensor:
    parts = _parts(t, role, normalize)
    counting = {0} if parts.ndim == 2 else {0, 1 + (role.filter_dim or 0)}
    within = [dim for dim in range(parts.ndim) if dim not in counting]
    norms: Tensor = torch.linalg.vector_norm(parts, dim=within, keepdim=True)
    return norms
