"""Text to tokens and back: special tokens in a prompt are text, and answers never end in half a character."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as FastTokenizer

from orchestrator.errors import TokenizerError

BEGIN, END = "<s>", "</s>"
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE = "\u2581"


class Tokenizer:
    """A run's tokenizer.

    Attributes:
        begin, end: ids of <s> and </s>. bytes: the bytes that each id stands for; none for special tokens.
    """

    def __init__(self, fast: FastTokenizer) -> None:
        fast.encode_special_tokens = True  # "</s>" in a prompt is four characters, not the end of a document
        fast.no_truncation()
        fast.no_padding()
        self._fast = fast
        self.begin, self.end = (_special(fast, token) for token in (BEGIN, END))
        self.bytes = _token_bytes(fast)

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read `tokenizer.json`.

        Raises:
            TokenizerError: it is missing, damaged, or has no <s> and </s>.
        """
        path = folder / "tokenizer.json"
        try:
            fast = FastTokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # the library raises nothing narrower
            raise TokenizerError(
                f"the tokenizer can't be read: {error}", str(path), "run the tokenizer stage again"
            ) from None
        return cls(fast)

    def encode(self, text: str) -> list[int]:
        """Ids of the text alone, without <s> and </s>: what routers read."""
        ids: list[int] = self._fast.encode(text, add_special_tokens=False).ids
        return ids

    def encode_prompt(self, text: str) -> list[int]:
        """Ids of a text to be continued: <s>, then the text, as in the packed blocks of training."""
        return [self.begin, *self.encode(text)]


class Detokenizer:
    """Generated ids to text, one at a time.

    A character whose bytes are not all there yet is held back, so joined pieces are valid text at every moment; bytes
    that can't become a character turn into U+FFFD.
    """

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The text that this token completes; "" while a character is incomplete."""
        return self._decoder.decode(self._bytes[token])


def _special(fast: FastTokenizer, token: str) -> int:
    found: int | None = fast.token_to_id(token)
    if found is None:
        raise TokenizerError(f"the tokenizer has no {token}", fix="use a tokenizer with <unk>, <s> and </s>")
    return found


def _token_bytes(fast: FastTokenizer) -> tuple[bytes, ...]:
    """Bytes of every id, for byte-level BPE (GPT-2) and for BPE with byte fallback (Llama)."""
    byte_level = "ByteLevel" in set(_types(json.loads(fast.to_str()).get("decoder")))
    alphabet = _byte_level_alphabet()
    added = fast.get_added_tokens_decoder()

    def one(index: int) -> bytes:
        if index in added:
            return b"" if added[index].special else str(added[index].content).encode()
        token: str = fast.id_to_token(index) or ""
        if byte_level:
            return bytes(alphabet[character] for character in token)
        if match := _BYTE_TOKEN.fullmatch(token):
            return bytes([int(match[1], 16)])
        return token.replace(_SPACE, " ").encode()

    return tuple(one(index) for index in range(1 + max(fast.get_vocab(with_added_tokens=True).values())))


def _types(decoder: Any) -> Iterator[str]:
    if decoder:
        yield decoder["type"]
        for part in decoder.get("decoders", ()):
            yield from _types(part)


def _byte_level_alphabet() -> dict[str, int]:
    """Character -> byte of byte-level BPE: printable bytes are themselves, the others U+0100 and up, in order."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}
