"""Cleaning: what a text looks like before it is compared, counted and tokenized."""

from __future__ import annotations

import re
import unicodedata

from orchestrator.config.recipe import CodeFilter

_LINE_ENDS = re.compile("\r\n?|\u2028|\u2029|\x85")
# Control characters but tab and newline, soft hyphens, byte-order marks and halves of surrogate pairs.
_UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\ufeff\ud800-\udfff]")
_SURROGATES = re.compile("[\ud800-\udfff]")
# Written so that a lone space between words, the common case, is no match: half the time of [^\S\n]+.
_SPACES = re.compile(r"[^\S\n ][^\S\n]*| [^\S\n]+")
_AROUND_LINES = re.compile(r" \n ?|\n ")
_EMPTY_LINES = re.compile(r"\n{3,}")


def clean_prose(text: str) -> str:
    """Unicode NFC, no control characters, single spaces, at most one empty line between paragraphs. Idempotent."""
    text = _UNWANTED.sub("", _LINE_ENDS.sub("\n", text))
    text = _SPACES.sub(" ", unicodedata.normalize("NFC", text))
    return _EMPTY_LINES.sub("\n\n", _AROUND_LINES.sub("\n", text)).strip()


def clean_code(text: str) -> str:
    """Line ends become newlines and a byte-order mark goes; nothing else changes, for white space is syntax."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return _SURROGATES.sub("", text)


def clean_name(text: str) -> str:
    """A title, a licence or another name, cleaned as prose, on one line."""
    return " ".join(clean_prose(text).split())


def keeps_code(text: str, rules: CodeFilter) -> bool:
    """Whether a source file passes the filter by length, line length and share of letters (paper, section 3.1)."""
    if not rules.min_characters <= len(text) <= rules.max_characters or not text.strip():
        return False
    lengths = [len(line) for line in text.split("\n")]
    if max(lengths) > rules.max_line_length or sum(lengths) / len(lengths) > rules.max_mean_line_length:
        return False
    return sum(map(str.isalnum, text)) / len(text) >= rules.min_alphanumeric
