"""Rescalings of a network's weights that leave its function as it is, and therefore should leave its landscape too.

Source: Li et al., arXiv 1712.09913, section 3 ("scale invariance"), where they are the reason for filter normalisation.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from lightning_landscape.errors import GeometryError

_AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@torch.no_grad()
def rescale_normalised(network: nn.Module, factor: float = 100.0) -> int:
    r"""Multiply every layer that a BatchNorm follows, and the running statistics of the BatchNorm to match, in place.

    A layer is followed by a BatchNorm if that is the next module that has been registered and counts as many channels.
    In training mode BatchNorm divides the factor out again; in evaluation mode it does with the running mean :math:`c
    \mu` and the running variance :math:`c^2 (\sigma^2 + \epsilon) - \epsilon`, which is :math:`c^2 \sigma^2` but for
    BatchNorm's own :math:`\epsilon`.

    Args:
        network: The network.
        factor: c, at least 1.

    Returns:
        How many layers were multiplied.

    Raises:
        GeometryError: If no layer is followed by a BatchNorm, or the factor is below 1.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).eval()
        >>> before = net(torch.eye(2))
        >>> rescale_normalised(net), torch.allclose(net(torch.eye(2)), before)
        (1, True)
    """
    if factor < 1:
        raise GeometryError(f"a factor of {factor} would make running variances negative: give 1 or more")
    found = 0
    for layer, normalisation in pairwise(_leaves(network)):
        if not isinstance(layer, _AFFINE) or not isinstance(normalisation, nn.modules.batchnorm._BatchNorm):
            continue
        if layer.weight.shape[0] != normalisation.num_features or normalisation.running_var is None:
            continue
        _multiply(layer, factor)
        assert normalisation.running_mean is not None
        normalisation.running_mean *= factor
        normalisation.running_var.copy_(factor**2 * (normalisation.running_var + normalisation.eps) - normalisation.eps)
        found += 1
    if not found:
        raise GeometryError("no layer of the network is followed by a BatchNorm: take a network that has some")
    return found


@torch.no_grad()
def rescale_pairs(network: nn.Module, factor: float = 10.0) -> int:
    """Multiply a layer and divide the next one, over the ReLU between them, in place.

    Layers are paired in the order in which they have been registered, each in one pair at most.

    Args:
        network: The network.
        factor: A positive number.

    Returns:
        How many pairs were rescaled.

    Raises:
        GeometryError: If there is no pair, or the factor is not positive.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> before = net(torch.eye(2))
        >>> rescale_pairs(net), torch.allclose(net(torch.eye(2)), before)
        (1, True)
    """
    if not factor > 0:
        raise GeometryError(f"a factor of {factor} does not pass through a ReLU: give a positive one")
    leaves, found, index = _leaves(network), 0, 0
    while index + 2 < len(leaves):
        first, between, second = leaves[index : index + 3]
        if isinstance(first, _AFFINE) and isinstance(between, nn.ReLU) and isinstance(second, _AFFINE):
            _multiply(first, factor)
            second.weight /= factor
            found, index = found + 1, index + 3
        else:
            index += 1
    if not found:
        raise GeometryError(
            "the network has no two layers with a ReLU module between them: take one that has, such as an MLP"
        )
    return found


def _leaves(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if not list(module.children())]


def _multiply(layer: nn.Module, factor: float) -> None:
    for parameter in layer.parameters(recurse=False):
        parameter.mul_(factor)
