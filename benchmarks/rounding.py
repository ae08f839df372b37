"""What rounding adds to an optimizer's step: ResNet-56's 0.85 million weights, one thread.

    python benchmarks/rounding.py

Each optimizer takes the same steps on two copies of the network, plain and wrapped, in turn. What a random rounding
costs depends on how far a step moves the weights, in units of the grid's resolution: where no weight moves with a
probability above 1/32, few random numbers decide, which is the case of binary weights at the usual learning rates.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from interleaved import interleave, paired_ratio, save
from torch import nn
from torch.optim import SGD, Adam, Optimizer

from lightning_landscape import DeterministicRounding, Quantizer, StochasticRounding
from lightning_landscape.models import ResNet

BINARY = Quantizer(bits=1)
EIGHT_BITS = Quantizer(bits=8)
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "Adam": Adam,
    "Adam, foreach": partial(Adam, foreach=True),
    "Adam, fused": partial(Adam, fused=True),
    "SGD with momentum": partial(SGD, momentum=0.9),
    "SGD with momentum, foreach": partial(SGD, momentum=0.9, foreach=True),
}
WRAPPERS: dict[str, tuple[Callable[..., Optimizer], Quantizer, float]] = {
    "stochastic, binary, rate 0.001": (StochasticRounding, BINARY, 1e-3),
    "stochastic, binary, rate 0.01": (StochasticRounding, BINARY, 1e-2),
    "stochastic, 8 bits, rate 0.001": (StochasticRounding, EIGHT_BITS, 1e-3),
    "deterministic, binary, rate 0.001": (DeterministicRounding, BINARY, 1e-3),
}


def stepper(network: nn.Module, make: Callable[[Any], Optimizer]) -> Callable[[], None]:
    """An optimizer's step over the gradients of the network, which stay the same."""
    twin = copy.deepcopy(network)
    for parameter, original in zip(twin.parameters(), network.parameters(), strict=True):
        parameter.grad = original.grad
    optimizer = make(twin.parameters())
    return lambda: optimizer.step() and None


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = ResNet(56)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.clamp_(-1, 1)
    nn.functional.cross_entropy(network(torch.randn(64, 3, 32, 32)), torch.randint(10, (64,))).backward()
    results: dict[str, Any] = {"weights": sum(p.numel() for p in network.parameters() if p.ndim > 1), "steps": {}}
    for name, optimizer in OPTIMIZERS.items():
        for wrapped, (wrapper, quantizer, rate) in WRAPPERS.items():
            jobs = {
                "plain": stepper(network, lambda p: optimizer(p, lr=rate)),  # noqa: B023 called at once
                "wrapped": stepper(network, lambda p: wrapper(optimizer(p, lr=rate), quantizer)),  # noqa: B023
            }
            timings = interleave(jobs, runs=41, warmup=5)
            ratio = paired_ratio(timings["wrapped"], timings["plain"])
            plain, ours = (1e3 * timings[job].median for job in jobs)
            results["steps"][f"{name}; {wrapped}"] = {"plain_ms": plain, "wrapped_ms": ours, "ratio": ratio}
            print(f"{name:28s} {wrapped:36s} {plain:6.2f} ms -> {ours:6.2f} ms, ratio {ratio:.2f}")
    save("rounding", results)


if __name__ == "__main__":
    main()
