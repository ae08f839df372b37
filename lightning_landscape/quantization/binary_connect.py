"""BinaryConnect: real-valued weights that a layer sees rounded, with the gradient taken at the rounded ones."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lightning_landscape.errors import QuantizationError
from lightning_landscape.quantization.quantizer import Quantizer
from lightning_landscape.quantization.rounding import generator_of, stochastic_round_, warn_of_clipping

_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)


class RoundedWeights(nn.Module):
    r"""The parametrization of a layer's weight by its rounding to the nearest of a grid.

    .. math:: w_b = Q_d(w), \qquad \frac{\partial L}{\partial w} := \frac{\partial L}{\partial w_b}

    Args:
        quantizer: the grid.
    """

    def __init__(self, quantizer: Quantizer) -> None:
        super().__init__()
        self.quantizer = quantizer
        self.active = True  # False shows the layer its real-valued weights

    def forward(self, weights: Tensor) -> Tensor:
        """Round, and let the gradient pass straight through."""
        if not self.active:
            return weights
        # The difference is zero to the last bit, and carries the gradient.
        return self._round(weights.detach()) + (weights - weights.detach())

    def right_inverse(self, weights: Tensor) -> Tensor:
        """Take over what is assigned to the layer's weight as its real-valued weights."""
        return weights

    def _round(self, weights: Tensor) -> Tensor:
        return self.quantizer.nearest(weights)


class StochasticallyRoundedWeights(RoundedWeights):
    """The parametrization of a layer's weight by a random rounding without bias, drawn anew in each forward pass.

    In eval mode the rounding is to the nearest. The random numbers come from a generator of its own, whose state is in
    the state dict.

    Args:
        quantizer: the grid.
        seed: numbers that make the random ones of this layer.

    Source: Courbariaux, Bengio, David (2015), section 2.2 (their "hard sigmoid" is this rounding's probability).
    """

    def __init__(self, quantizer: Quantizer, *seed: int) -> None:
        super().__init__(quantizer)
        self.seed = seed
        self._generator = generator_of("cpu", *seed)
        self._saved: Tensor | None = None

    def get_extra_state(self) -> Tensor:
        """Return the state of the generator, for the state dict."""
        return self._generator.get_state() if self._saved is None else self._saved

    def set_extra_state(self, state: Tensor) -> None:
        """Take up the state of the generator, once it is known on which device the weights are."""
        self._saved = state.cpu()

    def _round(self, weights: Tensor) -> Tensor:
        if not self.training:
            return super()._round(weights)
        self._prepare(weights.device)
        rounded = weights.clone()
        scales = None if self.quantizer.scale is None else [self.quantizer.scale_of(weights)]
        stochastic_round_([rounded], self.quantizer, self._generator, scales)
        return rounded

    def _prepare(self, device: torch.device) -> None:
        """Bring the generator to the weights' device, with the state that was loaded."""
        if self._generator.device != device:
            self._generator = generator_of(device, *self.seed)
        if self._saved is None:
            return
        if self._saved.numel() == self._generator.get_state().numel():
            self._generator.set_state(self._saved)
        else:
            warnings.warn(
                f"the random numbers of stochastic BinaryConnect were saved on another kind of device than {device}: "
                "they start anew",
                stacklevel=2,
            )
        self._saved = None


def binary_connect(
    module: nn.Module,
    quantizer: Quantizer,
    *,
    stochastic: bool = False,
    layers: Iterable[nn.Module] | None = None,
    seed: int = 0,
) -> None:
    """Make layers of a module see their weights rounded, in place.

    The weights stay parameters with the values that they have, clipped to the grid's range; an optimizer that holds
    them goes on to do so. Their names in the state dict become ``<layer>.parametrizations.weight.original``. After each
    step they are to be clipped to the range again:
    ``optimizer.register_step_post_hook(lambda *_: clip_(module))``.

    Args:
        module: the network.
        quantizer: the grid.
        stochastic: round at random during training, and to the nearest in eval mode.
        layers: which layers; None for every linear and convolutional one. Biases are never rounded.
        seed: of the random numbers; each layer has its own.

    Raises:
        QuantizationError: if there is no such layer, or one sees rounded weights already.

    Source: Courbariaux, Bengio, David, BinaryConnect (2015), algorithm 1, and their released code.

    >>> net = nn.Linear(2, 1, bias=False)
    >>> net.weight.data = torch.tensor([[0.3, -0.2]])
    >>> binary_connect(net, Quantizer(bits=1))
    >>> net(torch.ones(1, 2)).item(), net.weight.tolist()
    (0.0, [[1.0, -1.0]])
    >>> net(torch.tensor([[2.0, 5.0]])).sum().backward()
    >>> net.parametrizations.weight.original.grad.tolist()
    [[2.0, 5.0]]
    """
    chosen = list(quantizable(module).values() if layers is None else layers)
    if not chosen:
        raise QuantizationError(
            f"{type(module).__name__} has no linear or convolutional layer to round: give layers=[...]"
        )
    for layer in chosen:
        if parametrize.is_parametrized(layer, "weight"):
            raise QuantizationError(
                f"the weight of a {type(layer).__name__} is parametrized already: call binary_connect once, on layers "
                "without other parametrizations"
            )
    warn_of_clipping([layer.get_parameter("weight") for layer in chosen], quantizer)
    for number, layer in enumerate(chosen):
        rounding = StochasticallyRoundedWeights(quantizer, seed, number) if stochastic else RoundedWeights(quantizer)
        parametrize.register_parametrization(layer, "weight", rounding)
    clip_(module)


def quantizable(module: nn.Module, floating: Iterable[str] = ()) -> dict[str, nn.Module]:
    """Find the linear and convolutional layers of a module, by name, but for those that stay in floating point.

    Args:
        module: the network.
        floating: names of layers, or of modules that contain layers, to leave out.

    Raises:
        QuantizationError: if a name is that of no such layer.

    >>> list(quantizable(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), floating=["2"]))
    ['0']
    """
    found: dict[str, nn.Module] = {n: layer for n, layer in module.named_modules() if isinstance(layer, _LAYERS)}
    for prefix in floating:
        within = [name for name in found if name == prefix or name.startswith(f"{prefix}.")]
        if not within:
            raise QuantizationError(
                f"there is no layer {prefix!r} to keep in floating point: choose from {', '.join(found)}"
            )
        for name in within:
            del found[name]
    return found


@torch.no_grad()
def clip_(module: nn.Module) -> None:
    """Clip the real-valued weights that `binary_connect` rounds to the range of their grid, in place.

    Without it they would wander off where the rounding does not follow, and not come back.
    """
    for original, rounding in roundings(module).values():
        original.clamp_(-rounding.quantizer.limit, rounding.quantizer.limit)


@contextmanager
def rounded(module: nn.Module) -> Iterator[None]:
    """Put the rounded weights in place of the real-valued ones, and stop rounding, inside of the context.

    A module is then an ordinary one at its rounded weights, and what is added to these is seen by its layers. On
    leaving, the real-valued weights are as they were, to the last bit.

    Raises:
        QuantizationError: if no layer of the module rounds its weights.

    >>> net = nn.Linear(1, 1, bias=False)
    >>> net.weight.data.fill_(0.25)
    tensor([[0.2500]])
    >>> binary_connect(net, Quantizer(bits=1))
    >>> with rounded(net):
    ...     net.parametrizations.weight.original.item()
    1.0
    >>> net.parametrizations.weight.original.item()
    0.25
    """
    found = list(require_roundings(module).values())
    kept = [original.detach().clone() for original, _ in found]
    try:
        with torch.no_grad():
            for original, rounding in found:
                original.copy_(rounding.quantizer.nearest(original))
                rounding.active = False
        yield
    finally:
        with torch.no_grad():
            for (original, rounding), values in zip(found, kept, strict=True):
                original.copy_(values)
                rounding.active = True


def roundings(module: nn.Module) -> dict[str, tuple[nn.Parameter, RoundedWeights]]:
    """Find the weights that `binary_connect` rounds: by the layer's name, the real-valued ones and the rounding."""
    found = {}
    for name, layer in module.named_modules():
        if isinstance(layer, parametrize.ParametrizationList) and isinstance(layer[0], RoundedWeights):
            owner = name.removesuffix("parametrizations.weight").rstrip(".")
            original = layer.original
            assert isinstance(original, nn.Parameter)
            found[owner] = (original, layer[0])
    return found


def require_roundings(module: nn.Module) -> dict[str, tuple[nn.Parameter, RoundedWeights]]:
    """Find what `roundings` finds.

    Raises:
        QuantizationError: if there is none.
    """
    found = roundings(module)
    if not found:
        raise QuantizationError(
            f"no layer of {type(module).__name__} rounds its weights (see binary_connect), so it has none but its own; "
            "those that an optimizer rounds are on the grid already: leave weights='rounded' out"
        )
    return found
