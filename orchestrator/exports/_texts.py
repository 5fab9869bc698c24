"""Texts and prompts to compare tools by: pieces of the run's test text, and what tokenizers stumble over."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from typing import TYPE_CHECKING

from orchestrator.corpus.storage import read_texts

if TYPE_CHECKING:
    from orchestrator.exports._source import Expert, Source

HARD = (
    "The quick brown fox doesn't jump over 1,234.5 lazy dogs: it's 9 o'clock!",
    "  two spaces before,   three between, one after ",
    "a\n\nb\n \n  c\t\td\r\n\r\n1. e\n\n\n2. f   ",
    "def f(x):\n\treturn x**2  # naïve café\n\n\nclass A:\n    pass\n",
    "<s>no begin</s> no end<unk> <|endoftext|> [INST] <0x0A>",
    "日本語のテキスト。图书馆 한국어 ภาษาไทย नमस्ते مرحبا שלום",
    "🙂👩‍👩‍👧 e\u0301 \u00a0x\u200b\u200dy\ufeff z\u2028w\u3000v",
    "Ⅷ ½ ² ٣ १२३ ১২ 一二三 1234567890123",
    "I'LL we'Ve 'tis 's' ''s  'd o'm's",
    "\x01\x02\x7f\x80\x85\xa0\xad",
    "ÀÉÎÕÜ àéîõü ßẞ Ǆǅǆ ﬁ Ω Å",
    "...---___***===+++!!!???  .,;:",
)
"""None has a NUL, which ends a text in tools that are written in C."""
_CHARACTERS = (240, 97, 41, 17)
"""Lengths of pieces, one after the other where there are too few of the first."""


def texts_of(source: Source, count: int) -> list[str]:
    """`count` different texts: the hard ones, then pieces of the test text of every language in turn."""
    pieces = (piece for piece in _turns([_pieces(source, language) for language in _languages(source)]))
    found = dict.fromkeys(HARD)
    for piece in pieces:
        if len(found) >= count:
            break
        found[piece] = None
    return list(found)[:count]


def prompts_of(expert: Expert, count: int) -> list[list[int]]:
    """Token ids of beginnings of the test text, of the expert's own language first: 1 to 8 words each."""
    languages = sorted(_languages(expert.source), key=lambda name: name != expert.name)
    texts = islice(_turns([_pieces(expert.source, language) for language in languages]), count)
    prompts = [" ".join(text.split()[:words]) for text, words in zip(texts, cycle(range(1, 9)), strict=False)]
    return [expert.tokenizer.encode_prompt(prompt or "a") for prompt in prompts or ["a"]]


def _languages(source: Source) -> list[str]:
    return list(source.recipe["corpus"]["languages"])


def _pieces(source: Source, language: str) -> Iterator[str]:
    """Of the test documents of a language in turn: the first piece of each, then the second; then shorter ones."""
    corpus = source.part("corpus")
    documents = [] if corpus is None else list(islice(read_texts(corpus.folder, "test", language), 2000))
    longest = max(map(len, documents), default=0)
    for size in _CHARACTERS:
        for start in range(0, longest, size):
            yield from (text[start : start + size].replace("\0", " ") for text in documents if len(text) > start)


def _turns(streams: list[Iterator[str]]) -> Iterator[str]:
    """One of each stream after the other, until all have ended."""
    while streams:
        for stream in list(streams):
            piece = next(stream, None)
            if piece is None:
                streams.remove(stream)
            else:
                yield piece
