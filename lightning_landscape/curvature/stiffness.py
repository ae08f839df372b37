r"""Stiffness: what a gradient step on one example does to the loss of another.

With the gradients :math:`g_1, g_2` of the losses of two examples, a step of rate e on the first changes the loss of the
second by :math:`-e\, g_1^\top g_2 + O(e^2)`. Stiffness is the sign of that product, or the cosine of the two gradients.

Source: Fort, Nowak, Jastrzebski, Narayanan, *Stiffness: a new perspective on generalization in neural networks*, arXiv
1901.09491.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_landscape.engine.guard import Guard
from lightning_landscape.engine.objective import OwnStep, Step
from lightning_landscape.engine.risk import EmpiricalRisk, empirical_risk
from lightning_landscape.engine.singles import Singles
from lightning_landscape.errors import CurvatureError, ObjectiveError
from lightning_landscape.sampling.subset import sample_size

Array: TypeAlias = NDArray[np.float64]

Unpack: TypeAlias = Callable[[Any], tuple[Tensor, Tensor]]
"""Maps a batch to its inputs and labels."""

EDGES = np.linspace(0.0, 2.0, 41)
"""The bins of the inputs' distance."""

_MEMORY = 2**30  # bytes of gradients that are held at a time


@dataclass(frozen=True)
class StiffnessMeasurement:
    """Stiffness at one moment.

    Attributes:
        classes: the labels that are told apart, ``[C]``, those of the training examples.
        values: the quantities of a `StiffnessHistory`, each at this moment.
        training: how many training examples.
        validation: how many validation examples.
        step_name: whose gradients they are.
    """

    classes: Array
    values: dict[str, Array]
    training: int
    validation: int
    step_name: str


def compute_stiffness(
    module: nn.Module,
    training: DataLoader[Any],
    validation: DataLoader[Any] | None = None,
    step: Step | OwnStep | None = None,
    *,
    examples: int | Literal["all"] = 500,
    seed: int = 0,
    unpack: Unpack | None = None,
    trainer: Any = None,
) -> StiffnessMeasurement:
    """Measure how steps on single examples help or harm each other, by a module's own step, in eval mode.

    Module, generators and gradients are afterwards as they were. Every rank calls it and gets the same numbers.

    Args:
        module: a LightningModule, or any module together with `step`.
        training: a loader over a map-style data set.
        validation: another; None measures training examples alone.
        step: as in `compute_surface`.
        examples: how many examples of each, a fixed random choice; or all.
        seed: of the choice.
        unpack: maps a batch of one example to its input and its label, tensors with a first dimension of 1; None takes
            the first two entries of the batch.
        trainer: the trainer that runs the module, if any.

    Raises:
        ObjectiveError: if the step gives no loss with a graph, or a batch has no input and whole-numbered label.
        CurvatureError: if a gradient is not finite.
        UnsupportedStrategyError: if the trainer's strategy shards the model.
    """
    loaders = [training] if validation is None else [training, validation]
    with Guard(module, trainer):
        singles = Singles(loaders, sample_size(examples), seed)
        order = singles.order(seed)
        with empirical_risk(module, DataLoader(singles, batch_size=None), step, seed=seed, trainer=trainer) as risk:
            gram = gradient_gram(risk)
            pairs = [(unpack or _input_and_label)(batch) for batch in risk.sample.batches()]
            name = risk.name
    back = np.argsort(order)
    inputs = torch.cat([pairs[k][0] for k in back])
    labels = torch.cat([pairs[k][1] for k in back]).cpu().numpy()
    classes = np.unique(labels[: singles.counts[0]])
    values = stiffness_of(gram[np.ix_(back, back)], labels, inputs, singles.counts[0], classes)
    return StiffnessMeasurement(classes, values, singles.counts[0], sum(singles.counts[1:]), name)


def _input_and_label(batch: Any) -> tuple[Tensor, Tensor]:
    if isinstance(batch, list | tuple) and len(batch) >= 2 and all(isinstance(part, Tensor) for part in batch[:2]):
        x, y = batch[0], batch[1]
        if y.shape == (1,) and not y.is_floating_point():
            return x, y
    raise ObjectiveError(
        f"stiffness wants an input and a whole-numbered label, and a batch of one example is a {type(batch).__name__}: "
        "give unpack=lambda batch: (input, label), tensors with a first dimension of 1"
    )


def gradient_gram(risk: EmpiricalRisk, memory: int = _MEMORY) -> Array:
    r"""Inner products of the gradients of single examples.

    .. math:: G_{ij} = g_i^\top g_j, \qquad g_i = \nabla_w \ell_i(w)

    Each example is a batch of its own, because a user's step gives the mean over its batch alone. The gradients are
    never held whole: they are taken for as many parameters at a time as fit in the memory, once for each such part.

    A collective: the ranks share the examples, and each gets all products.

    Args:
        risk: a risk over batches of one example.
        memory: how many bytes of gradients to hold.

    Returns:
        float64 ``[N, N]``, N the number of examples.

    Raises:
        CurvatureError: if a batch holds several examples, or a gradient is not finite.
    """
    if max(risk.sample.sizes) > 1:
        raise CurvatureError(
            f"gradients of single examples need batches of one, and {risk.name} was given batches of up to "
            f"{max(risk.sample.sizes)}: give a loader with batch_size=1"
        )
    count, parameters = len(risk.sample), list(risk.parameters.values())
    gram = torch.zeros(count, count, dtype=torch.float64, device=parameters[0].device)
    width = max(memory // (parameters[0].element_size() * count), 1)
    for part in _parts([p.numel() for p in parameters], width):
        gradients = _gradients(risk, part)
        gram += (gradients @ gradients.T).double()
    if not bool(gram.isfinite().all()):
        raise CurvatureError(
            f"a gradient of {risk.name} for a single example is not finite: look at the loss there, or evaluate the "
            "module in float64"
        )
    return np.asarray(((gram + gram.T) / 2).cpu().numpy())


def _parts(sizes: list[int], width: int) -> list[list[tuple[int, int, int]]]:
    """Cut the flattened parameters into parts of `width` entries: which entries of which parameter each part holds."""
    parts: list[list[tuple[int, int, int]]] = [[]]
    room = width
    for index, size in enumerate(sizes):
        start = 0
        while start < size:
            if not room:
                parts.append([])
                room = width
            stop = min(start + room, size)
            parts[-1].append((index, start, stop))
            room -= stop - start
            start = stop
    return parts


def _gradients(risk: EmpiricalRisk, part: list[tuple[int, int, int]]) -> Tensor:
    """The gradients of all examples by one part of the parameters, ``[N, entries]``."""
    parameters = list(risk.parameters.values())
    wanted = [parameters[index] for index, _, _ in part]
    width = sum(stop - start for _, start, stop in part)
    rows = torch.zeros(len(risk.sample), width, device=parameters[0].device, dtype=parameters[0].dtype)
    mine = iter(range(risk.ranks.rank, len(rows), risk.ranks.world))

    def add(loss: Tensor, _: int) -> None:
        found = torch.autograd.grad(loss, wanted, materialize_grads=True)
        pieces = [g.flatten()[start:stop] for g, (_, start, stop) in zip(found, part, strict=True)]
        rows[next(mine)] = torch.cat([piece.to(rows.dtype) for piece in pieces])

    risk.each_loss(add)
    return risk.ranks.sum(rows)


def cosines(gram: ArrayLike) -> Array:
    r"""Cosines of the gradients, :math:`G_{ij} / \sqrt{G_{ii} G_{jj}}`; 0 where a gradient is zero.

    Args:
        gram: inner products ``[N, N]``.

    >>> cosines([[4.0, 3.0], [3.0, 9.0]]).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    products = np.asarray(gram, dtype=np.float64)
    norms = np.sqrt(np.outer(np.diag(products), np.diag(products)))
    return np.clip(np.divide(products, norms, out=np.zeros_like(products), where=norms > 0), -1.0, 1.0)


def class_matrix(values: ArrayLike, rows: ArrayLike, columns: ArrayLike, classes: ArrayLike, *, same: bool) -> Array:
    """Average a quantity of pairs of examples over all pairs of two classes.

    Args:
        values: the quantity ``[N, M]``.
        rows: classes of the N examples.
        columns: classes of the M examples.
        classes: the C classes to tell apart.
        same: whether rows and columns are the same examples; a pair of an example with itself is then left out.

    Returns:
        ``[C, C]``; NaN where there is no pair.

    >>> pairs = [[1.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 1.0]]
    >>> class_matrix(pairs, [0, 0, 1], [0, 0, 1], [0, 1], same=True).tolist()
    [[0.5, 0.1], [0.1, nan]]
    """
    pairs = np.asarray(values, dtype=np.float64)
    left, right = (np.equal.outer(np.asarray(classes), np.asarray(given)).astype(float) for given in (rows, columns))
    counted = np.ones_like(pairs)
    if same:
        counted -= np.eye(len(pairs))
    sums, counts = left @ (pairs * counted) @ right.T, left @ counted @ right.T
    return np.asarray(np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0))


def within_classes(matrix: ArrayLike) -> float:
    """Average the diagonal of a class matrix: examples of one class.

    >>> within_classes([[0.5, 0.1], [0.1, 0.3]])
    0.4
    """
    return _mean(np.diag(np.asarray(matrix, dtype=np.float64)))


def between_classes(matrix: ArrayLike) -> float:
    r"""Average the class matrix off its diagonal, :math:`\frac{1}{C (C - 1)} \sum_{a \ne b} C_{ab}`.

    >>> between_classes([[0.5, 0.1], [0.3, 0.3]])
    0.2
    """
    square = np.asarray(matrix, dtype=np.float64)
    return _mean(square[~np.eye(len(square), dtype=bool)])


def input_distances(inputs: Tensor) -> Array:
    r"""Distances of inputs, :math:`1 - \cos(x_i, x_j)`, from 0 to 2.

    Args:
        inputs: ``[N, ...]``, flattened; an input of zeros is at distance 1 from all others.

    >>> input_distances(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])).tolist()
    [[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]]
    """
    flat = inputs.detach().flatten(1).double().cpu()
    return np.asarray(1.0 - cosines((flat @ flat.T).numpy()))


def against_distance(values: ArrayLike, distances: ArrayLike, pairs: ArrayLike, edges: ArrayLike) -> Array:
    """Average a quantity of pairs in bins of their distance.

    Args:
        values: the quantity ``[N, M]``.
        distances: ``[N, M]``.
        pairs: which pairs count, boolean ``[N, M]``.
        edges: ``[B + 1]``; the last bin contains its upper edge.

    Returns:
        ``[B]``; NaN for a bin without pairs.

    >>> against_distance([[1.0, 0.5], [0.5, 1.0]], [[0.0, 0.3], [0.3, 0.0]], ~np.eye(2, dtype=bool), [0, 0.2, 0.4])
    array([nan, 0.5])
    """
    chosen = np.asarray(pairs, dtype=bool)
    at, bins = np.asarray(distances)[chosen], np.asarray(edges, dtype=np.float64)
    counts, _ = np.histogram(at, bins)
    sums, _ = np.histogram(at, bins, weights=np.asarray(values, dtype=np.float64)[chosen])
    return np.asarray(np.divide(sums, counts, out=np.full(len(bins) - 1, np.nan), where=counts > 0))


def critical_length(values: ArrayLike, distances: ArrayLike, pairs: ArrayLike) -> float:
    """Find the distance at which stiffness vanishes: where its linear fit over the distance crosses zero.

    The authors call it the dynamical critical length, for pairs within a class.

    Args:
        values: stiffness ``[N, M]``.
        distances: ``[N, M]``.
        pairs: which pairs count, boolean ``[N, M]``.

    Returns:
        The distance, which may lie beyond all pairs; NaN where the fit does not fall from a positive value.

    >>> values, distances = [[1.0, 0.5], [0.5, -1.0]], [[0.0, 0.1], [0.1, 0.4]]
    >>> round(critical_length(values, distances, np.ones((2, 2), dtype=bool)), 6)
    0.2
    """
    chosen = np.asarray(pairs, dtype=bool)
    x, y = np.asarray(distances, dtype=np.float64)[chosen], np.asarray(values, dtype=np.float64)[chosen]
    if len(x) < 2 or np.ptp(x) == 0:
        return float("nan")
    slope, intercept = np.polyfit(x, y, 1)
    return float(-intercept / slope) if slope < 0 < intercept else float("nan")


def stiffness_of(gram: Array, labels: Array, inputs: Tensor, training: int, classes: Array) -> dict[str, Array]:
    """Sum up the products of gradients by classes, and by the distance of the inputs, in bins `EDGES`.

    Args:
        gram: inner products of the gradients ``[N, N]``; the first `training` examples are training examples, the
            others validation examples.
        labels: classes of the examples ``[N]``.
        inputs: ``[N, ...]``.
        training: how many are training examples.
        classes: the classes to tell apart.

    Returns:
        The quantities of a `StiffnessHistory`, at one moment.
    """
    found: dict[str, Array] = {}
    distances = input_distances(inputs)
    first, second = slice(None, training), slice(training, None)
    for pairs, columns in (("train", first), ("val", second)):
        alike = np.equal.outer(labels[first], labels[columns])
        others = np.ones_like(alike)
        if pairs == "train":
            np.fill_diagonal(others, False)
        at = distances[first, columns]
        for kind, values in (("sign", np.sign(gram)), ("cosine", cosines(gram))):
            block, name = values[first, columns], f"{pairs}/{kind}"
            found[name] = class_matrix(block, labels[first], labels[columns], classes, same=pairs == "train")
            found[f"{name}/distance/within"] = against_distance(block, at, alike & others, EDGES)
            found[f"{name}/distance/between"] = against_distance(block, at, ~alike, EDGES)
            found[f"{name}/critical_length"] = np.asarray(critical_length(block, at, alike & others))
    return found


def _mean(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
