"""HDF5 as this package uses it: files laid out whole, then moved into place, so that a killed job leaves no ruin.

A record is created in a temporary file beside its destination, with everything in it that will ever need metadata, and
moved into place when it is complete (`creating`). Afterwards only raw values are overwritten (`open_writer`). A process
killed at any moment therefore leaves either no record or a readable one.

Readers (`reading`) go through an ordinary Python file: HDF5 then takes no lock, and a record can be read while it is
being written, by another process or by the same one.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lightning_landscape.errors import RecordError

MARK = "lightning_landscape"
"""The attribute that says what a file of this package is."""

# The oldest format has no "open for writing" mark in the file that would make HDF5 refuse what a killed process left.
_LIBRARY_VERSION = "earliest"

# What h5py raises, from one version or another, when it meets bytes that make no sense.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError)


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Make sure that files can be created in a folder, before anything is computed that would go there.

    Args:
        folder: The folder; it and its parents are created if need be.

    Raises:
        RecordError: If the folder cannot be created or no file can be created in it.
    """
    folder = Path(folder)
    probe = folder / f".writable-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RecordError(
            f"cannot write to {folder} ({error.strerror or error}): choose another folder or change its permissions"
        ) from error


@contextmanager
def creating(path: Path, *, replace: bool) -> Iterator[h5py.File]:
    """Create an HDF5 file that appears under its name only when it is complete.

    Args:
        path: Where the file will be; its folder is created if need be.
        replace: Whether a file that is there already is replaced (at once, never partly).

    Yields:
        The temporary file, open for writing, in the same folder.

    Raises:
        RecordError: If the folder cannot be written, another process is creating the same file, or it exists and
            `replace` is False.
    """
    check_writable(path.parent)
    # The same name each time: what a killed process left there is overwritten, and does not pile up.
    partial = path.with_name(f".{path.name}.partial")
    try:
        file = h5py.File(partial, "w", libver=_LIBRARY_VERSION, locking="best-effort")
    except OSError as error:
        raise RecordError(_why_not_writable(path, error)) from error
    try:
        with explaining_failure(path):
            with file:
                yield file
            with partial.open("rb") as written:
                os.fsync(written.fileno())
            if not replace and path.exists():
                raise RecordError(f"there is a file at {path} already: delete it or choose another path")
            partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def open_writer(path: Path) -> h5py.File:
    """Open an existing HDF5 file to overwrite values in place, as its only writer.

    Nothing is buffered: what has been assigned to a dataset is with the operating system.

    Raises:
        RecordError: If there is no such file, another process is writing it, it is damaged, or it may not be written.
    """
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_EARLIEST, h5py.h5f.LIBVER_LATEST)
    access.set_file_locking(True, ignore_when_disabled=True)
    # Values held back in a buffer would be lost with the process, and HDF5 crashes on closing a file whose buffers it
    # could not write (a full disk). The arguments of set_cache are slots and bytes of the chunk cache.
    access.set_sieve_buf_size(0)
    access.set_cache(0, 0, 0, 0.0)
    # HDF5 would make an empty file its own instead of calling it damaged.
    with reading(path):
        pass
    try:
        return h5py.File(h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDWR, fapl=access))
    except _DAMAGE as error:
        raise RecordError(_why_not_writable(path, error)) from error


@contextmanager
def reading(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, whoever else has it open.

    Raises:
        RecordError: If there is no such file, it may not be read, or it is damaged.
    """
    try:
        raw = path.open("rb")
    except FileNotFoundError as error:
        raise RecordError(f"there is no file at {path}: check the path") from error
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from error
    with raw:
        try:
            file = h5py.File(raw, "r")
        except _DAMAGE as error:
            raise RecordError(_damage(path, error)) from error
        with file:
            yield file


@contextmanager
def explaining_damage(path: Path) -> Iterator[None]:
    """Turn whatever HDF5 raises about a damaged file into one error that names the file and the remedy.

    Raises:
        RecordError: If the body fails in a way that damaged files make it fail.
    """
    try:
        yield
    except RecordError:
        raise
    except _DAMAGE as error:
        raise RecordError(_damage(path, error)) from error


@contextmanager
def explaining_failure(path: Path) -> Iterator[None]:
    """Turn what HDF5 raises when it cannot write (a full disk, a lost network drive) into an error that names the file.

    Raises:
        RecordError: If the body fails to write.
    """
    try:
        yield
    except RecordError:
        raise
    except (OSError, RuntimeError) as error:
        raise RecordError(
            f"cannot write to {path} ({error}): what was written to it before is safe; free some space, or choose "
            "another folder, and resume"
        ) from error


def _damage(path: Path, error: Exception) -> str:
    return (
        f"{path} is damaged, or no file of this package ({error}): restore it from a copy, or delete it and compute it "
        "again"
    )


def _why_not_writable(path: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in {errno.EAGAIN, errno.EACCES} and "lock" in str(error):
        return f"another process is writing {path}: wait until it is done, or give this run another path"
    if isinstance(error, PermissionError):
        return f"cannot write to {path} ({error}): choose another path or change its permissions"
    return _damage(path, error)


def write_attributes(target: h5py.Group | h5py.Dataset, attrs: Mapping[str, Any]) -> None:
    """Store text, numbers, truth values and flat lists of these as HDF5 attributes; None stores nothing.

    Raises:
        RecordError: If a value is of another kind, or too large for an attribute.
    """
    for key, value in sorted(attrs.items()):
        plain = _plain(value)
        if plain is None:
            continue
        kinds = {type(item) for item in plain} if isinstance(plain, list) else {type(plain)}
        if not (kinds <= {int, float} or (len(kinds) == 1 and kinds <= {str, bool})):
            raise RecordError(
                f"attribute {key!r} is {value!r}: only str, int, float, bool and flat lists of one of them are stored"
            )
        try:
            # numpy's own text type, which h5py would see in a list of text, cannot be stored.
            target.attrs[key] = np.asarray(plain, dtype=h5py.string_dtype()) if kinds == {str} else plain
        except (OSError, RuntimeError, ValueError, TypeError, OverflowError) as error:
            raise RecordError(
                f"attribute {key!r} cannot be stored ({error}): an attribute holds less than 64 KB and a name and text "
                "without NUL characters"
            ) from error


def _plain(value: object) -> object:
    """Tuples, arrays and numpy scalars as the Python values that they hold."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [item.item() if isinstance(item, np.generic) else item for item in value]
    return value


def read_attributes(source: h5py.Group | h5py.Dataset) -> dict[str, Any]:
    """The attributes as Python values, sorted by name: str, int, float, bool, or a list of one of these."""
    return {key: _plain(source.attrs[key]) for key in sorted(source.attrs)}


def dataset_names(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Names under which things of any name can be stored: without slashes, and no two the same.

    Args:
        names: The names, each once.
        taken: Dataset names that are in use already.

    Returns:
        For each name its dataset name: itself where that is possible.

    >>> dataset_names(["loss", "val/loss", "val_loss", "x"], taken=["x", "y"])
    {'loss': 'loss', 'val/loss': 'val_loss_', 'val_loss': 'val_loss', 'x': 'x_'}
    """
    names = list(names)
    taken = set(taken)
    used = set(taken)
    stored = {}
    clean = {name: re.sub(r"[/\0]", "_", name) if name.strip(".") else "_" for name in names}
    # Names that can stay as they are come first, so that a changed one never takes theirs.
    for name in sorted(names, key=lambda name: clean[name] != name or name in taken):
        candidate = clean[name]
        while candidate in used:
            candidate += "_"
        used.add(candidate)
        stored[name] = candidate
    return {name: stored[name] for name in names}
