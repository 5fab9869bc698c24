"""Exported tokenizers, for tools that take ids: read as their users read them, by the package tokenizers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.artifacts import write_json
from orchestrator.exports._roles import as_trained, names_of
from orchestrator.exports._source import Expert
from orchestrator.tokens.special import GENERATION
from orchestrator.tokens.tokenizer import FILES
from serve.text import Tokenizer


def copy_tokenizer_files(folder: Path, out: Path) -> None:
    """Put a tokenizer's files beside a model; they encode a text as the expert was trained (see :func:`as_trained`)."""
    for name in FILES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    file, config, names = (out / name for name in FILES[:3])
    description = json.loads(file.read_text(encoding="utf-8"))
    known = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    if as_trained(description, known, Tokenizer(folder)):
        file.write_text(json.dumps(description, ensure_ascii=False, indent=1), encoding="utf-8")
        write_json(config, known)
    if not names.is_file():
        write_json(names, names_of(known))


def write_generation(expert: Expert, out: Path) -> None:
    """Write `generation_config.json`: a teacher's tokenizer may have several tokens that end an answer, and the other
    files name one.
    """
    special = expert.tokenizer.special
    first = special.bos if special.bos is not None or not special.begin else special.begin[0]
    write_json(out / GENERATION, {"bos_token_id": first, "eos_token_id": list(special.eos) or None})


class ReadTokens:
    """What an exported folder says of its tokenizer.

    Attributes:
        ends: ids of the tokens that end an answer.
    """

    def __init__(self, folder: Path) -> None:
        import tokenizers

        told = json.loads((folder / GENERATION).read_text(encoding="utf-8"))
        tokenizer: Any = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.encode_special_tokens = True
        self._tokenizer, self.ends = tokenizer, [int(token) for token in told["eos_token_id"] or ()]

    def encode(self, text: str) -> list[int]:
        """See :class:`orchestrator.exports._check.Opened`."""
        return [int(token) for token in self._tokenizer.encode(text).ids]

    def tokens_of(self, ids: Sequence[int]) -> list[str]:
        """Ids as the vocabulary writes them."""
        return [str(self._tokenizer.id_to_token(int(token))) for token in ids]
