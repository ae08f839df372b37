"""Hessian products against dense float64 Hessians, and every way in which a loss has no second derivative."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.utils.data import DataLoader

from lightning_landscape import Curvature, CurvatureError, Grid, ObjectiveError, Plane, compute_surface, weights_of
from lightning_landscape.curvature._curvlinops import hutchinson_trace
from lightning_landscape.curvature.operators import HessianOperator
from tests.curvature.networks import COUNT, data, dense, loader, network, step
from tests.modules_under_test import Delicate, assert_same, dataset, loaders, state_of, train, trainer


@pytest.mark.parametrize("batch_size", [1, 4, 7, COUNT])
def test_products_are_those_of_the_dense_hessian_whatever_the_batches(batch_size: int) -> None:
    net = network()
    reference = dense(net)
    vectors = torch.randn(len(reference), 3, dtype=torch.float64)
    with Curvature(net, loader(batch_size), step) as curvature:
        hessian = curvature.hessian
        assert hessian.shape == reference.shape
        torch.testing.assert_close(hessian @ vectors, reference @ vectors, rtol=0, atol=1e-10)
        torch.testing.assert_close(hessian @ vectors[:, 0], reference @ vectors[:, 0], rtol=0, atol=1e-10)
        torch.testing.assert_close(hessian @ vectors[:, 1], reference @ vectors[:, 1], rtol=0, atol=1e-10)


def test_lists_scipy_and_the_estimators_of_curvlinops_take_the_operator() -> None:
    net = network()
    reference = dense(net)
    vector = torch.randn(len(reference), dtype=torch.float64)
    with Curvature(net, loader(), step) as curvature:
        hessian = curvature.hessian
        pieces = list(hessian.as_weights(vector).values())
        product = torch.cat([piece.flatten() for piece in hessian @ pieces])
        torch.testing.assert_close(product, reference @ vector, rtol=0, atol=1e-10)
        np.testing.assert_allclose(
            hessian.to_scipy() @ vector.numpy(), (reference @ vector).numpy(), rtol=0, atol=1e-10
        )
        doubled = hessian + hessian * 1.0
        torch.testing.assert_close(doubled @ vector, 2 * reference @ vector, rtol=0, atol=1e-10)
        assert torch.isfinite(hutchinson_trace(hessian, 3))


def test_vectors_become_directions_with_the_roles_of_the_parameters() -> None:
    net = network()
    with Curvature(net, loader(), step, parameters=["0.*", "5.weight"]) as curvature:
        vector = torch.arange(curvature.hessian.shape[0], dtype=torch.float64)
        weights = curvature.hessian.as_weights(vector)
    assert {name: tuple(t.shape) for name, t in weights.items()} == {
        "0.weight": (3, 1, 3, 3),
        "0.bias": (3,),
        "5.weight": (3, 12),
    }
    assert weights.roles["0.weight"].filter_dim == 0
    assert weights.roles["0.bias"].filter_dim is None
    assert torch.equal(torch.cat([t.flatten() for t in weights.values()]), vector)


def test_selected_parameters_and_layers_are_blocks_of_the_whole() -> None:
    net = network()
    reference = dense(net)
    places, start = {}, 0
    for name, parameter in net.named_parameters():
        places[name] = range(start, start + parameter.numel())
        start += parameter.numel()

    def block(*names: str) -> Tensor:
        rows = [row for name in names for row in places[name]]
        return reference[rows][:, rows]

    with Curvature(net, loader(), step) as curvature:
        chosen = HessianOperator(curvature.risk, ["*.bias"])
        found = {
            owner: operator @ torch.eye(operator.shape[0]).double() for owner, operator in curvature.layers().items()
        }
        biases = chosen @ torch.eye(chosen.shape[0]).double()
        with pytest.raises(ObjectiveError, match=r"none of the 6 parameters matches one of \['x'\]"):
            HessianOperator(curvature.risk, ["x"])
    assert list(found) == ["0", "1", "5"]
    torch.testing.assert_close(found["5"], block("5.weight", "5.bias"), rtol=0, atol=1e-10)
    torch.testing.assert_close(biases, block("0.bias", "1.bias", "5.bias"), rtol=0, atol=1e-10)


def test_the_gradient_is_the_mean_over_examples() -> None:
    net = network()
    inputs, labels = data().tensors
    net.eval()
    loss = cross_entropy(net(inputs), labels)
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])
    with Curvature(net, loader(7), step) as curvature:
        value, gradient = curvature.gradient()
    assert value == pytest.approx(loss.item(), abs=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)


def test_weights_of_batches_that_a_step_states_itself_are_respected() -> None:
    """A loss that is logged with the batch size of its own, as language models do with tokens."""

    class Tokens(Delicate):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", self._loss(batch)[1], batch_size=2 if batch_idx else 6)

    module = Tokens()
    loader = DataLoader(dataset(), batch_size=32)
    with Curvature(module, loader) as curvature, torch.no_grad():
        found, _ = curvature.gradient()
        losses = [module._loss(batch)[1].item() for batch in curvature.risk.sample.batches()]
    assert found == pytest.approx((6 * losses[0] + 2 * losses[1]) / 8, rel=1e-6)


def test_frozen_parameters_rest_and_unused_ones_are_flat() -> None:
    net = network()
    net.spare = nn.Parameter(torch.ones(2, dtype=torch.float64))
    net[0].weight.requires_grad_(False)
    with Curvature(net, loader(), lambda module, batch: step(module, batch)) as curvature:
        assert "0.weight" not in curvature.hessian.names
        product = curvature.hessian.as_weights(curvature.hessian @ torch.ones(curvature.hessian.shape[0]).double())
    assert product["spare"].tolist() == [0, 0]
    assert product["5.weight"].abs().max() > 0
    assert not net[0].weight.requires_grad


def test_a_loss_that_is_linear_in_the_parameters_has_no_curvature() -> None:
    line, batches = nn.Linear(2, 1), DataLoader(torch.ones(4, 2), batch_size=2)
    with Curvature(line, batches, lambda module, batch: module(batch).mean()) as curvature:
        assert (curvature.hessian @ torch.ones(3)).tolist() == [0, 0, 0]


def test_a_step_of_any_kind_is_met_in_the_same_state_by_every_product() -> None:
    """The module counts, collects, and draws noise that enters its loss."""

    class Noisy(Delicate):
        def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
            super().validation_step(batch, batch_idx)
            logits, loss = self._loss(batch)
            return loss * (1 + len(self.outputs)) + (logits * torch.randn_like(logits)).square().mean()

    module = Noisy()
    before = copy.deepcopy(module.state_dict()), list(module.outputs)
    with Curvature(module, loaders()["val_dataloaders"]) as curvature:
        torch.manual_seed(0)
        vector = torch.randn(curvature.hessian.shape[0])
        after_draw = torch.get_rng_state()
        first = curvature.hessian @ vector
        assert torch.equal(torch.get_rng_state(), after_draw)
        assert torch.equal(first, curvature.hessian @ vector)
        assert (curvature.hessian @ torch.stack([vector, -vector], 1)).sum(1).abs().max() < 1e-5
    assert_same((module.state_dict(), module.outputs), before)


def test_the_run_is_untouched(tmp_path: Any) -> None:
    """Weights, gradients, buffers, modes, generators and metrics; also after an error inside."""
    module, run = train(tmp_path)
    before = state_of(module, run)
    gradients = {name: p.grad for name, p in module.named_parameters()}
    with Curvature(module, loaders()["train_dataloaders"], "training_step", examples=20) as curvature:
        curvature.eigenpairs(2)
        curvature.density(5, 2)
        curvature.trace(2)
        curvature.frobenius_norm(2)
        curvature.gradient()
    with pytest.raises(ZeroDivisionError), Curvature(module, loaders()["val_dataloaders"]) as curvature:
        curvature.risk.each_loss(lambda loss, weight: 1 // 0)
    assert_same(before, state_of(module, run))
    assert all(p.grad is gradients[name] for name, p in module.named_parameters())
    assert module.training


def test_mixed_precision_of_the_trainer_is_left_out(tmp_path: Any) -> None:
    """Products of a trainer in bfloat16 are those of the weights' own precision."""
    module = Delicate()

    def product() -> Tensor:
        with Curvature(module, loaders()["val_dataloaders"]) as curvature:
            return curvature.hessian @ torch.ones(curvature.hessian.shape[0])

    class Look(Callback):
        def on_train_end(self, run: Any, pl_module: Any) -> None:
            self.product = product()

    look = Look()
    trainer(tmp_path, [look], max_epochs=1, precision="bf16-mixed").fit(module, **loaders())
    assert torch.equal(look.product, product())


def test_attention_uses_kernels_that_can_be_differentiated_twice() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(8, 24)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.inner(x).view(*x.shape[:2], 2, 12).transpose(1, 2).chunk(3, -1)
            return scaled_dot_product_attention(q, k, v, is_causal=True).mean((1, 2, 3))

    with Curvature(Attention(), DataLoader(torch.randn(4, 5, 8), batch_size=2), squared) as curvature:
        assert (curvature.hessian @ torch.ones(curvature.hessian.shape[0])).abs().max() > 0


def squared(module: nn.Module, batch: Tensor) -> Tensor:
    return module(batch).square().mean()


def test_a_large_vocabulary_needs_no_jacobian_of_its_outputs() -> None:
    """64 positions of 32 000 logits: the Jacobian by the parameters alone would take half a terabyte."""
    model = nn.Sequential(nn.Embedding(64, 4), nn.Linear(4, 32_000, bias=False))
    tokens = torch.arange(64).view(2, 32)

    def next_token(module: nn.Module, batch: Tensor) -> Tensor:
        return cross_entropy(module(batch).flatten(0, 1), batch.flatten())

    with Curvature(model, DataLoader(tokens, batch_size=2), next_token) as curvature:
        vector = torch.randn(curvature.hessian.shape[0], generator=torch.Generator().manual_seed(0))
        assert float(vector @ (curvature.hessian @ vector)) > 0
        gauss_newton = curvature.gauss_newton(
            lambda module, batch: module(batch), lambda z, batch: cross_entropy(z.flatten(0, 1), batch.flatten())
        )
        assert float(vector @ (gauss_newton @ vector)) > 0


class Once(torch.autograd.Function):
    """Can be differentiated once only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * 3 * ctx.saved_tensors[0] ** 2


LINE, ONES = nn.Linear(2, 1), DataLoader(torch.ones(4, 2), batch_size=2)


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        (lambda module, batch: module(batch).mean().detach(), "'loss', which .* gives, has no graph: it was detached"),
        (lambda module, batch: {"accuracy": (module(batch) > 0).double().mean()}, "'accuracy', which .* has no graph"),
        (lambda module, batch: {"loss": 1.0}, "has no graph"),
        (lambda module, batch: module(batch).round().sign().argmax().double(), "has no graph"),
        (lambda module, batch: module(batch), r"shape \(2, 1\)"),
        (lambda module, batch: Once.apply(module(batch)).square().mean(), "twice: an operation in it has no"),
    ],
)
def test_a_loss_without_derivatives_is_refused_in_words(faulty: Any, message: str) -> None:
    with pytest.raises(ObjectiveError, match=message), Curvature(LINE, ONES, faulty) as curvature:
        curvature.eigenpairs(1)


def test_a_product_that_is_not_finite_is_refused() -> None:
    line = nn.Linear(2, 1)
    nn.init.constant_(line.weight, 1e20)
    cubed = lambda module, batch: module(batch).pow(3).mean()  # noqa: E731
    with (
        Curvature(line, ONES, cubed) as curvature,
        pytest.raises(CurvatureError, match=r"a product with the HessianOperator of .* is not finite"),
    ):
        curvature.hessian @ torch.full((3,), 1e20)


def test_modules_without_trained_parameters_are_refused() -> None:
    frozen = nn.Linear(2, 1).requires_grad_(False)
    with pytest.raises(ObjectiveError, match="no parameter to differentiate by: all are frozen, or packed"):
        Curvature(frozen, ONES, squared).__enter__()
    with pytest.raises(ObjectiveError, match=r"matches one of \['head.*'\]: its 2 trained parameters begin with"):
        Curvature(LINE, ONES, squared, parameters=["head.*"]).__enter__()


def test_a_compiled_module_is_refused_in_words() -> None:
    """The backend that traces and runs eagerly refuses second derivatives as the real one does, without a compiler."""
    compiled = torch.compile(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), backend="aot_eager")
    with (
        pytest.raises(ObjectiveError, match="cannot be differentiated twice: it runs compiled"),
        Curvature(compiled, ONES, squared) as curvature,
    ):
        curvature.hessian @ torch.ones(6)


def test_along_the_leading_eigenvectors_the_loss_curves_by_the_eigenvalues() -> None:
    net = network()
    with Curvature(net, loader(), step) as curvature:
        pairs = curvature.eigenpairs(2, tolerance=1e-9)
        plane = Plane.hessian(weights_of(net), [curvature.hessian.as_weights(v) for v in pairs.vectors])
    h = 1e-3
    surface = compute_surface(net, loader(), plane, Grid(x=(-h, h, 3), y=(-h, h, 3)), step, progress=False)
    loss = surface["loss"]
    second = [(loss[1, 0] - 2 * loss[1, 1] + loss[1, 2]) / h**2, (loss[0, 1] - 2 * loss[1, 1] + loss[2, 1]) / h**2]
    np.testing.assert_allclose(second, pairs.values, rtol=1e-4)
