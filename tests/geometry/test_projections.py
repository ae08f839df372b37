"""Random projections: unit columns, exact transposes, rows on request, and the statistics of a random subspace."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lightning_landscape import GeometryError
from lightning_landscape.geometry.projections import Projection, orthonormal_frame, projection, walsh_hadamard

NAMES = ["dense", "sparse", "fastfood"]
# Below one block, several blocks with a rest, whole blocks, and d = D.
SIZES = [(10, 9), (1000, 5), (1003, 30), (1024, 32), (37, 1), (12, 12)]


def matrix(p: Projection) -> Tensor:
    return torch.stack([p.apply(e) for e in torch.eye(p.dimension, dtype=torch.float64)], dim=1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("size", "dimension"), SIZES)
def test_columns_have_norm_one_over_all_weights(name: str, size: int, dimension: int) -> None:
    columns = matrix(projection(name, size, dimension, seed=3))
    assert columns.shape == (size, dimension)
    torch.testing.assert_close(columns.norm(dim=0), torch.ones(dimension, dtype=torch.float64), rtol=0, atol=2e-7)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("size", "dimension"), SIZES)
def test_the_transpose_is_exact(name: str, size: int, dimension: int) -> None:
    p = projection(name, size, dimension, seed=1)
    generator = torch.Generator().manual_seed(5)
    vector = torch.randn(size, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(p.transpose(vector), matrix(p).T @ vector, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("start", "stop"), [(0, 1), (30, 34), (31, 97), (96, 100), (50, 50)])
def test_rows_on_request_are_the_rows(name: str, start: int, stop: int) -> None:
    p = projection(name, 100, 30, seed=2)
    z = torch.randn(30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(p.apply(z, start, stop), p.apply(z)[start:stop], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_the_transpose(name: str) -> None:
    p = projection(name, 60, 7, seed=2)
    z = torch.randn(7, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(p.apply, z)
    assert torch.autograd.gradgradcheck(lambda z: p.apply(z) ** 2, z)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_fixes_it_and_leaves_the_stream_alone(name: str) -> None:
    state = torch.get_rng_state()
    a, b, c = (matrix(projection(name, 300, 8, seed)) for seed in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("size", "dimension"), [(10, 9), (1000, 100), (4096, 64)])
def test_the_columns_span_d_dimensions(name: str, size: int, dimension: int) -> None:
    if (name, size) == ("sparse", 10):
        pytest.skip("nine columns with three entries in ten rows need not be independent")
    assert torch.linalg.matrix_rank(matrix(projection(name, size, dimension, seed=4))) == dimension


@pytest.mark.parametrize("name", NAMES)
def test_columns_are_nearly_orthogonal(name: str) -> None:
    """The inner product of two random unit vectors has mean 0 and variance 1/D; for Fastfood var(g^2)/D = 2/D."""
    size, dimension = 4096, 50
    products = []
    for seed in range(4):
        gram = matrix(projection(name, size, dimension, seed)).T @ matrix(projection(name, size, dimension, seed))
        products.append(gram[torch.triu_indices(dimension, dimension, 1).unbind()])
    values = torch.cat(products) * math.sqrt(size / (2 if name == "fastfood" else 1))
    assert abs(values.mean()) < 0.1
    assert values.std().item() == pytest.approx(1, abs=0.06)


def test_fastfood_preserves_lengths_as_the_dense_map_does() -> None:
    """|P z|^2 / |z|^2 concentrates at 1 with the same spread, and entries are Gaussian (kurtosis 3)."""
    size, dimension = 4096, 64
    z = torch.ones(dimension, dtype=torch.float64) / math.sqrt(dimension)
    ratio = {name: [float(projection(name, size, dimension, s).apply(z).norm()) for s in range(60)] for name in NAMES}
    for name in NAMES:
        squares = torch.tensor(ratio[name]) ** 2
        # var |P z|^2 = 2 (1 - sum z^4) / D for independent columns of norm 1
        assert squares.mean().item() == pytest.approx(1, abs=4 * math.sqrt(2 / size / 60))
        assert squares.std().item() == pytest.approx(math.sqrt(2 / size), rel=0.4)
    entries = projection("fastfood", 1 << 16, dimension, 0).apply(z)
    entries = entries / entries.std()
    assert (entries**4).mean().item() == pytest.approx(3, abs=0.25)


def test_walsh_hadamard_is_orthonormal_symmetric_and_its_own_inverse() -> None:
    h = walsh_hadamard(torch.eye(16, dtype=torch.float64))
    identity = torch.eye(16, dtype=torch.float64)
    torch.testing.assert_close(h @ h.T, identity)
    torch.testing.assert_close(h, h.T)
    torch.testing.assert_close(walsh_hadamard(h), identity)
    torch.testing.assert_close(h.abs(), torch.full_like(h, 0.25))


def test_a_random_frame_is_orthonormal_and_uniform() -> None:
    frames = torch.stack([orthonormal_frame(6, 2, seed) for seed in range(2000)])
    torch.testing.assert_close(frames.mT @ frames, torch.eye(2, dtype=torch.float64).expand(2000, 2, 2))
    # E M M^T = (d/D) I, and no sign is preferred
    second = (frames @ frames.mT).mean(0)
    torch.testing.assert_close(second, torch.eye(6, dtype=torch.float64) / 3, rtol=0, atol=0.03)
    assert frames.mean(0).abs().max() < 0.04


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("gaussian", 10, 2), "choose one of dense, sparse, fastfood"),
        (("dense", 10, 11), "from 1 to 10"),
        (("dense", 10, 0), "from 1 to 10"),
    ],
)
def test_refusals(arguments: tuple[str, int, int], words: str) -> None:
    with pytest.raises(GeometryError, match=words):
        projection(*arguments)  # type: ignore[arg-type]


def test_no_power_of_two_is_refused() -> None:
    with pytest.raises(GeometryError, match="power of two"):
        walsh_hadamard(torch.ones(6))
