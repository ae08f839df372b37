"""The bilinear saddle: paths and moduli of simultaneous, alternating and predicted steps."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig

from lightning_landscape.figures.saddle import plot_saddle
from lightning_landscape.optim.prediction import Prediction
from lightning_landscape.optim.saddle import STABLE_BELOW, Steps, modulus
from lightning_landscape.records.surface_file import check_writable


def gan_saddle(cfg: DictConfig) -> list[Path]:
    """Draw the saddle's paths for ``cfg.saddle.s`` and its moduli, and tabulate the distance after some iterations.

    Returns:
        The figure and the table.
    """
    folder = Path(cfg.output_dir)
    check_writable(folder)
    paths = {steps: saddle_path(steps, cfg.saddle.s, cfg.saddle.iterations) for steps in get_args(Steps)}
    products = np.linspace(0.005, 4.5, 900)
    moduli = {steps: modulus(steps, products) for steps in paths}
    figure = plot_saddle(
        paths,
        products,
        moduli,
        STABLE_BELOW,
        title=cfg.title,
        caption=f"min over u, max over v of u v. Above: {cfg.saddle.iterations} iterations from (1, 1) with s = "
        f"{cfg.saddle.s:g}; the saddle is the cross, and simultaneous steps leave the picture. Below: "
        "under 1 the iteration converges, at 1 it circles, over 1 it diverges. Prediction converges, but for "
        "smaller steps than those with which alternating steps still circle.",
    )
    written = [folder / "saddle.png", folder / "saddle.md"]
    figure.savefig(written[0], dpi=150)
    rows = ["| s | " + " | ".join(paths) + " |", "| --- |" + " --- |" * len(paths)]
    for s in cfg.saddle.products:
        ends = [np.hypot(*saddle_path(steps, s, cfg.saddle.table_iterations)[-1]) for steps in paths]
        rows.append(f"| {s:g} | " + " | ".join(f"{end:.3g}" for end in ends) + " |")
    heading = f"Distance from the saddle after {cfg.saddle.table_iterations} iterations from (1, 1)."
    written[1].write_text(heading + "\n\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return written


def saddle_path(steps: Steps, s: float, iterations: int) -> NDArray[np.float64]:
    """Train two numbers against each other with torch's SGD: u descends on u v, v ascends.

    Args:
        steps: the order of the steps; "prediction" uses `Prediction`.
        s: product of both learning rates, which are equal.
        iterations: how many.

    Returns:
        The points (u, v), ``[iterations + 1, 2]``, from (1, 1) on.
    """
    u, v = (torch.ones((), dtype=torch.float64, requires_grad=True) for _ in range(2))
    descend = torch.optim.SGD([u], lr=s**0.5)
    ascend = torch.optim.SGD([v], lr=s**0.5, maximize=True)
    prediction = Prediction(descend) if steps == "prediction" else None
    path = [(1.0, 1.0)]
    for _ in range(iterations):
        seen_before = u.detach().clone()
        u.grad = v.detach().clone()
        descend.step()
        with prediction.lookahead() if prediction else nullcontext():
            v.grad = (seen_before if steps == "simultaneous" else u).detach().clone()
        ascend.step()
        path.append((u.item(), v.item()))
    return np.array(path)
