"""Training in a random subspace: any module, its own step and optimizer, checkpoints and resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from lightning_landscape import GeometryError, LandscapeError, RandomSubspace, RecordMismatchError, weights_of
from lightning_landscape.geometry.projections import projection
from lightning_landscape.modules.subspace import leave_subspace, restrict_to_subspace
from tests.engine.regression import LeastSquares, loader
from tests.modules_under_test import Delicate, assert_same, loaders, trainer


def flat(module: nn.Module, names: list[str]) -> Tensor:
    """The weights as the module sees them, in one vector."""
    owners = dict(module.named_modules())
    parts = [getattr(owners[name.rpartition(".")[0]], name.rpartition(".")[2]) for name in names]
    return torch.cat([part.detach().flatten() for part in parts])


def train(folder: Path, *callbacks: pl.Callback, ckpt: Path | None = None, **options: Any) -> Delicate:
    pl.seed_everything(7, verbose=False)
    module = options.pop("module", None) or Delicate()
    saving = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    run = trainer(folder, callbacks, **{"enable_checkpointing": saving, "num_sanity_val_steps": 0, **options})
    run.fit(module, **loaders(), ckpt_path=ckpt)
    return module


@pytest.mark.parametrize("name", ["dense", "sparse", "fastfood"])
def test_weights_are_theta_0_plus_p_z(name: Any) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 2)).double()
    names = [n for n, _ in module.named_parameters()]
    start = flat(module, names)
    z = restrict_to_subspace(module, 7, name, seed=4)
    assert torch.equal(flat(module, names), start)
    with torch.no_grad():
        z.normal_()
    expected = start + projection(name, len(start), 7, seed=4).apply(z.detach())
    torch.testing.assert_close(flat(module, names), expected, rtol=0, atol=1e-12)
    assert [n for n, p in module.named_parameters() if p.requires_grad] == ["subspace_coordinates"]


def test_the_gradient_is_the_projected_one() -> None:
    torch.manual_seed(0)
    module = nn.Linear(6, 4).double()
    images = torch.randn(5, 6, dtype=torch.float64)
    module(images).square().mean().backward()
    whole = torch.cat([p.grad.flatten() for p in module.parameters()])
    module.zero_grad()
    z = restrict_to_subspace(module, 3, "dense", seed=1)
    module(images).square().mean().backward()
    torch.testing.assert_close(z.grad, projection("dense", 28, 3, 1).transpose(whole))


def test_leaving_gives_an_ordinary_module_back() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    module[2].weight = module[0].weight  # tied
    names = [n for n, _ in module.named_parameters()]
    z = restrict_to_subspace(module, 3)
    with torch.no_grad():
        z += 1
    inputs, weights = torch.randn(2, 4), flat(module, names)
    outputs = module(inputs)
    leave_subspace(module)
    assert [n for n, p in module.named_parameters() if p.requires_grad] == names
    assert torch.equal(flat(module, names), weights)
    assert torch.equal(module(inputs), outputs)
    assert module[2].weight is module[0].weight
    assert type(module[0]) is nn.Linear
    with pytest.raises(GeometryError, match="not restricted"):
        leave_subspace(module)


def test_frozen_weights_rest_and_recurrent_layers_move() -> None:
    torch.manual_seed(0)
    module = nn.ModuleDict({"lstm": nn.LSTM(3, 4), "head": nn.Linear(4, 1)})
    module["head"].requires_grad_(False)
    z = restrict_to_subspace(module, 5)
    before = module["lstm"](torch.ones(2, 1, 3))[0]
    with torch.no_grad():
        z += 1
    after = module["lstm"](torch.ones(2, 1, 3))[0]
    assert not torch.equal(before, after)
    after.sum().backward()
    assert z.grad.abs().sum() > 0
    assert not any(isinstance(m, nn.utils.parametrize.ParametrizationList) for m in module["head"].modules())


@pytest.mark.parametrize(
    ("module", "dimension", "words"),
    [
        (nn.Linear(2, 2), 7, "from 1 to 6"),
        (nn.Flatten(), 1, "no trainable parameter"),
        (nn.LazyLinear(2), 1, "run the module on one batch"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), 1, "remove the parametrizations"),
    ],
)
def test_refusals(module: nn.Module, dimension: int, words: str) -> None:
    with pytest.raises(GeometryError, match=words):
        restrict_to_subspace(module, dimension)


def test_a_second_restriction_is_refused() -> None:
    module = nn.Linear(4, 4)
    restrict_to_subspace(module, 2)
    with pytest.raises(GeometryError, match="leave_subspace"):
        restrict_to_subspace(module, 2)


def test_training_moves_inside_of_the_subspace_alone(tmp_path: Path) -> None:
    """The path from theta_0 lies in the span of P, the step's logging works, and the user's optimizer runs on z."""
    pl.seed_everything(7, verbose=False)
    start = Delicate()
    names = list(weights_of(start))
    callback = RandomSubspace(6, "fastfood", seed=3)
    module = train(tmp_path, callback)
    moved = flat(module, names) - flat(start, names)
    assert moved.norm() > 0.01
    z = module.subspace_coordinates.detach()
    torch.testing.assert_close(moved, projection("fastfood", len(moved), 6, 3).apply(z), rtol=0, atol=1e-5)
    (optimizer,) = [module.trainer.optimizers[0]]
    assert isinstance(optimizer, torch.optim.Adam)
    assert [p for group in optimizer.param_groups for p in group["params"]] == [module.subspace_coordinates]
    assert optimizer.state[module.subspace_coordinates]["exp_avg"].shape == (6,)
    assert module.trainer.callback_metrics["val_loss"] > 0
    assert "configure_optimizers" not in vars(module)


def least_squares(folder: Path, *callbacks: pl.Callback, ckpt: Path | None = None, **options: Any) -> LeastSquares:
    """A run without random numbers, which a resumed one can repeat to the last bit."""
    module = options.pop("module", None) or LeastSquares()
    run = trainer(folder, callbacks, **options)
    run.fit(module, loader(), loader(), ckpt_path=ckpt)
    return module


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = least_squares(tmp_path / "whole", RandomSubspace(2), enable_checkpointing=False)
    saver = ModelCheckpoint(tmp_path / "checkpoints", save_last=True)
    least_squares(tmp_path / "first", RandomSubspace(2), saver, max_epochs=2)
    # theta_0 comes from the checkpoint: what the module was built with does not matter.
    again = LeastSquares()
    nn.init.normal_(next(again.parameters()))
    last = tmp_path / "checkpoints/last.ckpt"
    resumed = least_squares(tmp_path, RandomSubspace(2), ckpt=last, module=again, enable_checkpointing=False)
    assert resumed.trainer.global_step == whole.trainer.global_step > 0
    assert whole.subspace_coordinates.abs().min() > 0
    assert_same(dict(whole.state_dict()), dict(resumed.state_dict()))


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_another_subspace_is_refused_on_resume(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path / "checkpoints", save_last=True)
    train(tmp_path, RandomSubspace(5, seed=0), saver, max_epochs=1)
    with pytest.raises(RecordMismatchError, match="resume with the arguments of the first run"):
        train(tmp_path, RandomSubspace(5, seed=1), ckpt=tmp_path / "checkpoints/last.ckpt")


class Picky(Delicate):
    """Passes two groups of a submodule's parameters, chosen by `requires_grad`."""

    def configure_optimizers(self) -> Any:
        chosen = [p for p in self.net.parameters() if p.requires_grad]
        groups = [{"params": chosen[:2], "weight_decay": 0.1}, {"params": chosen[2:], "lr": 0.5}]
        return torch.optim.SGD(groups, lr=0.1)


def test_parameters_picked_by_hand_are_replaced(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="settings of the first"):
        module = train(tmp_path, RandomSubspace(4), module=Picky())
    assert module.subspace_coordinates.abs().sum() > 0
    (group, empty) = module.trainer.optimizers[0].param_groups
    assert (group["weight_decay"], len(group["params"]), len(empty["params"])) == (0.1, 1, 0)


class TwoOptimizers(Delicate):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.net.parameters(), lr=0.1) for _ in range(2)]


def test_two_optimizers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LandscapeError, match="found 2 optimizers"):
        train(tmp_path, RandomSubspace(4), module=TwoOptimizers())


def test_no_dimension_is_refused() -> None:
    with pytest.raises(LandscapeError, match="dimension=0"):
        RandomSubspace(0)


class Blocks(nn.Module):
    """Li et al., section 2: 1,000 weights in 10 blocks of 100; the sum of block i shall be i."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(1000, dtype=torch.float64))

    def forward(self) -> Tensor:
        sums = self.weights.view(10, 100).sum(1)
        return (sums - torch.arange(1.0, 11.0, dtype=torch.float64)).square().sum()


@pytest.mark.parametrize("name", ["dense", "sparse", "fastfood"])
def test_the_block_toy_is_solved_from_ten_dimensions_on(name: Any) -> None:
    """The loss is a quadratic form in z, so that its minimum over z is found by linear algebra."""
    least = {}
    for dimension in (9, 10, 12):
        module = Blocks()
        z = restrict_to_subspace(module, dimension, name, seed=0)
        (gradient,) = torch.autograd.grad(module(), z)
        hessian = torch.autograd.functional.hessian(
            lambda values, m=module: torch.func.functional_call(m, {"subspace_coordinates": values}, ()), z.detach()
        )
        with torch.no_grad():
            z -= torch.linalg.lstsq(hessian, gradient, driver="gelsd").solution
            least[dimension] = float(module())
    assert least[9] > 1e-3
    assert least[10] < 1e-16
    assert least[12] < 1e-16


def test_a_random_plane_touches_a_wedge_from_the_codimension_on() -> None:
    """A wedge with n long axes of D is met by a random affine d-plane exactly if d >= D - n (1906.04724)."""
    size, long = 40, 30
    for dimension, touches in ((9, False), (10, True), (11, True)):
        p = projection("dense", size, dimension, seed=2)
        short = torch.stack([p.apply(e) for e in torch.eye(dimension, dtype=torch.float64)], dim=1)[long:]
        origin = torch.randn(size - long, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        distance = (short @ torch.linalg.lstsq(short, -origin, driver="gelsd").solution + origin).norm()
        assert (distance < 1e-9) == touches
