"""The transformer: causal, equal to torch's own layer, and moved in random directions as its roles say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_landscape import random_direction, weights_of
from lightning_landscape.errors import GeometryError
from lightning_landscape.models import Transformer


@pytest.fixture
def network() -> Transformer:
    torch.manual_seed(0)
    network = Transformer(vocabulary=11, context=6, width=8, depth=2, heads=2).double().eval()
    for parameter in network.parameters():  # larger than at the start, so that every part matters
        nn.init.normal_(parameter, std=0.5)
    return network


def test_a_character_changes_its_own_prediction_and_later_ones_alone(network: Transformer) -> None:
    first = torch.tensor([[3, 1, 4, 1, 5, 9]])
    for place in range(6):
        second = first.clone()
        second[0, place] = 10
        moved = (network(first) - network(second)).abs().amax(1)[0]
        assert (moved[:place] == 0).all()
        assert (moved[place:] > 1e-6).all()


def test_it_is_torchs_own_layer_with_tied_vectors_around(network: Transformer) -> None:
    tokens = torch.randint(11, (3, 5))
    stream = network.tokens.weight[tokens] + network.positions.weight[:5]
    mask = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    names = {"attention_norm": "norm1", "attention": "self_attn", "network_norm": "norm2"}
    names |= {"network.0": "linear1", "network.2": "linear2"}
    for block in network.blocks:
        layer = nn.TransformerEncoderLayer(
            8, 2, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
        )
        own = {
            next(n + key.removeprefix(o) for o, n in sorted(names.items(), reverse=True) if key.startswith(f"{o}.")): v
            for key, v in block.state_dict().items()
        }
        layer.load_state_dict(own)
        stream = layer(stream, src_mask=mask)
    expected = nn.functional.layer_norm(stream, (8,), network.norm.weight, network.norm.bias) @ network.tokens.weight.T
    torch.testing.assert_close(network(tokens), expected.transpose(1, 2))


def test_without_shortcuts_the_stream_is_replaced(network: Transformer) -> None:
    """Attention that gives zero leaves the stream with shortcuts, and nothing of the input without them."""
    tokens = torch.tensor([[3, 1, 4], [5, 9, 2]])
    without = Transformer(vocabulary=11, context=6, width=8, depth=2, heads=2, shortcuts=False).double().eval()
    without.load_state_dict(network.state_dict())
    assert not torch.allclose(network(tokens), without(tokens))
    for each in (network, without):
        for block in each.blocks:
            nn.init.zeros_(block.attention.out_proj.weight)
    assert not torch.allclose(network(tokens)[0], network(tokens)[1])
    torch.testing.assert_close(without(tokens)[0], without(tokens)[1])


def test_an_untrained_one_guesses() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(65, (8, 16))
    loss = nn.functional.cross_entropy(Transformer(65, context=16)(tokens), torch.randint(65, (8, 16)))
    assert loss.item() == pytest.approx(4.174, abs=0.05)  # ln 65


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_it_has_second_derivatives(network: Transformer, mode: str) -> None:
    """Which the fused kernel of attention has not."""
    network.train(mode == "train")
    parameters = list(network.parameters())
    loss = nn.functional.cross_entropy(network(torch.randint(11, (3, 6))), torch.randint(11, (3, 6)))
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    products = torch.autograd.grad(sum(g.square().sum() for g in gradients), parameters)
    assert all(p.abs().sum() > 0 for p in products)


def test_random_directions_have_the_norm_of_each_vector_and_row(network: Transformer) -> None:
    weights = weights_of(network)
    assert "head.weight" not in weights
    direction = random_direction(weights)
    for name, tensor in direction.items():
        if tensor.ndim == 1:
            assert not tensor.any()
        else:
            torch.testing.assert_close(tensor.norm(dim=1), weights[name].norm(dim=1))
    assert direction["tokens.weight"].shape == (11, 8)
    assert direction["positions.weight"].shape == (6, 8)


def test_under_layer_normalisation_the_packed_projection_is_three_layers(network: Transformer) -> None:
    weights = weights_of(network)
    name = "blocks.0.attention.in_proj_weight"
    weights[name][:8] *= 100  # the queries
    direction = random_direction(weights, "layer")
    for part, expected in zip(direction[name].chunk(3), weights[name].chunk(3), strict=True):
        torch.testing.assert_close(part.norm(), expected.norm())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [({"width": 10, "heads": 4}, "width=10 and heads=4"), ({"depth": 0}, "depth=0"), ({"context": 0}, "context=0")],
)
def test_bad_sizes_are_refused(arguments: dict[str, int], sentence: str) -> None:
    with pytest.raises(GeometryError, match=sentence):
        Transformer(vocabulary=5, **arguments)


def test_an_input_longer_than_the_context_is_refused() -> None:
    with pytest.raises(GeometryError, match="the input has 7 tokens: pass at most 6"):
        Transformer(vocabulary=5, context=6)(torch.zeros(1, 7, dtype=torch.int64))
