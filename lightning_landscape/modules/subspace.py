r"""Training restricted to a random affine subspace of weight space, of any module.

.. math:: \theta = \theta_0 + P z, \qquad z \in \mathbb{R}^d, \quad z_0 = 0

The weights at the start, :math:`\theta_0`, and the projection P are fixed; z is the only thing that is trained.

Source: Li, Farkhoor, Liu, Yosinski, *Measuring the Intrinsic Dimension of Objective Landscapes*, arXiv 1804.08838.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lightning_landscape.engine.strategies import require_supported
from lightning_landscape.errors import GeometryError, LandscapeError, RecordMismatchError
from lightning_landscape.geometry.projections import Projection, ProjectionName, projection

_Z = "subspace_coordinates"


class _Displaced(nn.Module):
    """The parametrization of one tensor: its entries of theta_0, and its rows of P z added."""

    def __init__(self, root: nn.Module, projection: Projection, start: int) -> None:
        super().__init__()
        # In a tuple, so that torch does not take the root for a child.
        self._root = (root,)
        self._projection = projection
        self._start = start

    def forward(self, origin: Tensor) -> Tensor:
        """Return ``theta_0 + P z`` for this tensor."""
        z = getattr(self._root[0], _Z)
        # Autocast would round the step, which is small beside the weights.
        with torch.autocast(z.device.type, enabled=False):
            step = self._projection.apply(z, self._start, self._start + origin.numel())
        return origin + step.view_as(origin).to(origin.dtype)


def restrict_to_subspace(
    module: nn.Module, dimension: int, projection_name: ProjectionName = "sparse", seed: int = 0
) -> nn.Parameter:
    r"""Restrict a module, in place, to a random d-dimensional affine subspace through its present weights.

    Every trainable parameter becomes :math:`\theta_0 + P z` (a parametrization of torch); :math:`\theta_0` stays in
    the module, frozen, under ``parametrizations.<name>.original``. The module keeps its class, steps, hooks and
    buffers, BatchNorm statistics included. Frozen parameters stay as they are; tied ones stay tied.

    Args:
        module: any module with trainable parameters.
        dimension: d.
        projection_name: "dense", "sparse" or "fastfood".
        seed: of P.

    Returns:
        z, ``[d]``: the only trainable parameter that the module now has, under the name ``subspace_coordinates``.

    Raises:
        GeometryError: for a module that is restricted already, has nothing to train or a parameter without a shape, or
            a dimension out of range.

    >>> network = nn.Linear(100, 10)
    >>> z = restrict_to_subspace(network, 25)
    >>> [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    ['subspace_coordinates']
    """
    if hasattr(module, _Z):
        raise GeometryError(
            f"{type(module).__name__} is restricted to a subspace already: call leave_subspace(module) first"
        )
    if any(isinstance(child, parametrize.ParametrizationList) for child in module.modules()):
        raise GeometryError(
            f"{type(module).__name__} has parametrized weights: remove the parametrizations (of weight_norm, say) first"
        )
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if not trained:
        raise GeometryError(
            f"{type(module).__name__} has no trainable parameter yet: build its layers in __init__, not later"
        )
    if lazy := [name for name, parameter in trained.items() if nn.parameter.is_lazy(parameter)]:
        raise GeometryError(f"parameter {lazy[0]} of a lazy module has no shape yet: run the module on one batch first")
    sizes = [parameter.numel() for parameter in trained.values()]
    widest = max(trained.values(), key=lambda parameter: torch.finfo(parameter.dtype).bits)
    p = projection(projection_name, sum(sizes), dimension, seed)
    z = nn.Parameter(torch.zeros(dimension, device=widest.device, dtype=widest.dtype))
    starts, start = {}, 0
    for parameter, size in zip(trained.values(), sizes, strict=True):
        starts[parameter] = _Displaced(module, p, start)
        start += size
    for owner in list(module.modules()):
        # A tied weight has several owners, and one set of rows.
        for name, parameter in list(owner.named_parameters(recurse=False)):
            if parameter in starts:
                parametrize.register_parametrization(owner, name, starts[parameter], unsafe=True)
    for parameter in starts:
        parameter.requires_grad_(False)
    module.register_parameter(_Z, z)
    return z


@torch.no_grad()
def leave_subspace(module: nn.Module) -> None:
    """Undo `restrict_to_subspace`: the weights at z become ordinary trainable parameters, under their own names.

    Args:
        module: a restricted module; optimizers over z know nothing of the new parameters.

    Raises:
        GeometryError: if the module is not restricted.
    """
    if not hasattr(module, _Z):
        raise GeometryError(
            f"{type(module).__name__} is not restricted to a subspace: call restrict_to_subspace(module, ...) first"
        )
    displaced = list(_displaced(module))
    # All values first: a tied original must not move twice.
    values = [getattr(owner, name).clone() for owner, name, _ in displaced]
    for (owner, name, original), value in zip(displaced, values, strict=True):
        original.copy_(value)
        original.requires_grad_(True)
        parametrize.remove_parametrizations(owner, name, leave_parametrized=False)
    delattr(module, _Z)


class RandomSubspace(Callback):
    """Trains a module in a random subspace: the trainer's own run, with z as the only parameter.

    The module's steps, logging, optimizer, schedule and checkpoints are the user's own. Its optimizer is handed z in
    place of what `configure_optimizers` gave it, so that a weight decay pulls towards theta_0, and not towards zero.
    Gradients with respect to z are projections of those with respect to the weights: a rate of another size may be
    needed than for the whole space. Under DDP only z is exchanged between the ranks.

    Checkpoints hold theta_0 and z. To load one elsewhere, restrict the module first, with the same arguments, or have
    this callback in the trainer; `leave_subspace` makes an ordinary module of it.

    Args:
        dimension: d, the number of coordinates.
        projection: "dense" (D d numbers in memory), "sparse" or "fastfood" (see `geometry.projections`).
        seed: of the projection.

    Raises:
        LandscapeError: for a dimension below 1.

    >>> RandomSubspace(dimension=750).state_key
    "RandomSubspace{'dimension': 750}"
    """

    def __init__(self, dimension: int, projection: ProjectionName = "sparse", seed: int = 0) -> None:
        if dimension < 1:
            raise LandscapeError(f"dimension={dimension}: give the number of coordinates, at least 1")
        self.dimension = dimension
        self.projection = projection
        self.seed = seed

    @property
    def state_key(self) -> str:
        """The dimension belongs to the run."""
        return self._generate_state_key(dimension=self.dimension)

    def state_dict(self) -> dict[str, Any]:
        """Return what makes the same projection again."""
        return {"projection": self.projection, "seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Make sure that a resumed run goes on in its own subspace.

        Raises:
            RecordMismatchError: if the checkpoint's projection is another one.
        """
        if state_dict != self.state_dict():
            raise RecordMismatchError(
                f"the checkpoint was trained in the subspace {state_dict} and the callback has {self.state_dict()}: "
                "resume with the arguments of the first run"
            )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restrict the module, before a checkpoint is loaded, the strategy wraps it and its optimizer is made."""
        require_supported(trainer, "RandomSubspace")
        if not hasattr(pl_module, _Z):
            restrict_to_subspace(pl_module, self.dimension, self.projection, self.seed)
        if stage == "fit":
            configure, module = pl_module.configure_optimizers, _any(pl_module)

            def configure_whole() -> Any:
                # The user's code may pick parameters by module, name or `requires_grad`: it finds them as ever.
                with _thawed(pl_module):
                    return configure()

            module.configure_optimizers = configure_whole

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand z to the optimizer.

        Raises:
            LandscapeError: if there is not exactly one optimizer.
        """
        vars(pl_module).pop("configure_optimizers", None)
        if len(trainer.optimizers) != 1:
            raise LandscapeError(
                f"RandomSubspace trains one vector of coordinates and found {len(trainer.optimizers)} optimizers: let "
                "configure_optimizers return one"
            )
        groups = trainer.optimizers[0].param_groups
        if len(groups) > 1:
            warnings.warn(
                f"the optimizer has {len(groups)} groups of parameters; z gets the settings of the first", stacklevel=2
            )
        for group in groups:
            group["params"][:] = []
        groups[0]["params"][:] = [getattr(pl_module, _Z)]


def _any(module: nn.Module) -> Any:
    return module


def _displaced(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Every owner of a displaced tensor, the tensor's name there, and its entries of theta_0."""
    for owner in list(module.modules()):
        if parametrize.is_parametrized(owner):
            for name, found in list(_any(owner).parametrizations.items()):
                if isinstance(found[0], _Displaced):
                    yield owner, name, found.original


@contextmanager
def _thawed(module: nn.Module) -> Iterator[None]:
    originals = {original for _, _, original in _displaced(module)}
    for original in originals:
        original.requires_grad_(True)
    try:
        yield
    finally:
        for original in originals:
            original.requires_grad_(False)
