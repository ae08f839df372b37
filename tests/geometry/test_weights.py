"""Weights: what is taken from a module, in which role, and how it is put back, compared and hashed."""

from __future__ import annotations

import copy
import hashlib
import math
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from lightning_landscape.errors import GeometryError
from lightning_landscape.geometry import (
    Role,
    Weights,
    as_weights,
    check_compatible,
    difference,
    digest,
    inner,
    norm,
    place,
    weights_of,
)

NO_FILTERS = Role(filter_dim=None)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))


# ---- taking weights


def test_parameters_in_order_and_statistics_after_them() -> None:
    module = network()
    parameters = ["0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"]
    assert list(weights_of(module)) == [name for name, _ in module.named_parameters()] == parameters
    with_statistics = weights_of(module, buffers=True)
    assert list(with_statistics) == [*parameters, "1.running_mean", "1.running_var"]
    statistic = Role(filter_dim=None, trainable=False, buffer=True)
    assert with_statistics.roles["1.running_mean"] == with_statistics.roles["1.running_var"] == statistic


def test_only_statistics_of_normalisations_are_taken_as_buffers() -> None:
    class Tracker(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("running_mean", torch.zeros(2))
            self.register_buffer("mask", torch.ones(2))

    module = nn.Sequential(Tracker(), nn.InstanceNorm1d(2, track_running_stats=True), nn.BatchNorm1d(2, affine=False))
    assert list(weights_of(module, buffers=True)) == [
        "1.running_mean",
        "1.running_var",
        "2.running_mean",
        "2.running_var",
    ]
    assert list(weights_of(nn.BatchNorm1d(2, track_running_stats=False), buffers=True)) == ["weight", "bias"]


def test_copies_never_alias_live_weights() -> None:
    module = network()
    weights = weights_of(module, buffers=True)
    before = {name: tensor.clone() for name, tensor in weights.items()}
    state = module.state_dict()
    for name, tensor in weights.items():
        assert tensor.data_ptr() != state[name].data_ptr()
        assert not tensor.requires_grad
    with torch.no_grad():
        for tensor in state.values():
            tensor.add_(1)
    for name, tensor in weights.items():
        assert torch.equal(tensor, before[name])


def test_plain_mappings_are_copied_too() -> None:
    module = network()
    weights = as_weights(module.state_dict())
    assert weights["0.weight"].data_ptr() != module[0].weight.data_ptr()
    assert not as_weights(dict(module.named_parameters()))["0.weight"].requires_grad


def test_dtype_is_kept_and_tensors_that_are_not_floating_point_are_left_out() -> None:
    module = network().to(torch.bfloat16)
    module.register_parameter("codes", nn.Parameter(torch.zeros(3, dtype=torch.uint8), requires_grad=False))
    weights = weights_of(module)
    assert "codes" not in weights
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}


def test_copies_made_in_inference_mode_can_be_differentiated() -> None:
    module = nn.Linear(2, 1)
    with torch.inference_mode():
        weights = weights_of(module)
    weights["weight"].requires_grad_().sum().backward()
    assert torch.equal(weights["weight"].grad, torch.ones(1, 2))


def test_lazy_parameters_are_refused() -> None:
    with pytest.raises(
        GeometryError, match=r"0\.weight of a lazy module has no shape yet: run the module on one batch"
    ):
        weights_of(nn.Sequential(nn.LazyLinear(3)))


# ---- roles


@pytest.mark.parametrize(
    "module",
    [
        nn.Linear(3, 2),
        nn.Bilinear(3, 4, 2),
        nn.Conv1d(4, 6, 3, groups=2),
        nn.Conv2d(4, 6, 3),
        nn.Conv3d(4, 6, 3),
        nn.LSTM(3, 4, num_layers=2, proj_size=2),
        nn.GRU(3, 4, bidirectional=True),
    ],
)
def test_filters_are_counted_along_dimension_0(module: nn.Module) -> None:
    weights = weights_of(module)
    for name, tensor in weights.items():
        assert weights.roles[name] == (Role(filter_dim=0) if tensor.ndim > 1 else NO_FILTERS), name


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d])
def test_filters_of_transposed_convolutions(kind: type[nn.Module], groups: int) -> None:
    roles = weights_of(kind(4, 6, 3, groups=groups)).roles
    assert roles == {"weight": Role(filter_dim=1, groups=groups), "bias": NO_FILTERS}


@pytest.mark.parametrize(
    "module",
    [
        nn.LayerNorm((2, 3, 4)),
        nn.LayerNorm(4),
        nn.RMSNorm((2, 3)),
        nn.GroupNorm(2, 4),
        nn.BatchNorm1d(4),
        nn.BatchNorm3d(4),
        nn.SyncBatchNorm(4),
        nn.InstanceNorm2d(4, affine=True),
    ],
)
def test_normalisations_have_no_filters(module: nn.Module) -> None:
    weights = weights_of(module)
    assert weights
    assert set(weights.roles.values()) == {NO_FILTERS}


def test_packed_attention() -> None:
    roles = weights_of(nn.MultiheadAttention(4, 2, add_bias_kv=True)).roles
    assert roles == {
        "in_proj_weight": Role(filter_dim=0, blocks=3),
        "in_proj_bias": NO_FILTERS,
        "out_proj.weight": Role(filter_dim=0),
        "out_proj.bias": NO_FILTERS,
        "bias_k": NO_FILTERS,
        "bias_v": NO_FILTERS,
    }
    separate = weights_of(nn.MultiheadAttention(4, 2, kdim=3, vdim=5, bias=False)).roles
    assert separate == dict.fromkeys(separate, Role(filter_dim=0))
    assert "q_proj_weight" in separate


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_embeddings_know_their_padding(kind: type[nn.Module]) -> None:
    assert weights_of(kind(5, 3)).roles["weight"] == Role(filter_dim=0)
    assert weights_of(kind(5, 3, padding_idx=-1)).roles["weight"] == Role(filter_dim=0, padding_index=4)


def test_free_parameters_go_by_their_dimensions() -> None:
    class Free(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.temperature = nn.Parameter(torch.ones(()))
            self.scale = nn.Parameter(torch.ones(3))
            self.position = nn.Parameter(torch.ones(1, 5, 3))

    assert weights_of(Free()).roles == {"temperature": NO_FILTERS, "scale": NO_FILTERS, "position": Role(filter_dim=0)}


def test_frozen_parameters_are_taken_and_marked() -> None:
    module = network()
    module[0].requires_grad_(False)
    roles = weights_of(module).roles
    assert roles["0.weight"] == Role(filter_dim=0, trainable=False)
    assert roles["0.bias"] == Role(filter_dim=None, trainable=False)
    assert roles["3.weight"].trainable


def test_tied_weights_appear_once() -> None:
    module = nn.Sequential(nn.Embedding(5, 3, padding_idx=0), nn.Linear(3, 5, bias=False))
    module[1].weight = module[0].weight
    weights = weights_of(module)
    assert list(weights) == ["0.weight"]
    assert weights.roles["0.weight"] == Role(padding_index=0)


def test_parametrized_tensors_take_the_role_of_their_module() -> None:
    module = nn.Sequential(
        parametrizations.weight_norm(nn.ConvTranspose2d(4, 6, 3, groups=2)),
        parametrizations.spectral_norm(nn.ConvTranspose1d(4, 6, 3)),
        parametrizations.orthogonal(nn.Linear(3, 3)),
    )
    roles = weights_of(module).roles
    transposed = Role(filter_dim=1, groups=2)
    assert roles["0.parametrizations.weight.original0"] == roles["0.parametrizations.weight.original1"] == transposed
    assert roles["1.parametrizations.weight.original"] == Role(filter_dim=1)
    assert roles["2.parametrizations.weight.original"] == Role(filter_dim=0)
    top = parametrizations.weight_norm(nn.ConvTranspose2d(4, 6, 3))
    assert weights_of(top).roles["parametrizations.weight.original1"] == Role(filter_dim=1)


def test_parameters_of_a_parametrization_are_its_own() -> None:
    class LowRank(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.Parameter(torch.zeros(4, 1))
            self.down = nn.Parameter(torch.ones(1, 54))

        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return weight + (self.up @ self.down).view_as(weight)

    module = nn.ConvTranspose2d(4, 6, 3)
    parametrize.register_parametrization(module, "weight", LowRank())
    module.parametrizations.weight.original.requires_grad_(False)
    roles = weights_of(module).roles
    assert roles["parametrizations.weight.original"] == Role(filter_dim=1, trainable=False)
    assert roles["parametrizations.weight.0.up"] == roles["parametrizations.weight.0.down"] == Role(filter_dim=0)


def test_subclass_of_a_transposed_convolution_with_weights_of_its_own() -> None:
    class Adapted(nn.ConvTranspose2d):
        def __init__(self) -> None:
            super().__init__(4, 6, 3)
            self.lora_a = nn.Parameter(torch.ones(2, 4))

    roles = weights_of(Adapted()).roles
    assert roles["weight"] == Role(filter_dim=1)
    assert roles["lora_a"] == Role(filter_dim=0)


def test_default_roles_of_a_plain_mapping() -> None:
    roles = as_weights(network().state_dict()).roles
    assert roles["0.weight"] == Role(filter_dim=0)
    assert roles["0.bias"] == NO_FILTERS
    assert roles["1.running_var"] == Role(filter_dim=None, trainable=False, buffer=True)
    assert "1.num_batches_tracked" not in roles


def test_weights_keep_given_roles_through_copies() -> None:
    weights = weights_of(nn.MultiheadAttention(4, 2))
    assert Weights(weights).roles == weights.roles
    assert as_weights(weights) is weights
    for clone in (copy.deepcopy(weights), pickle.loads(pickle.dumps(weights))):
        assert isinstance(clone, Weights)
        assert clone.roles == weights.roles
        assert digest(clone) == digest(weights)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"state_dict": {}, "epoch": 3}, r"no floating-point tensor among the entries \(state_dict, epoch\)"),
        ({}, "no floating-point tensor"),
        (nn.Linear(1, 1), r"found Linear: use weights_of\(module\)"),
    ],
)
def test_what_is_no_weights_is_refused(wrong: object, complaint: str) -> None:
    with pytest.raises(GeometryError, match=complaint):
        as_weights(wrong)  # type: ignore[arg-type]


# ---- putting weights back


def test_place_restores_every_bit_and_keeps_the_storage() -> None:
    module = network()
    weights = weights_of(module, buffers=True)
    pointers = {name: tensor.data_ptr() for name, tensor in module.state_dict().items()}
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(3)
        module[1].running_var.add_(1)
    place(module, weights)
    assert digest(weights_of(module, buffers=True)) == digest(weights)
    assert {name: tensor.data_ptr() for name, tensor in module.state_dict().items()} == pointers
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_place_accepts_a_part_another_dtype_and_the_second_name_of_tied_weights() -> None:
    module = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5))
    module[1].weight = module[0].weight
    bias = module[1].bias.detach().clone()
    place(module, {"1.weight": torch.full((5, 3), 2.0, dtype=torch.float64)})
    assert torch.equal(module[0].weight, torch.full((5, 3), 2.0))
    assert torch.equal(module[1].bias, bias)


def test_place_refuses_what_does_not_fit_and_writes_nothing() -> None:
    module = nn.Linear(3, 2)
    before = digest(weights_of(module))
    wrong = {"bias": torch.ones(2), "weight": torch.ones(1, 3), "head.weight": torch.ones(2)}
    with pytest.raises(
        GeometryError, match=r"1 unexpected \(head\.weight\), 1 of another shape \(weight: \(1, 3\) inste"
    ):
        place(module, wrong)
    assert digest(weights_of(module)) == before


# ---- comparing


def test_check_compatible_counts_and_names_at_most_three() -> None:
    expected = {f"layer{i}": torch.ones(i + 1) for i in range(9)}
    found = {f"layer{i}": torch.ones(2, i + 1) for i in range(4, 9)} | {"extra": torch.ones(1)}
    check_compatible(expected, dict(reversed(expected.items())))
    with pytest.raises(GeometryError) as caught:
        check_compatible(found, expected, what="checkpoint 3")
    assert str(caught.value) == (
        "the tensors of checkpoint 3 do not fit: 4 missing (layer0, layer1, layer2, ...), 1 unexpected (extra), "
        "5 of another shape (layer4: (2, 5) instead of (5,), layer5: (2, 6) instead of (6,), "
        "layer6: (2, 7) instead of (7,), ...); take both from the same architecture"
    )


def test_inner_and_norm_accumulate_in_float64() -> None:
    generator = torch.Generator().manual_seed(0)
    a = {"u": torch.randn(3, 1000, generator=generator), "v": torch.randn(7, generator=generator)}
    b = {"v": torch.randn(7, generator=generator), "u": torch.randn(3, 1000, generator=generator)}
    flat = [torch.cat([w["u"].double().flatten(), w["v"].double()]) for w in (a, b)]
    assert inner(a, b) == pytest.approx(float(flat[0] @ flat[1]), rel=1e-13)
    assert norm(a) == pytest.approx(float(flat[0].norm()), rel=1e-13)
    # 1 + 2^24 ones: float32 would stop counting at 2^24.
    assert norm({"w": torch.ones(2**24 + 1)}) ** 2 == pytest.approx(2**24 + 1, rel=1e-15)
    assert norm({"empty": torch.ones(0)}) == 0
    with pytest.raises(GeometryError, match="1 missing"):
        inner({"u": a["u"]}, a)


def test_norm_of_half_precision_does_not_overflow() -> None:
    assert norm({"w": torch.full((4,), 32768.0, dtype=torch.float16)}) == 65536.0


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_difference(dtype: torch.dtype, expected: torch.dtype) -> None:
    a = Weights({"w": torch.tensor([[1.0, 3.0]], dtype=dtype)}, {"w": Role(blocks=3)})
    b = {"w": torch.tensor([[0.0078125, 5.0]])}
    result = difference(a, b)
    assert result["w"].dtype == expected
    assert result["w"].tolist() == [[0.9921875, -2.0]]
    assert result.roles == a.roles


# ---- hashing


def test_digest_follows_its_definition() -> None:
    weights = {"b": torch.tensor([1.0, -2.0]), "a": torch.tensor(3.0, dtype=torch.float64)}
    sha = hashlib.sha256()
    sha.update(b"('a', 'torch.float64', ())" + bytes.fromhex("0000000000000840"))
    sha.update(b"('b', 'torch.float32', (2,))" + bytes.fromhex("0000803f000000c0"))
    assert digest(weights) == sha.hexdigest()


def test_digest_sees_values_names_shapes_and_dtypes_but_no_layout() -> None:
    w = torch.arange(6.0).reshape(2, 3)
    reference = digest({"w": w})
    assert digest({"w": w.t().contiguous().t()}) == reference
    assert digest(Weights({"w": w.clone()}, {"w": Role(trainable=False)})) == reference
    others = [
        {"v": w},
        {"w": w.reshape(3, 2)},
        {"w": w.double()},
        {"w": w.bfloat16()},
        {"w": w + math.ulp(1.0) * 2**30},
        {"w": w, "v": torch.ones(0)},
        {"w": torch.where(w == 0, -0.0, w)},
    ]
    digests = [digest(other) for other in others]
    assert len({reference, *digests}) == 1 + len(others)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_digest_and_directions_do_not_depend_on_the_device() -> None:
    from lightning_landscape.geometry import Plane

    module = network()
    on_cpu = weights_of(module)
    on_gpu = weights_of(module.cuda())
    assert on_gpu["0.weight"].is_cuda
    assert digest(on_gpu) == digest(on_cpu)
    cpu, gpu = Plane.random(on_cpu, seed=3), Plane.random(on_gpu, seed=3)
    assert gpu.x["0.weight"].is_cuda
    assert gpu.metadata()["digest"] == cpu.metadata()["digest"]
    assert gpu.coordinates(cpu.at(0.5, -0.25)) == pytest.approx((0.5, -0.25), abs=1e-6)
    assert cpu.coordinates(gpu.at(0.5, -0.25)) == pytest.approx((0.5, -0.25), abs=1e-6)
