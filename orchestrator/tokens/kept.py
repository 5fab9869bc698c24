"""The tokens that one language needs, of a larger vocabulary: which they are, and how all others are spelled in them.

`vocabulary.json` says of which tokenizer they are kept; `kept.npy` holds their ids there, ascending: a kept token's own
id is its place among them. `spelled.npy` and `starts.npy` hold, one after the other, the own ids that each token of the
larger vocabulary stands for: a kept one for itself, another one for its parts.

Shape legend: V tokens of the larger vocabulary, K kept ones, N tokens of a text in the larger one, M in the own one.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.artifacts import write_json
from orchestrator.errors import ArtifactError
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.tokens.storage import damaged, read_array, read_json, write_array

ABOUT = "vocabulary.json"
_ARRAYS = ("kept", "starts", "spelled")
FILES = (ABOUT, *(f"{name}.npy" for name in _ARRAYS))
"""Of a vocabulary, in its artifact and in an expert's folder."""


@dataclass(frozen=True, eq=False)
class Kept:
    """A vocabulary cut to some of its tokens.

    Attributes:
        kept: their ids in the larger vocabulary, ascending, int64 [K].
        starts: where the spelling of each token of it begins, int64 [V+1].
        spelled: the spellings one after the other, own ids, int64.
        about: of which tokenizer, and what was kept why: what `vocabulary.json` says.
    """

    kept: np.ndarray
    starts: np.ndarray
    spelled: np.ndarray
    about: Mapping[str, Any]

    @classmethod
    def load(cls, folder: Path) -> Kept:
        """Read one that :meth:`save` wrote.

        Raises:
            ArtifactError: a file is missing or damaged.
        """
        about = read_json(folder / ABOUT, "vocabulary")
        kept, starts, spelled = (read_array(folder / f"{name}.npy", "vocabulary") for name in _ARRAYS)
        if not len(kept) or len(starts) <= kept[-1] or starts[-1] != len(spelled) or spelled.max() >= len(kept):
            raise damaged(folder / "kept.npy", "vocabulary", "its arrays don't fit together")
        return cls(kept.astype(np.int64), starts.astype(np.int64), spelled.astype(np.int64), about)

    def save(self, out: Path) -> None:
        """Write the files."""
        write_json(out / ABOUT, dict(self.about))
        for name in _ARRAYS:
            write_array(out / f"{name}.npy", getattr(self, name).astype(np.int32))

    @property
    def tokenizer(self) -> str:
        """SHA-256 of the `tokenizer.json` that it was cut from."""
        return str(self.about["tokenizer"])

    @property
    def size(self) -> int:
        """Tokens of the larger vocabulary, V."""
        return len(self.starts) - 1

    @property
    def has_rest(self) -> bool:
        """Whether a token was dropped."""
        return len(self.kept) < self.size

    @property
    def rows(self) -> int:
        """Rows of a model in training: one for each kept token, and one for all others together."""
        return len(self.kept) + self.has_rest

    @cached_property
    def places(self) -> np.ndarray:
        """Row in training of each token of the larger vocabulary, int64 [V]: the last for those that were dropped."""
        rows = np.full(self.size, len(self.kept), np.int64)
        rows[self.kept] = np.arange(len(self.kept))
        return rows

    def spell(self, ids_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A text in own tokens.

        Args:
            ids_N: its tokens in the larger vocabulary.

        Returns:
            Own ids, int64 [M], and which token each of them is of, int64 [M].
        """
        lengths = self.starts[ids_N + 1] - self.starts[ids_N]
        sources = np.repeat(np.arange(len(ids_N)), lengths)
        within = np.arange(len(sources)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return self.spelled[self.starts[ids_N][sources] + within], sources


class KeptBlocks(TokenBlocks):
    """Blocks in the rows of a cut vocabulary: a dropped token is the row of all of them.

    Attributes:
        kept: the vocabulary.
        vocabulary: its folder.
        vocab_size: its rows.
    """

    def __init__(self, folder: Path, split: str, vocabulary: Path) -> None:
        """Args as of :class:`TokenBlocks`, and the vocabulary's folder.

        Raises:
            ArtifactError: a file is missing or damaged, or the vocabulary was cut from another one.
        """
        super().__init__(folder, split)
        self.kept, self.vocabulary = Kept.load(vocabulary), vocabulary
        if self.kept.size != self.vocab_size:
            what = f"the vocabulary was cut from one of {self.kept.size:,} tokens, the blocks have {self.vocab_size:,}"
            raise ArtifactError(what, str(vocabulary), "cut it again: mome run RECIPE --force vocabulary")
        self.vocab_size = self.kept.rows

    def __reduce__(self) -> tuple[type[KeptBlocks], tuple[Path, str, Path]]:  # type: ignore[override]
        return type(self), (self.folder, self.split, self.vocabulary)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """See :meth:`TokenBlocks.gather`."""
        gathered: np.ndarray = self.kept.places[super().gather(rows)]
        return gathered

    def whole(self, rows: np.ndarray) -> np.ndarray:
        """As :meth:`gather`, in the larger vocabulary."""
        return super().gather(rows)

    def block(self, language: str, index: int) -> np.ndarray:
        """See :meth:`TokenBlocks.block`."""
        block: np.ndarray = self.kept.places[super().block(language, index)]
        return block


def vocabulary_of(folder: Path) -> Kept | None:
    """The cut vocabulary of an expert's folder; None: it has the whole one.

    Raises:
        ArtifactError: a file is damaged.
    """
    return Kept.load(folder) if (folder / ABOUT).is_file() else None


def copy_vocabulary(folder: Path, out: Path) -> None:
    """Put a vocabulary's files beside a model."""
    for name in FILES:
        shutil.copyfile(folder / name, out / name)
