"""Tokenizers some of whose ids have no token: their tokens are numbered anew, one after the other.

A row that stands for nothing has a probability like any other: a teacher would hand it on, and whatever samples would
choose it. Rows behind the last token are simply cut; those between others are cut here.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np

from orchestrator.errors import TokenizerError
from orchestrator.tokens.tokenizer import load_tokenizer, take_tokenizer, tokenizer_file
from orchestrator.tokens.trimming import Trimming


def held_ids(folder: Path) -> np.ndarray:
    """Ids that have a token in a tokenizer's folder, ascending, int64 [K]; a token's place there is its closed id.

    Raises:
        TokenizerError: there is no tokenizer, it can't be read, or the package tokenizers numbers its added tokens
            otherwise than the file does, over others.
    """
    file = tokenizer_file(folder)
    return _held(file, file.stat().st_mtime_ns)


def has_gaps(folder: Path) -> bool:
    """Whether an id before the last has no token.

    Raises:
        TokenizerError: see :func:`held_ids`.
    """
    held = held_ids(folder)
    return len(held) > 0 and int(held[-1]) >= len(held)


def take_closed(folder: Path, out: Path) -> None:
    """Copy a tokenizer's files; where ids have gaps, with its tokens numbered anew.

    Raises:
        TokenizerError: there is none, or one with gaps is of a kind that can't be written anew.
    """
    if not has_gaps(folder):
        take_tokenizer(folder, out)
        return
    try:
        Trimming(folder).write(held_ids(folder), out)
    except TokenizerError as error:
        what = f"ids of this tokenizer have no token, and it can't be numbered anew: {error.what}"
        raise TokenizerError(what, str(folder), "take another tokenizer") from None


@lru_cache(maxsize=8)
def _held(file: Path, modified_ns: int) -> np.ndarray:  # noqa: ARG001 (part of the key)
    tokenizer = load_tokenizer(file.parent)
    known = tokenizer.get_vocab(with_added_tokens=True)
    for entry in json.loads(file.read_text(encoding="utf-8")).get("added_tokens") or []:
        if (read := known.get(entry["content"])) != entry["id"]:
            what = f"the file has {entry['content']!r} as {entry['id']}, and the package tokenizers reads it as {read}"
            fix = "write it into model.vocab too, with its id, or save the tokenizer again with the package tokenizers"
            raise TokenizerError(what, str(file), fix)
    return np.array(sorted(set(known.values())), np.int64)
