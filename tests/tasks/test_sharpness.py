"""Small and large batches on a tiny network: the numbers of the table are those of the records and checkpoints."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from scipy.stats import rankdata

from lightning_landscape import LandscapeError, RecordMismatchError, Surface
from lightning_landscape.records import rise
from lightning_landscape.tasks import TASKS
from tests.tasks.test_tasks import TINY, configuration

FEW = [
    *TINY,
    "sharpness.directions=2",
    "sharpness.distance=1.0",
    "sharpness.between.count=5",
    "trainer.limit_train_batches=1.0",
    "data.test_size=1500",
    "trainer.limit_val_batches=0",
]


def tiny(folder: Path, *overrides: str) -> DictConfig:
    return configuration(folder, "experiment=sharpness", *FEW, *overrides)


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()[1:]))


def test_the_table_holds_what_records_and_checkpoints_say(tmp_path: Path) -> None:
    table, report, *figures = TASKS["sharpness"](tiny(tmp_path, "~runs.Adam", "sharpness.seeds=[1,2]"))
    found = rows(table)
    assert len(found) == 2 * 2 * 2
    assert len({row["norm"] for row in found}) == 8
    for row in found:
        decay = float(row["weight_decay"])
        folder = tmp_path / f"seed{row['seed']}" / f"{row['optimizer']}-decay{decay:g}-batch{row['batch_size']}"
        state = torch.load(folder / "trained.ckpt", weights_only=True)["state_dict"]
        norm = np.sqrt(sum(float(t.double().square().sum()) for t in state.values() if t.ndim > 1))
        assert float(row["norm"]) == pytest.approx(norm)
        # A normalised direction is as long as the weights; the others have the mean length of a seed's networks.
        mean = np.mean([float(r["norm"]) for r in found if r["seed"] == row["seed"]])
        for kind, length in (("filter", norm), ("raw", mean)):
            curves = [Surface.load(folder / f"{kind}-{k}.h5") for k in range(2)]
            assert [curve.attrs["direction_norms"][0] for curve in curves] == pytest.approx([length, length], rel=1e-5)
            rises = [rise(curve, 1.0) for curve in curves]
            assert float(row[kind]) == pytest.approx(np.mean(rises))
            assert rises[0] != rises[1]
        small = row["batch_size"] == "16"
        line = Surface.load(folder.with_name(folder.name.replace("batch250", "batch16")) / "between.h5")
        end = 1 if small else 3
        assert line.x[end] == (0.0 if small else 1.0)
        assert float(row["test_error"]) == pytest.approx(100 * (1 - line["test/accuracy"][end]))
        assert float(row["between"]) == pytest.approx(rise(line, 0.5, line.x[end]))

    correlations = json.loads(report.read_text())
    means = {
        c: np.mean([[float(r[c]) for r in found if r["seed"] == s] for s in "12"], 0) for c in found[0] if c[0] in "tf"
    }
    ranks = np.corrcoef(rankdata(means["filter"]), rankdata(means["test_error"]))[0, 1]
    assert np.ptp(means["test_error"]) > 0
    assert correlations["filter"]["means over the seeds"] == pytest.approx(ranks)
    assert correlations.keys() == {"filter", "raw", "between"}
    assert correlations["raw"].keys() == {"seed 1", "seed 2", "means over the seeds"}
    names = {figure.name for figure in figures}
    assert names == {"between-SGD.png", "curves-filter.png", "curves-raw.png", "correlations.png"}
    assert all(figure.stat().st_size > 10_000 for figure in figures)


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    one = ["~runs.SGD", "sharpness.seeds=[1]", "sharpness.weight_decays=[0.01]"]
    (table, *_) = TASKS["sharpness"](tiny(tmp_path, *one))
    kept = sorted([*tmp_path.rglob("*.ckpt"), *tmp_path.rglob("*.h5"), table])
    assert len(kept) == 2 + 1 + 2 * 4 + 1
    before = {path: path.read_bytes() for path in kept}
    numbers = rows(table)
    for path in tmp_path.rglob("filter-*.h5"):
        path.unlink()
    table.unlink()
    # Trained on no batch, a network would be another one, which the records that are left would refuse.
    TASKS["sharpness"](tiny(tmp_path, *one, "trainer.limit_train_batches=0"))
    assert [{k: float(v) for k, v in row.items() if k != "optimizer"} for row in rows(table)] == [
        {k: pytest.approx(float(v)) for k, v in row.items() if k != "optimizer"} for row in numbers
    ]
    assert all(path.read_bytes() == content for path, content in before.items() if path.suffix == ".ckpt")
    with pytest.raises(RecordMismatchError, match="made with other settings"):
        TASKS["sharpness"](tiny(tmp_path, *one))


def test_it_takes_two_batch_sizes(tmp_path: Path) -> None:
    with pytest.raises(LandscapeError, match="two batch sizes"):
        TASKS["sharpness"](tiny(tmp_path, "sharpness.batch_sizes=[8]"))
