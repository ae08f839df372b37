"""The seconds that a surface takes on one rank and on two, each with one thread, and on two that share nothing."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def seconds(world: int, points: int, *, together: bool = True) -> float:
    """Compute the CNN's surface in `world` processes; only the computation is timed, not their start.

    Those that do not work together compute a whole surface each. What they lose beside each other, the machine takes:
    no way of dealing out points can get it back.
    """
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_rank, (world, points, folder, together), nprocs=world)  # type: ignore[no-untyped-call]
        return max(float((Path(folder) / f"seconds{rank}").read_text()) for rank in range(world))


def _rank(rank: int, world: int, points: int, folder: str, together: bool) -> None:
    from surfaces import NETWORKS, surface

    torch.set_num_threads(1)
    group = world > 1 and together
    if group:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    network = NETWORKS["CNN"]
    net = network.make()
    surface(net, network, 3, ())
    if group:
        dist.barrier()
    started = time.perf_counter()
    surface(net, network, points, (), Path(folder) / f"surface{0 if together else rank}.h5")
    (Path(folder) / f"seconds{rank}").write_text(str(time.perf_counter() - started))
    if group:
        dist.destroy_process_group()
