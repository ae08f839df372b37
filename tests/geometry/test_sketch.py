"""Sketches: the projection against a dense one, its exact variance, and that nothing but the seed matters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import hadamard
from torch import Tensor

from lightning_landscape.errors import GeometryError
from lightning_landscape.geometry import Projection, Role, Weights, sketch

MASK = (1 << 64) - 1


def hash_of(state: int) -> int:
    """SplitMix64's finaliser on plain integers."""
    z = state & MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def signs(seed: int, stream: int, count: int) -> np.ndarray:
    """The sign of each entry: a bit of the hash of its group of 64."""
    golden = 0x9E3779B97F4A7C15
    key = hash_of((2 * seed + stream + 1) * golden)
    words = [hash_of(key + golden * word) for word in range(count // 64)]
    # The first entry of a group has the highest bit that is shifted to the sign: bit 63, then 62, ...
    return np.array([1.0 - 2.0 * ((word >> (63 - bit)) & 1) for word in words for bit in range(64)])


def dense(x: np.ndarray, k: int, seed: int) -> np.ndarray:
    """The projection as it is defined, block by block, with a full Hadamard matrix."""
    blocks = -(-len(x) // k)
    padded = np.zeros(blocks * k)
    padded[: len(x)] = x
    spread = (padded * signs(seed, 0, blocks * k)).reshape(blocks, k) @ (hadamard(k) / math.sqrt(k))
    inner = 1 << (k.bit_length() // 2)
    spread = spread.reshape(blocks, k // inner, inner).transpose(0, 2, 1).reshape(blocks, k)
    return (spread * signs(seed, 1, blocks * k).reshape(blocks, k)).sum(axis=0)


@pytest.mark.parametrize("k", [64, 128, 512])
@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_the_projection_is_the_dense_one(k: int, seed: int) -> None:
    x = np.random.default_rng(0).normal(size=1000)
    found = Projection(k, seed).part(torch.from_numpy(x))
    np.testing.assert_allclose(found.numpy(), dense(x, k, seed), rtol=1e-12, atol=1e-12)


def test_signs_are_balanced_and_independent() -> None:
    """Means and correlations of 2^20 signs are within five standard errors, along and across streams and seeds."""
    n = 1 << 20

    def stream(seed: int, number: int) -> Tensor:
        ones = torch.ones(n, dtype=torch.float64)
        Projection(64, seed)._flip(ones, 0, number)
        return ones

    a, b, c = stream(0, 0), stream(0, 1), stream(1, 0)
    assert set(a.unique().tolist()) == {-1.0, 1.0}
    for product in (a, b, c, a * b, a * c, b * c, a[1:] * a[:-1], a[64:] * a[:-64], a[4096:] * a[:-4096]):
        assert abs(product.mean().item()) < 5 / math.sqrt(len(product))


VECTORS = 6


def vectors(n: int = 1500) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pairs of vectors of every kind: even, heavy-tailed, spiky within one block, spiky across blocks, equal."""
    rng = np.random.default_rng(1)
    spikes, others = np.zeros((2, n)), np.zeros((2, n))
    spikes[0, [3, 7]] = spikes[1, [3, 8]] = 1  # one block
    others[0, [3, 700]] = others[1, [3, 1400]] = 1
    ones = np.ones(n)
    gauss = rng.normal(size=(2, n))
    cauchy = rng.standard_cauchy(size=(2, n))
    found = {
        "even": (ones, ones),
        "random": (gauss[0], gauss[1]),
        "heavy-tailed": (cauchy[0], cauchy[0] + cauchy[1] / 10),
        "spikes in a block": (spikes[0], spikes[1]),
        "spikes across blocks": (others[0], others[1]),
        "two spikes": (others[0], others[0]),
    }
    assert len(found) == VECTORS
    return found


def variance(x: np.ndarray, y: np.ndarray, k: int) -> float:
    """Of the inner product of two sketches, by the formula of the module."""
    blocks = -(-len(x) // k)
    a, b = (np.pad(v, (0, blocks * k - len(v))).reshape(blocks, k) for v in (x, y))
    xx, yy, xy = (a * a).sum(1), (b * b).sum(1), (a * b).sum(1)
    return float((xx.sum() * yy.sum() + xy.sum() ** 2 - (xx * yy + xy**2).sum()) / k)


@pytest.mark.parametrize("kind", list(vectors()))
def test_inner_products_have_the_stated_mean_and_variance(kind: str) -> None:
    k, draws = 64, 700
    x, y = vectors()[kind]
    pair = torch.from_numpy(np.stack([x, y]))
    found = np.empty((draws, 2))
    for seed in range(draws):
        a, b = (Projection(k, seed).part(v) for v in pair)
        found[seed] = a @ b, a @ a
    for estimates, (u, v) in zip(found.T, ((x, y), (x, x)), strict=True):
        stated = variance(u, v, k)
        limit = ((u @ u) * (v @ v) + (u @ v) ** 2) / k
        assert 0 <= stated <= limit
        deviation = math.sqrt(stated)
        if stated < 1e-12 * limit:  # within one block nothing is lost
            np.testing.assert_allclose(estimates, u @ v, rtol=1e-9, atol=1e-9)
            continue
        assert abs(estimates.mean() - u @ v) < 4 * deviation / math.sqrt(draws)
        assert 0.75 < estimates.var() / stated < 1.3
        assert (abs(estimates - u @ v) < 2 * deviation).mean() > 0.92
        assert (abs(estimates - u @ v) < 4 * deviation).mean() > 0.99


@pytest.mark.parametrize("kind", list(vectors()))
def test_the_bound_that_holds_with_high_probability(kind: str) -> None:
    """docs/trajectories.md: no vector is further off than the bound, in far more draws than one in a hundred allows."""
    k, delta = 256, 0.01
    x = vectors()[kind][0]
    blocks = -(-len(x) // k)
    spread, t = 2 * math.log(4 * blocks * k / delta), math.log(4 / delta)
    bound = math.sqrt(6 * spread * t / k) + 2 * spread * t / k
    off = [abs(float(Projection(k, s).part(torch.from_numpy(x)).square().sum()) / (x @ x) - 1) for s in range(100)]
    assert max(off) <= bound


def test_what_has_no_more_entries_than_the_sketch_is_exact() -> None:
    x, y = torch.randn(2, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    project = Projection(256)
    assert project.error(200) == 0
    assert float(project.part(x) @ project.part(y)) == pytest.approx(float(x @ y), rel=1e-12)
    assert project.error(10**9) == pytest.approx(math.sqrt(2 / 256), rel=1e-5)


def weights_at(seed: int) -> Weights:
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        "conv.weight": torch.randn(8, 3, 3, 3, generator=generator),
        "bias": torch.randn(7, generator=generator).bfloat16(),
        "none": torch.zeros(0),
        "scale": torch.randn((), generator=generator).double(),
        "linear.weight": torch.randn(40, 30, generator=generator),
        "running_var": torch.rand(5, generator=generator),
    }
    return Weights(tensors, {"running_var": Role(filter_dim=None, trainable=False, buffer=True)})


def flat(weights: Weights) -> Tensor:
    return torch.cat([t.double().reshape(-1) for name, t in weights.items() if name != "running_var"])


def test_it_is_linear() -> None:
    project = Projection(128, seed=3)
    a, b = weights_at(0), weights_at(1)
    both = Weights({name: 2 * a[name].double() - b[name].double() for name in a}, a.roles)
    torch.testing.assert_close(project(both), 2 * project(a) - project(b), rtol=0, atol=1e-12)


@pytest.mark.parametrize("cuts", [[700], [1, 64, 65, 127, 128, 1000], list(range(0, 1424, 100))])
def test_shards_add_up(cuts: list[int]) -> None:
    """Ranks that hold any stretches of the entries add up to the sketch of all of them."""
    project = Projection(128, seed=3)
    weights = weights_at(0)
    entries = flat(weights)
    pieces = zip([0, *cuts], [*cuts, len(entries)], strict=True)
    parts = [project.part(entries[start:stop], start) for start, stop in pieces]
    torch.testing.assert_close(sum(reversed(parts)), project(weights), rtol=0, atol=1e-12)


def test_memory_layout_and_the_size_of_the_pieces_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    project, weights = Projection(64), weights_at(0)
    whole, norm = project.with_norm(weights)
    torch.testing.assert_close(whole, project.part(flat(weights)), rtol=0, atol=1e-12)
    assert float(norm) == pytest.approx(float(flat(weights).square().sum()), rel=1e-14)
    monkeypatch.setattr(sketch, "_CHUNK_CPU", 64)
    last = Weights(dict(weights), weights.roles)
    last["conv.weight"] = weights["conv.weight"].contiguous(memory_format=torch.channels_last)
    pieces, same = project.with_norm(last)
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-12)
    assert float(same) == pytest.approx(float(norm), rel=1e-14)


def test_torch_does_not_notice_and_does_not_matter() -> None:
    weights = weights_at(0)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = Projection(64)(weights)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert torch.equal(Projection(64)(weights), first)
    assert not torch.equal(Projection(64, seed=1)(weights), first)
    weights["bias"].requires_grad_()
    assert not Projection(64)(weights).requires_grad


def test_neighbours_are_told_apart() -> None:
    """The difference of two float32 points that share six digits has a sketch of its own full precision."""
    project = Projection(64)
    a = {"w": 100 + torch.rand(5000, generator=torch.Generator().manual_seed(0))}
    b = {"w": a["w"] + 1e-4 * torch.rand(5000, generator=torch.Generator().manual_seed(1))}
    difference = {"w": a["w"].double() - b["w"].double()}
    torch.testing.assert_close(project(a) - project(b), project(difference), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dimension", [0, 1, 32, 100, -64, 3 * 64])
def test_dimensions_that_are_refused(dimension: int) -> None:
    with pytest.raises(GeometryError, match=f"a sketch of {dimension} numbers: give a power of two"):
        Projection(dimension)
