"""Each logger's own storage is read back: what counts is what its user will find there."""

from __future__ import annotations

import io
import json
import random
import struct
import sys
import types
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch.loggers as lightning_loggers
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CometLogger, CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from lightning_landscape.callbacks.loggers import log_figure, log_file, publish, register_logger

BLUE = (0x33, 0x66, 0x99)
STEP = 70


@pytest.fixture
def figure() -> Figure:
    """150 x 100 pixels with a known colour in every corner."""
    figure = Figure(figsize=(3, 2), dpi=50, facecolor="#336699")
    figure.subplots().plot([0, 1], [1, 0])
    return figure


@pytest.fixture
def record(tmp_path: Path) -> Path:
    path = tmp_path / "surface.h5"
    path.write_bytes(b"the numbers of a surface")
    return path


def assert_is_the_figure(png: bytes) -> None:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    assert image.size == (150, 100)
    assert image.convert("RGB").getpixel((1, 1)) == BLUE
    assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 2, "the curve is missing"


def only(paths: Iterable[Path]) -> Path:
    (path,) = paths
    return path


class Recorder(CSVLogger):
    """Stands in for a class that this package does not know."""

    def __init__(self) -> None:
        super().__init__("")
        self.log: list[Any] = []


def test_tensorboard_event_file_holds_the_image(tmp_path: Path, figure: Figure, record: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = TensorBoardLogger(tmp_path)
    assert log_figure(logger, "landscape/val_loss", figure, STEP)
    assert not log_file(logger, "landscape/record", record, STEP)
    logger.finalize("success")

    events = accumulator.EventAccumulator(logger.log_dir)
    events.Reload()
    assert events.Tags()["images"] == ["landscape/val_loss"]
    (event,) = events.Images("landscape/val_loss")
    assert event.step == STEP
    assert (event.width, event.height) == (150, 100)
    assert_is_the_figure(event.encoded_image_string)


def test_wandb_run_holds_image_step_and_artifact(
    tmp_path: Path, figure: Figure, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.chdir(tmp_path)
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    try:
        assert log_figure(logger, "landscape/val_loss", figure, STEP)
        assert log_file(logger, "landscape/record", record, STEP)
        run_id = logger.experiment.id
        logger.experiment.finish()
    finally:
        wandb.teardown()

    run = only((tmp_path / "wandb").glob("offline-run-*"))
    assert_is_the_figure(only((run / "files" / "media" / "images" / "landscape").glob("val_loss*.png")).read_bytes())
    staged = only((tmp_path / "wandb_data_dir" / "artifacts" / "staging").iterdir())
    assert staged.read_bytes() == record.read_bytes()

    history, artifacts = read_wandb_records(only(run.glob("*.wandb")))
    (row,) = [row for row in history if any(key.startswith("landscape/val_loss") for key in row)]
    assert row["trainer/global_step"] == STEP
    (artifact,) = artifacts
    assert artifact.name == f"landscape-record-{run_id}"
    assert artifact.type == "loss_landscape"
    assert set(artifact.aliases) == {"latest", f"step-{STEP}"}
    assert [entry.path for entry in artifact.manifest.contents] == ["surface.h5"]


def read_wandb_records(path: Path) -> tuple[list[dict[str, Any]], list[Any]]:
    """The history rows and artifacts of a .wandb file: protobuf records in LevelDB's log format, behind 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, block = path.read_bytes(), 32768
    assert data[:4] == b":W&B"
    position, pending, records = 7, b"", []
    while position < len(data):
        if block - position % block < 7:  # no room for a header: the rest of the block is padding
            position += block - position % block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        pending += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in {1, 4}:  # a whole record, or the last part of one
            records.append(Record.FromString(pending))
            pending = b""
    history = [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    return history, [record.artifact for record in records if record.HasField("artifact")]


def test_mlflow_store_holds_image_and_artifact(
    tmp_path: Path, figure: Figure, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    # mlflow-skinny has no database store, and a file store only on request.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    logger = MLFlowLogger(tracking_uri=(tmp_path / "mlruns").as_uri())
    try:
        assert log_figure(logger, "landscape/val loss (top-1)", figure, STEP)
        assert log_file(logger, "landscape/record", record, STEP)
        client, run_id = logger.experiment, logger.run_id
    finally:
        mlflow.set_tracking_uri(None)  # MLFlowLogger sets it for the whole process

    images = [item.path for item in client.list_artifacts(run_id, "images")]
    (png,) = [path for path in images if path.endswith(".png")]
    assert png.startswith(f"images/landscape~val loss _top-1_+step+{STEP}+")
    assert_is_the_figure(Path(client.download_artifacts(run_id, png)).read_bytes())
    kept = client.download_artifacts(run_id, f"landscape/record/step_{STEP:06d}/surface.h5")
    assert Path(kept).read_bytes() == record.read_bytes()


# comet_ml 3.58 asks sentry-sdk 2 for its old Hub when an experiment ends.
@pytest.mark.filterwarnings("ignore:.*sentry_sdk.Hub.*:DeprecationWarning")
def test_comet_archive_holds_figure_and_asset(
    tmp_path: Path, figure: Figure, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("comet_ml")
    # CometLogger(online=False) disables the experiment altogether (Lightning 2.6.6); this makes an offline one.
    monkeypatch.setenv("COMET_START_ONLINE", "false")
    monkeypatch.setenv("COMET_START_MODE", "create")
    monkeypatch.setenv("COMET_LOGGING_CONSOLE", "critical")
    monkeypatch.chdir(tmp_path)
    switches = ("log_code", "log_graph", "log_git_metadata", "log_git_patch", "log_env_details", "auto_output_logging")
    quiet: dict[str, Any] = dict.fromkeys(switches, False)
    logger = CometLogger(offline_directory=str(tmp_path / "comet"), **quiet)
    assert log_figure(logger, "landscape/val_loss", figure, STEP)
    assert log_file(logger, "landscape/record", record, STEP)
    logger.experiment.end()

    with zipfile.ZipFile(only((tmp_path / "comet").glob("*.zip"))) as archive:
        messages = [json.loads(line) for line in archive.read("messages.json").splitlines()]
        uploads = [entry["payload"] for entry in messages if entry["type"] == "file_upload"]
        (image,) = [entry for entry in uploads if entry["additional_params"].get("figName") == "landscape/val_loss"]
        assert image["additional_params"]["step"] == STEP
        picture = archive.read(image["file_path"])
        assert b"<svg" in picture
        assert b"#336699" in picture
        (asset,) = [e for e in uploads if e["additional_params"].get("fileName") == "landscape/record/surface.h5"]
        assert asset["additional_params"]["step"] == STEP
        assert archive.read(asset["file_path"]) == record.read_bytes()


@pytest.mark.skipif(not hasattr(lightning_loggers, "LitLogger"), reason="this Lightning has no LitLogger")
def test_lit_series_get_image_and_file(figure: Figure, record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Series(list[Any]):
        def append(self, value: Any, step: int | None = None) -> None:
            super().append((value, step))

    class Offline(lightning_loggers.LitLogger):  # a real experiment needs an account
        experiment: ClassVar = {"landscape/val_loss": Series(), "landscape/record": Series()}

    client = types.SimpleNamespace(Image=lambda data: ("image", data), File=lambda path: ("file", path))
    monkeypatch.setitem(sys.modules, "litlogger", client)
    logger = Offline(name="run")
    assert log_figure(logger, "landscape/val_loss", figure, STEP)
    assert log_file(logger, "landscape/record", record, STEP)
    (((kind, image), step),) = logger.experiment["landscape/val_loss"]
    assert (kind, image.size, step) == ("image", (150, 100), STEP)
    assert logger.experiment["landscape/record"] == [(("file", str(record)), STEP)]


def test_unknown_loggers_are_left_alone(tmp_path: Path, figure: Figure, record: Path) -> None:
    logger = CSVLogger(tmp_path / "csv")
    assert not log_figure(logger, "landscape/val_loss", figure, STEP)
    assert not log_file(logger, "landscape/record", record, STEP)
    publish([logger], STEP, figures={"landscape/val_loss": figure}, files={"landscape/record": record})
    assert not (tmp_path / "csv").exists()


def test_registered_logger_gets_its_calls(figure: Figure, record: Path) -> None:
    class Own(Recorder):
        pass

    register_logger(Own, figure=lambda logger, *args: logger.log.append(args))
    register_logger(Own, file=lambda logger, *args: logger.log.append(args))
    logger = Own()
    publish([logger, Recorder()], STEP, figures={"a": figure}, files={"b": str(record)})
    assert logger.log == [("a", figure, STEP), ("b", record, STEP)]


def test_nearest_class_wins_and_the_rest_is_inherited(figure: Figure, record: Path) -> None:
    class Base(Recorder):
        pass

    class Derived(Base):
        pass

    class Further(Derived):
        pass

    register_logger(Base, figure=lambda logger, *_: logger.log.append("base figure"))
    register_logger(Base, file=lambda logger, *_: logger.log.append("base file"))
    register_logger(Derived, figure=lambda logger, *_: logger.log.append("derived figure"))
    logger = Further()
    publish([logger], STEP, figures={"a": figure}, files={"b": record})
    assert logger.log == ["derived figure", "base file"]


def test_registration_without_handlers_is_refused() -> None:
    with pytest.raises(TypeError, match=r"register_logger\(.*Recorder\) was given no handler"):
        register_logger(Recorder)


def test_failing_logger_warns_once_and_the_others_go_on(figure: Figure, record: Path) -> None:
    class Failing(Recorder):
        pass

    class Working(Recorder):
        pass

    def fail(logger: Failing, name: str, *_: object) -> None:
        logger.log.append((name,))
        raise ConnectionError("no route to host")

    register_logger(Failing, figure=fail, file=fail)
    register_logger(Working, figure=lambda logger, name, *_: logger.log.append((name,)))
    failing, working = Failing(), Working()
    with pytest.warns(UserWarning, match=r"Failing could not take 'a' \(ConnectionError: no route to host\)") as caught:
        publish([failing, working], STEP, figures={"a": figure, "b": figure}, files={"c": record})
    assert len(caught) == 1
    assert failing.log == [("a",), ("b",), ("c",)], "each item is tried, the client may recover"
    assert working.log == [("a",), ("b",)]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        publish([failing], STEP + 1, figures={"a": figure})
    with pytest.warns(UserWarning, match="Failing could not take"):
        publish([Failing()], STEP, figures={"a": figure})


def test_interrupts_are_not_swallowed(figure: Figure) -> None:
    class Interrupted(Recorder):
        pass

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    register_logger(Interrupted, figure=interrupt)
    with pytest.raises(KeyboardInterrupt):
        publish([Interrupted()], STEP, figures={"a": figure})


def test_log_figure_raises_what_the_client_raises(figure: Figure) -> None:
    class Failing(Recorder):
        pass

    register_logger(Failing, figure=lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        log_figure(Failing(), "a", figure, STEP)


@pytest.mark.parametrize("fails", [False, True])
def test_random_states_are_as_before(fails: bool, figure: Figure) -> None:
    class Drawing(Recorder):
        pass

    def draw(*_: object) -> None:
        random.random()
        np.random.rand()  # noqa: NPY002
        torch.rand(1)
        if fails:
            raise ValueError

    def state() -> list[object]:
        return [random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()]  # noqa: NPY002

    register_logger(Drawing, figure=draw)
    before = state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        publish([Drawing()], STEP, figures={"a": figure})
    assert state() == before
    draw_free = Drawing()
    with pytest.raises(ValueError) if fails else warnings.catch_warnings():  # noqa: PT011
        log_figure(draw_free, "a", figure, STEP)
    assert state() != before, "the handler does draw"


def test_figure_and_pyplot_are_untouched(tmp_path: Path, figure: Figure) -> None:
    canvas, settings = figure.canvas, dict(plt.rcParams)
    publish([TensorBoardLogger(tmp_path)], STEP, figures={"a": figure})
    assert figure.canvas is canvas
    assert figure.dpi == 50
    assert tuple(figure.get_size_inches()) == (3, 2)
    assert plt.get_fignums() == []
    assert dict(plt.rcParams) == settings


def test_other_ranks_publish_nothing(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(Recorder):
        pass

    register_logger(Own, figure=lambda logger, *args: logger.log.append(args))
    logger = Own()
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    publish([logger], STEP, figures={"a": figure})
    assert logger.log == []
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    publish([logger], STEP, figures={"a": figure})
    assert len(logger.log) == 1
