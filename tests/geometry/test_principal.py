"""Principal directions against numpy's singular value decomposition of the dense centred matrix."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from lightning_landscape.errors import GeometryError
from lightning_landscape.geometry import Checkpoints, Weights, principal_directions, weights_of
from lightning_landscape.geometry.principal import JoinedCheckpoints, as_checkpoints, captured_variance
from tests.geometry.dense import SIZE, random_weights, vector


def walk(count: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[dict[str, Tensor]]:
    """Checkpoints of a random walk, whose principal variances differ strongly, far from zero."""
    point = {name: tensor.double() + 10 for name, tensor in random_weights(seed).items()}
    checkpoints = []
    for t in range(count):
        point = {name: tensor + random_weights(1000 * seed + t + 1)[name].double() for name, tensor in point.items()}
        checkpoints.append({name: tensor.to(dtype) for name, tensor in point.items()})
    return checkpoints


def centred(checkpoints: list[dict[str, Tensor]]) -> npt.NDArray[np.float64]:
    matrix = np.stack([vector(weights) for weights in checkpoints])
    return np.asarray(matrix - matrix.mean(axis=0))


@pytest.mark.parametrize("count", [3, 12, 150])  # fewer and more checkpoints than the 92 weights
@pytest.mark.parametrize("k", [1, 2])
def test_directions_and_variances_are_those_of_the_dense_matrix(count: int, k: int) -> None:
    checkpoints = walk(count)
    result = principal_directions(checkpoints, k)
    matrix = centred(checkpoints)
    _, singular, rows = np.linalg.svd(matrix, full_matrices=False)
    variances = singular**2 / (count - 1)
    assert len(result.directions) == k
    for i, direction in enumerate(result.directions):
        sign = np.sign(vector(direction) @ rows[i])
        np.testing.assert_allclose(sign * vector(direction), rows[i], rtol=0, atol=1e-10)
    np.testing.assert_allclose(result.explained_variance, variances[:k] / variances.sum(), rtol=1e-10)
    assert result.all_variance.shape == (count,)
    np.testing.assert_allclose(
        result.all_variance[: min(count, SIZE)], variances[:count], rtol=1e-9, atol=1e-12 * variances[0]
    )
    assert (result.all_variance[SIZE:] <= 1e-12 * variances[0]).all()
    basis = np.stack([vector(direction) for direction in result.directions], axis=1)
    np.testing.assert_allclose(basis.T @ basis, np.eye(k), rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.scores, matrix @ basis, rtol=0, atol=1e-9)


def test_all_components_together_reconstruct_the_checkpoints() -> None:
    checkpoints = walk(6)
    result = principal_directions(checkpoints, k=5)
    basis = np.stack([vector(direction) for direction in result.directions])
    np.testing.assert_allclose(result.scores @ basis, centred(checkpoints), rtol=0, atol=1e-10)
    assert result.explained_variance.sum() == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("block_size", [1, 7, 72, 1000])
def test_the_result_does_not_depend_on_the_blocks(block_size: int) -> None:
    checkpoints = walk(10)
    reference = principal_directions(checkpoints)
    result = principal_directions(checkpoints, block_size=block_size)
    for direction, expected in zip(result.directions, reference.directions, strict=True):
        np.testing.assert_allclose(vector(direction), vector(expected), rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.all_variance, reference.all_variance, rtol=1e-10, atol=1e-10)


def test_only_blocks_are_read_from_recorded_checkpoints() -> None:
    rows = walk(9)
    widths: list[int] = []

    class Recorded:
        def __init__(self) -> None:
            self.names = list(rows[0])

        def __len__(self) -> int:
            return len(rows)

        def __getitem__(self, index: int, /) -> Weights:
            return Weights(rows[range(len(rows))[index]])

        def block(self, name: str, start: int, stop: int) -> Tensor:
            widths.append(stop - start)
            return torch.stack([weights[name].flatten()[start:stop] for weights in rows])

    recorded = Recorded()
    assert isinstance(recorded, Checkpoints)
    result = principal_directions(recorded, block_size=20)
    assert max(widths) == 20
    assert sum(widths) == 2 * SIZE  # two passes
    for direction, expected in zip(result.directions, principal_directions(rows).directions, strict=True):
        np.testing.assert_allclose(vector(direction), vector(expected), rtol=0, atol=1e-12)


def test_the_point_farthest_out_has_a_positive_score() -> None:
    for seed in range(8):
        result = principal_directions(walk(7, seed), k=3)
        farthest = np.abs(result.scores).argmax(axis=0)
        assert (result.scores[farthest, range(3)] > 0).all()


def test_among_mirror_images_the_first_checkpoint_is_on_the_positive_side() -> None:
    for seed in range(20):
        there, centre = walk(2, seed)
        # Rounded to float32, so that the second image may be a little farther out.
        back = {name: (2 * centre[name] - tensor).float() for name, tensor in there.items()}
        result = principal_directions([centre, there, back], k=1)
        assert result.scores[1, 0] == pytest.approx(-result.scores[2, 0], rel=1e-6)
        assert result.scores[1, 0] > 0


def test_directions_of_float32_checkpoints_are_float32_and_accurate() -> None:
    checkpoints = walk(20, dtype=torch.float32)
    result = principal_directions(checkpoints)
    _, _, rows = np.linalg.svd(centred(checkpoints), full_matrices=False)
    for direction, row in zip(result.directions, rows, strict=False):
        assert {tensor.dtype for tensor in direction.values()} == {torch.float32}
        np.testing.assert_allclose(np.abs(vector(direction)), np.abs(row), rtol=0, atol=1e-7)


def test_small_motion_far_from_zero_keeps_its_directions() -> None:
    # Offsets of 1e6 and steps of about 1e-3: a Gram matrix of weights that are not centred would lose the steps.
    offset = {name: torch.full_like(tensor, 1e6).double() for name, tensor in random_weights(0).items()}
    steps = walk(8)
    checkpoints = [{name: offset[name] + 1e-3 * tensor for name, tensor in step.items()} for step in steps]
    _, singular, rows = np.linalg.svd(centred(checkpoints), full_matrices=False)
    result = principal_directions(checkpoints)
    assert result.explained_variance == pytest.approx(singular[:2] ** 2 / (singular**2).sum(), rel=1e-6)
    assert abs(vector(result.directions[0]) @ rows[0]) == pytest.approx(1.0, abs=1e-9)


def test_running_statistics_take_no_part() -> None:
    module = nn.BatchNorm1d(3)
    checkpoints = []
    for t in range(4):
        weights = weights_of(module, buffers=True)
        weights["weight"] += torch.tensor([t, t**2, 0.0])
        weights["running_var"] += 1000.0 * t
        checkpoints.append(weights)
    result = principal_directions(checkpoints)
    assert not result.directions[0]["running_var"].any()
    assert result.all_variance.sum() == pytest.approx(np.var([0, 1, 2, 3], ddof=1) + np.var([0, 1, 4, 9], ddof=1))
    assert result.directions[0].roles == checkpoints[0].roles


@pytest.mark.parametrize("count", [2, 3, 7, 10])
def test_identical_checkpoints_are_refused(count: int) -> None:
    # Thirds, whose sum over the checkpoints is rounded: the mean is not any of them to the last bit.
    weights = {name: tensor.double() / 3 for name, tensor in random_weights(3).items()}
    with pytest.raises(GeometryError, match=f"2 principal directions .* of {count} checkpoints that are identical"):
        principal_directions([weights] * count)


def test_too_few_dimensions_are_refused() -> None:
    line = [{"w": torch.tensor([[0.1, 0.7]], dtype=torch.float64) * t} for t in range(5)]
    with pytest.raises(GeometryError, match=r"2 principal directions were asked of 5 checkpoints that span 1\b"):
        principal_directions(line)
    assert principal_directions(line, k=1).explained_variance.tolist() == [pytest.approx(1.0)]
    with pytest.raises(GeometryError, match=r"at least 2 checkpoints, found 1"):
        principal_directions(line[:1])
    with pytest.raises(GeometryError, match=r"at least 2 checkpoints, found 0"):
        principal_directions([])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_checkpoints_that_are_not_finite_are_named(value: float) -> None:
    checkpoints = walk(5)
    checkpoints[3]["head.weight"][1, 1] = value
    with pytest.raises(GeometryError, match=r"not finite in checkpoint\(s\) 3 of 5"):
        principal_directions(checkpoints)


def test_checkpoints_of_different_networks_are_refused() -> None:
    other = random_weights(1)
    other["head.weight"] = torch.ones(5, 3)
    with pytest.raises(GeometryError, match=r"checkpoint 1 \(against checkpoint 0\) do not fit: 1 of another shape"):
        principal_directions([random_weights(0), other])


def test_trainings_are_joined_without_being_held() -> None:
    generator = torch.Generator().manual_seed(0)
    trainings = [
        [{"w": torch.randn(3, 2, generator=generator), "b": torch.randn(2, generator=generator)}] * n for n in (2, 3)
    ]
    joined = JoinedCheckpoints([as_checkpoints(training) for training in trainings])
    assert isinstance(joined, Checkpoints)
    whole = [weights for training in trainings for weights in training]
    assert len(joined) == 5
    for found, expected in zip((joined[index] for index in range(5)), whole, strict=True):
        assert all(torch.equal(found[name], expected[name]) for name in ("w", "b"))
    assert torch.equal(joined.block("w", 1, 5), as_checkpoints(whole).block("w", 1, 5))
    with pytest.raises(GeometryError, match="there are none of some"):
        JoinedCheckpoints([])
    with pytest.raises(GeometryError, match="a training to join with others"):
        JoinedCheckpoints([as_checkpoints(trainings[0]), as_checkpoints([{"w": torch.zeros(3, 2)}])])


def test_captured_variance_is_that_of_the_dense_projection() -> None:
    checkpoints, block_size = walk(9), 4
    matrix = centred(checkpoints)
    principal = principal_directions(checkpoints, k=3)
    found = captured_variance(checkpoints, principal.directions, block_size=block_size)
    assert found == pytest.approx(principal.explained_variance.sum())
    directions = [random_weights(seed) for seed in (70, 71)]  # neither of unit norm nor orthogonal
    basis, _ = np.linalg.qr(np.stack([vector(direction) for direction in directions], axis=1))
    expected = np.square(matrix @ basis).sum() / np.square(matrix).sum()
    assert captured_variance(checkpoints, directions, block_size=block_size) == pytest.approx(expected)
    assert np.isnan(captured_variance(checkpoints[:1] * 3, directions))


def test_random_directions_capture_their_share_of_the_dimensions() -> None:
    generator = torch.Generator().manual_seed(0)
    path = [{"w": torch.randn(40, generator=generator, dtype=torch.float64)} for _ in range(3)]
    found = [
        captured_variance(path, [{"w": torch.randn(40, generator=generator)} for _ in range(2)]) for _ in range(400)
    ]
    assert np.mean(found) == pytest.approx(2 / 40, abs=4 * np.std(found) / 20)


def test_directions_of_another_network_capture_nothing() -> None:
    with pytest.raises(GeometryError, match="a direction"):
        captured_variance(walk(3), [{"w": torch.ones(3)}])
