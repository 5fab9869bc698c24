"""Text that ships with this project, written for it: conversation of many languages, and code of many kinds.

`phrases/<language>.txt` has a sentence or a prompt a line, `code/<kind>.txt` has snippets between blank lines. A
configured language learns from its own; all others are what rejection is learned from. `unlearned/` has the same of
other text, which rejection is tested with: nothing is ever learned from it.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.routers.text.tags import CODE, PHRASES

FOLDER = Path(__file__).parent
_SEPARATORS = {PHRASES: "\n", CODE: r"\n\s*\n"}
_HELD_OUT = 5
PROMPT_WORDS = 2
"""Words of the shortest texts that ship ("hello", "weather tomorrow"): all of these are learned."""
Texts = Mapping[str, tuple[str, ...]]
"""Kind ("phrases/it", "code/sql") -> texts."""


@cache
def learned() -> Texts:
    """Sentences by language, and snippets by the usual suffix of their files: what routers learn from."""
    return _shipped(FOLDER)


@cache
def unlearned() -> Texts:
    """The same of the text that rejection is tested with."""
    return _shipped(FOLDER / "unlearned")


class Talk(NamedTuple):
    """Texts of a configured language: to learn from, and every fifth sentence held out for calibration."""

    learned: tuple[str, ...]
    held_out: tuple[str, ...]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Talk:
        """Some texts, split."""
        sentences = [text for text in texts if len(text.split()) > PROMPT_WORDS]
        held_out = sentences[::_HELD_OUT]
        kept_out = set(held_out)
        return cls(tuple(text for text in texts if text not in kept_out), tuple(held_out))


def conversations(own: Mapping[str, Collection[str]]) -> dict[str, Talk]:
    """What each language is given of the text that ships, by its kinds; of a kind that several have, none is."""
    claims = Counter(kind for kinds in own.values() for kind in set(kinds))
    return {
        name: Talk.of([text for kind in kinds if claims[kind] == 1 for text in learned().get(kind, ())])
        for name, kinds in own.items()
    }


def matched(own: Mapping[str, Collection[str]]) -> dict[str, dict[str, Any]]:
    """For reports, by language: "kinds" that ship of it, texts "learned" of these, and who has a kind "with" it."""
    talks = conversations(own)
    return {
        name: {
            "kinds": [kind for kind in kinds if kind in learned()],
            "learned": len(talks[name].learned),
            "with": [other for other in own if other != name and set(kinds) & set(own[other])],
        }
        for name, kinds in own.items()
    }


def digest() -> str:
    """SHA-256 of all text that ships, and of the names of languages: a router is made of it."""
    paths = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.txt"))
    files = [hashlib.sha256((FOLDER / path).read_bytes()).hexdigest() for path in paths]
    return hashlib.sha256("\n".join([*paths, *files]).encode()).hexdigest()


def _shipped(folder: Path) -> Texts:
    """Texts by the first part of their file's name ("fr" of "fr.prose.txt", "sr" of "sr-cyrl.txt")."""
    found: dict[str, tuple[str, ...]] = {}
    for space, separator in _SEPARATORS.items():
        for path in sorted((folder / space).glob("*.txt")):
            texts = re.split(separator, path.read_text(encoding="utf-8"))
            kind = f"{space}/{re.split(r'[.-]', path.name)[0]}"
            found[kind] = found.get(kind, ()) + tuple(text.strip("\n") for text in texts if text.strip())
    return found
