"""Log-probabilities of tokens as OpenAI's two interfaces write them."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from typing import Any

from serve.messages import TokenLogprob


class CompletionLogprobs:
    """Of one answer, a part at a time: the place of each token in the text goes on from part to part.

    Args:
        special: texts of special tokens by their ids.
    """

    def __init__(self, special: Mapping[int, str]) -> None:
        self._special, self._at = special, 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def part(self, found: Sequence[TokenLogprob]) -> dict[str, Any]:
        """As :class:`serve.api.schemas.Logprobs`; the token itself is among its alternatives, as with OpenAI."""
        offsets = []
        for token in found:
            begins, self._at = self._at, self._at + len(self._decoder.decode(token.piece))
            # Bytes before it that became no character are told with it, and lie before it.
            offsets.append(begins if _broken(token) else self._at - len(token.piece.decode()))
        return {
            "tokens": [_name(token, self._special) for token in found],
            "token_logprobs": [token.logprob for token in found],
            "top_logprobs": [_alternatives(token, self._special) for token in found],
            "text_offset": offsets,
        }


def chat_logprobs(found: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    """Of tokens that have text: the end token is none of the answer's."""
    return [{**_entry(token), "top_logprobs": [_entry(other) for other in token.top]} for token in found if token.piece]


def _entry(token: TokenLogprob) -> dict[str, Any]:
    text = token.piece.decode("utf-8", "replace") if token.piece else f"token_id:{token.token}"
    return {"token": text, "logprob": token.logprob, "bytes": list(token.piece)}


def _alternatives(token: TokenLogprob, special: Mapping[int, str]) -> dict[str, float | None] | None:
    if token.logprob is None:
        return None
    found = {_name(other, special): other.logprob for other in token.top}
    return found if (own := _name(token, special)) in found else {**found, own: token.logprob}


def _name(token: TokenLogprob, special: Mapping[int, str]) -> str:
    """Its text; where its bytes are no whole characters, those, as OpenAI writes them."""
    if not token.piece:
        return special.get(token.token, f"token_id:{token.token}")
    if _broken(token):
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token.piece)
    return token.piece.decode()


def _broken(token: TokenLogprob) -> bool:
    """Whether its bytes are no whole characters."""
    try:
        token.piece.decode()
    except UnicodeDecodeError:
        return True
    return False
