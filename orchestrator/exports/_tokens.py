"""Exported tokenizers, for tools that take ids: read as their users read them, by the package tokenizers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.tokens.tokenizer import FILES


def copy_tokenizer_files(folder: Path, out: Path) -> None:
    """Put a tokenizer's files beside a model."""
    for name in FILES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)


class ReadTokens:
    """What an exported folder says of its tokenizer.

    Attributes:
        end: id of the end token.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        names = json.loads((folder / "special_tokens_map.json").read_text(encoding="utf-8"))
        tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.encode_special_tokens = True
        self._tokenizer, self.end = tokenizer, int(tokenizer.token_to_id(names["eos_token"]))

    def encode(self, text: str) -> list[int]:
        """See :class:`orchestrator.exports._check.Opened`."""
        return [int(token) for token in self._tokenizer.encode(text).ids]

    def tokens_of(self, ids: Sequence[int]) -> list[str]:
        """Ids as the vocabulary writes them."""
        return [str(self._tokenizer.id_to_token(int(token))) for token in ids]
