"""What a surface costs, against the limit: as many plain forward passes over batches that lie in memory already.

    python benchmarks/surfaces.py            # every network, two ranks against one
    python benchmarks/surfaces.py --only MLP CNN
    python benchmarks/surfaces.py --gpu      # ResNet-56 on 10,000 images, where there is a GPU

All jobs of a network take turns in one run. "a point" is the steady cost of a point with some shortcuts forced; "a
surface" is all of `compute_surface`, with everything that it does once and the record on disk, and all of a peer's
call.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peers
import torch
import torch.nn.functional as F
from interleaved import RESULTS, Timing, interleave, paired_ratio, save
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from two_ranks import seconds

from lightning_landscape import Grid, Plane, Surface, compute_surface, weights_of
from lightning_landscape.engine.acceleration.choice import accelerated
from lightning_landscape.engine.evaluator import Evaluator
from lightning_landscape.engine.guard import Guard
from lightning_landscape.engine.objective import objective_of
from lightning_landscape.engine.parameters import ReplicatedParameters
from lightning_landscape.engine.ranks import Ranks
from lightning_landscape.engine.sample import Sample, transfer_of
from lightning_landscape.models import ResNet

EXAMPLES, BATCH = 2048, 256
POINTS = [(0.1 * i, -0.05 * i) for i in range(1, 10)]
LAYOUT = ("channels_last", "batch_norm_folding")
NETS = Path(os.environ.get("LANDSCAPE_SHARED", Path(__file__).parents[2] / "shared")) / "data/nets"


def step(module: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(module(batch[0]), batch[1])


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))


def cnn() -> nn.Module:
    """Three strided convolutions with BatchNorm: 32, 64 and 128 channels."""
    layers: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def resnet56() -> nn.Module:
    """The paper's trained network where it is at hand, else one of fresh weights."""
    net = ResNet(56)
    path = NETS / "resnet56.pt"
    if path.exists():
        found = torch.load(path, weights_only=True, map_location="cpu")
        net.load_state_dict({n.removeprefix("module."): t for n, t in found.get("state_dict", found).items()})
    return net


class Attention(nn.Module):
    """Nothing that a shortcut applies to: its first layer gets the sum of the batch and an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(28, 28) / 5)
        self.layer = nn.TransformerEncoderLayer(28, 4, 128, batch_first=True)
        self.head = nn.Linear(28, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.layer(images.flatten(0, 1) + self.position)
        logits: Tensor = self.head(hidden.mean(1))
        return logits


@dataclass(frozen=True)
class Network:
    """A network, its images, and how many points an axis has."""

    build: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    points: int
    steady: int
    shortcuts: dict[str, Collection[str]]
    with_peers: bool = True

    def make(self) -> nn.Module:
        torch.manual_seed(0)
        return self.build().eval()

    def data(self) -> TensorDataset:
        generator = torch.Generator().manual_seed(1)
        return TensorDataset(
            torch.randn(EXAMPLES, *self.shape, generator=generator),
            torch.randint(10, (EXAMPLES,), generator=generator),
        )

    def loader(self) -> DataLoader[Any]:
        return DataLoader(self.data(), batch_size=BATCH)


NETWORKS = {
    "MLP": Network(mlp, (1, 28, 28), 37, 9, {"first layer": ("first_layer",)}),
    "CNN": Network(
        cnn,
        (3, 32, 32),
        7,
        9,
        {
            "channels last": LAYOUT[:1],
            "folded BatchNorm": LAYOUT[1:],
            "both": LAYOUT,
            "both, compiled": (*LAYOUT, "compilation"),
        },
    ),
    "ResNet-56": Network(
        resnet56, (3, 32, 32), 3, 1, {"both": LAYOUT, "both, compiled": (*LAYOUT, "compilation")}, with_peers=False
    ),
    "attention": Network(Attention, (1, 28, 28), 7, 9, {}),
}


def limit_of(net: nn.Module, batches: peers.Batches, points: int) -> Callable[[], None]:
    def run() -> None:
        with torch.inference_mode():
            for _ in range(points):
                total = torch.zeros((), dtype=torch.float64, device=batches[0][0].device)
                for images, labels in batches:
                    total += F.cross_entropy(net(images), labels) * len(images)
                float(total)

    return run


def surface(net: nn.Module, network: Network, points: int, shortcuts: Any, path: Path | None = None) -> Surface:
    grid = Grid(x=(-1, 1, points), y=(-1, 1, points))
    plane = Plane.random(weights_of(net), seed=0)
    return compute_surface(net, network.loader(), plane, grid, step, path, progress=False, shortcuts=shortcuts)


def on_disk(net: nn.Module, network: Network, points: int, shortcuts: Any) -> Callable[[], None]:
    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            surface(net, network, points, shortcuts, Path(folder) / "surface.h5")

    return run


@contextmanager
def steady(
    net: nn.Module,
    loader: DataLoader[Any],
    count: int,
    shortcuts: Any,
    context: Callable[[], Any] = nullcontext,
) -> Iterator[Callable[[], None]]:
    """Open an evaluation, and yield the job that evaluates some points in it."""
    plane = Plane.random(weights_of(net), seed=0)
    device = next(net.parameters()).device
    with Guard(net):
        parameters = ReplicatedParameters(net, plane)
        sample = Sample(loader, None, 0, transfer_of(net, None, device), device)
        objective = objective_of(net, step)
        with Evaluator(net, objective, {"": sample}, seed=0, forward_context=context) as evaluator:
            evaluator.probe()
            grid = Grid(x=(-0.1, 0.1, 3), y=(-0.1, 0.1, 3))
            placed, names = accelerated(net, plane, parameters, evaluator, grid, shortcuts, Ranks(device))
            if set(names) != set(shortcuts):
                warnings.warn(f"of {shortcuts} only {names} are used", stacklevel=2)

            def run() -> None:
                for point in POINTS[:count]:
                    placed.place(*point)
                    evaluator.evaluate()

            yield run


def measure(name: str, network: Network, runs: int, found: list[str]) -> dict[str, Any]:
    """Time all jobs of one network in turn."""
    net, loader = network.make(), network.loader()
    batches = [tuple(batch) for batch in loader]
    whole = network.points**2
    once: dict[str, float] = {}
    with ExitStack() as stack:
        jobs: dict[str, Callable[[], object]] = {"limit: a point": limit_of(net, batches, network.steady)}
        for label, shortcuts in {"plain": (), **network.shortcuts}.items():
            started = time.perf_counter()
            jobs[f"a point: {label}"] = stack.enter_context(
                steady(copy.deepcopy(net), loader, network.steady, shortcuts)
            )
            once[label] = time.perf_counter() - started
        times = interleave(jobs, runs)
    rows = ratios(times, "limit: a point", network.steady)
    if network.points > 3:
        jobs = {"limit: a surface": limit_of(net, batches, whole)}
        for label, choice in {"plain": (), "auto": "auto"}.items():
            jobs[f"a surface: {label}"] = on_disk(copy.deepcopy(net), network, network.points, choice)
        for peer in found if network.with_peers else []:
            job = peers.job(peer, copy.deepcopy(net), loader, batches, network.points)
            try:
                job()
            except Exception as error:  # as on the zeros of a fresh BatchNorm
                print(f"{name:10s} {peer} fails: {type(error).__name__}: {error}", flush=True)
            else:
                jobs[f"a surface: {peer}"] = job
        rows |= ratios(interleave(jobs, runs), "limit: a surface", whole)
    for label, row in rows.items():
        print(f"{name:10s} {label:32s} {row['milliseconds_a_point']:9.2f} ms  {row['ratio']:5.2f}", flush=True)
    return {"jobs": rows, "seconds_to_open": once, "points": whole}


def ratios(times: dict[str, Timing], limit: str, points: int) -> dict[str, Any]:
    return {
        label: {
            "milliseconds_a_point": 1e3 * timing.median / points,
            "ratio": paired_ratio(timing, times[limit]),
            "seconds": timing.seconds,
        }
        for label, timing in times.items()
    }


def ranks(runs: int, points: int = 11) -> dict[str, Any]:
    one, two, apart = [], [], []
    for _ in range(runs):
        one.append(seconds(1, points))
        two.append(seconds(2, points))
        apart.append(seconds(2, points, together=False))
    speedup = 1 / paired_ratio(Timing(two), Timing(one))
    machine = 2 / paired_ratio(Timing(apart), Timing(one))
    print(f"two ranks against one, one thread each: {speedup:.2f} times as fast", flush=True)
    print(f"two processes that share nothing do {machine:.2f} times the work of one", flush=True)
    return {"one": one, "two": two, "two apart": apart, "speedup": speedup, "machine": machine}


def gpu(runs: int) -> dict[str, Any]:
    """ResNet-56 on 10,000 images, against plain passes at the best batch size; times are for 51 x 51 points."""
    results: dict[str, Any] = {}
    data = TensorDataset(torch.randn(10_000, 3, 32, 32), torch.randint(10, (10_000,)))
    for precision in ("float32", "bf16"):

        def context(narrow: bool = precision == "bf16") -> Any:
            return torch.autocast("cuda", torch.bfloat16, cache_enabled=False) if narrow else nullcontext()

        jobs: dict[str, Callable[[], object]] = {}
        with ExitStack() as stack:
            for size in (256, 512, 1024, 2048, 4096):
                net, loader = resnet56().eval().cuda(), DataLoader(data, batch_size=size)
                plain = limit_of(net, [(x.cuda(), y.cuda()) for x, y in loader], 2)

                def limit(plain: Callable[[], None] = plain, context: Callable[[], Any] = context) -> None:
                    with context():
                        plain()

                jobs[f"limit, batches of {size}"] = limit
                for label, shortcuts in {"plain": (), "both": LAYOUT, "compiled": (*LAYOUT, "compilation")}.items():
                    jobs[f"{label}, batches of {size}"] = stack.enter_context(
                        steady(copy.deepcopy(net), loader, 2, shortcuts, context)
                    )
            times = interleave(jobs, runs)
        best = min((name for name in times if name.startswith("limit")), key=lambda name: times[name].median)
        rows = ratios(times, best, 2)
        for label, row in rows.items():
            hours = row["milliseconds_a_point"] * 51**2 / 3.6e6
            print(f"{precision:8s} {label:32s} {row['ratio']:5.2f}  51 x 51 points: {hours:.3f} h", flush=True)
        results[precision] = {"limit": best, "jobs": rows}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=[*NETWORKS, "ranks"], default=[*NETWORKS, "ranks"])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--gpu", action="store_true", help="the job for a GPU instead")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.gpu:
        if not torch.cuda.is_available():
            parser.error("there is no GPU here")
        print(save("surfaces_gpu", gpu(options.runs)))
        return
    found, missing = peers.installed()
    for peer, reason in missing.items():
        print(f"{peer} is left out ({reason})")
    results: dict[str, Any] = {"runs": options.runs, "examples": EXAMPLES, "batch_size": BATCH, "missing": missing}
    kept = RESULTS / "surfaces.json"
    if kept.exists():  # a run with --only replaces what it measures
        earlier = json.loads(kept.read_text(encoding="utf-8"))
        results |= {name: earlier[name] for name in (*NETWORKS, "ranks") if name in earlier}
    for name, network in NETWORKS.items():
        if name in options.only:
            results[name] = measure(name, network, options.runs, found)
            save("surfaces", results, *(peer.replace("_", "-") for peer in found))
    if "ranks" in options.only:
        results["ranks"] = ranks(options.runs)
    print(save("surfaces", results, *(peer.replace("_", "-") for peer in found)))


if __name__ == "__main__":
    main()
