"""The networks that the paper's authors published load and give their published losses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lightning_landscape.data import NpzImages
from lightning_landscape.models import ResNet

MEAN = [125.3 / 255, 123.0 / 255, 113.9 / 255]
STD = [63.0 / 255, 62.1 / 255, 66.7 / 255]


def published(shared: Path, name: str, shortcuts: bool) -> ResNet:
    network = ResNet(56, shortcuts=shortcuts)
    network.load_state_dict(torch.load(shared / "nets" / f"{name}.pt", weights_only=True), strict=True)
    return network.eval()


@pytest.mark.parametrize(("name", "shortcuts"), [("resnet56", True), ("resnet56_noshort", False)])
def test_state_dict_names_are_the_published_ones(shared: Path, name: str, shortcuts: bool) -> None:
    network = published(shared, name, shortcuts)
    stored = torch.load(shared / "nets" / f"{name}.pt", weights_only=True)
    assert [key for key in network.state_dict() if "num_batches_tracked" not in key] == list(stored)
    assert torch.equal(network.linear.weight, stored["linear.weight"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shortcuts", "loss", "correct"),
    [("resnet56", True, 0.288304, 9366), ("resnet56_noshort", False, 0.432744, 8669)],
)
def test_test_loss_and_accuracy(
    shared: Path, dataset_dir: Path, name: str, shortcuts: bool, loss: float, correct: int
) -> None:
    network = published(shared, name, shortcuts)
    files = dataset_dir / "cifar10"
    data = NpzImages(files / "train.npz", files / "test.npz", mean=MEAN, std=STD)
    loss_sum, hits, count = 0.0, 0, 0
    with torch.inference_mode():
        for images, labels in data.evaluation_dataloader("test"):
            logits = network(images)
            loss_sum += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            hits += int((logits.argmax(1) == labels).sum())
            count += len(labels)
    assert count == 10_000
    assert loss_sum / count == pytest.approx(loss, abs=1e-5)
    assert hits == correct
