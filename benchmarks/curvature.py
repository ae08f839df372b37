"""Hessian products and leading eigenvalues, side by side with the plain cost and with two other libraries.

    python benchmarks/curvature.py [--pyhessian FOLDER] [--runs 7]

*Product*: ours over several batches against a forward and two backward passes written by hand on the same batches
(the limit), and against curvlinops' own model-based operator; and over one batch, whose graph ours keeps.

*Top 10*: the ten largest eigenvalues to a relative tolerance of 1e-3 by ours, by curvlinops' operator with SciPy's
eigsh, and by PyHessian's power iteration where it is installed (``pip install --no-deps --target FOLDER pyhessian``).
Beside the time stands the largest relative error against a tight reference, for "the same tolerance" means a residual
to the first two, and a change from one iteration to the next to PyHessian.

Networks are trained a little on scikit-learn's digits first: at random weights there is no spectrum worth a name.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from interleaved import interleave, paired_ratio, save
from scipy.sparse.linalg import eigsh
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from lightning_landscape import Curvature

warnings.filterwarnings("ignore")
from curvlinops import HessianLinearOperator  # noqa: E402 its import warns

EXAMPLES, BATCH, K, TOLERANCE = 512, 128, 10, 1e-3


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    cnn: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8))]
    for inputs, outputs, stride in ((1, 16, 1), (16, 32, 2), (32, 64, 2)):
        cnn += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return {
        "MLP 64-256-256-10": nn.Sequential(
            nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
        ),
        "CNN, 3 conv + BN": nn.Sequential(*cnn, nn.Flatten(), nn.Linear(256, 10)),
    }


def digits() -> tuple[Tensor, Tensor]:
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32)[:EXAMPLES], torch.tensor(labels)[:EXAMPLES]


def train(net: nn.Module, inputs: Tensor, labels: Tensor, steps: int = 30) -> None:
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    net.train()
    for _ in range(steps):
        for x, y in zip(inputs.split(BATCH), labels.split(BATCH), strict=True):
            optimizer.zero_grad()
            cross_entropy(net(x), y).backward()
            optimizer.step()
    optimizer.zero_grad()
    net.eval()


def step(module: nn.Module, batch: Any) -> Tensor:
    return cross_entropy(module(batch[0]), batch[1])


def measure(net: nn.Module, inputs: Tensor, labels: Tensor, runs: int, pyhessian: Any) -> dict[str, Any]:
    parameters = list(net.parameters())
    sizes = [parameter.numel() for parameter in parameters]
    batches = list(zip(inputs.split(BATCH), labels.split(BATCH), strict=True))
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=BATCH)
    whole = DataLoader(TensorDataset(inputs, labels), batch_size=EXAMPLES)
    vector = torch.randn(sum(sizes), generator=torch.Generator().manual_seed(0))
    pieces = [piece.view(p.shape) for piece, p in zip(vector.split(sizes), parameters, strict=True)]

    @torch.enable_grad()
    def by_hand(parts: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        totals = [torch.zeros_like(parameter) for parameter in parameters]
        for x, y in parts:
            gradients = torch.autograd.grad(cross_entropy(net(x), y), parameters, create_graph=True)
            products = torch.autograd.grad(gradients, parameters, pieces)
            torch._foreach_add_(totals, products, alpha=len(x) / EXAMPLES)
        return totals

    theirs = HessianLinearOperator(net, nn.CrossEntropyLoss(), parameters, batches, check_deterministic=False)
    with Curvature(net, loader, step) as curvature, Curvature(net, whole, step) as single:
        products = interleave(
            {
                "by hand": lambda: by_hand(batches),
                "ours": lambda: curvature.hessian @ vector,
                "curvlinops": lambda: theirs @ vector,
                "by hand, one batch": lambda: by_hand([(inputs, labels)]),
                "ours, one batch": lambda: single.hessian @ vector,
            },
            runs=3 * runs,
        )
        agree = torch.cat([total.flatten() for total in by_hand(batches)]) - curvature.hessian @ vector
        exact = curvature.eigenpairs(K, tolerance=1e-6).values
        found: dict[str, Any] = {}

        def keep(name: str, job: Callable[[], Any]) -> Callable[[], None]:
            def run() -> None:
                found[name] = job()

            return run

        jobs = {
            "ours": keep("ours", lambda: curvature.eigenpairs(K, tolerance=TOLERANCE).values),
            "curvlinops": keep("curvlinops", lambda: eigsh(theirs.to_scipy(), K, which="LA", tol=TOLERANCE)[0][::-1]),
        }
        if pyhessian is not None:
            jobs["PyHessian"] = keep("PyHessian", lambda: _power_iteration(pyhessian, net, loader))
        top = interleave(jobs, runs=runs, warmup=1)
    return {
        "parameters": sum(sizes),
        "product_seconds": {name: timing.median for name, timing in products.items()},
        "product_ratio": paired_ratio(products["ours"], products["by hand"]),
        "product_ratio_one_batch": paired_ratio(products["ours, one batch"], products["by hand, one batch"]),
        "product_ratio_curvlinops": paired_ratio(products["curvlinops"], products["by hand"]),
        "product_difference": float(agree.norm() / vector.norm()),
        "top_seconds": {name: timing.median for name, timing in top.items()},
        "top_ratio": {n: paired_ratio(top["ours"], timing) for n, timing in top.items() if n != "ours"},
        "top_error": {n: float(np.abs(np.array(v) / exact - 1).max()) for n, v in found.items()},
        "eigenvalues": exact.tolist(),
    }


@torch.enable_grad()
def _power_iteration(pyhessian: Any, net: nn.Module, loader: DataLoader[Any]) -> list[float]:
    values, _ = pyhessian(net, nn.CrossEntropyLoss(), dataloader=loader, cuda=False).eigenvalues(
        maxIter=100, tol=TOLERANCE, top_n=K
    )
    return sorted(values, reverse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pyhessian", help="the folder that PyHessian is installed in")
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    pyhessian = None
    if arguments.pyhessian:
        sys.path.append(arguments.pyhessian)
        from pyhessian import hessian as pyhessian
    torch.set_num_threads(1)
    inputs, labels = digits()
    results: dict[str, Any] = {"examples": EXAMPLES, "batch": BATCH, "k": K, "tolerance": TOLERANCE}
    for name, net in networks().items():
        train(net, inputs, labels)
        results[name] = found = measure(net, inputs, labels, arguments.runs, pyhessian)
        print(f"\n{name}, {found['parameters']} parameters")
        for key, value in found.items():
            print(f"  {key}: {value}")
    print("\n", save("curvature", results, "curvlinops-for-pytorch", "scipy"))


if __name__ == "__main__":
    main()
