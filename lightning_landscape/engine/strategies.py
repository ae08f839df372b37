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

_SHARDED = (FSDPStrategy, ModelParallelStrategy, DeepSpeedStrategy)


def require_supported(trainer: Trainer, what: str) -> None:
    """Refuse, before anything is computed, a strategy or precision that cannot hold arbitrary weights in place.

    Args:
        trainer: the trainer of the run.
        what: who asks, for the message.

    Raises:
        UnsupportedStrategyError: for sharded strategies (FSDP, ModelParallel, DeepSpeed), for strategies that are
            not known to replicate the model, and for precisions that pack the weights.
    """
    strategy = trainer.strategy
    name = type(strategy).__name__
    remedy = (
        "save a consolidated checkpoint and compute the surface from it in a run with strategy 'ddp' or one device: "
        "`lightning-landscape mode=surface ckpt_path=...` or `trainer.validate(model, ckpt_path=...)`"
    )
    if isinstance(strategy, _SHARDED):
        raise UnsupportedStrategyError(
            f"{what} cannot run under {name}: every rank holds only a shard of each weight, and a shard written in "
            f"place may be ignored by the next forward pass; {remedy}"
        )
    if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy) or "XLA" in name:
        raise UnsupportedStrategyError(
            f"{what} is built for one device and for DDP, where every rank holds the whole model, and found {name}; "
            f"{remedy}"
        )
    if isinstance(strategy.precision_plugin, BitsandbytesPrecision | TransformerEnginePrecision):
        raise UnsupportedStrategyError(
            f"{what} cannot move weights that {type(strategy.precision_plugin).__name__} stores packed; "
            "evaluate a checkpoint with precision '32-true', '16-mixed' or 'bf16-mixed'"
        )
