"""scikit-learn's tables: splits, and the scale of the training rows for all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes

from lightning_landscape.data import Tabular
from lightning_landscape.errors import RecordError

SPLITS = ("train", "val", "test")


def test_all_rows_are_there_once_on_the_scale_of_the_training_rows() -> None:
    table = Tabular("diabetes")
    raw, targets = load_diabetes(return_X_y=True)
    found = {split: table.examples(split) for split in SPLITS}
    features, labels = found["train"]
    torch.testing.assert_close(features.mean(0), torch.zeros(10), atol=1e-6, rtol=0)
    torch.testing.assert_close(features.std(0, correction=0), torch.ones(10))
    assert labels.mean().item() == pytest.approx(0, abs=1e-6)
    # One shift and scale for all rows: found by least squares, they leave no residual and lose no row.
    order = np.argsort(targets, kind="stable")
    every = torch.cat([found[split][1] for split in SPLITS])[:, 0].double().numpy()
    slope, shift = np.polyfit(np.sort(every), targets[order], 1)
    np.testing.assert_allclose(slope * np.sort(every) + shift, targets[order], rtol=1e-5)
    columns = torch.cat([found[split][0] for split in SPLITS])
    for column in range(10):
        assert len(columns[:, column].unique()) == len(np.unique(raw[:, column]))
    assert found["test"][0].mean(0).abs().max() > 0.02  # they have not been standardised by themselves


@pytest.mark.parametrize(("name", "features", "classes"), [("breast_cancer", 30, 2), ("wine", 13, 3)])
def test_classes_are_whole_numbers(name: str, features: int, classes: int) -> None:
    table = Tabular(name)
    inputs, labels = next(iter(table.train_dataloader()))
    assert inputs.shape == (32, features)
    assert inputs.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert table.examples("train")[1].unique().tolist() == list(range(classes))


def test_targets_of_regression_have_the_shape_of_an_output() -> None:
    inputs, targets = next(iter(Tabular("diabetes").train_dataloader()))
    assert (inputs.shape, targets.shape, targets.dtype) == ((32, 10), (32, 1), torch.float32)


def test_the_seed_fixes_the_split() -> None:
    first, again, other = (Tabular(split_seed=seed).examples("test")[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(RecordError, match="no table 'iris': choose from diabetes, california_housing, breast_ca"):
        Tabular("iris")  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:Retry downloading")
def test_what_cannot_be_downloaded_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_args: object, **_kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    monkeypatch.setattr("socket.getaddrinfo", unreachable)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)  # scikit-learn tries again after a second
    with pytest.raises(RecordError, match=r"cannot download .* california_housing: .*no route to host"):
        Tabular("california_housing").prepare_data()
