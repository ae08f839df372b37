"""Files of low-bit networks: as many bits a weight as its grid needs, everything else as it is."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_landscape.errors import QuantizationError, RecordError
from lightning_landscape.quantization.binary_connect import roundings
from lightning_landscape.quantization.quantizer import Quantizer
from lightning_landscape.records.hdf5 import creating, explaining_damage, reading

FORMAT = "packed network"


def save_packed(
    path: str | os.PathLike[str], module: nn.Module, quantizers: Mapping[str, Quantizer] | None = None
) -> None:
    """Write a trained low-bit network: a bit for each binary weight, b bits for each of :math:`2^b` levels.

    The file is HDF5, without pickled objects: ``codes`` holds the packed weights, ``scales`` those of their filters,
    ``rest`` the bytes of all other parameters and buffers, ``layout`` the names, shapes and grids (zlib-compressed
    JSON).

    Args:
        path: the file; one that is there is replaced at once.
        module: the network. Weights that `binary_connect` rounds are written rounded, under the names that the network
            has without it.
        quantizers: by the parameter's name, the grid of weights that an optimizer keeps on one; None for
            none.

    Raises:
        QuantizationError: for a parameter that the module has not, or whose weights are not on its grid.
        RecordError: if the file cannot be written.
    """
    state = {name: tensor.detach().cpu() for name, tensor in module.state_dict().items() if isinstance(tensor, Tensor)}
    grids = dict(quantizers or {})
    for layer, (original, rounding) in roundings(module).items():
        prefix = f"{layer}." if layer else ""
        for name in [name for name in state if name.startswith(f"{prefix}parametrizations.weight.")]:
            del state[name]
        state[f"{prefix}weight"] = rounding.quantizer.nearest(original).cpu()
        grids[f"{prefix}weight"] = rounding.quantizer
    if unknown := [name for name in grids if name not in state]:
        raise QuantizationError(
            f"{type(module).__name__} has no parameter {unknown[0]!r}: give names from dict(module.named_parameters())"
        )
    kinds = list(dict.fromkeys(grids.values()))
    layout: dict[str, Any] = {"format": FORMAT, "grids": [asdict(kind) for kind in kinds], "packed": [], "rest": []}
    codes, scales, rest = [], [], []
    for name, tensor in state.items():
        entry = [name, list(tensor.shape), str(tensor.dtype).removeprefix("torch.")]
        if name in grids:
            packed, scale = _pack(name, tensor, grids[name])
            codes.append(packed)
            scales += [scale] if scale is not None else []
            layout["packed"].append([*entry, kinds.index(grids[name])])
        else:
            rest.append(_bytes_of(tensor))
            layout["rest"].append(entry)
    text = np.frombuffer(zlib.compress(json.dumps(layout, separators=(",", ":")).encode(), 9), np.uint8)
    # No attributes, no chunks: HDF5 would spend more on them than on a thousand binary weights.
    with creating(Path(path), replace=True) as file:
        file.create_dataset("codes", data=_joined(codes))
        file.create_dataset("rest", data=_joined(rest))
        file.create_dataset("layout", data=text)
        if scales:
            file.create_dataset("scales", data=_joined(scales))


def load_packed(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a low-bit network as a state dict of ordinary tensors: ``net.load_state_dict(load_packed(path))``.

    Weights have the same bits as when they were written. They are on the CPU; ``load_state_dict`` copies them to where
    the network is.

    Args:
        path: a file of `save_packed`.

    Raises:
        RecordError: if the file cannot be read, is damaged, or is of another kind.
    """
    path = Path(path)
    with reading(path) as file, explaining_damage(path):
        layout = _layout_of(file["layout"][()]) if "layout" in file else {}
        if layout.get("format") != FORMAT:
            raise RecordError(f"{path} is no packed network: give a file that save_packed wrote")
        codes, rest = file["codes"][()], file["rest"][()]
        scales = file["scales"][()] if "scales" in file else np.empty(0, np.uint8)
        grids = [Quantizer(**grid) for grid in layout["grids"]]
        state = {}
        for name, shape, dtype, kind in layout["packed"]:
            grid = grids[kind]
            size = -(-prod(shape) * _bits(grid) // 8)
            code, codes = codes[:size], codes[size:]
            tensor = _unpack(code, shape, getattr(torch, dtype), grid)
            if grid.scale is not None:
                per_filter = [shape[0], *(1 for _ in shape[1:])]
                scale, scales = _tensor_of(scales, per_filter, tensor.dtype)
                tensor.mul_(scale)
            state[name] = tensor
        for name, shape, dtype in layout["rest"]:
            state[name], rest = _tensor_of(rest, shape, getattr(torch, dtype))
    return state


def _layout_of(raw: np.ndarray[Any, Any]) -> dict[str, Any]:
    try:
        layout = json.loads(zlib.decompress(raw.tobytes()))
    except zlib.error as error:
        raise ValueError(f"its layout cannot be read: {error}") from error
    return layout if isinstance(layout, dict) else {}


def _bits(quantizer: Quantizer) -> int:
    return (quantizer.levels - 1).bit_length()


def _pack(name: str, weights: Tensor, quantizer: Quantizer) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
    units, scale = weights, None
    if quantizer.scale is not None:
        scale = weights.abs().amax(tuple(range(1, weights.ndim)), keepdim=True) if weights.ndim > 1 else weights.abs()
        units = weights / scale
    index = quantizer.index(units).flatten().numpy() + quantizer.levels // 2
    places = np.arange(_bits(quantizer))
    code = np.packbits((index[:, None] >> places & 1).astype(np.uint8))
    again = _unpack(code, list(weights.shape), weights.dtype, quantizer)
    if differing := int(torch.count_nonzero((again if scale is None else again * scale) != weights)):
        raise QuantizationError(
            f"{differing} of the {weights.numel()} weights of {name} are not on the grid of {quantizer}: save weights "
            "that a rounding optimizer left, with its quantizer"
        )
    return code, None if scale is None else _bytes_of(scale)


def _unpack(code: np.ndarray[Any, Any], shape: list[int], dtype: torch.dtype, quantizer: Quantizer) -> Tensor:
    bits = _bits(quantizer)
    table = np.unpackbits(code, count=prod(shape) * bits).reshape(-1, bits).astype(np.int64)
    index = torch.from_numpy((table << np.arange(bits)).sum(1) - quantizer.levels // 2)
    return quantizer.place_(index.to(dtype)).view(shape)


def _bytes_of(tensor: Tensor) -> np.ndarray[Any, Any]:
    bytes_: np.ndarray[Any, Any] = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return bytes_


def _tensor_of(raw: np.ndarray[Any, Any], shape: list[int], dtype: torch.dtype) -> tuple[Tensor, np.ndarray[Any, Any]]:
    """The first tensor in raw bytes, and the bytes after it."""
    size = prod(shape) * dtype.itemsize
    return torch.from_numpy(raw[:size].copy()).view(dtype).view(shape), raw[size:]


def _joined(parts: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    return np.concatenate(parts) if parts else np.empty(0, np.uint8)
