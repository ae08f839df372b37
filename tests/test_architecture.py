"""The rules of the house, read from the source with `ast`: nothing of the package is imported here."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

PACKAGE = "lightning_landscape"
ROOT = Path(__file__).parents[1] / PACKAGE

# From the ground up. Names in one tuple share a floor, and do not import each other either.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("geometry",),
    ("records",),
    ("quantization",),
    ("sampling",),
    ("engine",),
    ("curvature",),
    ("figures",),
    ("callbacks",),
    ("optim",),
    ("modules",),
    ("models", "data"),
    ("tasks",),
    ("app",),
)
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}

WITH_LIGHTNING = {"engine", "callbacks", "optim", "modules", "models", "data", "tasks", "app"}
LIGHTNING = {"lightning", "lightning_fabric", "pytorch_lightning", "torchmetrics"}
GROUND_ROOTS = {"torch", "numpy"}
PICKLES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib"}
PYPLOT = ("matplotlib.pyplot", "matplotlib.pylab", "pylab")
COMPAT = PurePosixPath("engine/_compat.py")
MAX_LINES = 500

# What a variable that holds an object of Lightning is called; `self.trainer._x` counts by its last name.
LIGHTNING_NAMES = {
    "trainer",
    "pl_module",
    "module",
    "lightning_module",
    "strategy",
    "accelerator",
    "precision_plugin",
    "fit_loop",
    "epoch_loop",
    "val_loop",
    "logger",
    "checkpoint_callback",
    "callback_metrics",
    "progress_bar_callback",
}
# torch's own tables, the same on every nn.Module.
OF_TORCH = {
    "_parameters",
    "_buffers",
    "_modules",
    "_non_persistent_buffers_set",
    "_forward_hooks",
    "_forward_pre_hooks",
}


@dataclass(frozen=True)
class Source:
    """One file: its path inside of the package and its text."""

    path: PurePosixPath
    text: str

    @property
    def floor(self) -> str:
        return self.path.parts[0].removesuffix(".py")

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=str(self.path))

    @property
    def package(self) -> list[str]:
        return [PACKAGE, *self.path.parts[:-1]]


def sources() -> list[Source]:
    """Every module of the package; the configuration folder may lie inside of it in a wheel."""
    return [
        Source(PurePosixPath(path.relative_to(ROOT).as_posix()), path.read_text(encoding="utf-8"))
        for path in sorted(ROOT.rglob("*.py"))
        if path.relative_to(ROOT).parts[0] != "conf"
    ]


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import anywhere in a file, also of `import_module("name")`; one per name."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = source.package[: len(source.package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{prefix}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _last_name(node.func) in {"import_module", "__import__"}:
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield node.lineno, argument.value


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _dotted(node: ast.expr, aliases: dict[str, str]) -> str:
    """`t.load` as "torch.load" where the file says `import torch as t`; "" for anything but a chain of names."""
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value, aliases)
        return f"{base}.{node.attr}" if base else ""
    return aliases.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def _aliases(source: Source) -> dict[str, str]:
    names = {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            names.update({alias.asname: alias.name for alias in node.names if alias.asname})
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return names


def _is_within(name: str, parents: tuple[str, ...] | set[str]) -> bool:
    return any(name == parent or name.startswith(f"{parent}.") for parent in parents)


# Each rule yields (line, what is wrong).


def check_floors(source: Source) -> Iterator[tuple[int, str]]:
    """A floor imports only from floors below it and from itself; the root module, which re-exports, is exempt."""
    if source.path == PurePosixPath("__init__.py"):
        return
    if source.floor not in LEVEL:
        yield 1, f"{source.floor!r} is no floor of the house: add it to FLOORS and to docs/architecture.md"
        return
    for line, name in imports(source):
        if name == PACKAGE or not name.startswith(f"{PACKAGE}."):
            if name == PACKAGE:
                yield line, "imports the root package, which holds all floors: import from the module itself"
            continue
        target = name.split(".")[1]
        if target not in LEVEL:
            yield line, f"imports the name {target!r} from the root package: import from the module itself"
        elif target != source.floor and LEVEL[target] >= LEVEL[source.floor]:
            yield line, f"{source.floor} imports {name}, which is not below it"


def check_ground_floor(source: Source) -> Iterator[tuple[int, str]]:
    """Geometry needs nothing but torch, numpy and the standard library."""
    if source.floor != "geometry":
        return
    allowed = GROUND_ROOTS | {PACKAGE} | set(sys.stdlib_module_names)
    for line, name in imports(source):
        if name.split(".")[0] not in allowed:
            yield line, f"geometry imports {name}: the ground floor knows torch, numpy and the standard library only"


def check_lightning(source: Source) -> Iterator[tuple[int, str]]:
    """Lightning is imported from the engine upwards, but neither for curvature nor for figures."""
    if source.floor in WITH_LIGHTNING or source.path == PurePosixPath("__init__.py"):
        return
    for line, name in imports(source):
        if name.split(".")[0] in LIGHTNING:
            yield line, f"{source.floor} imports {name}: this floor does not know Lightning"


def check_one_lightning(source: Source) -> Iterator[tuple[int, str]]:
    """`pytorch_lightning` is another set of classes than `lightning.pytorch`; only the latter is used."""
    for line, name in imports(source):
        if name.split(".")[0] in {"pytorch_lightning", "lightning_fabric"}:
            yield line, f"imports {name}: its classes are not those of the lightning package"


def check_private_lightning(source: Source) -> Iterator[tuple[int, str]]:
    """Lightning's private attributes and modules are touched in engine/_compat.py only."""
    if source.path == COMPAT:
        return
    for line, name in imports(source):
        parts = name.split(".")
        if parts[0] in LIGHTNING and any(part.startswith("_") and not part.startswith("__") for part in parts):
            yield line, f"imports the private {name}: only {COMPAT} may"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute):
            owner, attribute = _last_name(node.value), node.attr
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in {"getattr", "setattr", "hasattr", "delattr"}
            and len(node.args) >= 2
            and isinstance(node.args[1], ast.Constant)
        ):
            owner, attribute = _last_name(node.args[0]), str(node.args[1].value)
        else:
            continue
        private = attribute.startswith("_") and not attribute.startswith("__")
        if private and owner.lstrip("_") in LIGHTNING_NAMES and attribute not in OF_TORCH:
            yield node.lineno, f"touches {owner}.{attribute}: only {COMPAT} may"


def check_pickle(source: Source) -> Iterator[tuple[int, str]]:
    """No file that is read can run code."""
    for line, name in imports(source):
        if _is_within(name, PICKLES):
            yield line, f"imports {name}: records are HDF5, checkpoints are loaded with weights_only=True"
    aliases = _aliases(source)
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call):
            continue
        called = _dotted(node.func, aliases)
        values = {keyword.arg: keyword.value for keyword in node.keywords}
        if called == "torch.load":
            given = values.get("weights_only")
            if not (isinstance(given, ast.Constant) and given.value is True):
                yield node.lineno, "torch.load without weights_only=True"
        if called in {"numpy.load", "np.load"}:
            given = values.get("allow_pickle")
            if len(node.args) > 2 or not (given is None or (isinstance(given, ast.Constant) and given.value is False)):
                yield node.lineno, "np.load with allow_pickle"
            if None in values:
                yield node.lineno, "np.load with **options, which may hold allow_pickle"


def check_pyplot(source: Source) -> Iterator[tuple[int, str]]:
    """pyplot picks a backend and keeps figures alive; this package draws on `matplotlib.figure.Figure` only."""
    for line, name in imports(source):
        if _is_within(name, PYPLOT):
            yield line, f"imports {name}: use matplotlib.figure.Figure"
    aliases = _aliases(source)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and _dotted(node, aliases) in PYPLOT:
            yield node.lineno, f"uses {_dotted(node, aliases)}: use matplotlib.figure.Figure"


def check_size(source: Source) -> Iterator[tuple[int, str]]:
    """A module holds one concept, in 500 lines at most."""
    lines = len(source.text.splitlines())
    if lines > MAX_LINES:
        yield lines, f"{lines} lines, more than {MAX_LINES}: it holds more than one concept"


def check_names(source: Source) -> Iterator[tuple[int, str]]:
    """Nothing is called utils: a name says what a thing is."""
    drawers = {"util", "utils", "helpers", "misc"}
    names = [(1, part.removesuffix(".py")) for part in source.path.parts]
    names += [
        (node.lineno, node.name)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    for line, name in names:
        if name.lower().strip("_").rsplit("_", 1)[-1] in drawers:
            yield line, f"{name!r} is the name of a drawer: say what is in it"


Rule = Callable[[Source], Iterator[tuple[int, str]]]
RULES: tuple[Rule, ...] = (
    check_floors,
    check_ground_floor,
    check_lightning,
    check_one_lightning,
    check_private_lightning,
    check_pickle,
    check_pyplot,
    check_size,
    check_names,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__.removeprefix("check_"))
def test_house_keeps_the_rule(rule: Rule) -> None:
    found = [f"{PACKAGE}/{source.path}:{line}: {what}" for source in sources() for line, what in rule(source)]
    assert not found, "\n".join(["", *found])


def test_package_is_found() -> None:
    assert ROOT.joinpath("errors.py") in {ROOT / source.path for source in sources()}


GOOD: list[tuple[Rule, str, str]] = [
    (check_floors, "engine/a.py", "from lightning_landscape.geometry.weights import weights_of"),
    (check_floors, "engine/a.py", "from lightning_landscape.engine.guard import Guard"),
    (check_floors, "engine/a.py", "from . import guard\nfrom ..records.surface import Surface"),
    (check_floors, "geometry/a.py", "from lightning_landscape.errors import GeometryError"),
    (check_floors, "app.py", "from lightning_landscape.tasks import train"),
    (check_floors, "__init__.py", "from lightning_landscape.app import main"),
    (
        check_ground_floor,
        "geometry/a.py",
        "import math, numpy\nfrom torch import nn\nfrom . import weights",
    ),
    (check_lightning, "engine/a.py", "from lightning.pytorch import Trainer"),
    (check_lightning, "figures/a.py", "from matplotlib.figure import Figure"),
    (check_one_lightning, "engine/a.py", "import lightning.pytorch as pl"),
    (check_private_lightning, "engine/_compat.py", "trainer._checkpoint_connector"),
    (check_private_lightning, "engine/a.py", "module._parameters\nself._module\ntrainer.strategy\nmodule.__class__"),
    (check_private_lightning, "engine/a.py", "getattr(trainer, 'strategy')\nobj._private"),
    (check_pickle, "records/a.py", "import torch\ntorch.load(path, weights_only=True)"),
    (
        check_pickle,
        "records/a.py",
        "import numpy\nnumpy.load(path)\nnumpy.load(path, allow_pickle=False)",
    ),
    (check_pyplot, "figures/a.py", "from matplotlib.figure import Figure\nimport matplotlib.colors"),
    (check_size, "engine/a.py", "x = 1\n" * MAX_LINES),
    (check_names, "engine/ranks.py", "def utilise(): ..."),
]

BAD: list[tuple[Rule, str, str]] = [
    (check_floors, "geometry/a.py", "from lightning_landscape.records.surface import Surface"),
    (check_floors, "errors.py", "import lightning_landscape.geometry"),
    (check_floors, "records/a.py", "from lightning_landscape.engine import surface"),
    (check_floors, "records/a.py", "def f():\n    from lightning_landscape import engine"),
    (check_floors, "records/a.py", "from .. import engine"),
    (check_floors, "records/deep/a.py", "from ...engine import surface"),
    (check_floors, "records/a.py", "from ..engine.surface import compute_surface"),
    (check_floors, "records/a.py", "if TYPE_CHECKING:\n    from lightning_landscape.engine.guard import Guard"),
    (check_floors, "records/a.py", "import importlib\nimportlib.import_module('lightning_landscape.engine')"),
    (check_floors, "models/a.py", "from lightning_landscape.data import Digits"),
    (check_floors, "engine/a.py", "import lightning_landscape as ll"),
    (check_floors, "engine/a.py", "from lightning_landscape import Surface"),
    (check_floors, "attic/a.py", "x = 1"),
    (check_ground_floor, "geometry/a.py", "import h5py"),
    (check_ground_floor, "geometry/a.py", "from sklearn.decomposition import PCA"),
    (check_ground_floor, "geometry/a.py", "from lightning.pytorch import LightningModule"),
    (check_lightning, "records/a.py", "import lightning"),
    (check_lightning, "figures/a.py", "if TYPE_CHECKING:\n    from lightning.pytorch import Trainer"),
    (check_lightning, "sampling/a.py", "from torchmetrics import MeanMetric"),
    (check_one_lightning, "callbacks/a.py", "from pytorch_lightning import Callback"),
    (check_private_lightning, "callbacks/a.py", "trainer._checkpoint_connector.save()"),
    (check_private_lightning, "callbacks/a.py", "self.trainer._run()"),
    (check_private_lightning, "callbacks/a.py", "self._trainer._run()"),
    (check_private_lightning, "callbacks/a.py", "trainer.fit_loop._data_source"),
    (check_private_lightning, "modules/a.py", "pl_module._current_fx_name = None"),
    (check_private_lightning, "engine/a.py", "module._trainer"),
    (check_private_lightning, "engine/a.py", "getattr(trainer, '_results', None)"),
    (check_private_lightning, "engine/a.py", "from lightning.pytorch.loops.utilities import _no_grad_context"),
    (check_private_lightning, "engine/a.py", "import lightning.pytorch._graveyard"),
    (check_pickle, "records/a.py", "import pickle"),
    (check_pickle, "records/a.py", "from cloudpickle import dumps"),
    (check_pickle, "records/a.py", "import torch\ntorch.load(path)"),
    (check_pickle, "records/a.py", "import torch as t\nt.load(path, weights_only=False)"),
    (check_pickle, "records/a.py", "from torch import load\nload(path)"),
    (check_pickle, "records/a.py", "import torch\ntorch.load(path, weights_only=flag)"),
    (check_pickle, "records/a.py", "import numpy as np\nnp.load(path, allow_pickle=True)"),
    (check_pickle, "records/a.py", "from numpy import load\nload(path, allow_pickle=flag)"),
    (check_pickle, "records/a.py", "import numpy as np\nnp.load(path, None, True)"),
    (check_pickle, "records/a.py", "import numpy as np\nnp.load(path, **options)"),
    (check_pyplot, "figures/a.py", "import matplotlib.pyplot as plt"),
    (check_pyplot, "figures/a.py", "def f():\n    from matplotlib import pyplot"),
    (check_pyplot, "figures/a.py", "import matplotlib as mpl\nmpl.pyplot.figure()"),
    (check_pyplot, "figures/a.py", "from matplotlib.pyplot import subplots"),
    (check_size, "engine/a.py", "x = 1\n" * (MAX_LINES + 1)),
    (check_names, "engine/utils.py", ""),
    (check_names, "engine/utils/a.py", ""),
    (check_names, "engine/tensor_utils.py", ""),
    (check_names, "engine/a.py", "class TensorThings:\n    def utils(self): ..."),
]


def _name(value: object) -> str:
    return getattr(value, "__name__", "").removeprefix("check_") or ascii(value)[1:61]


@pytest.mark.parametrize(("rule", "path", "text"), GOOD, ids=_name)
def test_good_code_passes(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source(PurePosixPath(path), text))) == []


@pytest.mark.parametrize(("rule", "path", "text"), BAD, ids=_name)
def test_bad_code_is_found(rule: Rule, path: str, text: str) -> None:
    assert len(list(rule(Source(PurePosixPath(path), text)))) == 1
