"""The public names of the package: what a user can import is what is listed, and all of it is documented."""

from __future__ import annotations
import __future__

import importlib.metadata
import inspect
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest

import lightning_landscape as ll

DISTRIBUTION = "lightning-landscape"


def test_names_are_listed_once() -> None:
    assert len(ll.__all__) == len(set(ll.__all__))
    assert not [name for name in ll.__all__ if name.startswith("_")]


@pytest.mark.parametrize("name", ll.__all__)
def test_name_is_importable_and_documented(name: str) -> None:
    thing = getattr(ll, name)
    assert not inspect.ismodule(thing), "a floor is imported by its own path"
    doc = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
    assert doc, f"{name} has no docstring"
    assert not doc.startswith(f"{name}("), f"{name} has only the docstring that dataclass writes"


def test_nothing_else_leaks() -> None:
    public = {name: value for name, value in vars(ll).items() if not name.startswith("_")}
    leaked = [
        name
        for name, value in public.items()
        if name not in ll.__all__
        and not (isinstance(value, types.ModuleType) and value.__name__ == f"{ll.__name__}.{name}")
        and not isinstance(value, __future__._Feature)
    ]
    assert leaked == []


def test_star_import_gives_exactly_the_listed_names() -> None:
    names: dict[str, object] = {}
    exec(f"from {ll.__name__} import *", names)
    del names["__builtins__"]
    assert set(names) == set(ll.__all__)


def test_types_are_announced() -> None:
    assert Path(ll.__file__).with_name("py.typed").is_file()


def test_version_is_that_of_the_project() -> None:
    project = Path(__file__).parents[1] / "pyproject.toml"
    assert ll.__version__ == tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]


def test_version_is_that_of_the_installation() -> None:
    try:
        installed = importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{DISTRIBUTION} is not installed: its modules were found on the path")
    assert ll.__version__ == installed


def test_import_brings_in_no_optional_package() -> None:
    optional = ["wandb", "mlflow", "comet_ml", "pyvista", "vtk", "peft", "h5netcdf", "xarray"]
    code = f"import sys, {ll.__name__}; print([name for name in {optional} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
