"""Weights from a checkpoint file, for a module of the same architecture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_landscape.errors import GeometryError, RecordError
from lightning_landscape.geometry.weights import Weights, check_compatible, weights_of


def weights_from_checkpoint(path: str | Path, module: nn.Module, *, buffers: bool = False) -> Weights:
    """Read the point in weight space that a checkpoint holds, laid out as `weights_of(module)`.

    Reads Lightning checkpoints (the entry ``state_dict``) and bare state dicts, with ``weights_only=True``. A bare
    state dict of a network also fits a LightningModule that holds the network under one attribute.

    Args:
        path: the file.
        module: a module of the same architecture; it is not changed.
        buffers: also the BatchNorm running statistics, as interpolation between two networks needs them.

    Returns:
        Weights on the module's device, with the module's dtypes and roles.

    Raises:
        RecordError: if the file cannot be read, or holds something else than tensors by name.
        GeometryError: if its tensors do not fit the module.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RecordError(f"there is no checkpoint {str(path)!r}") from error
    except Exception as error:  # torch raises many kinds for a file that is not its own
        raise RecordError(f"{str(path)!r} cannot be read as a checkpoint of tensors: {error}") from error
    template = weights_of(module, buffers=buffers)
    tensors = _named_tensors(content, path)
    found = _under_template_names(tensors, template)
    wanted = {name: found[name] for name in template if name in found}
    unexpected = _parameters_beyond(found, module)
    try:
        check_compatible({**wanted, **unexpected}, template, what=f"checkpoint {str(path)!r}")
    except GeometryError as error:
        raise GeometryError(
            f"{error}; build the module with the settings that the checkpoint was trained with"
        ) from None
    for name, tensor in template.items():
        tensor.copy_(wanted[name])
    return template


def _named_tensors(content: Any, path: str | Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise RecordError(f"{str(path)!r} holds no tensors by name: give a Lightning checkpoint or a state dict")
    return tensors


def _under_template_names(tensors: dict[str, Tensor], template: Weights) -> dict[str, Tensor]:
    """Prefix the names where the file is of the bare network and the module holds it under an attribute."""
    if tensors.keys() & template.keys():
        return tensors
    prefixes = {name.split(".")[0] for name in template}
    if len(prefixes) == 1:
        prefix = prefixes.pop()
        return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}
    return tensors


def _parameters_beyond(found: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """The tensors of the file that the module has no place for: a sign of another architecture."""
    known = module.state_dict(keep_vars=True).keys() | dict(module.named_parameters()).keys()
    return {name: tensor for name, tensor in found.items() if name not in known}
