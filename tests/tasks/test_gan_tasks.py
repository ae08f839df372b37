"""The GAN experiments at tiny sizes: what they write, and that a sweep goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_landscape.errors import RecordMismatchError
from lightning_landscape.records.gan_runs import load_runs
from lightning_landscape.tasks import TASKS
from lightning_landscape.tasks.gan_rings import adam_with_rates
from tests.tasks.test_tasks import configuration

RING = ["experiment=gan_ring8", "sweep.iterations=6", "sweep.measure_every=2", "sweep.seeds=2", "data.batch_size=4"]
TINY_IMAGES = [
    "experiment=gan_images",
    "data=npz",
    "+data.val_size=8",
    "images.channels=1",
    "images.size=8",
    "sweep.seeds=[0]",
    "sweep.measure_every=2",
    "sweep.samples=8",
    "sweep.classifier_epochs=1",
    "sweep.generator.width=2",
    "sweep.discriminator.width=2",
    "trainer.limit_train_batches=4",
]


def test_saddle_writes_its_figure_and_the_exact_table(tmp_path: Path) -> None:
    picture, table = TASKS["gan_saddle"](configuration(tmp_path, "experiment=gan_saddle"))
    assert picture.stat().st_size > 10_000
    assert "| 0.25 | 6.94e+09 | 1.34 | 3.21e-13 |" in table.read_text()


@pytest.mark.parametrize("experiment", ["gan_ring8", "gan_ring100"])
def test_rings_write_table_figure_and_animation(tmp_path: Path, experiment: str) -> None:
    cfg = configuration(tmp_path, *RING[1:], f"experiment={experiment}")
    written = TASKS[cfg.mode](cfg)
    assert [path.name for path in written] == ["sweep.json", "sweep.md", "sweep.png", "samples.gif", "samples.png"]
    runs, settings = load_runs(written[0])
    assert len(runs) == 4 * 2 * 2 * 2
    assert settings["sweep"]["iterations"] == 6
    assert {run.rate for run in runs} == {1e-4, 1e-3, 3e-3, 1e-2}
    assert all(np.isfinite(run.measures["distance"]) for run in runs)
    assert written[1].read_text().count("\n") == 2 + 8 + 1
    with Image.open(written[3]) as picture:
        assert picture.n_frames == 3


def test_a_sweep_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """The first training is kept as it is, also if it was another's; the others are made."""
    cfg = configuration(tmp_path, *RING)
    first = TASKS["gan_rings"](cfg)[0].read_text()
    kept = tmp_path / "runs/beta1=0.5-neither.json"
    content = json.loads(kept.read_text())
    content["runs"][0]["collapsed_at"] = 4
    kept.write_text(json.dumps(content))
    (tmp_path / "runs/beta1=0.9-generator.json").unlink()
    again = json.loads(TASKS["gan_rings"](cfg)[0].read_text())
    assert again["runs"][0]["collapsed_at"] == 4
    again["runs"][0]["collapsed_at"] = None
    assert again == json.loads(first)
    with pytest.raises(RecordMismatchError, match="other settings"):
        TASKS["gan_rings"](configuration(tmp_path, *RING, "seed=2"))


def test_images_are_judged_by_a_classifier_of_our_own(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels, labels = random.integers(256, size=(200, 8, 8), dtype=np.uint8), random.integers(10, size=200)
    np.savez(tmp_path / "images.npz", images=pixels, labels=labels)
    files = [f"data.{split}={tmp_path / 'images.npz'}" for split in ("train", "test")]
    cfg = configuration(tmp_path, *TINY_IMAGES, *files)
    written = TASKS[cfg.mode](cfg)
    assert [path.name for path in written] == ["sweep.json", "sweep.md", "sweep.png", "samples.png"]
    runs, _ = load_runs(written[0])
    assert len(runs) == 4
    assert all(1 <= run.measures["classifier_score"] <= 10 for run in runs)
    assert not (set(torch.load(tmp_path / "classifier.pt", weights_only=True)) & {"optimizer_states"})
    assert TASKS[cfg.mode](cfg)[0].read_text() == written[0].read_text()


def test_rates_belong_to_the_groups_of_a_stack() -> None:
    from lightning_landscape.models import StackedMLP

    stack = StackedMLP(6, 2, (3,), 1, groups=3)
    optimizer = adam_with_rates(stack.parameters(), [1e-4, 1e-3, 1e-2], 0.5)
    for number, group in enumerate(optimizer.param_groups):
        assert group["lr"] == [1e-4, 1e-3, 1e-2][number]
        assert group["betas"] == (0.5, 0.999)
        expected = [layer.weights[number] for layer in stack.layers] + [layer.biases[number] for layer in stack.layers]
        assert {id(p) for p in group["params"]} == {id(p) for p in expected}
