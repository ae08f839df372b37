"""Strategies and precisions that cannot hold arbitrary weights are refused before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.plugins.precision import BitsandbytesPrecision, TransformerEnginePrecision
from lightning.pytorch.strategies import (
    DDPStrategy,
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    SingleDeviceXLAStrategy,
    Strategy,
    XLAStrategy,
)

from lightning_landscape import LossLandscape, TrajectoryRecorder, UnsupportedStrategyError, compute_surface
from lightning_landscape.engine.strategies import require_supported
from tests.engine.regression import LeastSquares, loader
from tests.engine.test_surface import GRID, plane_of
from tests.modules_under_test import trainer


def unmade(kind: type[Any], **attributes: Any) -> Any:
    """An object of a class that cannot be made without its hardware or library."""
    made = kind.__new__(kind)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def test_deepspeed_is_refused_at_setup(tmp_path: Path) -> None:
    """Without deepspeed installed: the message says which ways there are."""
    run = trainer(tmp_path)
    run._accelerator_connector.strategy = unmade(DeepSpeedStrategy)
    words = r"cannot run under DeepSpeedStrategy: .*ZeRO stage 3.*train with 'fsdp'.*zero_to_fp32.*mode=surface"
    for sharded in (False, True):
        with pytest.raises(UnsupportedStrategyError, match=f"A picture {words}"):
            require_supported(run, "A picture", sharded=sharded)
    module = LeastSquares()
    for callback in (LossLandscape(), TrajectoryRecorder()):
        with pytest.raises(UnsupportedStrategyError, match=f"{type(callback).__name__} {words}"):
            callback.setup(run, module, "fit")
    with pytest.raises(UnsupportedStrategyError, match=f"a loss surface {words}"):
        compute_surface(module, loader(), plane_of(module), GRID, trainer=run)


@pytest.mark.parametrize("kind", [FSDPStrategy, ModelParallelStrategy])
def test_sharded_strategies(kind: type[Strategy], tmp_path: Path) -> None:
    """Supported by what works on shards, refused for what needs whole weights."""
    landscape = LossLandscape()
    run = trainer(tmp_path, [landscape])
    run._accelerator_connector.strategy = kind()
    require_supported(run, "A picture", sharded=True)
    landscape.setup(run, LeastSquares(), "fit")
    with pytest.raises(UnsupportedStrategyError, match=rf"A picture cannot run under {kind.__name__}.*consolidated"):
        require_supported(run, "A picture")
    with pytest.raises(UnsupportedStrategyError, match=r"TrajectoryRecorder cannot run.*mode=surface"):
        TrajectoryRecorder().setup(run, LeastSquares(), "fit")


def test_fsdp_that_hides_the_names_is_refused(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run._accelerator_connector.strategy = FSDPStrategy(use_orig_params=False)
    with pytest.raises(UnsupportedStrategyError, match=r"by name, which FSDPStrategy\(use_orig_params=False\) hides"):
        require_supported(run, "A picture", sharded=True)


@pytest.mark.parametrize("kind", [XLAStrategy, SingleDeviceXLAStrategy])
def test_other_strategies(kind: type[Strategy], tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run._accelerator_connector.strategy = unmade(kind)
    with pytest.raises(UnsupportedStrategyError, match=rf"and FSDP2, and found {kind.__name__}; save"):
        require_supported(run, "A picture")


@pytest.mark.parametrize("kind", [BitsandbytesPrecision, TransformerEnginePrecision])
def test_packed_weights(kind: type[Any], tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run.strategy._precision_plugin = unmade(kind)
    with pytest.raises(UnsupportedStrategyError, match=f"weights that {kind.__name__} stores packed; evaluate"):
        require_supported(run, "A picture")


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-true", "bf16-mixed"])
def test_one_device_is_supported(precision: Any, tmp_path: Path) -> None:
    require_supported(trainer(tmp_path, precision=precision), "A picture")


def test_replicated_strategies_are_supported(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run._accelerator_connector.strategy = DDPStrategy()
    require_supported(run, "A picture")
    run._accelerator_connector.strategy = type("Derived", (DDPStrategy,), {})()
    require_supported(run, "A picture")
