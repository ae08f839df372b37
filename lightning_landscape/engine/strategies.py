"""Which strategies and precisions place weights so that they can be evaluated faithfully."""

from __future__ import annotations

from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import BitsandbytesPrecision, TransformerEnginePrecision
from lightning.pytorch.strategies import (
    DDPStrategy,
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    SingleDeviceStrategy,
)

from lightning_landscape.errors import UnsupportedStrategyError

_SHARDED = (FSDPStrategy, ModelParallelStrategy)


def require_supported(trainer: Trainer, what: str, *, sharded: bool = False) -> None:
    """Refuse, before anything is computed, a strategy or precision that cannot hold arbitrary weights in place.

    Args:
        trainer: the trainer of the run.
        what: who asks, for the message.
        sharded: whether that works on shards of FSDP and ModelParallel (FSDP2), too.

    Raises:
        UnsupportedStrategyError: for DeepSpeed, for FSDP and ModelParallel where `what` needs whole weights, for other
            strategies that are not known to replicate the model, and for precisions that pack the weights.
    """
    strategy = trainer.strategy
    name = type(strategy).__name__
    remedy = (
        "save a consolidated checkpoint and compute the surface from it in a run with strategy 'ddp' or one device: "
        "`lightning-landscape mode=surface ckpt_path=...` or `trainer.validate(model, ckpt_path=...)`"
    )
    if isinstance(strategy, DeepSpeedStrategy):
        raise UnsupportedStrategyError(
            f"{what} cannot run under {name}: its engine keeps the weights in buffers of its own (with ZeRO stage 3 in "
            "shards, beside copies of lower precision), where a weight written in place does not reach the next "
            f"forward pass; train with 'fsdp', or convert the checkpoint (python zero_to_fp32.py) and {remedy}"
        )
    if isinstance(strategy, _SHARDED) and not sharded:
        raise UnsupportedStrategyError(
            f"{what} cannot run under {name}: it needs whole weights, and every rank holds only a shard of each; "
            f"{remedy}"
        )
    if isinstance(strategy, FSDPStrategy) and not strategy.kwargs.get("use_orig_params", True):
        raise UnsupportedStrategyError(
            f"{what} needs the weights by name, which FSDPStrategy(use_orig_params=False) hides: leave that out"
        )
    if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy | FSDPStrategy | ModelParallelStrategy) or (
        "XLA" in name
    ):
        raise UnsupportedStrategyError(
            f"{what} is built for one device, DDP, FSDP and FSDP2, and found {name}; {remedy}"
        )
    if isinstance(strategy.precision_plugin, BitsandbytesPrecision | TransformerEnginePrecision):
        raise UnsupportedStrategyError(
            f"{what} cannot move weights that {type(strategy.precision_plugin).__name__} stores packed; "
            "evaluate a checkpoint with precision '32-true', '16-mixed' or 'bf16-mixed'"
        )
