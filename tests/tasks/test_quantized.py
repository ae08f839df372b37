"""The experiments on low-bit training, each at a tiny size, and their configurations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightning_landscape import LandscapeError
from lightning_landscape.tasks import TASKS
from tests.tasks.test_tasks import configuration

IMAGES = [
    "experiment=quantized_images",
    "data=digits",
    "model.hidden=[8]",
    "seeds=[1,2]",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=2",
    "trainer.limit_val_batches=1",
    "trainer.enable_progress_bar=false",
]


def numbers(written: list[Path]) -> dict:
    assert all(path.stat().st_size > 0 for path in written)
    return json.loads(next(path for path in written if path.suffix == ".json").read_text())


def test_the_floor_on_a_quadratic_has_the_predicted_slope(tmp_path: Path) -> None:
    """Stochastic rounding: linear in the resolution, as the law says; BinaryConnect: SGD's own error alone."""
    small = ["quadratic.deltas=[0.1,0.3,0.5]", "quadratic.chains=150", "quadratic.steps=600"]
    cfg = configuration(tmp_path, "experiment=quantized_quadratic", *small)
    found = numbers(TASKS[cfg.mode](cfg))
    floors = found["floors"]
    assert floors["stochastic rounding"] == pytest.approx(found["limit_law"], rel=0.08)
    assert found["limit_law"][0] == pytest.approx(0.1 * found["slope_for_small_deltas"], rel=0.02)
    assert found["fitted_slope"] == pytest.approx(found["slope_for_small_deltas"], rel=0.12)
    assert floors["BinaryConnect, random rounding"] == pytest.approx([found["error_of_sgd"]] * 3, rel=0.08)
    assert floors["BinaryConnect, nearest"][0] == pytest.approx(found["error_of_sgd"], rel=0.08)
    assert (tmp_path / "quantized_quadratic.png").stat().st_size > 10_000


def test_the_toy_settles_for_all_but_stochastic_rounding(tmp_path: Path) -> None:
    cfg = configuration(tmp_path, "experiment=quantized_toy", "toy.chains=1500", "toy.times=12", "toy.steps=100")
    found = numbers(TASKS[cfg.mode](cfg))
    last, earlier = {}, {}
    for name in ("floating point", "BinaryConnect", "stochastic rounding"):
        earlier[name], last[name] = (found[name][i]["deviation"] for i in (1, -1))
    assert last["floating point"] < 0.4 * earlier["floating point"]
    assert last["BinaryConnect"] < 0.55 * earlier["BinaryConnect"]
    assert last["stochastic rounding"] == pytest.approx(found["limit law"]["deviation"], rel=0.08)
    assert (tmp_path / "quantized_toy.png").stat().st_size > 10_000


def test_the_images_are_trained_by_every_method_and_a_second_command_goes_on(tmp_path: Path) -> None:
    cfg = configuration(tmp_path, *IMAGES)
    first = numbers(TASKS[cfg.mode](cfg))
    assert set(first["runs"]) == {"full precision", "BinaryConnect", "big-batch SR", "SR", "R"}
    for runs in first["runs"].values():
        assert set(runs) == {"1", "2"}
        assert all(0 <= run["test_error"] <= 100 for run in runs.values())
        assert all(len(run["curves"]["weights_changed"]) == 2 for run in runs.values())
    more = numbers(TASKS[cfg.mode](configuration(tmp_path, *IMAGES, "seeds=[1,2,3]")))
    assert more["runs"]["SR"]["1"] == first["runs"]["SR"]["1"]
    assert set(more["runs"]["R"]) == {"1", "2", "3"}
    with pytest.raises(LandscapeError, match="other settings"):
        TASKS[cfg.mode](configuration(tmp_path, *IMAGES, "module.optimizer.lr=0.1"))


def test_the_paper_size_experiments_are_larger_than_their_small_ones(tmp_path: Path) -> None:
    for name, key in (("quadratic", "dimensions"), ("toy", "chains")):
        small, large = (configuration(tmp_path, f"experiment={size}quantized_{name}") for size in ("", "paper_"))
        assert small.mode == large.mode
        assert large[name][key] > small[name][key]
    paper = configuration(tmp_path, "experiment=paper_quantized_images")
    assert paper.trainer.max_epochs == 200
    assert paper.runs["big-batch SR"].data.batch_size == 1024


def test_images_without_runs_say_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(LandscapeError, match="needs runs and seeds"):
        TASKS["quantized_images"](configuration(tmp_path, "~experiment", "+seeds=[]"))
