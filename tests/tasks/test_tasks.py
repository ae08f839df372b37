"""Every mode of the command on a tiny network, and every configuration that is shipped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from lightning_landscape import LandscapeError, Surface, Trajectory
from lightning_landscape.tasks import TASKS, plan
from lightning_landscape.tasks.build import build_module

CONF = Path(__file__).parents[2] / "conf"
TINY = [
    "model=mlp",
    "model.hidden=[4]",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=3",
    "trainer.limit_train_batches=3",
    "trainer.limit_val_batches=1",
    "trainer.enable_progress_bar=false",
    "trainer.log_every_n_steps=1",
    "curve.count=3",
    "curve.examples=32",
]
CALLBACKS = ["random", "principal"]
SMALL = [f"callbacks.{name}.{option}" for name in CALLBACKS for option in ("resolution=3", "examples=32")]


def configuration(folder: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [f"output_dir={folder}", *overrides])


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("name", sorted({*options("model")} - {"transformer"}))
@pytest.mark.parametrize("data", ["digits", "cifar10"])
def test_every_network_fits_the_images_of_every_data_set(tmp_path: Path, name: str, data: str) -> None:
    cfg = configuration(tmp_path, f"model={name}", f"data={data}")
    network = instantiate(cfg.model, _convert_="all").eval()
    size = cfg.images.size
    with torch.no_grad():
        assert network(torch.zeros(2, cfg.images.channels, size, size)).shape == (2, cfg.images.classes)


@pytest.mark.parametrize("name", options("data"))
def test_every_data_module_is_made(tmp_path: Path, name: str) -> None:
    more = ["data.train=a.npz", "data.test=b.npz"] if name == "npz" else []
    assert instantiate(configuration(tmp_path, f"data={name}", *more).data, _convert_="all").batch_size > 0


@pytest.mark.parametrize("name", options("callbacks"))
def test_every_group_of_callbacks_is_made(tmp_path: Path, name: str) -> None:
    cfg = configuration(tmp_path, f"callbacks={name}")
    assert len(instantiate(cfg.callbacks, _convert_="all")) == len(cfg.callbacks)


@pytest.mark.parametrize("name", options("logger"))
def test_every_logger_names_arguments_that_its_class_has(tmp_path: Path, name: str) -> None:
    import inspect

    from hydra.utils import get_class

    for logger in configuration(tmp_path, f"logger={name}").logger.values():
        arguments = {key for key in logger if not key.startswith("_")}
        parameters = inspect.signature(get_class(logger["_target_"])).parameters
        open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        assert arguments <= parameters.keys() or open_ended


@pytest.mark.parametrize("name", options("experiment"))
def test_every_experiment_composes(tmp_path: Path, name: str) -> None:
    cfg = configuration(tmp_path, f"experiment={name}", "++nets=/somewhere")
    assert cfg.mode in TASKS
    for run in cfg.runs:
        assert build_module_of(cfg, run) is not None


def build_module_of(cfg: DictConfig, run: str) -> Any:
    from omegaconf import OmegaConf

    merged = OmegaConf.merge(cfg, cfg.runs[run])
    assert isinstance(merged, DictConfig)
    merged.weights = None
    return build_module(merged)


def test_train_surface_interpolate_and_plot(tmp_path: Path) -> None:
    """A checkpoint of one training is drawn again, interpolated with another, and its record plotted."""
    trained = []
    for seed in (1, 2):
        cfg = configuration(tmp_path / f"seed{seed}", "mode=train", f"seed={seed}", "logger=csv", *TINY, *SMALL)
        random, principal = TASKS["train"](cfg)
        assert Surface.load(random).complete
        assert Surface.load(principal).path is not None
        trained.append(tmp_path / f"seed{seed}/run/checkpoints/last.ckpt")

    again = ["callbacks=surface", "callbacks.random.resolution=3", "callbacks.random.examples=32"]
    (record,) = TASKS["surface"](
        configuration(tmp_path / "again", f"weights={trained[0]}", "logger=none", *TINY, *again)
    )
    first = next((tmp_path / "seed1/run/landscape").glob("random-*.h5"))
    np.testing.assert_array_equal(Surface.load(record)["loss"], Surface.load(first)["loss"])

    (line,) = TASKS["interpolate"](
        configuration(tmp_path / "line", f"checkpoints=[{trained[0]},{trained[1]}]", "curve.start=0.0", *TINY)
    )
    between = Surface.load(line)
    assert {"train/loss", "test/loss", "train/accuracy", "test/accuracy"} <= set(between.names)
    assert line.with_suffix(".png").exists()

    pictures = TASKS["plot"](configuration(tmp_path / "plots", f"record={record}"))
    assert [path.suffix for path in pictures] == [".png", ".png", ".png", ".html"]
    assert all(path.stat().st_size > 10_000 for path in pictures)


def test_compare_writes_one_page_over_all_runs(tmp_path: Path) -> None:
    runs = ["~experiment", "+runs.narrow.model.hidden=[2]", "+runs.wide.model.hidden=[8]"]
    written = TASKS["compare"](configuration(tmp_path, *TINY, *SMALL, *runs))
    page = written[0].read_text()
    assert written[0].name == "report.html"
    for words in ("narrow", "wide", "data:image/png;base64"):
        assert words in page
    assert "http://" not in page.split("<script")[0]
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"random-contours.png", "random-surfaces.png", "curves.png"} <= names
    assert any(name.startswith("wide/events.out.tfevents") for name in names)
    assert "narrow/landscape/trajectory.h5" in names


FEW = [option for option in TINY if not option.startswith("model")]


def test_texts_are_compared(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("to be or not to be\n" * 60, encoding="utf-8")
    text = [f"data.path={tmp_path}/lines.txt", "text.vocabulary=8", "text.context=8", "model.width=8"]
    more = [*text, "callbacks.trajectory.every_n_steps=1", "jobs=1"]
    written = TASKS["compare"](configuration(tmp_path / "out", "experiment=transformer", *FEW, *SMALL, *more))
    assert written[0].name == "report.html"
    for name in ("with-shortcuts", "without-shortcuts"):
        curve = Surface.load(tmp_path / "out" / name / "landscape" / "curve.h5")
        assert curve.complete
        assert {"train/loss", "test/loss", "test/accuracy"} <= set(curve.names)
        (principal,) = (tmp_path / "out" / name / "landscape").glob("pca-*.h5")
        assert Surface.load(principal).path is not None


def test_regressions_are_compared_by_their_loss_alone(tmp_path: Path) -> None:
    small = ["model.hidden=[4]", "jobs=1"]
    written = TASKS["compare"](configuration(tmp_path, "experiment=tabular", *FEW, *SMALL, *small))
    assert written[0].name == "report.html"
    for name in ("plain", "BatchNorm"):
        curve = Surface.load(tmp_path / name / "landscape" / "curve.h5")
        assert curve.complete
        assert not any("accuracy" in channel for channel in curve.names)
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_data_without_loaders_to_evaluate_are_refused_before_training(tmp_path: Path) -> None:
    cfg = configuration(tmp_path, *TINY, "~experiment", "+runs.one.seed=1", "jobs=1")
    cfg.data = {"_target_": "lightning_landscape.data.GaussianRing"}
    with pytest.raises(LandscapeError, match=r"GaussianRing has no evaluation_dataloader\(split\): define it"):
        TASKS["compare"](cfg)


def test_paths_of_several_optimizers_on_one_surface(tmp_path: Path) -> None:
    few = [*TINY, "surface.resolution=3", "surface.examples=32", "callbacks.trajectory.every_n_steps=1"]
    figure, record, *trajectories = TASKS["paths"](configuration(tmp_path, "experiment=optimizers", *few))
    assert figure.stat().st_size > 10_000
    surface = Surface.load(record)
    assert surface.complete
    assert surface.attrs["kind"] == "principal"
    starts = []
    for path in trajectories:
        with Trajectory.load(path) as trajectory:
            assert len(trajectory) == 10
            starts.append(trajectory[0])
    assert len(starts) == 4
    for start in starts[1:]:
        assert all(torch.equal(start[name], tensor) for name, tensor in starts[0].items())


def test_paths_from_different_starts_are_refused(tmp_path: Path) -> None:
    few = [*TINY, "+runs.Adam.seed=2", "~runs.RMSprop", "~runs.momentum"]
    with pytest.raises(LandscapeError, match="run 'Adam' starts from other weights than the first"):
        TASKS["paths"](configuration(tmp_path, "experiment=optimizers", *few))


def test_scale_invariance_is_exact_along_normalised_directions_alone(tmp_path: Path) -> None:
    few = [option for option in TINY if not option.startswith("model")]
    report, *written = TASKS["scale_invariance"](configuration(tmp_path, "experiment=scale_invariance", *few))
    found = json.loads(report.read_text())
    assert found.keys() == {"batch_norm", "pairs"}
    for differences in found.values():
        assert differences["rescaled, filter-normalised"] < 1e-5
        assert differences["rescaled, same direction"] > 0.1
    assert [path.suffix for path in written] == [".png", ".h5", ".h5", ".h5"] * 2
    assert all(path.exists() for path in written)
    wrong = ["experiment=scale_invariance", "runs.pairs.rescaling.kind=size", "~runs.batch_norm"]
    cfg = configuration(tmp_path, *wrong, *few)
    with pytest.raises(LandscapeError, match=r"rescaling\.kind=size is unknown: choose one of batch_norm, pairs"):
        TASKS["scale_invariance"](cfg)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["mode=surface"], "weights="),
        (["mode=interpolate"], "two checkpoints"),
        (["mode=plot"], "record="),
        (["~experiment"], "needs runs"),
    ],
)
def test_a_mode_without_its_argument_says_what_to_give(tmp_path: Path, overrides: list[str], words: str) -> None:
    cfg = configuration(tmp_path, *overrides)
    with pytest.raises(LandscapeError, match=words):
        TASKS[cfg.mode](cfg)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["experiment=depth", "size=large"], "size=large: give either size=small or size=paper"),
        (["mode=nonsense"], "mode=nonsense is unknown: choose one of compare"),
        (["mode=plot", "record=missing.h5"], "missing.h5"),
        (["mode=train", "callbacks=surface", "callbacks.random.resolution=0"], "resolution=0"),
    ],
)
def test_the_command_ends_with_one_sentence(tmp_path: Path, arguments: list[str], words: str) -> None:
    command = [sys.executable, "-m", "lightning_landscape.app", f"hydra.run.dir={tmp_path}", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=200)
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith("lightning-landscape: ")
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_the_plan_of_a_job_is_printed_and_nothing_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each surface and curve of each run, with every choice of examples and the configured one marked."""
    tiny = ["model.depth=8", "model.width=2", *(option for option in TINY if not option.startswith("model"))]
    cfg = configuration(tmp_path, *tiny, "plan=true", "callbacks.random.resolution=9", "callbacks.random.examples=32")
    assert plan(cfg) == []
    text = capsys.readouterr().out
    for name in ("plain: random: 9 x 9 points", "shortcuts: pca: 17 x 17 points", "shortcuts: curve: 3 points"):
        assert name in text
    lines = text.splitlines()
    head = lines[1].split()
    assert head[:2] == ["examples", "at"]
    assert "64 devices" in lines[1]
    configured, everything = lines[2], lines[3]
    assert configured.split()[:2] == ["32", "(configured)"]
    assert "% of the range" in configured
    assert everything.split()[0] == "all"
    assert "1,280" in everything
    assert not list(tmp_path.rglob("*.h5"))


@pytest.mark.parametrize("mode", ["train", "interpolate"])
def test_other_modes_are_planned_too(tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str) -> None:
    more = ["callbacks=surface", "callbacks.random.resolution=3"] if mode == "train" else []
    plan(configuration(tmp_path, *TINY, f"mode={mode}", "~experiment", *more))
    assert ("random: 3 x 3 points" if mode == "train" else "interpolation: 3 points") in capsys.readouterr().out


def test_a_plan_needs_a_mode_with_surfaces(tmp_path: Path) -> None:
    with pytest.raises(LandscapeError, match="mode=plot computes none"):
        plan(configuration(tmp_path, "mode=plot"))
