"""Rounding onto a grid, in place and many tensors at once: to the nearest weight, or at random without bias."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lightning_landscape.quantization.quantizer import Quantizer

CHUNK = 2**20
"""Weights that are rounded at a time: enough that the arithmetic outweighs the calls."""

# Below this largest probability of moving, few random numbers decide over many weights.
_RARE = 1 / 32


@torch.no_grad()
def round_(weights: Sequence[Tensor], quantizer: Quantizer, scales: Sequence[Tensor] | None = None) -> None:
    r"""Round tensors to the nearest weights of a grid, in place: :math:`w \leftarrow Q_d(w)`.

    Args:
        weights: the tensors.
        quantizer: the grid.
        scales: for ``scale="filter"``, the scale of each filter of each tensor, from `Quantizer.scale_of`.

    >>> w = torch.tensor([0.3, -0.9])
    >>> round_([w], Quantizer(delta=0.5))
    >>> w
    tensor([ 0.5000, -1.0000])
    """
    with _unscaled(weights, scales):
        for tensor in weights:
            quantizer.snap(tensor, tensor)


def stochastic_round_(
    weights: Sequence[Tensor],
    quantizer: Quantizer,
    generator: torch.Generator,
    scales: Sequence[Tensor] | None = None,
) -> None:
    """Round tensors at random, in place, once; see `StochasticRounder`.

    >>> w = torch.full((100_000,), 0.3)
    >>> stochastic_round_([w], Quantizer(delta=1.0), torch.Generator().manual_seed(0))
    >>> w.unique().tolist(), round(w.mean().item(), 2)
    ([0.0, 1.0], 0.3)
    """
    StochasticRounder(weights, quantizer, scales).round_(generator)


class StochasticRounder:
    r"""Rounds tensors at random, in place, to one of two neighbours on a grid, so that the mean is the weight itself.

    .. math:: Q_s(w) = \begin{cases} \lfloor w \rfloor_\Delta + \Delta & \text{with probability }
              (w - \lfloor w \rfloor_\Delta) / \Delta \\ \lfloor w \rfloor_\Delta & \text{otherwise} \end{cases}
              \qquad \mathbb{E}\, Q_s(w) = w

    with :math:`\lfloor w \rfloor_\Delta` the grid's next weight below. Each weight is decided independently of the
    others. A weight of the grid stays as it is; one beyond the ends goes to the end.

    After a small step all weights are near the grid. Then a Bernoulli process with the largest of their probabilities
    proposes few of them, and each proposal is accepted with its share of that probability: the same law, for hardly any
    random numbers. The probabilities are exact to the 53 bits of a float64 random number there, and to the 24 bits of a
    float32 one where some weight moves with a probability above 1/32, and on accelerators.

    Memory: two buffers of `CHUNK` numbers, or of the largest tensor where that is larger; no more than the tensors.

    Args:
        weights: tensors on one device; they stay the same from call to call, and their values change.
        quantizer: the grid.
        scales: for ``scale="filter"``, the scale of each filter of each tensor, from `Quantizer.scale_of`.

    Source: Gupta, Agrawal, Gopalakrishnan, Narayanan (2015), section 3; thinning: Lewis and Shedler (1979).
    """

    def __init__(self, weights: Sequence[Tensor], quantizer: Quantizer, scales: Sequence[Tensor] | None = None) -> None:
        self._weights, self._quantizer, self._scales = list(weights), quantizer, scales
        chunks = list(_chunks(self._weights))
        largest = max((sum(tensor.numel() for tensor in chunk) for chunk in chunks), default=0)
        dtype = torch.float64 if any(tensor.dtype == torch.float64 for tensor in weights) else torch.float32
        device = weights[0].device if weights else None
        # One piece of memory for all chunks, and views that are made once: both cost more than the arithmetic.
        near, rest = torch.empty(2, largest, dtype=dtype, device=device)
        self._chunks = [(chunk, _views(near, chunk), _views(rest, chunk)) for chunk in chunks]

    @torch.no_grad()
    def round_(self, generator: torch.Generator) -> None:
        """Round all tensors once, with random numbers from a generator on their device."""
        quantizer = self._quantizer
        with _unscaled(self._weights, self._scales):
            for weights, (near, near_views), (rest, rest_views) in self._chunks:
                torch._foreach_copy_(rest_views, weights)
                quantizer.snap(rest, near)
                rest.sub_(near)
                _move(near, rest, quantizer, generator)
                torch._foreach_copy_(weights, near_views)


def generator_of(device: torch.device | str, *seed: int) -> torch.Generator:
    """Make a generator whose random numbers have nothing to do with those of another one of the same seed.

    The user's own generators may well be seeded with the same small number, and rounding that follows their noise has a
    bias.
    """
    digest = hashlib.sha256(f"rounding {seed}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:4]))


def warn_of_clipping(weights: Sequence[Tensor], quantizer: Quantizer) -> None:
    """Warn, with their number, of weights beyond the ends of a grid, which rounding is about to clip."""
    if outside := sum(quantizer.outside(tensor) for tensor in weights):
        warnings.warn(
            f"{outside} of {sum(tensor.numel() for tensor in weights)} weights lie outside of the range "
            f"[{-quantizer.highest:g}, {quantizer.highest:g}] and are clipped to it: initialise them within, or give "
            "the Quantizer a wider limit",
            stacklevel=4,
        )


def _move(near: Tensor, rest: Tensor, quantizer: Quantizer, generator: torch.Generator) -> None:
    """Move each weight on in the direction of its rest, with probability ``|rest| / step``."""
    step = quantizer.step
    if rest.device.type == "cpu":  # elsewhere random numbers cost little, and waiting for the device much
        low, high = torch.aminmax(rest)
        most = max(-float(low), float(high)) / step
        if most < _RARE:
            proposed = _successes(len(rest), most, generator)
            rests = rest[proposed]
            chance = torch.rand(len(proposed), dtype=torch.float64, generator=generator).mul_(most * step)
            accepted = chance < rests.abs()
            moving = proposed[accepted]
            moved = near[moving].add_(rests[accepted].sign_(), alpha=step)
            near[moving] = quantizer.snap(moved, moved)
            return
    chance = torch.empty_like(rest).uniform_(generator=generator).mul_(step)
    near.add_(rest.sign().mul_(chance < rest.abs_()), alpha=step)
    quantizer.snap(near, near)


def _successes(trials: int, probability: float, generator: torch.Generator) -> Tensor:
    """The indices of the successes among independent trials, found by the gaps between them, which are geometric."""
    if not probability:
        return torch.empty(0, dtype=torch.int64)
    expected = trials * probability
    found = []
    last = -1.0
    while last < trials:
        uniform = torch.rand(int(expected + 4 * expected**0.5 + 8), dtype=torch.float64, generator=generator)
        gaps = uniform.neg_().log1p_().div_(math.log1p(-probability)).floor_().add_(1)
        found.append(gaps.cumsum_(0).add_(last))
        last = float(found[-1][-1])
    indices = torch.cat(found)
    return indices[indices < trials].long()


def _chunks(weights: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbouring tensors of one dtype, together up to `CHUNK` numbers, or a larger one alone."""
    chunk: list[Tensor] = []
    size = 0
    for tensor in weights:
        if chunk and (size + tensor.numel() > CHUNK or tensor.dtype != chunk[0].dtype):
            yield chunk
            chunk, size = [], 0
        if tensor.numel():
            chunk.append(tensor)
            size += tensor.numel()
    if chunk:
        yield chunk


def _views(flat: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """As much of flat memory as some tensors need, and the part of it for each, in its shape."""
    sizes = [tensor.numel() for tensor in tensors]
    used = flat[: sum(sizes)]
    parts = torch.split(used, sizes)
    return used, [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


class _unscaled:
    """Measure weights in units of their filters' scales inside of the context."""

    def __init__(self, weights: Sequence[Tensor], scales: Sequence[Tensor] | None) -> None:
        self._weights, self._scales = list(weights), None if scales is None else list(scales)

    def __enter__(self) -> None:
        if self._scales is not None:
            torch._foreach_div_(self._weights, self._scales)

    def __exit__(self, *_: object) -> None:
        if self._scales is not None:
            torch._foreach_mul_(self._weights, self._scales)
