"""Lines and planes in weight space, on which a loss can be drawn."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_landscape.errors import GeometryError
from lightning_landscape.geometry.directions import Normalize, derived_seed, random_direction
from lightning_landscape.geometry.path import Path
from lightning_landscape.geometry.principal import Checkpoints, as_checkpoints, principal_directions
from lightning_landscape.geometry.weights import (
    Weights,
    as_weights,
    borrow,
    check_compatible,
    difference,
    digest,
    direction_dtype,
    inner,
    norm,
    wide,
)

# Sine of the angle below which two directions are taken for one: float32 weights do not tell them apart.
_PARALLEL = 1e-6

Metadata = dict[str, str | int | float | list[float] | None]


@dataclass(frozen=True, eq=False)
class Slice:
    """What lines and planes share: an origin in weight space and one or two directions.

    Directions hold every name of the origin, with zeros where nothing moves. A plain mapping (such as a state dict)
    is copied, because it may alias the weights of a module.

    Args:
        origin: The point with coordinates 0.
        kind: How the slice was made, for the record.
        seed: The seed of random directions.
        normalize: The normalisation of random directions.
        explained_variance: Share of the variance of the checkpoints along each principal direction.
    """

    origin: Weights = field(repr=False)
    kind: str = field(default="custom", kw_only=True)
    seed: int | None = field(default=None, kw_only=True)
    normalize: str | None = field(default=None, kw_only=True)
    explained_variance: tuple[float, ...] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "origin", as_weights(self.origin))
        labels = "xy"[: self.dim]
        for label, given in zip(labels, self.directions, strict=True):
            direction = as_weights(given)
            check_compatible(direction, self.origin, what=f"direction {label} (against the origin)")
            object.__setattr__(self, label, direction)
        check_directions(self._gram)

    @property
    def directions(self) -> tuple[Weights, ...]:
        """The directions: (x,) of a line, (x, y) of a plane."""
        raise NotImplementedError

    @property
    def dim(self) -> int:
        """1 for a line, 2 for a plane."""
        return len(self.directions)

    @property
    def norms(self) -> tuple[float, ...]:
        """Euclidean norms of the directions, which are the lengths of one unit of each coordinate."""
        return tuple(math.sqrt(value) for value in np.diagonal(self._gram))

    @torch.inference_mode(False)
    @torch.no_grad()
    def at(self, *coordinates: float) -> Weights:
        """The weights at a point: origin + a x (+ b y), in new storage.

        Sums are in float32 (float64 where the origin is) and rounded once to the origin's dtype. A coordinate of 0
        adds nothing, so the origin comes back bit by bit.

        Args:
            *coordinates: One number on a line, two on a plane.

        Raises:
            GeometryError: If there are more or fewer of them.
        """
        if len(coordinates) != self.dim:
            raise GeometryError(f"a point of this slice has {self.dim} coordinate(s), found {len(coordinates)}")
        moves = [(float(c), d) for c, d in zip(coordinates, self.directions, strict=True) if c != 0]
        result = Weights({}, {})
        for name, tensor in self.origin.items():
            point = tensor.to(direction_dtype(tensor), copy=True)
            for coordinate, direction in moves:
                point.add_(direction[name].to(point.device, point.dtype), alpha=coordinate)
            result[name] = point.to(tensor.dtype)
        result.roles.update(self.origin.roles)
        return result

    def coordinates(self, weights: Mapping[str, Tensor]) -> tuple[float, ...]:
        """Coordinates of the nearest point of the slice: least squares, for directions of any lengths and angle.

        Args:
            weights: A point of weight space; tensors that the origin does not have are ignored.

        Raises:
            GeometryError: If tensors of the origin are missing or of another shape.
        """
        return self._projected(self._matching(weights))[0]

    def residual(self, weights: Mapping[str, Tensor]) -> float:
        """Euclidean distance of a point from the slice.

        Running statistics count only where a direction moves them, as between two trained networks.

        Args:
            weights: A point of weight space; tensors that the origin does not have are ignored.

        Raises:
            GeometryError: If tensors of the origin are missing or of another shape.
        """
        return self._projected(self._matching(weights))[1]

    def project(self, trajectory: Checkpoints | Sequence[Mapping[str, Tensor]]) -> Path:
        """Project checkpoints on the slice, one at a time.

        Args:
            trajectory: A recorded trajectory, whose `steps`, `epochs` and `lr` are taken over, or a list of weights,
                whose steps are counted from 0.

        Raises:
            GeometryError: If a checkpoint does not fit the slice.
        """
        checkpoints = as_checkpoints(trajectory)
        rows = [
            self._projected(self._matching(checkpoints[t], what=f"checkpoint {t}")) for t in range(len(checkpoints))
        ]
        steps = getattr(trajectory, "steps", None)
        return Path(
            coordinates=np.array([row[0] for row in rows], dtype=np.float64).reshape(-1, self.dim),
            residual=np.array([row[1] for row in rows], dtype=np.float64),
            steps=np.arange(len(rows), dtype=np.int64) if steps is None else steps,
            epochs=getattr(trajectory, "epochs", None),
            lr=getattr(trajectory, "lr", None),
            distance_from_origin=np.array([row[2] for row in rows], dtype=np.float64),
        )

    def metadata(self) -> Metadata:
        """What a record should say about the slice.

        Returns:
            kind, seed, normalize, direction_norms, direction_cosine (None on a line), explained_variance, and digest:
            SHA-256 of the directions (of the origin, see `digest`).
        """
        return describe(
            self._gram,
            self._digests,
            kind=self.kind,
            seed=self.seed,
            normalize=self.normalize,
            explained_variance=self.explained_variance,
        )

    @cached_property
    def _gram(self) -> npt.NDArray[np.float64]:
        return np.array([[inner(a, b) for b in self.directions] for a in self.directions])

    @cached_property
    def _correlation(self) -> npt.NDArray[np.float64]:
        return _correlation(self._gram)

    @cached_property
    def _digests(self) -> list[str]:
        return [digest(direction) for direction in self.directions]

    @cached_property
    def _counted(self) -> dict[str, Tensor]:
        """The part of the origin that distances are measured on."""
        return {
            name: tensor
            for name, tensor in self.origin.items()
            if not self.origin.roles[name].buffer or any(bool(d[name].any()) for d in self.directions)
        }

    def _matching(self, weights: Mapping[str, Tensor], what: str = "the weights") -> dict[str, Tensor]:
        weights = borrow(weights)
        found = {name: tensor for name, tensor in weights.items() if name in self._counted}
        check_compatible(found, self._counted, what=f"{what} (against the origin of the slice)")
        return found

    @torch.no_grad()
    def _projected(self, weights: Mapping[str, Tensor]) -> tuple[tuple[float, ...], float, float]:
        """Coordinates, residual and distance from the origin, tensor by tensor in float64."""
        products = np.zeros(self.dim)
        for name, origin in self._counted.items():
            delta = wide(weights[name], like=origin) - wide(origin)
            products += [float((wide(d[name], like=origin) * delta).sum()) for d in self.directions]
        # The Gram matrix scaled to unit diagonal: directions of very different lengths do not spoil the solution.
        lengths = np.array(self.norms)
        coordinates = np.linalg.solve(self._correlation, products / lengths) / lengths
        off, out = 0.0, 0.0
        # Squared differences, not a difference of squares, which would lose a small residual to rounding.
        for name, origin in self._counted.items():
            delta = wide(weights[name], like=origin) - wide(origin)
            out += float(delta.square().sum())
            for coordinate, d in zip(coordinates, self.directions, strict=True):
                delta.sub_(wide(d[name], like=origin), alpha=float(coordinate))
            off += float(delta.square().sum())
        return tuple(map(float, coordinates)), math.sqrt(off), math.sqrt(out)


@dataclass(frozen=True, eq=False)
class Line(Slice):
    """A line in weight space: origin + a x.

    Args:
        origin: The point with coordinate 0.
        x: The direction, of the origin's names and shapes.
        kind: How the line was made, for the record.
        seed: The seed of a random direction.
        normalize: The normalisation of a random direction.
        explained_variance: Share of the variance of the checkpoints along the direction.

    Raises:
        GeometryError: If names or shapes differ, or the direction has no length.

    Example:
        >>> line = Line(origin={"w": torch.tensor([1.0, 1.0])}, x={"w": torch.tensor([0.0, 2.0])})
        >>> line.at(0.5)["w"]
        tensor([1., 2.])
        >>> off = {"w": torch.tensor([4.0, 5.0])}
        >>> line.coordinates(off), line.residual(off)
        ((2.0,), 3.0)
    """

    x: Weights = field(repr=False)

    @classmethod
    def between(cls, w1: Mapping[str, Tensor], w2: Mapping[str, Tensor]) -> Line:
        """The line through two points: w1 at 0, w2 at 1 (where it is reached up to rounding).

        Args:
            w1: The origin.
            w2: Another point, of the same names and shapes.

        Raises:
            GeometryError: If names or shapes differ, or the points are equal.
        """
        return cls(as_weights(w1), difference(w2, w1), kind="between")

    @classmethod
    def random(cls, weights: Mapping[str, Tensor], seed: int = 0, normalize: Normalize | None = "filter") -> Line:
        """A line through a point in a random direction: the row b = 0 of `Plane.random` of the same seed.

        Args:
            weights: The origin.
            seed: Seed of the direction.
            normalize: As in `random_direction`.

        Raises:
            GeometryError: If every trainable weight with a filter is zero.
        """
        x = random_direction(weights, normalize, derived_seed(seed, "x"))
        return cls(as_weights(weights), x, kind="random", seed=seed, normalize=normalize)

    @property
    def directions(self) -> tuple[Weights, ...]:
        """The direction, (x,)."""
        return (self.x,)


@dataclass(frozen=True, eq=False)
class Plane(Slice):
    """A plane in weight space: origin + a x + b y.

    The directions may have any lengths and any angle but 0.

    Args:
        origin: The point with coordinates (0, 0).
        x: The first direction, of the origin's names and shapes.
        y: The second direction, of the origin's names and shapes.
        kind: How the plane was made, for the record.
        seed: The seed of random directions.
        normalize: The normalisation of random directions.
        explained_variance: Shares of the variance of the checkpoints along the directions.

    Raises:
        GeometryError: If names or shapes differ, a direction has no length, or both are parallel.

    Example:
        >>> x, y = {"w": torch.tensor([2.0, 0.0, 0.0])}, {"w": torch.tensor([1.0, 1.0, 0.0])}
        >>> plane = Plane(origin={"w": torch.zeros(3)}, x=x, y=y)
        >>> plane.coordinates({"w": torch.tensor([5.0, 3.0, 7.0])})
        (1.0, 3.0)
    """

    x: Weights = field(repr=False)
    y: Weights = field(repr=False)

    @classmethod
    def random(cls, weights: Mapping[str, Tensor], seed: int = 0, normalize: Normalize | None = "filter") -> Plane:
        """A plane through a point, of two independent random directions.

        The directions are not made orthogonal, as in the paper; `cosine` tells how close they are.

        Args:
            weights: The origin.
            seed: Seed of both directions.
            normalize: As in `random_direction`.

        Raises:
            GeometryError: If every trainable weight with a filter is zero.

        Source:
            Li et al., arXiv 1712.09913, section 4.
        """
        x, y = (random_direction(weights, normalize, derived_seed(seed, label)) for label in "xy")
        return cls(as_weights(weights), x, y, kind="random", seed=seed, normalize=normalize)

    @classmethod
    @torch.no_grad()
    def through(cls, w1: Mapping[str, Tensor], w2: Mapping[str, Tensor], w3: Mapping[str, Tensor]) -> Plane:
        r"""The plane through three points, with an orthonormal basis.

        .. math::
            x = \frac{u}{\lVert u \rVert}, \quad y = \frac{h}{\lVert h \rVert}, \qquad
            u = w_2 - w_1, \quad v = w_3 - w_1, \quad h = v - \langle v, x \rangle x

        Then w1 is at (0, 0), w2 at (|u|, 0) and w3 at (<v, x>, |h|); distances in the picture are distances in weight
        space.

        Args:
            w1: The origin.
            w2: A second point, on the positive x-axis.
            w3: A third point, in the upper half.

        Raises:
            GeometryError: If names or shapes differ, points are equal, or all are on one line.

        Source:
            Garipov et al., *Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs*, arXiv 1802.10026.
        """
        w1, w2, w3 = as_weights(w1), as_weights(w2), as_weights(w3)
        check_compatible(w2, w1, what="the second point (against the first)")
        check_compatible(w3, w1, what="the third point (against the first)")
        u = Weights({n: wide(w2[n], like=t) - wide(t) for n, t in w1.items()}, w1.roles)
        v = Weights({n: wide(w3[n], like=t) - wide(t) for n, t in w1.items()}, w1.roles)
        u_norm, v_norm = norm(u), norm(v)
        if u_norm == 0 or v_norm == 0:
            raise GeometryError(
                f"the {'second' if u_norm == 0 else 'third'} point equals the first: a plane needs three different ones"
            )
        share = inner(v, u) / u_norm**2
        for name, tensor in v.items():
            tensor.sub_(u[name], alpha=share)
        height = norm(v)
        if height <= _PARALLEL * max(v_norm, u_norm):
            raise GeometryError("the three points are on one line: take another third point, or Line.between")
        return cls(as_weights(w1), _unit(u, u_norm, w1), _unit(v, height, w1), kind="through")

    @classmethod
    def principal(
        cls, trajectory: Checkpoints | Sequence[Mapping[str, Tensor]], origin: Mapping[str, Tensor] | None = None
    ) -> Plane:
        """The plane of the two leading principal directions of a training, which have unit norm.

        Args:
            trajectory: A recorded trajectory or a list of weights.
            origin: A point of the plane; the last checkpoint if None. Where it has tensors that the trajectory has
                not, nothing moves.

        Raises:
            GeometryError: If the checkpoints span no plane, are not finite, or do not fit the origin.

        Source:
            Li et al., arXiv 1712.09913, section 7.
        """
        checkpoints = as_checkpoints(trajectory)
        principal = principal_directions(checkpoints)
        start = as_weights(trajectory[len(trajectory) - 1] if origin is None else origin)
        rest = {
            n: torch.zeros_like(t, dtype=direction_dtype(t)) for n, t in start.items() if n not in checkpoints.names
        }
        x, y = (Weights({**direction, **rest}, start.roles) for direction in principal.directions)
        variance = tuple(map(float, principal.explained_variance))
        return cls(start, x, y, kind="principal", explained_variance=variance)

    @property
    def directions(self) -> tuple[Weights, ...]:
        """The directions, (x, y)."""
        return (self.x, self.y)

    @property
    def cosine(self) -> float:
        """Cosine of the angle between the directions."""
        return float(self._correlation[0, 1])


def _unit(direction: Weights, length: float, like: Weights) -> Weights:
    """A float64 direction divided by its length, in the devices and dtypes of directions for the given weights."""
    return Weights({n: (direction[n] / length).to(t.device, direction_dtype(t)) for n, t in like.items()}, like.roles)


def check_directions(gram: npt.NDArray[np.float64]) -> None:
    """Refuse one or two directions that span no line or plane.

    Args:
        gram: Their inner products, [1, 1] or [2, 2].

    Raises:
        GeometryError: If one has no length, or both are parallel.
    """
    for label, square in zip("xy", np.diagonal(gram), strict=False):
        length = math.sqrt(square)
        if not (math.isfinite(length) and length > 0):
            raise GeometryError(
                f"direction {label} has the length {length}: give one that moves some weights and is finite "
                "(frozen weights, biases and filters of zeros rest in random directions)"
            )
    if len(gram) > 1 and 1 - (cosine := float(_correlation(gram)[0, 1])) ** 2 < _PARALLEL**2:
        raise GeometryError(
            f"directions x and y are parallel (cosine {cosine:.9f}): give two that span a plane, or use a Line"
        )


def describe(
    gram: npt.NDArray[np.float64],
    digests: Sequence[str],
    *,
    kind: str,
    seed: int | None = None,
    normalize: str | None = None,
    explained_variance: Sequence[float] | None = None,
) -> Metadata:
    """What a record should say about one or two directions; see `Slice.metadata`.

    Args:
        gram: Their inner products, [1, 1] or [2, 2].
        digests: The SHA-256 of each.
        kind: How they were made.
        seed: As in `Slice`.
        normalize: As in `Slice`.
        explained_variance: As in `Slice`.
    """
    return {
        "kind": kind,
        "seed": seed,
        "normalize": normalize,
        "direction_norms": [math.sqrt(square) for square in np.diagonal(gram)],
        "direction_cosine": None if len(gram) == 1 else float(_correlation(gram)[0, 1]),
        "explained_variance": None if explained_variance is None else list(explained_variance),
        "digest": hashlib.sha256("".join(digests).encode()).hexdigest(),
    }


def _correlation(gram: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    lengths = np.sqrt(np.diagonal(gram))
    return np.asarray(gram / np.outer(lengths, lengths))
