"""Small networks whose Hessians are computed whole, in float64, by torch.func: the references of this folder."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from lightning_landscape.curvature._curvlinops import PyTorchLinearOperator

COUNT = 23  # odd, and no multiple of a batch


class Dense(PyTorchLinearOperator):
    """A symmetric matrix as an operator."""

    SELF_ADJOINT = True

    def __init__(self, matrix: Tensor) -> None:
        super().__init__([(len(matrix),)], [(len(matrix),)])
        self.matrix = matrix
        self.products = 0
        self.device, self.dtype = matrix.device, matrix.dtype

    device: Any = None
    dtype: Any = None

    def _matmat(self, M: list[Tensor]) -> list[Tensor]:
        self.products += M[0].shape[-1]
        return [self.matrix @ M[0]]


def symmetric(values: Tensor, seed: int = 0) -> Tensor:
    """A float64 matrix with these eigenvalues, and random eigenvectors."""
    n = len(values)
    q, _ = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    return (q * values) @ q.T


def network(seed: int = 0) -> nn.Sequential:
    """A convolution with BatchNorm, tanh and softmax outputs: 75 parameters."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 3)
    )
    net[1].running_var.uniform_(0.5, 2.0)
    return net.double()


def data(count: int = COUNT) -> TensorDataset:
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(count, 1, 6, 6, generator=generator, dtype=torch.float64)
    return TensorDataset(inputs, torch.randint(0, 3, (count,), generator=generator))


def loader(batch_size: int = 4, count: int = COUNT) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(data(count), batch_size=batch_size)


def step(module: nn.Module, batch: Any) -> Tensor:
    return cross_entropy(module(batch[0]), batch[1])


def dense(module: nn.Module, loss: Callable[[Callable[[Tensor], Tensor]], Tensor] | None = None) -> Tensor:
    """The whole Hessian by all parameters; ``loss(call)`` gets the module as a function of the inputs."""
    module.eval()
    call = functional(module)
    inputs, labels = data().tensors
    chosen = loss or (lambda f: cross_entropy(f(inputs), labels))
    with warnings.catch_warnings():
        # torch's forward mode uses torch.jit.script, which torch itself calls deprecated.
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
        return torch.func.hessian(lambda w: chosen(lambda x: call(w, x)))(flat(module))


def flat(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def functional(module: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """The module as a function of its flattened parameters and the inputs."""
    parameters = dict(module.named_parameters())
    sizes = [p.numel() for p in parameters.values()]

    def call(weights: Tensor, inputs: Tensor) -> Tensor:
        pieces = zip(parameters.items(), weights.split(sizes), strict=True)
        return torch.func.functional_call(module, {n: w.view(p.shape) for (n, p), w in pieces}, inputs)

    return call
