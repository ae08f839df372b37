"""Text as sequences of characters, from one file."""

from __future__ import annotations

import hashlib
import urllib.request
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_landscape.data.splits import Batch, Split, SplitDataModule
from lightning_landscape.errors import RecordError

TINY_SHAKESPEARE = "tinyshakespeare.txt"
TINY_SHAKESPEARE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
TINY_SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


def download_tiny_shakespeare(path: Path) -> None:
    """Download Tiny Shakespeare, a million characters of plays, and check that they are the known ones.

    Args:
        path: The file to write; its folder is made if need be. Nothing is written unless all of it is right.

    Raises:
        RecordError: It cannot be downloaded or written, or is not what it was.
    """
    try:
        with urllib.request.urlopen(TINY_SHAKESPEARE_URL, timeout=60) as response:
            content: bytes = response.read()
        found = hashlib.sha256(content).hexdigest()
        if found != TINY_SHAKESPEARE_SHA256:
            raise RecordError(
                f"{TINY_SHAKESPEARE_URL} has changed (SHA-256 {found}, not {TINY_SHAKESPEARE_SHA256}): "
                f"put the text that you want at {path}"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise RecordError(f"cannot download {TINY_SHAKESPEARE_URL} to {path}: {error}") from error


class CharacterText(SplitDataModule):
    """Blocks of characters of one text, each with the characters that follow: the classes to predict.

    The first nine tenths of the text are for training, the first half of the last tenth for validation, the rest for
    testing. Each part is cut into blocks that do not overlap; what is left at its end is not used. Characters are
    numbered in the order of their code points, over the whole text. Inputs and labels are int64 ``[N, context]``, the
    labels one character later.

    Args:
        path: A UTF-8 file. One called ``tinyshakespeare.txt`` is downloaded where it is missing.
        context: Characters in a block.
        vocabulary: Different characters that the text may have, for which the network is made; 65 in Tiny Shakespeare.
        batch_size: Blocks in a training batch.
        evaluation_batch_size: Blocks in a batch of the other loaders.
    """

    def __init__(
        self,
        path: str | Path,
        context: int = 64,
        vocabulary: int = 65,
        batch_size: int = 32,
        evaluation_batch_size: int = 64,
    ) -> None:
        super().__init__(batch_size=batch_size, evaluation_batch_size=evaluation_batch_size)
        self.path = Path(path).expanduser()
        self.context = context
        self.vocabulary = vocabulary

    def prepare_data(self) -> None:
        """Download Tiny Shakespeare if it is wanted and missing. A trainer calls this, in one process of each machine.

        A failure is told as :func:`download_tiny_shakespeare` does.
        """
        if self.path.name == TINY_SHAKESPEARE and not self.path.exists():
            download_tiny_shakespeare(self.path)

    def read(self) -> dict[Split, Batch]:
        """Read the file and cut it into blocks.

        Raises:
            RecordError: The file cannot be read, has too many different characters, or is too short for a block in
                each split.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            hint = "call prepare_data() to download it" if self.path.name == TINY_SHAKESPEARE else "give another path"
            raise RecordError(f"{self.path} does not exist: {hint}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise RecordError(f"cannot read text from {self.path}: {error}") from error
        codes, inverse = np.unique(np.frombuffer(text.encode("utf-32-le"), dtype="<u4"), return_inverse=True)
        indices = torch.from_numpy(inverse.astype(np.int64))
        if len(codes) > self.vocabulary:
            raise RecordError(
                f"{self.path} has {len(codes)} different characters and vocabulary={self.vocabulary}: "
                f"give vocabulary={len(codes)}"
            )
        ends = 9 * len(text) // 10, 19 * len(text) // 20
        if len(text) - ends[1] <= self.context:
            raise RecordError(
                f"{self.path} has {len(text)} characters, too few for blocks of {self.context} in its last twentieth: "
                "give a longer text or a smaller context"
            )
        train, val, test = indices.tensor_split(ends)
        return {"train": self._blocks(train), "val": self._blocks(val), "test": self._blocks(test)}

    def _blocks(self, indices: Tensor) -> Batch:
        count = (len(indices) - 1) // self.context
        used = count * self.context
        return indices[:used].view(count, self.context), indices[1 : used + 1].view(count, self.context)
