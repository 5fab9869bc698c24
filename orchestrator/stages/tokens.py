"""Stage: the corpus as token ids."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.artifacts import write_json
from orchestrator.disk import disk_errors
from orchestrator.environment import Environment
from orchestrator.errors import CorpusError
from orchestrator.stages.base import Stage
from orchestrator.tokens.encoding import EncodedShard, Shard, encode_shard, shards_of
from orchestrator.tokens.packing import SHARE
from orchestrator.tokens.special import OURS, special_tokens
from orchestrator.tokens.storage import SPLITS, token_dtype, write_array
from orchestrator.tokens.tokenizer import (
    byte_lengths,
    character_lengths,
    load_tokenizer,
    prefix_bytes,
    vocabulary_size,
)
from orchestrator.tokens.works import document_works


class TokensStage(Stage):
    """Encodes every document; the files are the same however many workers encode.

    Writes `<split>/<language>.bin` (token ids of all documents in corpus order, no special tokens),
    `<split>/<language>.lengths.npy` (tokens of each document), `<split>/<language>.works.npy` (uint64, the work it is
    part of), `vocabulary.npy` (bytes and characters of each token id) and `tokens.json`.
    """

    languages: tuple[str, ...]
    """Languages of the corpus."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        """See :class:`~orchestrator.stages.base.Stage`.

        Raises:
            ArtifactError: the corpus is damaged.
            ResourceError: no disk space.
        """
        tokenizer = load_tokenizer(inputs["tokenizer"])
        shards = self._shards(inputs["corpus"])
        encoded = env.map(partial(encode_shard, tokenizer_folder=inputs["tokenizer"]), shards)
        splits: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
        progress = _Progress(env, len(shards))
        amounts, prefix = byte_lengths(tokenizer), prefix_bytes(tokenizer)
        with disk_errors(out):
            pairs = zip(shards, encoded, strict=True)
            for path, group in groupby(pairs, key=lambda pair: pair[0].path):
                target = out / path.parent.name / f"{path.stem}.bin"
                splits[path.parent.name][path.stem] = _write(
                    target, (each for _, each in group), progress, amounts, prefix
                )
                write_array(target.with_suffix(".works.npy"), document_works(path))
            write_array(out / "vocabulary.npy", np.stack([amounts, character_lengths(tokenizer)], axis=1))
            size, special = vocabulary_size(tokenizer), special_tokens(inputs["tokenizer"], tokenizer)
            about: dict[str, Any] = {"dtype": token_dtype(size).name, "vocab_size": size, "prefix_bytes": prefix}
            if (special.begin, special.end) != (OURS.begin, OURS.end):
                about |= {"begin": special.begin, "end": special.end}
            write_json(out / "tokens.json", {"languages": self.languages, **about, "splits": splits})

    def _shards(self, corpus: Path) -> list[Shard]:
        shards = []
        for split in SPLITS:
            for language in self.languages:
                path = corpus / split / f"{language}.parquet"
                found = shards_of(path)
                if not found:
                    raise CorpusError(
                        f"the {split} split of {language!r} has no documents",
                        where=str(path),
                        fix=f"give corpus.languages.{language} more documents, or raise corpus.splits.{split}",
                    )
                shards.extend(found)
        return shards


class _Progress:
    """A row of progress for each finished shard."""

    def __init__(self, env: Environment, steps: int) -> None:
        self._env, self._steps, self._step, self._tokens, self._began = env, steps, 0, 0, time.monotonic()

    def add(self, shard: EncodedShard) -> None:
        self._step += 1
        self._tokens += len(shard.ids)
        rate = self._tokens / max(time.monotonic() - self._began, 1e-9)
        row = {"step": self._step, "steps": self._steps, "tokens": self._tokens, "tokens_per_second": round(rate)}
        self._env.log(row)


def _write(
    path: Path, shards: Iterable[EncodedShard], progress: _Progress, amounts: np.ndarray, prefix: int
) -> dict[str, Any]:
    """Append the shards of one language and split to its stream, and count."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lengths, unknown, text, spelled = [], 0, 0, 0
    with path.open("wb") as file:
        for shard in shards:
            file.write(shard.ids.data)
            lengths.append(shard.lengths)
            unknown += shard.unknown
            text += shard.bytes
            spelled += int(amounts[shard.ids].sum())
            progress.add(shard)
    documents = np.concatenate(lengths)
    write_array(path.with_suffix(".lengths.npy"), documents)
    counts: dict[str, Any] = {"documents": len(documents), "tokens": int(documents.sum()), "unknown": unknown}
    kept = spelled == text + prefix * int(np.count_nonzero(documents))
    # Where the vocabulary lacks text, its bytes are not counted: they never were predicted.
    return counts if kept or unknown or not spelled else {**counts, SHARE: text / spelled}
