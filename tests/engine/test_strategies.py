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


@pytest.mark.parametrize("kind", [FSDPStrategy, ModelParallelStrategy, DeepSpeedStrategy])
def test_sharded_strategies(kind: type[Strategy], tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run._accelerator_connector.strategy = unmade(kind)
    with pytest.raises(UnsupportedStrategyError, match=rf"A picture cannot run under {kind.__name__}.*consolidated"):
        require_supported(run, "A picture")
    module = LeastSquares()
    for callback in (LossLandscape(), TrajectoryRecorder()):
        with pytest.raises(UnsupportedStrategyError, match=rf"{type(callback).__name__} cannot run.*mode=surface"):
            callback.setup(run, module, "fit")
    with pytest.raises(UnsupportedStrategyError, match=f"a loss surface cannot run under {kind.__name__}"):
        compute_surface(module, loader(), plane_of(module), GRID, trainer=run)


@pytest.mark.parametrize("kind", [XLAStrategy, SingleDeviceXLAStrategy])
def test_other_strategies(kind: type[Strategy], tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run._accelerator_connector.strategy = unmade(kind)
    with pytest.raises(UnsupportedStrategyError, match=rf"one device and for DDP.* found {kind.__name__}; save"):
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
