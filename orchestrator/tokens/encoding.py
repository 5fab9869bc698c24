"""Documents to token ids, a row group of the corpus at a time, and the artifact that holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from orchestrator.tokens.sampling import read_texts
from orchestrator.tokens.special import OURS, special_tokens
from orchestrator.tokens.storage import check_stream, damaged, map_stream, read_array, read_json, token_dtype
from orchestrator.tokens.tokenizer import encode, load_tokenizer, vocabulary_size

_ROWS = 64  # documents read at once
_CHARACTERS = 2_000_000  # text encoded at once; the tokenizer's own records take about 150 bytes a token


@dataclass(frozen=True)
class Shard:
    """A row group of one Parquet file of the corpus: the unit of parallel work."""

    path: Path
    row_group: int


@dataclass(frozen=True)
class EncodedShard:
    """A shard's documents as token ids.

    Attributes:
        ids: of all documents, one after the other, uint16 or uint32 [tokens].
        lengths: tokens of each document, int64 [documents].
        unknown: how many of the ids are `<unk>`: text that the tokenizer lost.
        bytes: of the documents' text in UTF-8.
    """

    ids: np.ndarray
    lengths: np.ndarray
    unknown: int
    bytes: int


def shards_of(path: Path) -> list[Shard]:
    """The row groups of a Parquet file of the corpus, in order; none where it has no documents.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    try:
        about = pq.read_metadata(path)
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, "corpus", f"{path.name} can't be read ({type(error).__name__})") from None
    return [Shard(path, group) for group in range(about.num_row_groups) if about.row_group(group).num_rows]


def encode_shard(shard: Shard, tokenizer_folder: Path) -> EncodedShard:
    """Encode the documents of a shard. Runs in worker processes; memory is bounded by the shard's token ids.

    Raises:
        ArtifactError: the corpus is damaged.
        TokenizerError: the tokenizer can't be read.
    """
    modified = (tokenizer_folder / "tokenizer.json").stat().st_mtime_ns
    tokenizer, unknown, dtype = _cached_tokenizer(tokenizer_folder, modified)
    ids = [np.empty(0, dtype)]
    lengths: list[int] = []
    size = 0
    for texts in _batches(shard):
        documents = encode(tokenizer, texts, dtype)
        lengths.extend(map(len, documents))
        ids.append(np.concatenate(documents))
        size += sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    flat = np.concatenate(ids)
    lost = 0 if unknown is None else int(np.count_nonzero(flat == unknown))
    return EncodedShard(flat, np.array(lengths, dtype=np.int64), lost, size)


@lru_cache(maxsize=2)
def _cached_tokenizer(folder: Path, modified_ns: int) -> tuple[Tokenizer, int | None, np.dtype[Any]]:  # noqa: ARG001 (part of the key)
    """Tokenizer, id of its `<unk>`, type of its ids."""
    tokenizer = load_tokenizer(folder)
    return tokenizer, special_tokens(folder, tokenizer).unk, token_dtype(vocabulary_size(tokenizer))


def _batches(shard: Shard) -> Iterator[list[str]]:
    """Lists of documents with about `_CHARACTERS` of text, so that documents of any size fit in memory."""
    batch: list[str] = []
    characters = 0
    for texts in read_texts(shard.path, [shard.row_group], _ROWS):
        for text in texts:
            batch.append(text)
            characters += len(text)
            if characters >= _CHARACTERS:
                yield batch
                batch, characters = [], 0
    if batch:
        yield batch


class EncodedCorpus:
    """The artifact of the stage `tokens`: all documents as token ids, in the order of the corpus.

    Attributes:
        languages: in the order of the recipe.
        vocab_size: of the tokenizer.
        dtype: of the token ids, uint16 or uint32.
        prefix_bytes: bytes that the tokenizer puts in front of each document.
        begin, end: ids around each document in packed blocks.
    """

    def __init__(self, folder: Path) -> None:
        """Open the artifact's folder.

        Raises:
            ArtifactError: a file is missing or damaged.
        """
        self.folder = folder
        about: dict[str, Any] = read_json(folder / "tokens.json", "tokens")
        try:
            self.languages = tuple(about["languages"])
            self.vocab_size = int(about["vocab_size"])
            self.prefix_bytes = int(about["prefix_bytes"])
            self.begin = tuple(int(token) for token in about.get("begin", OURS.begin))
            self.end = tuple(int(token) for token in about.get("end", OURS.end))
            self._splits: dict[str, dict[str, dict[str, Any]]] = about["splits"]
            self.dtype = np.dtype(about["dtype"])
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(folder / "tokens.json", "tokens", f"tokens.json lacks or garbles {error}") from None

    def lengths(self, split: str, language: str) -> np.ndarray:
        """Tokens of each document, int64 [documents].

        Raises:
            ArtifactError: the file is missing or damaged, or disagrees with the token ids.
        """
        path = self.folder / split / f"{language}.lengths.npy"
        lengths = read_array(path, "tokens")
        expected = self._splits.get(split, {}).get(language, {}).get("tokens")
        if int(lengths.sum()) != expected:
            raise damaged(path, "tokens", f"documents of {int(lengths.sum()):,} tokens, tokens.json says {expected}")
        check_stream(self._stream(split, language), self.dtype, expected, "tokens")
        return lengths

    @property
    def delimiters(self) -> int:
        """Tokens around each document in packed blocks."""
        return len(self.begin) + len(self.end)

    def text_share(self, split: str, language: str) -> float:
        """Bytes of the documents' text over the bytes that their tokens stand for.

        1.0 where the tokenizer keeps text as it is; others write a space in front, or compose and replace characters.
        """
        counts: Mapping[str, Any] = self._splits[split][language]
        return float(counts.get("text_share", 1.0))

    def works(self, split: str, language: str) -> np.ndarray:
        """Hash of the work that each document is part of, uint64 [documents].

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        return read_array(self.folder / split / f"{language}.works.npy", "tokens")

    def ids(self, split: str, language: str) -> np.ndarray:
        """Token ids of all documents one after the other, memory-mapped [tokens]."""
        return map_stream(self._stream(split, language), self.dtype)

    def vocabulary(self) -> np.ndarray:
        """UTF-8 bytes and characters of each token id, int64 [V, 2].

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        return read_array(self.folder / "vocabulary.npy", "tokens")

    def _stream(self, split: str, language: str) -> Path:
        return self.folder / split / f"{language}.bin"
