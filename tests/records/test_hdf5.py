from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_landscape.errors import RecordError
from lightning_landscape.records.hdf5 import (
    check_writable,
    creating,
    dataset_names,
    open_writer,
    read_attributes,
    reading,
    write_attributes,
)


def roundtrip(folder: Path, attrs: dict[str, Any]) -> dict[str, Any]:
    path = folder / "attributes.h5"
    with creating(path, replace=True) as file:
        write_attributes(file, attrs)
    with reading(path) as file:
        return read_attributes(file)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "naïve ∇",
        0,
        -(2**63),
        0.1,
        float("inf"),
        True,
        False,
        ["a", "ü", ""],
        [1, 2],
        [0.5, -1.0],
        [True, False],
        [],
    ],
    ids=repr,
)
def test_attribute_comes_back_with_its_type(tmp_path: Path, value: object) -> None:
    found = roundtrip(tmp_path, {"größe/a": value})["größe/a"]
    assert found == value
    assert type(found) is type(value)
    if isinstance(value, list):
        assert [type(item) for item in found] == [type(item) for item in value]


def test_numpy_values_and_tuples_are_stored_as_what_they_hold(tmp_path: Path) -> None:
    attrs = {"a": np.float32(0.5), "b": np.arange(3), "c": (1.0, np.float64(2.0)), "d": np.bool_(True), "e": None}
    assert roundtrip(tmp_path, attrs) == {"a": 0.5, "b": [0, 1, 2], "c": [1.0, 2.0], "d": True}


@pytest.mark.parametrize(
    "value",
    [{"a": 1}, [[1, 2]], ["a", 1], [True, 2], object(), b"bytes", 2**70, "nul\0", ["x" * 10] * 5000, np.eye(2)],
    ids=["dict", "nested", "mixed", "bool-int", "object", "bytes", "huge", "nul", "large", "matrix"],
)
def test_other_attributes_are_refused_by_name(tmp_path: Path, value: object) -> None:
    with pytest.raises(RecordError, match="'culprit'"):
        roundtrip(tmp_path, {"culprit": value})
    assert list(tmp_path.iterdir()) == []


@settings(deadline=None)
@given(st.lists(st.text(alphabet="ab/._x", max_size=4), unique=True), st.sets(st.text(alphabet="abx", min_size=1)))
def test_dataset_names_are_usable_and_differ(names: list[str], taken: set[str]) -> None:
    stored = dataset_names(names, taken)
    assert list(stored) == names
    assert len({*stored.values(), *taken}) == len(names) + len(taken)
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        for name in stored.values():
            file[name] = 0
        assert set(file) == set(stored.values())
    for name in names:
        if name.strip(".") and "/" not in name and name not in taken:
            assert stored[name] == name


def test_a_failed_creation_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), creating(path, replace=True) as file:
        file["x"] = 1 / 0
    assert path.read_bytes() == b"old"
    with pytest.raises(RecordError, match="already"), creating(path, replace=False) as file:
        file["x"] = 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_the_oldest_format_is_used(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with creating(path, replace=False) as file:
        file["x"] = 1.0
    before = path.read_bytes()
    with open_writer(path) as file:
        assert file.id.get_create_plist().get_version()[0] == 0
        file["x"][()] = 1.0
        # Nothing waits in a buffer.
        file["x"][()] = 2.0
        with reading(path) as other:
            assert other["x"][()] == 2.0
        file["x"][()] = 1.0
    assert path.read_bytes() == before


def test_check_writable(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match=r"cannot write to .*file.*choose another folder"):
        check_writable(tmp_path / "file" / "c")


def test_writer_of_a_missing_or_protected_file(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"no file at .*gone\.h5"):
        open_writer(tmp_path / "gone.h5")
    with pytest.raises(RecordError, match="cannot read"), reading(tmp_path):
        pass
