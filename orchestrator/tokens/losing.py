"""Which text a tokenizer does not keep as it is: said where it is chosen, for bits per byte and for generated text."""

from __future__ import annotations

from tokenizers import Tokenizer

from orchestrator.tokens.tokenizer import encode, token_bytes

_PROBES = {
    "spaces at the beginning": "  two of them",
    "several spaces": "one  two   three",
    "line breaks and tabs": "a\r\n\n\tb\nc",
    "capital letters": "A Word, ÉTÉ",
    "decomposed accents": "cafe\u0301 A\u030aB",
    "composed accents": "café Å",
    "ligatures and wide forms": "ﬁ Ａ① ㎏",
    "space after punctuation": "a . b , c ! it 's",
    "quotation marks and dashes": "“a” — ‘b’…",
    "Chinese and Japanese": "日本語、東京。图书馆",
    "Arabic and Hindi": "مرحبا नमस्ते",
    "emoji": "🙂👩‍👩‍👧",
    "rare scripts": "ᚠᚢ 𒀀 ꙮ",
    "control characters": "a\u200bb\u0007c",
}


def lost_text(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Kinds of text that come back changed from ``decode(encode(text))``; a space put in front is no loss.

    Raises:
        TokenizerError: see :func:`orchestrator.tokens.tokenizer.token_bytes`.
    """
    table = token_bytes(tokenizer)
    kinds = []
    for kind, text in _PROBES.items():
        back = b"".join(table[token] for token in encode(tokenizer, [text])[0])
        if back not in (text.encode(), b" " + text.encode()):
            kinds.append(kind)
    return tuple(kinds)
