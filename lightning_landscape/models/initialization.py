"""The random initialisation of the paper's networks."""

from __future__ import annotations

from torch import nn


def initialize(network: nn.Module) -> None:
    """Draw the weights of convolutions and linear layers as the paper's networks had them, in place.

    Convolutions: ``N(0, 2 / fan_in)`` (He et al. 2015, eq. 10). Linear layers: ``N(0, 1e-6)``, a standard deviation
    of ``1e-3``, so that an untrained classifier's cross-entropy is ``ln(classes)``. Biases: 0. Norm layers keep
    PyTorch's scale 1 and shift 0. In a deep network without shortcuts the scale of a convolution that BatchNorm
    follows does not change the function, but it sets the rate at which that convolution learns: the gradient with
    respect to such a weight falls with its norm, and the relative step with the square of its norm.

    Source: Li, Xu, Taylor, Studer, Goldstein (2018), released training code.

    Args:
        network: The module whose layers are drawn, in the order of ``network.modules()``, from PyTorch's global
            generator.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=1e-3)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
