"""Random directions: the draw, and its normalisation against loops over single filters in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from lightning_landscape.errors import GeometryError
from lightning_landscape.geometry import (
    Normalize,
    Plane,
    Role,
    Weights,
    cosine,
    inner,
    normalize_direction,
    random_direction,
    weights_of,
)


def filters(tensor: Tensor, dim: int = 0, groups: int = 1) -> list[Tensor]:
    """The filters one by one in float64: a definition by slicing, independent of the package's reshapes."""
    parts = tensor.double().chunk(groups, dim=0)
    return [part.select(dim, j) for part in parts for j in range(part.shape[dim])]


def weights_with_one_zero_filter(module: nn.Module, dim: int = 0, seed: int = 0) -> Weights:
    generator = torch.Generator().manual_seed(seed)
    weights = weights_of(module)
    for name, tensor in weights.items():
        tensor.copy_(torch.randn(tensor.shape, generator=generator))
        if tensor.ndim > 1 and weights.roles[name].filter_dim is not None:
            tensor.select(dim, 1).zero_()
    return weights


MODULES = [
    (nn.Linear(7, 5), 0, 1),
    (nn.Bilinear(3, 4, 5), 0, 1),
    (nn.Conv1d(4, 6, 3), 0, 1),
    (nn.Conv2d(4, 6, (3, 2), groups=2), 0, 1),
    (nn.Conv3d(2, 3, 2), 0, 1),
    (nn.ConvTranspose1d(4, 6, 3), 1, 1),
    (nn.ConvTranspose2d(6, 4, (3, 2), groups=2), 1, 2),
    (nn.ConvTranspose3d(4, 6, 2, groups=2), 1, 2),
    (nn.Embedding(9, 4), 0, 1),
    (nn.EmbeddingBag(9, 4), 0, 1),
    (nn.GRU(3, 4), 0, 1),
]


# ---- normalisation by filters


@pytest.mark.parametrize(("module", "dim", "groups"), MODULES, ids=lambda value: type(value).__name__)
def test_each_filter_takes_the_norm_of_its_weights_and_keeps_its_own_direction(
    module: nn.Module, dim: int, groups: int
) -> None:
    weights = weights_with_one_zero_filter(module, dim)
    raw, direction = (random_direction(weights, kind, seed=5) for kind in (None, "filter"))
    checked = 0
    for name, w in weights.items():
        if w.ndim <= 1:
            assert not direction[name].any()
            continue
        triples = zip(*(filters(t, dim, groups) for t in (w, raw[name], direction[name])), strict=True)
        for w_filter, raw_filter, filter_ in triples:
            expected = raw_filter * (w_filter.norm() / raw_filter.norm())
            torch.testing.assert_close(filter_, expected, rtol=1e-6, atol=0)
            checked += 1
    assert checked >= groups * weights[next(iter(weights))].shape[dim]


@pytest.mark.parametrize(("module", "dim", "groups"), MODULES, ids=lambda value: type(value).__name__)
def test_scaling_the_filters_scales_the_direction(module: nn.Module, dim: int, groups: int) -> None:
    weights = weights_with_one_zero_filter(module, dim)
    scaled = Weights(weights, weights.roles)
    factors = {}
    for name, w in weights.items():
        if w.ndim > 1:
            # A power of two for each filter, so that the property holds to the last bit.
            shape = [groups, w.shape[0] // groups, *w.shape[1:]]
            counting = {0, 1 + dim}
            powers = torch.arange(math.prod(n for i, n in enumerate(shape) if i in counting)) % 7 - 3
            factor = torch.exp2(powers.float()).reshape([n if i in counting else 1 for i, n in enumerate(shape)])
            factors[name] = factor.expand(shape).reshape(w.shape)
            scaled[name] = w * factors[name]
    direction, scaled_direction = random_direction(weights, seed=1), random_direction(scaled, seed=1)
    assert factors
    for name, factor in factors.items():
        assert torch.equal(scaled_direction[name], direction[name] * factor)


def test_the_curve_of_a_network_does_not_see_a_rescaling_that_its_function_does_not_see() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 1))
    module = module.double().eval()
    twin = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 1))
    twin = twin.double().eval()
    twin.load_state_dict(module.state_dict())
    twin[1].eps = module[1].eps * 100**2
    with torch.no_grad():
        twin[0].weight.mul_(100)
        twin[1].running_mean.mul_(100)
        twin[1].running_var.mul_(100**2)
    x = torch.randn(8, 2, 4, 4, dtype=torch.float64)
    curves: dict[object, list[list[float]]] = {}
    for normalize in ("filter", None):
        curves[normalize] = []
        for net in (module, twin):
            weights = weights_of(net)
            direction = random_direction(weights, normalize, seed=2)
            points = [{n: w + a * direction[n] for n, w in weights.items()} for a in (-1.0, 0.0, 0.5)]
            curves[normalize].append([float(torch.func.functional_call(net, p, x).square().mean()) for p in points])
    assert curves["filter"][0] == pytest.approx(curves["filter"][1], rel=1e-9)
    assert abs(curves[None][0][0] / curves[None][1][0] - 1) > 0.1


def test_a_zero_filter_rests_and_nothing_is_nan() -> None:
    weights = {"w": torch.zeros(3, 4), "v": torch.tensor([[0.0, 0.0], [3.0, 4.0]])}
    for normalize in ("filter", "layer", "weight"):
        direction = random_direction(weights, normalize)
        assert not direction["w"].any()
    direction = random_direction(weights, "filter")
    assert direction["v"][0].tolist() == [0.0, 0.0]
    assert float(direction["v"][1].norm()) == pytest.approx(5.0, rel=1e-6)
    of_my_own = normalize_direction({"w": torch.ones(3, 4), "v": torch.tensor([[1.0, 0.0], [0.0, 0.0]])}, weights)
    assert not of_my_own["w"].any()
    assert not of_my_own["v"].any()  # a zero filter of the direction has no direction to take
    empty = random_direction({"w": torch.ones(0, 3), "v": torch.ones(3, 0)})
    assert empty["w"].shape == (0, 3)
    assert empty["v"].shape == (3, 0)


def test_tiny_and_huge_filters_keep_their_norm() -> None:
    weights = {"w": torch.tensor([[1e-30, 1e-30], [1e30, 1e30]])}
    direction = random_direction(weights)["w"].double()
    torch.testing.assert_close(direction.norm(dim=1), weights["w"].double().norm(dim=1), rtol=1e-6, atol=0)


# ---- the other normalisations


def test_layer_normalisation_scales_each_tensor_and_each_packed_block() -> None:
    weights = weights_of(nn.MultiheadAttention(4, 2))
    weights["in_proj_weight"][:4] *= 10
    raw, direction = (random_direction(weights, kind, seed=3) for kind in (None, "layer"))
    blocks = zip(*(t["in_proj_weight"].double().chunk(3) for t in (weights, raw, direction)), strict=True)
    for w, d, scaled in [*blocks, tuple(t["out_proj.weight"].double() for t in (weights, raw, direction))]:
        torch.testing.assert_close(scaled, d * w.norm() / d.norm(), rtol=1e-6, atol=0)
    torch.testing.assert_close(
        random_direction(weights, "filter")["in_proj_weight"].norm(dim=1), weights["in_proj_weight"].norm(dim=1)
    )


def test_weight_normalisation_multiplies_by_the_size_of_each_weight() -> None:
    weights = {"w": torch.tensor([[2.0, -3.0, 0.0]])}
    raw, direction = (random_direction(weights, kind, seed=4)["w"] for kind in (None, "weight"))
    torch.testing.assert_close(direction, raw * torch.tensor([[2.0, 3.0, 0.0]]), rtol=1e-6, atol=0)


def test_without_normalisation_entries_are_standard_normal() -> None:
    d = random_direction({"w": torch.zeros(400, 500)}, None, seed=0)["w"].double().flatten()
    n = d.numel()
    # Four standard errors of the moments of n standard normal numbers.
    assert abs(float(d.mean())) < 4 / math.sqrt(n)
    assert abs(float(d.square().mean()) - 1) < 4 * math.sqrt(2 / n)
    assert abs(float(d.pow(4).mean()) - 3) < 4 * math.sqrt(96 / n)


def test_normalisation_of_an_own_direction_does_not_change_it_and_is_idempotent() -> None:
    weights = {"w": torch.tensor([[3.0, 4.0], [6.0, 8.0]]), "b": torch.ones(2)}
    mine = {"w": torch.tensor([[0.0, 2.0], [1.0, 0.0]]), "b": torch.ones(2)}
    scaled = normalize_direction(mine, weights)
    assert scaled["w"].tolist() == [[0.0, 5.0], [10.0, 0.0]]
    assert not scaled["b"].any()
    assert mine["w"].tolist() == [[0.0, 2.0], [1.0, 0.0]]
    assert torch.equal(normalize_direction(scaled, weights)["w"], scaled["w"])


def test_unknown_normalisation_is_refused() -> None:
    with pytest.raises(GeometryError, match="normalize is 'filters': use one of filter, layer, weight, or None"):
        random_direction({"w": torch.ones(2, 2)}, "filters")  # type: ignore[arg-type]


@pytest.mark.parametrize("normalize", ["filter", "layer", "weight", None])
def test_directions_that_do_not_fit_are_refused(normalize: Normalize | None) -> None:
    with pytest.raises(GeometryError, match=r"the direction do not fit: 1 missing \(v\), 1 of another shape \(w"):
        normalize_direction({"w": torch.ones(2, 3)}, {"w": torch.ones(3, 2), "v": torch.ones(2, 2)}, normalize)


# ---- what rests


def test_biases_and_normalisations_rest_unless_asked_for() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm((2, 4)), nn.BatchNorm1d(4), nn.PReLU())
    weights = weights_of(module, buffers=True)
    default = random_direction(weights)
    assert {name for name, d in default.items() if d.any()} == {"0.weight"}
    everything = random_direction(weights, include_1d=True)
    resting = {name for name, d in everything.items() if not d.any()}
    # Fresh normalisations have zero biases, which are zero filters; running statistics are no weights at all.
    assert resting == {"1.bias", "2.bias", "2.running_mean", "2.running_var"}
    for name in ("0.bias", "1.weight", "2.weight", "3.weight"):
        assert float(everything[name].double().norm()) == pytest.approx(float(weights[name].double().norm()), rel=1e-6)
    assert torch.equal(everything["0.weight"], default["0.weight"])


def test_scalars_count_as_tensors_without_filters() -> None:
    weights = {"t": torch.tensor(-2.0), "w": torch.ones(1, 1)}
    assert float(random_direction(weights)["t"]) == 0
    assert abs(float(random_direction(weights, include_1d=True)["t"])) == pytest.approx(2.0)


@pytest.mark.parametrize("normalize", ["filter", "layer", "weight", None])
def test_frozen_parameters_and_running_statistics_rest_always(normalize: Normalize | None) -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    module[0].requires_grad_(False)
    weights = weights_of(module, buffers=True)
    direction = random_direction(weights, normalize, include_1d=True)
    for name in ("0.weight", "0.bias", "1.running_mean", "1.running_var"):
        assert not direction[name].any()
    assert direction["2.weight"].any()
    of_my_own = normalize_direction({n: torch.ones_like(w) for n, w in weights.items()}, weights, normalize)
    assert {name for name, d in of_my_own.items() if d.any()} == {"2.weight"}


def test_statistics_of_a_state_dict_rest_too() -> None:
    direction = random_direction(nn.BatchNorm1d(3).state_dict(), include_1d=True)
    assert {name for name, d in direction.items() if d.any()} == {"weight"}


def test_the_padding_vector_of_an_embedding_rests_even_when_it_is_not_zero() -> None:
    module = nn.Embedding.from_pretrained(torch.ones(4, 3), freeze=False, padding_idx=2)
    for normalize in ("filter", "weight", None):
        direction = random_direction(weights_of(module), normalize)["weight"]
        assert direction.any(dim=1).tolist() == [True, True, False, True]


def test_attention_biases_rest() -> None:
    direction = random_direction(weights_of(nn.MultiheadAttention(4, 2, add_bias_kv=True)))
    assert {name for name, d in direction.items() if d.any()} == {"in_proj_weight", "out_proj.weight"}


def test_tied_weights_move_once_and_together() -> None:
    module = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    module[1].weight = module[0].weight
    direction = random_direction(weights_of(module))
    assert list(direction) == ["0.weight"]
    torch.testing.assert_close(direction["0.weight"].norm(dim=1), module[0].weight.detach().norm(dim=1))


def test_parametrized_convolution() -> None:
    module = parametrizations.weight_norm(nn.ConvTranspose2d(4, 6, 3, groups=2))
    weights = weights_of(module)
    direction = random_direction(weights)
    name = "parametrizations.weight.original1"
    for w, d in zip(filters(weights[name], 1, 2), filters(direction[name], 1, 2), strict=True):
        assert float(d.norm()) == pytest.approx(float(w.norm()), rel=1e-6)
    magnitudes = "parametrizations.weight.original0"
    assert direction[magnitudes].shape == weights[magnitudes].shape
    assert torch.isfinite(direction[magnitudes]).all()


def test_hand_made_low_rank_adaptation() -> None:
    class LoRA(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base = nn.Linear(6, 5)
            self.base.requires_grad_(False)
            self.a = nn.Parameter(torch.randn(2, 6))
            self.b = nn.Parameter(torch.zeros(5, 2))

    module = LoRA()
    direction = random_direction(weights_of(module))
    assert {name for name, d in direction.items() if d.any()} == {"a"}  # b is zero before training
    with torch.no_grad():
        module.b.normal_()
    weights = weights_of(module)
    direction = random_direction(weights)
    assert {name for name, d in direction.items() if d.any()} == {"a", "b"}
    torch.testing.assert_close(direction["b"].norm(dim=1), weights["b"].norm(dim=1))


def test_low_rank_adaptation_by_peft() -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(7, 6), nn.Linear(6, 5), nn.Linear(5, 2))
    config = peft.LoraConfig(r=2, target_modules=["0", "1"], modules_to_save=["2"], init_lora_weights=False)
    adapted = peft.get_peft_model(module, config)
    weights = weights_of(adapted)
    trainable = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    direction = random_direction(weights)
    moving = {name for name, d in direction.items() if d.any()}
    assert moving == {name for name in trainable if weights[name].ndim > 1}
    assert sum("lora_" in name for name in moving) == 4
    assert any("modules_to_save" in name for name in moving)
    for name in moving:
        torch.testing.assert_close(direction[name].norm(dim=1), weights[name].norm(dim=1))


# ---- the draw


def test_seeds() -> None:
    weights = weights_of(nn.Linear(30, 20))
    first, again, other = (random_direction(weights, seed=seed)["weight"] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    # |cos| of independent Gaussians of n entries is about 1 / sqrt(n); five times that is out of the question.
    assert abs(cosine({"w": first}, {"w": other})) < 5 / math.sqrt(600)


def test_one_tensor_is_drawn_without_regard_to_the_others() -> None:
    one = {"b": torch.ones(3, 4)}
    many = {"a": torch.ones(5, 6), "b": torch.ones(3, 4), "c": torch.ones(2, 2)}
    assert torch.equal(random_direction(one, seed=9)["b"], random_direction(many, seed=9)["b"])
    two = random_direction({"a": torch.ones(30, 40), "b": torch.ones(30, 40)}, None)
    assert abs(cosine({"w": two["a"]}, {"w": two["b"]})) < 5 / math.sqrt(1200)


def test_the_draw_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    random_direction({"w": torch.ones(3, 4)})
    assert torch.equal(torch.get_rng_state(), state)


def test_the_draw_does_not_depend_on_the_dtype() -> None:
    values = torch.randint(1, 9, (6, 5)).float()  # exact in bfloat16, too
    reference = random_direction({"w": values.double()})["w"]
    assert reference.dtype == torch.float64
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        direction = random_direction({"w": values.to(dtype)})["w"]
        assert direction.dtype == torch.float32
        assert torch.equal(direction, reference.float())


def test_half_precision_norms_do_not_overflow_or_round() -> None:
    weights = {"w": torch.full((2, 4096), 300.0, dtype=torch.float16)}  # |w| = 19200, |w|^2 is beyond float16
    norms = random_direction(weights)["w"].double().norm(dim=1)
    torch.testing.assert_close(norms, torch.full((2,), 19200.0, dtype=torch.float64), rtol=1e-6, atol=0)


def test_axes_of_a_plane_are_independent_draws() -> None:
    weights = weights_of(nn.Linear(100, 50))
    cosines = [Plane.random(weights, seed=seed, normalize=None).cosine for seed in range(40)]
    n = 5000
    # Mean of |cos| over Gaussian pairs is sqrt(2 / (pi n)); its standard error over 40 draws is 0.76 / sqrt(40) of it.
    assert sum(map(abs, cosines)) / 40 == pytest.approx(math.sqrt(2 / (math.pi * n)), rel=5 * 0.76 / math.sqrt(40))


# ---- cosine


def test_cosine() -> None:
    a = {"u": torch.tensor([1.0, 0.0]), "v": torch.tensor([[2.0]])}
    b = {"u": torch.tensor([1.0, 1.0]), "v": torch.tensor([[0.5]])}
    assert cosine(a, b) == pytest.approx(2 / math.sqrt(5 * 2.25), rel=1e-15)
    assert cosine(a, b) == pytest.approx(inner(a, b) / math.sqrt(inner(a, a) * inner(b, b)))
    zero = Weights({name: torch.zeros_like(t) for name, t in a.items()}, dict.fromkeys(a, Role()))
    with pytest.raises(GeometryError, match="direction of length 0"):
        cosine(a, zero)
