"""Text that ships with this project, written for it: conversation of many languages, and code of many kinds.

`phrases/<language>.txt` has a sentence or a prompt a line, `code/<kind>.txt` has snippets between blank lines. A
configured language learns from its own; all others are what rejection is learned from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_HELD_OUT = 5
PROMPT_WORDS = 2
"""Words of the shortest texts that ship ("hello", "weather tomorrow"): all of these are learned."""


@cache
def phrases() -> Mapping[str, tuple[str, ...]]:
    """Sentences by language."""
    return _shipped("phrases", "\n")


@cache
def code() -> Mapping[str, tuple[str, ...]]:
    """Snippets of programs, markup and data by the usual suffix of their files."""
    return _shipped("code", r"\n\s*\n")


def conversation(language: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Texts of a configured language: to learn from, and every fifth sentence held out for calibration."""
    found = phrases().get(language, ())
    sentences = [text for text in found if len(text.split()) > PROMPT_WORDS]
    held_out = sentences[::_HELD_OUT]
    kept_out = set(held_out)
    return tuple(text for text in found if text not in kept_out), tuple(held_out)


def _shipped(folder: str, separator: str) -> dict[str, tuple[str, ...]]:
    """Texts by the first part of their file's name ("fr" of "fr.prose.txt", "sr" of "sr-cyrl.txt")."""
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted((Path(__file__).parent / folder).glob("*.txt")):
        texts = re.split(separator, path.read_text(encoding="utf-8"))
        name = re.split(r"[.-]", path.name)[0]
        found[name] = found.get(name, ()) + tuple(text.strip("\n") for text in texts if text.strip())
    return found
