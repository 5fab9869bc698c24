"""Packed blocks of tokens, memory-mapped.

Each language and split is one stream of documents between special tokens, `<s> document </s> <s> document </s> …` with
a tokenizer that is trained here (see :mod:`orchestrator.tokens.packing`). Block i of context T is
`stream[i*T : i*T + T + 1]`: its first T tokens are inputs, its last T the labels, already shifted. Neighbouring blocks
share one token, so every token (but the first) is a target exactly once, and there is no padding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from orchestrator.errors import ArtifactError
from orchestrator.tokens.storage import check_stream, damaged, map_stream, read_array, read_json


def block_count(tokens: int, context: int) -> int:
    """Blocks in a stream of `tokens`; what is left over at its end (fewer than `context` tokens) is not used."""
    return max(tokens - 1, 0) // context


class TokenBlocks:
    """Blocks of one split, read on demand. Pickles as its folder's name, so workers map the files themselves.

    Attributes:
        folder: of the artifact.
        split: "train", "validation" or "test".
        languages: in the order that language indices of rows refer to.
        context: tokens of a block that a model sees, T.
        vocab_size: of the tokenizer.
    """

    def __init__(self, folder: Path, split: str) -> None:
        """Check the files' sizes; nothing is read yet.

        Raises:
            ArtifactError: a file is missing or damaged, or there is no such split.
        """
        self.folder, self.split = Path(folder), split
        about: dict[str, Any] = read_json(self.folder / "blocks.json", "blocks")
        if split not in about.get("splits", {}):
            known = ", ".join(about.get("splits", {}))
            raise ArtifactError(f"there is no split {split!r}", where=str(self.folder), fix=f"known splits: {known}")
        try:
            self.languages: tuple[str, ...] = tuple(about["languages"])
            self.context, self.vocab_size = int(about["context"]), int(about["vocab_size"])
            self._dtype = np.dtype(about["dtype"])
            counts = {language: about["splits"][split][language] for language in self.languages}
            tokens = {language: int(each["tokens"]) for language, each in counts.items()}
            self._shares = {language: float(each.get("text_share", 1.0)) for language, each in counts.items()}
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(self.folder / "blocks.json", "blocks", f"blocks.json lacks or garbles {error}") from None
        for language, count in tokens.items():
            check_stream(self._path(language), self._dtype, count, "blocks")
        self._counts = {language: block_count(count, self.context) for language, count in tokens.items()}
        self._mapped: dict[str, np.ndarray] = {}

    @classmethod
    def open(cls, folder: Path, split: str) -> TokenBlocks:
        """Open a split of the artifact in `folder`; see the constructor for errors."""
        return cls(folder, split)

    def __reduce__(self) -> tuple[type[TokenBlocks], tuple[Path, str]]:
        return type(self), (self.folder, self.split)

    def count(self, language: str) -> int:
        """Number of blocks of a language.

        Raises:
            ArtifactError: there is no such language.
        """
        self._check(language)
        return self._counts[language]

    def block(self, language: str, index: int) -> np.ndarray:
        """Block `index` of a language: a read-only view of the file, uint16 or uint32 [T+1].

        Raises:
            ArtifactError: there is no such language.
            IndexError: there is no such block.
        """
        self._check(language)
        block: np.ndarray = self._windows(language)[index]
        return block

    def works(self, language: str) -> np.ndarray:
        """The work that each block of a language is of, uint64 [blocks]: blocks of one work are no independent samples.

        Raises:
            ArtifactError: there is no such language, or the file is missing or damaged.
        """
        self._check(language)
        path = self._path(language).with_suffix(".works.npy")
        works = read_array(path, "blocks")
        if len(works) != self._counts[language]:
            raise damaged(path, "blocks", f"it is of {len(works):,} blocks instead of {self._counts[language]:,}")
        return works

    def text_share(self, language: str) -> float:
        """Bytes of a language's text over the bytes that its tokens stand for: 1.0 unless the tokenizer changes text.

        Raises:
            ArtifactError: there is no such language.
        """
        self._check(language)
        return self._shares[language]

    def digest(self, language: str) -> str:
        """Checksum (XXH3) of a language's whole stream.

        Raises:
            ArtifactError: there is no such language.
        """
        self._check(language)
        return xxhash.xxh3_128_hexdigest(map_stream(self._path(language), self._dtype).tobytes())

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Blocks by (language index, block index).

        Args:
            rows: int64 [B, 2].

        Returns:
            int64 [B, T+1]: inputs are `[:, :-1]`, labels `[:, 1:]`.

        Raises:
            IndexError: there is no such language or block.
        """
        out = np.empty((len(rows), self.context + 1), dtype=np.int64)
        for index in np.unique(rows[:, 0]):
            where = rows[:, 0] == index
            out[where] = self._windows(self.languages[index])[rows[where, 1]]
        return out

    def _windows(self, language: str) -> np.ndarray:
        """The blocks of a language as overlapping windows of its stream [blocks, T+1]; mapped once, read on access."""
        if language not in self._mapped:
            stream = map_stream(self._path(language), self._dtype)
            windows = np.empty((0, self.context + 1), self._dtype)
            if self._counts[language]:
                windows = np.lib.stride_tricks.sliding_window_view(stream, self.context + 1)[:: self.context]
            self._mapped[language] = windows
        return self._mapped[language]

    def _path(self, language: str) -> Path:
        return self.folder / self.split / f"{language}.bin"

    def _check(self, language: str) -> None:
        if language not in self._counts:
            known = ", ".join(self.languages)
            raise ArtifactError(f"there are no blocks of {language!r}", where=str(self.folder), fix=f"known: {known}")
