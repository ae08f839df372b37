"""ResNets: parameter counts from closed forms and the literature, shapes, and what shortcuts do."""

from __future__ import annotations

import pytest
import torch

from lightning_landscape.errors import GeometryError
from lightning_landscape.models import ResNet


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def plain_count(blocks: int, w: int, channels: int, classes: int) -> int:
    """Convolutions 9 * in * out, BatchNorm 2 * out, a linear layer: summed by hand over the three stages."""
    convolutions = 9 * (channels * w + 2 * blocks * w * w)
    convolutions += 9 * (2 * w * w + (2 * blocks - 1) * 4 * w * w)
    convolutions += 9 * (8 * w * w + (2 * blocks - 1) * 16 * w * w)
    norms = 2 * (w + 2 * blocks * (w + 2 * w + 4 * w))
    return convolutions + norms + 4 * w * classes + classes


@pytest.mark.parametrize(("depth", "published"), [(20, 272_474), (56, 855_770), (110, 1_730_714)])
def test_parameter_counts(depth: int, published: int) -> None:
    """The two projections add 2 w^2 + 8 w^2 weights and 2 (2 w + 4 w) norm parameters to the plain network."""
    blocks = (depth - 2) // 6
    plain = parameters(ResNet(depth, shortcuts=False))
    assert plain == plain_count(blocks, 16, 3, 10)
    assert parameters(ResNet(depth)) == plain + 10 * 16**2 + 12 * 16 == published


def test_width_in_channels_and_classes_are_respected() -> None:
    network = ResNet(14, shortcuts=False, width=4, in_channels=1, num_classes=7)
    assert parameters(network) == plain_count(2, 4, 1, 7)


@pytest.mark.parametrize("shortcuts", [True, False])
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (1, 28), (3, 32)])
def test_output_shape(shortcuts: bool, channels: int, size: int) -> None:
    network = ResNet(14, shortcuts=shortcuts, width=4, in_channels=channels, num_classes=5)
    assert network(torch.randn(2, channels, size, size)).shape == (2, 5)


def test_stages_halve_the_image_twice() -> None:
    network = ResNet(8, width=2, in_channels=1)
    stem = network.bn1(network.conv1(torch.randn(3, 1, 8, 8)))
    first = network.layer1(stem)
    second = network.layer2(first)
    assert first.shape == (3, 2, 8, 8)
    assert second.shape == (3, 4, 4, 4)
    assert network.layer3(second).shape == (3, 8, 2, 2)


def test_identity_blocks_without_weights_pass_their_input_on_only_with_shortcuts() -> None:
    """With the last scale of a block at 0, relu(f(x) + x) is x for x >= 0, and relu(f(x)) is 0."""
    x = torch.rand(2, 4, 8, 8)
    for shortcuts, expected in ((True, x), (False, torch.zeros_like(x))):
        block = ResNet(14, shortcuts=shortcuts, width=4, in_channels=1).layer1[1]
        torch.nn.init.zeros_(block.bn2.weight)
        assert torch.equal(block(x), expected)


def test_plain_state_dict_is_that_with_shortcuts_less_the_projections() -> None:
    with_shortcuts, plain = (ResNet(20, shortcuts=s, width=4).state_dict() for s in (True, False))
    assert {name for name in with_shortcuts if "shortcut" not in name} == set(plain)
    assert {name.split(".shortcut")[0] for name in with_shortcuts if "shortcut" in name} == {"layer2.0", "layer3.0"}


def test_an_untrained_network_predicts_every_class_alike() -> None:
    torch.manual_seed(0)
    logits = ResNet(20, width=4, in_channels=1).eval()(torch.rand(64, 1, 8, 8))
    loss = torch.nn.functional.cross_entropy(logits, torch.arange(64) % 10)
    torch.testing.assert_close(loss, torch.tensor(10.0).log(), atol=0.02, rtol=0)


def test_the_seed_fixes_the_weights() -> None:
    def draw(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return ResNet(14, width=4).state_dict()

    first, again, other = draw(0), draw(0), draw(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"depth": 57}, "depth=57, which is not 6 n \\+ 2: pass 56 or 62"),
        ({"depth": 2}, "depth=2: pass 6 n \\+ 2 with n at least 1"),
        ({"depth": -4}, "depth=-4: pass a whole number of at least 1"),
        ({"width": 0}, "width=0"),
        ({"width": 0.5}, "width=0.5"),
        ({"in_channels": 0}, "in_channels=0"),
        ({"num_classes": 0}, "num_classes=0"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, int], sentence: str) -> None:
    with pytest.raises(GeometryError, match=sentence):
        ResNet(**arguments)
