"""What a prediction step costs: a GAN step with and without it, for tiny networks and for a DCGAN.

    python benchmarks/prediction.py

A GAN step is the discriminator's and the generator's step, forwards and backwards, with Adam, in plain torch: without
Lightning's own work around each step, which would make the share smaller. Steps with and without prediction take turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext

import torch
from interleaved import interleave, paired_ratio, save
from torch import nn

from lightning_landscape import Prediction
from lightning_landscape.models import DCGANDiscriminator, DCGANGenerator
from lightning_landscape.modules.gan_losses import LOSSES

LIMIT = 1.05


def ring_networks() -> tuple[nn.Module, nn.Module]:
    """The networks of the code released with the paper, for a ring of Gaussians."""

    def network(outputs: int) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, outputs))

    return network(2), network(1)


def dcgan_networks() -> tuple[nn.Module, nn.Module]:
    return DCGANGenerator(100, 3, 32, 64, 3), DCGANDiscriminator(3, 32, 64, 3)


def narrow_networks() -> tuple[nn.Module, nn.Module]:
    """The networks of experiment=gan_images."""
    return DCGANGenerator(32, 1, 28, 8, 2), DCGANDiscriminator(1, 28, 8, 2)


def gan_step(
    networks: Callable[[], tuple[nn.Module, nn.Module]], real: torch.Tensor, latent: int, predicted: bool, steps: int
) -> Callable[[], None]:
    """A job of so many GAN steps."""
    torch.manual_seed(0)
    generator, discriminator = (network.to(real.device) for network in networks())
    optimizers = [torch.optim.Adam(n.parameters(), lr=2e-4, betas=(0.5, 0.999)) for n in (generator, discriminator)]
    prediction = Prediction(optimizers[0]) if predicted else None
    game = LOSSES["non-saturating"]

    def job() -> None:
        for _ in range(steps):
            noise = torch.randn(len(real), latent, device=real.device)
            ahead = prediction.lookahead() if prediction is not None and prediction.stepped else nullcontext()
            with ahead, torch.no_grad():
                fake = generator(noise)
            optimizers[1].zero_grad()
            game.discriminator(discriminator(real), discriminator(fake)).sum().backward()
            optimizers[1].step()
            optimizers[0].zero_grad()
            game.generator(discriminator(generator(noise))).sum().backward()
            optimizers[0].step()

    return job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=41)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cases = {
        "ring, batch 512": (ring_networks, torch.randn(512, 2, device=device), 2, 10),
        "narrow DCGAN 28 x 28, batch 32": (narrow_networks, torch.randn(32, 1, 28, 28, device=device), 32, 3),
        "DCGAN 32 x 32, batch 64": (dcgan_networks, torch.randn(64, 3, 32, 32, device=device), 100, 1),
    }
    results = {}
    for name, (networks, real, latent, steps) in cases.items():
        jobs = {kind: gan_step(networks, real, latent, kind == "predicted", steps) for kind in ("plain", "predicted")}
        runs = max(7, options.runs // 4) if name.startswith("DCGAN") else options.runs
        timings = interleave(jobs, runs=runs, warmup=2)
        ratio = paired_ratio(timings["predicted"], timings["plain"])
        results[name] = {
            "plain_ms": 1e3 * timings["plain"].median / steps,
            "predicted_ms": 1e3 * timings["predicted"].median / steps,
            "ratio": ratio,
            "within_limit": ratio <= LIMIT,
        }
        print(
            f"{name}: {results[name]['plain_ms']:.2f} ms without, {results[name]['predicted_ms']:.2f} ms with, "
            f"ratio {ratio:.3f}",
            flush=True,
        )
    print("written", save("prediction", {"limit": LIMIT, "cases": results}))


if __name__ == "__main__":
    main()
