"""Points in weight space: what the weights of a module are, how they are compared, hashed and put back.

A point is a mapping from parameter names to tensors. What a tensor *means* (which of its indices make one filter,
whether it is trained at all) is known by the module that owns it and is kept beside the tensors as a `Role`.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_landscape.errors import GeometryError

_BATCH_STATISTICS = ("running_mean", "running_var")
_NORMALISATIONS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
# `parametrize.register_parametrization` keeps the free tensors of `conv.weight` under this name.
_PARAMETRIZED = re.compile(r"^(?:(?P<owner>.*)\.)?parametrizations\.(?P<tensor>[^.]+)\.original\d*$")


@dataclass(frozen=True)
class Role:
    """What a tensor is to the module that owns it.

    A *filter* is the set of weights that make one output feature: all entries that share one index along `filter_dim`.

    Args:
        filter_dim: The dimension that counts the filters, 0 for linear and convolution weights, 1 for transposed
            convolutions; None for a tensor without filters (bias, scale of a normalisation, running statistic).
        groups: Groups of a transposed convolution, whose filters are pairs of a group (an equal part of dimension 0)
            and an index along `filter_dim`.
        blocks: Layers of equal size that are stacked along dimension 0 of one tensor (3 in the packed projection of
            attention); each is one layer when a direction is normalised by layers.
        trainable: False for a frozen parameter.
        buffer: True for a running statistic, which no gradient step moves.
        padding_index: The index along `filter_dim` that is never trained (`padding_idx` of an embedding) and
            therefore rests, as a frozen parameter does.
    """

    filter_dim: int | None = 0
    groups: int = 1
    blocks: int = 1
    trainable: bool = True
    buffer: bool = False
    padding_index: int | None = None


STATISTIC = Role(filter_dim=None, trainable=False, buffer=True)
"""The role of a running statistic."""


def _default_role(name: str, tensor: Tensor) -> Role:
    if name.rpartition(".")[2] in _BATCH_STATISTICS:
        return STATISTIC
    return Role(filter_dim=0 if tensor.ndim > 1 else None)


class Weights(dict[str, Tensor]):
    """A point or a direction in weight space: tensors by parameter name, with their roles.

    Args:
        tensors: The tensors, kept as they are (no copy).
        roles: A role for each name. Names without one get a default: no filters with one dimension or fewer,
            filters along dimension 0 otherwise; `running_mean` and `running_var` are buffers.

    Example:
        >>> w = Weights({"weight": torch.ones(2, 3), "bias": torch.zeros(2)})
        >>> w.roles["weight"].filter_dim, w.roles["bias"].filter_dim
        (0, None)
    """

    roles: dict[str, Role]

    def __init__(
        self, tensors: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] = (), roles: Mapping[str, Role] | None = None
    ) -> None:
        super().__init__(tensors)
        given = roles if roles is not None else getattr(tensors, "roles", {})
        self.roles = {name: given.get(name) or _default_role(name, tensor) for name, tensor in self.items()}


def as_weights(weights: Mapping[str, Tensor]) -> Weights:
    """Turn a mapping from names to tensors into weights that are safe to keep, with default roles.

    `Weights` are returned as they are. A plain mapping is copied, because a state dict aliases the live weights of its
    module. Its entries that are no floating-point tensors (such as `num_batches_tracked`) are left out.

    Args:
        weights: `Weights` or any mapping, for instance a state dict.

    Raises:
        GeometryError: If there is no floating-point tensor in it, or it is no mapping.
    """
    if isinstance(weights, Weights):
        return weights
    return Weights({name: tensor.clone() for name, tensor in borrow(weights).items()})


def borrow(weights: Mapping[str, Tensor]) -> Weights:
    """Do as `as_weights`, without a copy: for code that reads the tensors and does not keep them.

    Raises:
        GeometryError: As in `as_weights`.
    """
    if isinstance(weights, Weights):
        return weights
    if not isinstance(weights, Mapping):
        raise GeometryError(
            f"weights must be a mapping from names to tensors, found {type(weights).__name__}: "
            "use weights_of(module) to take them from a module"
        )
    tensors = {n: t.detach() for n, t in weights.items() if isinstance(t, Tensor) and t.is_floating_point()}
    if not tensors:
        raise GeometryError(
            f"no floating-point tensor among the entries ({_some(weights)}): "
            "pass weights_of(module), or the 'state_dict' entry of a checkpoint"
        )
    return Weights(tensors)


def role_of(name: str, tensor: Tensor, modules: Mapping[str, nn.Module]) -> Role:
    """The role that a module gives to its own tensor of this name.

    Args:
        name: The name of the parameter.
        tensor: The parameter, or a tensor of its shape that requires a gradient where the parameter does.
        modules: The submodules by name.
    """
    parametrized = _PARAMETRIZED.match(name)
    if parametrized:
        owner, attribute = modules[parametrized["owner"] or ""], parametrized["tensor"]
    else:
        prefix, _, attribute = name.rpartition(".")
        owner = modules[prefix]
    trainable = tensor.requires_grad
    if tensor.ndim <= 1 or isinstance(owner, _NORMALISATIONS):
        return Role(filter_dim=None, trainable=trainable)
    if isinstance(owner, _TRANSPOSED) and attribute.startswith("weight") and tensor.ndim == 2 + len(owner.kernel_size):
        groups = owner.groups if tensor.shape[0] % owner.groups == 0 else 1
        return Role(filter_dim=1, groups=groups, trainable=trainable)
    if isinstance(owner, nn.MultiheadAttention):
        if attribute in {"bias_k", "bias_v"}:
            return Role(filter_dim=None, trainable=trainable)
        return Role(blocks=3 if attribute == "in_proj_weight" else 1, trainable=trainable)
    if isinstance(owner, nn.Embedding | nn.EmbeddingBag) and attribute == "weight":
        return Role(padding_index=owner.padding_idx, trainable=trainable)
    return Role(trainable=trainable)


def is_statistic(name: str, modules: Mapping[str, nn.Module]) -> bool:
    """Whether a buffer of this name is a running mean or variance of a normalisation layer.

    Args:
        name: The name of the buffer.
        modules: The submodules by name.
    """
    prefix, _, attribute = name.rpartition(".")
    return attribute in _BATCH_STATISTICS and isinstance(modules[prefix], nn.modules.batchnorm._NormBase)


# Clones that are made while inference mode is on could not be used with autograd later.
@torch.inference_mode(False)
@torch.no_grad()
def weights_of(module: nn.Module, *, buffers: bool = False) -> Weights:
    """Copy the floating-point parameters of a module, in the order of `named_parameters`.

    Tied weights appear once, under their first name. Frozen parameters are there too, marked as not trainable. The
    copies share no storage with the module and keep its devices and dtypes.

    Args:
        module: Any module.
        buffers: Append the running means and variances of batch and instance normalisation (no other buffers).

    Raises:
        GeometryError: If a parameter of a lazy module has no shape yet.

    Example:
        >>> list(weights_of(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), buffers=True))
        ['0.weight', '0.bias', '1.weight', '1.bias', '1.running_mean', '1.running_var']
    """
    live = live_weights(module, buffers=buffers)
    return Weights({name: tensor.clone() for name, tensor in live.items()}, live.roles)


def live_weights(module: nn.Module, *, buffers: bool = False) -> Weights:
    """Return the tensors that `weights_of` copies: they change with the module.

    Raises:
        GeometryError: If a parameter of a lazy module has no shape yet.
    """
    modules = dict(module.named_modules())
    weights = Weights()
    for name, parameter in module.named_parameters():
        if nn.parameter.is_lazy(parameter):
            raise GeometryError(
                f"parameter {name} of a lazy module has no shape yet: run the module on one batch first"
            )
        if parameter.is_floating_point():
            weights[name] = parameter.detach()
            weights.roles[name] = role_of(name, parameter, modules)
    if buffers:
        for name, buffer in module.named_buffers():
            if is_statistic(name, modules):
                weights[name] = buffer.detach()
                weights.roles[name] = STATISTIC
    return weights


@torch.no_grad()
def place(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into the parameters and buffers of these names, in place; the others stay as they are.

    Nothing is written unless everything fits.

    Args:
        module: The module to write to.
        weights: Tensors by name, on any device and of any floating-point dtype.

    Raises:
        GeometryError: If the module has no tensor of a name, or one of another shape.
    """
    targets: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    targets.update(module.named_buffers(remove_duplicate=False))
    weights = borrow(weights)
    check_compatible(weights, {n: t for n, t in targets.items() if n in weights}, what="the weights to place")
    for name, tensor in weights.items():
        targets[name].copy_(tensor)


def digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of weights, as 64 hexadecimal digits: over names, dtypes, shapes and the bytes of the values.

    It does not depend on the device, on strides, or on the order of the names (they are hashed sorted); it does on the
    dtype and on every bit, the sign of a zero included.

    Args:
        weights: Tensors by name.

    Example:
        >>> a, b = torch.ones(2), torch.zeros(3)
        >>> digest({"a": a, "b": b}) == digest({"b": b, "a": a})
        True
        >>> digest({"a": a}) == digest({"a": a.double()})
        False
    """
    running = Digest()
    for name, tensor in sorted(borrow(weights).items()):
        running.add(name, tensor)
    return running.hexdigest()


class Digest:
    """The digest of weights that come one tensor at a time, sorted by name: they need not exist together."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def add(self, name: str, tensor: Tensor) -> None:
        """Take in the next tensor.

        Args:
            name: Its name, after all names before.
            tensor: The tensor.
        """
        self._sha.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        self._sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)

    def hexdigest(self) -> str:
        """What `digest` gives for all of them."""
        return self._sha.hexdigest()


def check_compatible(a: Mapping[str, Tensor], b: Mapping[str, Tensor], what: str = "the weights") -> None:
    """Refuse weights whose names or shapes are not the expected ones.

    Args:
        a: The weights that were found.
        b: The weights that set the names and shapes to expect. The order does not matter.
        what: How the error calls `a`.

    Raises:
        GeometryError: If they differ; it counts and names (three at most) the missing, the unexpected and the
            differently shaped tensors.
    """
    complaints = []
    if missing := [name for name in b if name not in a]:
        complaints.append(f"{len(missing)} missing ({_some(missing)})")
    if unexpected := [name for name in a if name not in b]:
        complaints.append(f"{len(unexpected)} unexpected ({_some(unexpected)})")
    reshaped = [
        f"{name}: {tuple(a[name].shape)} instead of {tuple(b[name].shape)}"
        for name in b
        if name in a and a[name].shape != b[name].shape
    ]
    if reshaped:
        complaints.append(f"{len(reshaped)} of another shape ({_some(reshaped)})")
    if complaints:
        raise GeometryError(
            f"the tensors of {what} do not fit: {', '.join(complaints)}; take both from the same architecture"
        )


def inner(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Inner product of two points or directions, the sum over all tensors and entries, accumulated in float64.

    Args:
        a: Tensors by name.
        b: Tensors of the same names and shapes.

    Raises:
        GeometryError: If names or shapes differ.

    Example:
        >>> inner({"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 4.0])})
        11.0
    """
    a, b = borrow(a), borrow(b)
    check_compatible(a, b, what="the first factor")
    return math.fsum(float(torch.dot(wide(t).flatten(), wide(b[n], like=t).flatten())) for n, t in a.items())


def norm(a: Mapping[str, Tensor]) -> float:
    """Euclidean norm over all tensors, accumulated in float64.

    Args:
        a: Tensors by name.

    Example:
        >>> norm({"weight": torch.tensor([[3.0]]), "bias": torch.tensor([4.0])})
        5.0
    """
    return math.sqrt(inner(a, a))


def difference(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Weights:
    """The direction a - b that leads from b to a, in float32, or float64 where `a` is, with the roles of `a`.

    Args:
        a: Tensors by name.
        b: Tensors of the same names and shapes.

    Raises:
        GeometryError: If names or shapes differ.
    """
    a, b = borrow(a), borrow(b)
    check_compatible(a, b, what="the minuend")
    return Weights({n: t.to(direction_dtype(t)) - b[n].to(t.device, direction_dtype(t)) for n, t in a.items()}, a.roles)


def direction_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype in which directions for this tensor are kept: float64 for float64, else float32."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def wide(tensor: Tensor, like: Tensor | None = None) -> Tensor:
    """The tensor in float64, on the device of `like` (its own if None), or on the CPU where that has no float64."""
    device = (tensor if like is None else like).device
    return tensor.detach().to("cpu" if device.type == "mps" else device).to(torch.float64)


def without_buffers(weights: Weights) -> Weights:
    """The parameters alone, without running statistics."""
    return Weights({name: t for name, t in weights.items() if not weights.roles[name].buffer}, weights.roles)


def _some(names: Iterable[str]) -> str:
    listed = list(map(str, names))
    return ", ".join(listed[:3]) + (", ..." if len(listed) > 3 else "")
