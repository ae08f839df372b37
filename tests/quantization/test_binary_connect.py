"""BinaryConnect as a parametrization: its gradient, its state, copies of it, and the rounded view."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lightning_landscape import QuantizationError, Quantizer, binary_connect, clip_, weights_of
from lightning_landscape.quantization.binary_connect import RoundedWeights, quantizable, rounded, roundings

BINARY = Quantizer(bits=1)


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


def test_the_network_computes_with_rounded_weights_and_the_gradient_is_that_at_them() -> None:
    net, reference, images = network(), network(), torch.randn(5, 1, 4, 4)
    binary_connect(net, BINARY)
    with torch.no_grad():
        for layer in (reference[0], reference[4]):
            layer.weight.copy_(layer.weight.sign())
    for each in (net, reference):
        each(images).square().sum().backward()
    assert torch.equal(net(images), reference(images))
    for index in (0, 4):
        real = net[index].parametrizations.weight.original
        assert torch.equal(real.grad, reference[index].weight.grad)
        assert not torch.equal(real, net[index].weight)
        assert torch.equal(net[index].bias.grad, reference[index].bias.grad)


def test_one_step_moves_the_real_weights_by_the_gradient_at_the_rounded_ones_and_clips() -> None:
    net = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.3, -0.9]]))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    binary_connect(net, BINARY)
    optimizer.register_step_post_hook(lambda *_: clip_(net))
    # f = (w . x)^2 / 2 at w = (1, -1) and x = (1, 3): gradient (w . x) x = (-2, -6)
    (0.5 * net(torch.tensor([[1.0, 3.0]])).square()).sum().backward()
    optimizer.step()
    assert net.parametrizations.weight.original.tolist()[0] == pytest.approx([0.5, -0.3])
    for _ in range(20):
        optimizer.step()
    assert net.parametrizations.weight.original.tolist() == [[1.0, 1.0]]


def test_state_dict_and_deepcopy_carry_the_real_valued_weights() -> None:
    net = network()
    before = net[0].weight.detach().clone()
    binary_connect(net, BINARY)
    state = net.state_dict()
    assert torch.equal(state["0.parametrizations.weight.original"], before)
    twin, other = copy.deepcopy(net), network(1)
    binary_connect(other, BINARY)
    other.load_state_dict(state)
    for each in (twin, other):
        assert torch.equal(each[0].weight, net[0].weight)
        with torch.no_grad():
            each[0].parametrizations.weight.original.zero_()
    assert torch.equal(net[0].parametrizations.weight.original, before)


def test_random_rounding_in_training_and_to_the_nearest_in_eval_mode() -> None:
    layer = nn.Linear(1000, 10, bias=False)
    nn.init.constant_(layer.weight, 0.5)
    binary_connect(layer, BINARY, stochastic=True)
    first, second = layer.weight, layer.weight
    assert not torch.equal(first, second)
    assert float(first.detach().mean()) == pytest.approx(0.5, abs=0.05)
    layer.eval()
    assert bool((layer.weight == 1).all())


def test_random_rounding_goes_on_from_a_state_dict_and_from_a_copy() -> None:
    def made() -> nn.Sequential:
        net = network()
        binary_connect(net, BINARY, stochastic=True, seed=4)
        return net

    net = made()
    for _ in range(3):
        _ = net[0].weight, net[4].weight
    state, twin, resumed = copy.deepcopy(net.state_dict()), copy.deepcopy(net), made()
    resumed.load_state_dict(state)
    saved = "0.parametrizations.weight.0._extra_state"
    assert torch.equal(resumed.state_dict()[saved], state[saved])
    for _ in range(2):
        expected = net[4].weight
        assert torch.equal(twin[4].weight, expected)
        assert torch.equal(resumed[4].weight, expected)
    assert not torch.equal(made()[4].weight, net[4].weight)


def test_layers_draw_different_numbers() -> None:
    net = nn.Sequential(nn.Linear(50, 50), nn.Linear(50, 50))
    nn.init.zeros_(net[0].weight)
    nn.init.zeros_(net[1].weight)
    binary_connect(net, BINARY, stochastic=True)
    assert not torch.equal(net[0].weight, net[1].weight)


def test_inside_of_rounded_the_module_is_an_ordinary_one_and_afterwards_as_it_was() -> None:
    net, images = network().eval(), torch.randn(5, 1, 4, 4)
    binary_connect(net, BINARY)
    before, outputs = weights_of(net), net(images)
    name = "0.parametrizations.weight.original"
    with rounded(net), torch.no_grad():
        assert torch.equal(net(images), outputs)
        assert weights_of(net)[name].abs().unique().tolist() == [1.0]
        net[0].parametrizations.weight.original.add_(0.01)
        assert not torch.equal(net(images), outputs)
    for key, tensor in weights_of(net).items():
        assert torch.equal(tensor, before[key])
    assert all(rounding.active for _, rounding in roundings(net).values())
    with pytest.raises(KeyboardInterrupt), rounded(net):
        raise KeyboardInterrupt
    assert torch.equal(weights_of(net)[name], before[name])
    assert torch.equal(net(images), outputs)


def test_the_roles_of_parametrized_weights_are_kept() -> None:
    net = network()
    binary_connect(net, BINARY)
    assert weights_of(net).roles["0.parametrizations.weight.original"].filter_dim == 0


def test_assigning_a_weight_sets_the_real_valued_one() -> None:
    layer = nn.Linear(2, 1)
    binary_connect(layer, BINARY)
    layer.weight = torch.tensor([[0.2, -0.4]])
    assert layer.parametrizations.weight.original.tolist()[0] == pytest.approx([0.2, -0.4])
    assert layer.weight.tolist() == [[1.0, -1.0]]


def test_weights_outside_are_clipped_with_their_number() -> None:
    layer = nn.Linear(4, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, 2.0, -3.0, 1.0]]))
    with pytest.warns(UserWarning, match=r"2 of 4 weights lie outside of the range \[-1, 1\] and are clipped"):
        binary_connect(layer, BINARY)
    assert layer.parametrizations.weight.original.tolist() == [[0.5, 1.0, -1.0, 1.0]]


def test_layers_are_chosen_by_kind_or_by_name() -> None:
    net = network()
    assert list(quantizable(net)) == ["0", "4"]
    binary_connect(net, BINARY, layers=quantizable(net, floating=["4"]).values())
    assert list(roundings(net)) == ["0"]
    bare = nn.Linear(2, 2)
    binary_connect(bare, BINARY)
    assert list(roundings(bare)) == [""]
    assert isinstance(roundings(bare)[""][1], RoundedWeights)


def test_mistakes_are_answered_with_a_sentence() -> None:
    net = network()
    with pytest.raises(QuantizationError, match="no layer 'head' to keep in floating point: choose from 0, 4"):
        quantizable(net, floating=["head"])
    with pytest.raises(QuantizationError, match="no linear or convolutional layer"):
        binary_connect(nn.ReLU(), BINARY)
    binary_connect(net, BINARY)
    with pytest.raises(QuantizationError, match="parametrized already"):
        binary_connect(net, BINARY)
    with pytest.raises(QuantizationError, match="no layer of Linear rounds its weights"), rounded(nn.Linear(1, 1)):
        pass
