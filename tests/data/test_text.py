"""Characters of a text: blocks, splits, and the file, which no test downloads."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from lightning_landscape.data import CharacterText
from lightning_landscape.data import text as module
from lightning_landscape.errors import RecordError

# 400 characters, seven different ones
LINES = "abcdef\n" * 57 + "a"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "lines.txt").write_text(LINES, encoding="utf-8")
    return tmp_path / "lines.txt"


def test_blocks_follow_each_other_and_labels_are_one_character_ahead(path: Path) -> None:
    data = CharacterText(path, context=5, vocabulary=7)
    codes = torch.tensor([sorted(set(LINES)).index(character) for character in LINES])
    starts = {"train": (0, 360), "val": (360, 380), "test": (380, 400)}
    for split, (start, stop) in starts.items():
        inputs, labels = data.examples(split)
        assert inputs.shape == labels.shape == ((stop - start - 1) // 5, 5)
        assert torch.equal(inputs.flatten(), codes[start : start + inputs.numel()])
        assert torch.equal(labels.flatten(), codes[start + 1 : start + 1 + labels.numel()])


def test_a_batch_is_what_a_network_with_cross_entropy_takes(path: Path) -> None:
    inputs, labels = next(iter(CharacterText(path, context=5, vocabulary=7, batch_size=3).train_dataloader()))
    assert (inputs.shape, labels.shape) == ((3, 5), (3, 5))
    assert inputs.dtype == labels.dtype == torch.int64


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"vocabulary": 6}, "has 7 different characters and vocabulary=6: give vocabulary=7"),
        ({"context": 20}, "too few for blocks of 20 in its last twentieth"),
    ],
)
def test_a_text_that_does_not_fit_is_refused(path: Path, arguments: dict[str, int], sentence: str) -> None:
    with pytest.raises(RecordError, match=sentence):
        CharacterText(path, **{"context": 5, "vocabulary": 7} | arguments).setup()


def test_a_missing_text_is_not_replaced_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.urllib.request, "urlopen", None)
    data = CharacterText(tmp_path / "mine.txt")
    data.prepare_data()
    with pytest.raises(RecordError, match=r"mine.txt does not exist: give another path"):
        data.setup()
    with pytest.raises(RecordError, match=r"does not exist: call prepare_data\(\)"):
        CharacterText(tmp_path / "tinyshakespeare.txt").setup()


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "noise.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(RecordError, match="cannot read text from"):
        CharacterText(tmp_path / "noise.txt").setup()


def serve(monkeypatch: pytest.MonkeyPatch, content: bytes | Exception) -> list[str]:
    asked: list[str] = []

    def urlopen(url: str, timeout: float) -> io.BytesIO:
        asked.append(url)
        if isinstance(content, Exception):
            raise content
        return io.BytesIO(content)

    monkeypatch.setattr(module.urllib.request, "urlopen", urlopen)
    return asked


def test_tiny_shakespeare_is_downloaded_once_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = serve(monkeypatch, LINES.encode())
    monkeypatch.setattr(module, "TINY_SHAKESPEARE_SHA256", hashlib.sha256(LINES.encode()).hexdigest())
    data = CharacterText(tmp_path / "new" / "tinyshakespeare.txt", context=5)
    data.prepare_data()
    data.prepare_data()
    assert asked == [module.TINY_SHAKESPEARE_URL]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["tinyshakespeare.txt"]
    assert len(data.dataset("train")) == 71  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"something else", "has changed"), (URLError("no route"), "cannot download .*no route")]
)
def test_another_content_or_no_network_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | Exception, sentence: str
) -> None:
    serve(monkeypatch, content)
    with pytest.raises(RecordError, match=sentence):
        CharacterText(tmp_path / "tinyshakespeare.txt").prepare_data()
    assert not list(tmp_path.iterdir())


def test_the_known_text(shared: Path) -> None:
    path = shared / "text" / "tinyshakespeare.txt"
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == module.TINY_SHAKESPEARE_SHA256
    data = CharacterText(path)
    assert [len(data.examples(split)[0]) for split in ("train", "val", "test")] == [15685, 871, 871]
    assert data.examples("train")[0].max() == 64
