"""Lines and planes: points, least-squares coordinates and residuals against dense float64 linear algebra."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_landscape.errors import GeometryError
from lightning_landscape.geometry import (
    Line,
    Path,
    Plane,
    Weights,
    difference,
    digest,
    norm,
    random_direction,
    weights_of,
)
from tests.geometry.dense import SIZE, combination, random_weights, vector


@pytest.fixture
def plane() -> Plane:
    """A plane of directions of very different lengths at an angle of about 45 degrees."""
    x = random_weights(1, scale=3.0)
    y = combination([(0.01, random_weights(2)), (0.004, x)])
    return Plane(origin=random_weights(0), x=x, y={name: tensor.float() for name, tensor in y.items()})


# ---- points


def test_points_are_the_sum_of_origin_and_directions(plane: Plane) -> None:
    for a, b in [(0.0, 0.0), (1.0, 0.0), (-0.5, 2.0), (0.3, -70.0)]:
        expected = vector(plane.origin) + a * vector(plane.x) + b * vector(plane.y)
        np.testing.assert_allclose(vector(plane.at(a, b)), expected, rtol=0, atol=1e-6)


def test_the_centre_is_the_origin_bit_by_bit_in_storage_of_its_own() -> None:
    origin = Weights({"w": torch.tensor([[-0.0, 1e-40, 3.0]]), "b": torch.tensor([-0.0])})
    line = Line(origin=origin, x={"w": torch.ones(1, 3), "b": torch.zeros(1)})
    centre = line.at(0)
    assert digest(centre) == digest(origin)
    for name in origin:
        assert centre[name].data_ptr() != origin[name].data_ptr()
    assert centre.roles == origin.roles


def test_points_are_summed_in_float32_and_rounded_once() -> None:
    # In bfloat16 1 + 2^-9 + 2^-9 is 1 when each step is rounded, and 1 + 2^-8 -> 1 (tie to even); 3 * 2^-9 rounds up.
    one, small = torch.ones(1, 1, dtype=torch.bfloat16), torch.tensor([[2.0**-9, 0.0]])
    plane = Plane(
        origin={"w": torch.cat([one, one], dim=1)},
        x={"w": small * 1.5 + torch.tensor([[0.0, 1.0]])},
        y={"w": small * 1.5 - torch.tensor([[0.0, 1.0]])},
    )
    point = plane.at(1, 1)["w"]
    assert point.dtype == torch.bfloat16
    assert point.tolist() == [[1 + 2.0**-7, 1.0]]
    assert Line(origin=plane.origin, x=plane.x).at(1)["w"].tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_points_have_the_dtype_of_the_origin(dtype: torch.dtype) -> None:
    weights = weights_of(nn.Linear(3, 2).to(dtype))
    assert {tensor.dtype for tensor in Plane.random(weights).at(0.5, 0.5).values()} == {dtype}


def test_points_made_in_inference_mode_can_be_differentiated() -> None:
    line = Line.random({"w": torch.ones(2, 2)})
    with torch.inference_mode():
        point = line.at(0.5)
    point["w"].requires_grad_().sum().backward()
    assert torch.equal(point["w"].grad, torch.ones(2, 2))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_point_needs_as_many_coordinates_as_directions(plane: Plane, count: int) -> None:
    with pytest.raises(GeometryError, match=rf"2 coordinate\(s\), found {count}"):
        plane.at(*[0.0] * count)


def test_slices_do_not_alias_live_weights() -> None:
    module = nn.Linear(3, 2)
    other = {name: tensor + 1 for name, tensor in weights_of(module).items()}
    third = {name: 2 * tensor + torch.randn_like(tensor) for name, tensor in weights_of(module).items()}
    state = module.state_dict()
    slices = [
        Line(origin=state, x=state),
        Line.between(state, other),
        Line.random(state),
        Plane.random(state),
        Plane.through(state, other, third),
        Plane.principal([third, other, state]),
        Plane.principal([third, other, third | {"bias": torch.zeros(2)}], origin=state),
    ]
    digests = [digest(slice_.origin) for slice_ in slices]
    lengths = norm(slices[0].directions[0])
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(100)
    assert [digest(slice_.origin) for slice_ in slices] == digests
    assert norm(slices[0].directions[0]) == lengths


# ---- coordinates and residuals


def test_coordinates_are_least_squares_for_any_lengths_and_angle(plane: Plane) -> None:
    assert 0.2 < abs(plane.cosine) < 0.95
    assert plane.norms[0] / plane.norms[1] > 100
    basis = np.stack([vector(plane.x), vector(plane.y)], axis=1)
    for seed in range(5):
        weights = random_weights(100 + seed, scale=2.0)
        delta = vector(weights) - vector(plane.origin)
        expected, *_ = np.linalg.lstsq(basis, delta, rcond=None)
        np.testing.assert_allclose(plane.coordinates(weights), expected, rtol=1e-10)
        off = np.linalg.norm(delta - basis @ expected)
        assert plane.residual(weights) == pytest.approx(float(off), rel=1e-12)


def test_coordinates_of_directions_that_are_neither_unit_nor_orthogonal_in_closed_form() -> None:
    plane = Plane(
        origin={"w": torch.tensor([1.0, 1.0, 1.0])},
        x={"w": torch.tensor([2.0, 0.0, 0.0])},
        y={"w": torch.tensor([3.0, 4.0, 0.0])},
    )
    weights = {"w": torch.tensor([1.0 + 2 * 5 + 3 * 7, 1.0 + 4 * 7, 1.0 - 9])}
    assert plane.coordinates(weights) == pytest.approx((5.0, 7.0), rel=1e-12)
    assert plane.residual(weights) == pytest.approx(9.0, rel=1e-12)
    assert plane.cosine == pytest.approx(0.6, rel=1e-12)
    assert plane.norms == (2.0, 5.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_and_coordinates_are_inverse(dtype: torch.dtype) -> None:
    weights = random_weights(0, dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for slice_, point in [
        (Line.random(weights, seed=1), (0.7,)),
        (Plane.random(weights, seed=1), (0.7, -1.3)),
        (Plane.through(weights, random_weights(1, dtype), random_weights(2, dtype)), (3.0, -2.0)),
    ]:
        assert slice_.coordinates(slice_.at(*point)) == pytest.approx(point, abs=tolerance)
        assert slice_.residual(slice_.at(*point)) < 10 * tolerance


def test_a_small_residual_is_not_lost_beside_a_long_way() -> None:
    line = Line(origin={"w": torch.zeros(2, dtype=torch.float64)}, x={"w": torch.tensor([1.0, 0.0]).double()})
    weights = {"w": torch.tensor([1e6, 1e-6]).double()}
    assert line.coordinates(weights) == (1e6,)
    assert line.residual(weights) == pytest.approx(1e-6, rel=1e-9)


def test_tensors_beyond_the_origin_are_ignored_and_missing_ones_refused(plane: Plane) -> None:
    weights = random_weights(5)
    assert plane.residual({**weights, "extra": torch.ones(3)}) == plane.residual(weights)
    del weights["head.weight"]
    with pytest.raises(
        GeometryError, match=r"the weights \(against the origin of the slice\).*1 missing \(head\.weight\)"
    ):
        plane.coordinates(weights)


def test_running_statistics_count_only_where_they_move() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    start, other = weights_of(module, buffers=True), weights_of(module, buffers=True)
    other["1.running_var"] += 5
    line = Line.random(start)
    assert line.residual(other) == 0
    assert line.coordinates(weights_of(module)) == (0.0,)  # as recorded without statistics
    interpolation = Line.between(start, other)
    assert interpolation.norms[0] == pytest.approx(5 * math.sqrt(3))
    assert interpolation.coordinates(other) == pytest.approx((1.0,))
    with pytest.raises(GeometryError, match=r"1 missing \(1\.running_var\)"):
        interpolation.coordinates(weights_of(module))


# ---- construction


def test_directions_that_do_not_fit_the_origin_are_refused() -> None:
    origin = random_weights(0)
    shorter = {name: tensor for name, tensor in random_weights(1).items() if name != "conv.bias"}
    with pytest.raises(GeometryError, match=r"direction x \(against the origin\) do not fit: 1 missing \(conv\.bias\)"):
        Line(origin=origin, x=shorter)
    reshaped = {**random_weights(1), "head.weight": torch.ones(5, 3)}
    with pytest.raises(
        GeometryError, match=r"direction y .*1 of another shape \(head\.weight: \(5, 3\) instead of \(3, 5\)\)"
    ):
        Plane(origin=origin, x=random_weights(1), y=reshaped)


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_directions_without_a_length_are_refused(value: float) -> None:
    origin = {"w": torch.ones(2, 2)}
    with pytest.raises(GeometryError, match=f"direction x has the length {value}"):
        Line(origin=origin, x={"w": torch.full((2, 2), value)})
    with pytest.raises(GeometryError, match=f"direction y has the length {value}"):
        Plane(origin=origin, x=origin, y={"w": torch.full((2, 2), value)})


def test_random_directions_of_weights_that_all_rest_are_refused() -> None:
    with pytest.raises(GeometryError, match="frozen weights, biases and filters of zeros rest"):
        Line.random(weights_of(nn.Linear(3, 2).requires_grad_(False)))


def test_parallel_directions_are_refused() -> None:
    x = random_weights(1)
    for y in (x, {name: -2.5 * tensor for name, tensor in x.items()}):
        with pytest.raises(
            GeometryError, match=r"parallel \(cosine -?1\.0+\): give two that span a plane, or use a Line"
        ):
            Plane(origin=random_weights(0), x=x, y=y)


def test_slices_cannot_be_changed_and_print_briefly(plane: Plane) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        plane.kind = "other"  # type: ignore[misc]
    assert repr(plane) == "Plane(kind='custom', seed=None, normalize=None, explained_variance=None)"


def test_line_between_two_points() -> None:
    start, end = random_weights(0), random_weights(1)
    line = Line.between(start, end)
    assert digest(line.at(0)) == digest(start)
    np.testing.assert_allclose(vector(line.at(1)), vector(end), rtol=0, atol=1e-6)
    np.testing.assert_allclose(vector(line.at(0.25)), 0.75 * vector(start) + 0.25 * vector(end), rtol=0, atol=1e-6)
    assert line.coordinates(end) == pytest.approx((1.0,))
    assert line.norms[0] == pytest.approx(norm(difference(end, start)))
    assert (line.kind, line.dim) == ("between", 1)
    with pytest.raises(GeometryError, match=r"length 0\.0"):
        Line.between(start, start)


def test_random_line_is_the_middle_row_of_the_random_plane() -> None:
    weights = random_weights(0)
    line, plane = Line.random(weights, seed=7), Plane.random(weights, seed=7)
    assert digest(line.x) == digest(plane.x)
    assert digest(plane.y) != digest(plane.x)
    assert digest(Plane.random(weights, seed=8).x) != digest(plane.x)
    assert (plane.kind, plane.seed, plane.normalize) == ("random", 7, "filter")
    torch.testing.assert_close(plane.y["head.weight"].norm(dim=1), weights["head.weight"].norm(dim=1))
    assert not plane.x["conv.bias"].any()


# ---- through three points


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_plane_through_three_points_is_orthonormal_and_holds_them_where_predicted(dtype: torch.dtype) -> None:
    w1, w2, w3 = (random_weights(seed, dtype) for seed in (1, 2, 3))
    plane = Plane.through(w1, w2, w3)
    tolerance = 1e-7 if dtype == torch.float32 else 1e-14
    assert plane.norms == pytest.approx((1.0, 1.0), abs=tolerance)
    assert abs(plane.cosine) < tolerance
    u, v = vector(w2) - vector(w1), vector(w3) - vector(w1)
    along = u @ v / np.linalg.norm(u)
    height = math.sqrt(v @ v - along**2)
    predicted = [(0.0, 0.0), (float(np.linalg.norm(u)), 0.0), (along, height)]
    for weights, expected in zip((w1, w2, w3), predicted, strict=True):
        assert plane.coordinates(weights) == pytest.approx(expected, abs=100 * tolerance)
        assert plane.residual(weights) < 100 * tolerance
        np.testing.assert_allclose(vector(plane.at(*expected)), vector(weights), rtol=0, atol=100 * tolerance)
    assert plane.kind == "through"


def test_plane_through_points_that_are_almost_on_a_line_is_still_orthogonal() -> None:
    w1, w2 = random_weights(1, torch.float64), random_weights(2, torch.float64)
    w3 = combination([(0.5, w1), (0.5, w2), (1e-3, random_weights(3))])
    plane = Plane.through(w1, w2, w3)
    assert abs(plane.cosine) < 1e-10
    assert plane.residual(w3) < 1e-12


def test_plane_through_three_points_on_a_line_is_refused() -> None:
    w1, w2 = random_weights(1), random_weights(2)
    on_the_line = {name: tensor.float() for name, tensor in combination([(-1.0, w1), (2.0, w2)]).items()}
    with pytest.raises(GeometryError, match="three points are on one line"):
        Plane.through(w1, w2, on_the_line)
    with pytest.raises(GeometryError, match="three points are on one line"):
        Plane.through(w1, w2, w2)
    with pytest.raises(GeometryError, match="the second point equals the first"):
        Plane.through(w1, w1, w2)
    with pytest.raises(GeometryError, match="the third point equals the first"):
        Plane.through(w1, w2, w1)
    with pytest.raises(GeometryError, match=r"the third point \(against the first\) do not fit: 3 missing"):
        Plane.through(w1, w2, {"head.weight": w1["head.weight"]})


# ---- projection of a training


def spiral(count: int) -> list[dict[str, Tensor]]:
    """Checkpoints near a plane through the origin, with a growing distance from it."""
    base, u, v, off = (random_weights(seed) for seed in (10, 11, 12, 13))
    return [
        combination([(1.0, base), (math.cos(t) / (1 + t), u), (math.sin(t) / (1 + t), v), (0.01 * t, off)])
        for t in range(count)
    ]


def test_projection_of_a_list_of_weights(plane: Plane) -> None:
    checkpoints = spiral(6)
    path = plane.project(checkpoints)
    assert isinstance(path, Path)
    basis = np.stack([vector(plane.x), vector(plane.y)], axis=1)
    deltas = np.stack([vector(w) - vector(plane.origin) for w in checkpoints])
    expected = np.linalg.lstsq(basis, deltas.T, rcond=None)[0].T
    np.testing.assert_allclose(path.coordinates, expected, rtol=1e-9)
    np.testing.assert_allclose(path.residual, np.linalg.norm(deltas - expected @ basis.T, axis=1), rtol=1e-12)
    np.testing.assert_allclose(path.distance_from_origin, np.linalg.norm(deltas, axis=1), rtol=1e-12)
    np.testing.assert_array_equal(path.steps, np.arange(6))
    assert path.epochs is None
    assert path.lr is None


def test_projection_takes_over_what_the_trajectory_knows() -> None:
    class Recorded(list):  # type: ignore[type-arg]
        steps = np.array([0, 10, 20])
        epochs = np.array([0, 1, 2])
        lr = np.array([0.1, 0.1, 0.01])

    path = Line.random(random_weights(0)).project(Recorded(spiral(3)))
    assert path.coordinates.shape == (3, 1)
    assert path.steps.tolist() == [0, 10, 20]
    assert path.epochs is not None
    assert path.epochs.tolist() == [0, 1, 2]
    assert path.lr is not None
    assert path.lr.tolist() == [0.1, 0.1, 0.01]


def test_projection_of_no_checkpoints_is_empty(plane: Plane) -> None:
    assert plane.project([]).coordinates.shape == (0, 2)


# ---- the principal plane


def test_principal_plane_ends_in_its_origin_and_is_orthonormal() -> None:
    checkpoints = spiral(8)
    plane = Plane.principal(checkpoints)
    assert digest(plane.origin) == digest(checkpoints[-1])
    assert plane.norms == pytest.approx((1.0, 1.0), abs=1e-12)
    assert abs(plane.cosine) < 1e-12
    assert plane.kind == "principal"
    assert plane.explained_variance is not None
    first, second = plane.explained_variance
    assert 0 < second < first < 1
    path = plane.project(checkpoints)
    assert path.coordinates[-1].tolist() == [0.0, 0.0]
    # The share of the variance that the path shows is the share that the plane explains.
    matrix = np.stack([vector(w) for w in checkpoints])
    shown = path.coordinates.var(axis=0).sum() / matrix.var(axis=0).sum()
    assert first + second == pytest.approx(shown, rel=1e-10)


def test_principal_plane_with_an_origin_of_its_own_rests_where_nothing_was_recorded() -> None:
    checkpoints = spiral(5)
    origin = {**random_weights(0), "frozen.weight": torch.ones(2, 2)}
    plane = Plane.principal(checkpoints, origin=origin)
    assert digest(plane.origin) == digest(origin)
    assert not plane.x["frozen.weight"].any()
    torch.testing.assert_close(plane.x["head.weight"], Plane.principal(checkpoints).x["head.weight"])
    with pytest.raises(GeometryError, match=r"direction x .* 3 unexpected"):
        Plane.principal(checkpoints, origin={"head.weight": torch.ones(3, 5)})


# ---- metadata


def test_metadata_of_a_plane_and_a_line() -> None:
    weights = random_weights(0)
    plane = Plane.random(weights, seed=3, normalize="layer")
    metadata = plane.metadata()
    fingerprint = metadata.pop("digest")
    assert metadata == {
        "kind": "random",
        "seed": 3,
        "normalize": "layer",
        "direction_norms": list(plane.norms),
        "direction_cosine": plane.cosine,
        "explained_variance": None,
    }
    assert isinstance(fingerprint, str)
    assert len(fingerprint) == 64
    assert Plane.random(weights, seed=3, normalize="layer").metadata()["digest"] == fingerprint
    assert Plane(weights, plane.y, plane.x).metadata()["digest"] != fingerprint
    line = Line(weights, plane.x).metadata()
    assert line["digest"] != fingerprint
    assert line["direction_cosine"] is None
    shares = Plane.principal(spiral(4)).metadata()["explained_variance"]
    assert isinstance(shares, list)
    assert len(shares) == 2
    assert {type(value) for value in [*shares, *plane.norms, plane.cosine]} == {float}


def test_cosine_of_the_metadata_is_that_of_the_directions() -> None:
    x, y = random_direction(random_weights(0), seed=1), random_direction(random_weights(0), seed=2)
    plane = Plane(random_weights(0), x, y)
    a, b = vector(x), vector(y)
    assert len(a) == SIZE
    assert plane.cosine == pytest.approx(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), rel=1e-12)


def test_plane_of_eigenvectors() -> None:
    """Of weights of which the Hessian was taken by some alone; the others rest."""
    weights = Weights({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0])})
    vectors = [{"a": torch.tensor([1.0, 0.0])}, {"a": torch.tensor([0.0, 1.0])}, {"a": torch.tensor([1.0, 1.0])}]
    plane = Plane.hessian(weights, vectors)
    assert plane.kind == "hessian"
    assert plane.at(2, 3)["a"].tolist() == [3, 5]
    assert plane.at(2, 3)["b"].tolist() == [3]
    with pytest.raises(GeometryError, match="needs two eigenvectors, found 1"):
        Plane.hessian(weights, vectors[:1])
