"""Names of languages to tags: `english`, `deu`, `pt-br` and `jp` are languages of which text ships.

Languages and kinds of code are two namespaces: `pl` is Polish among the ones, Perl among the others.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cache

from orchestrator.data.tags import FOLDER

NATURAL, CODE = "phrases", "code"
"""The namespaces of tags: natural languages and code. Artifacts of routers hold these words."""
_TABLES = {NATURAL: "natural.txt", CODE: "code.txt"}
_WORDS = frozenset(("am", "an", "as", "be", "by", "he", "in", "is", "it", "me", "my", "no", "or", "so", "to", "us"))
"""Codes that are words too: `my-corpus` is not in Burmese, `my-mm` is."""
_SUBTAG = re.compile(r"[a-z]{2}|\d{3,4}|x|arab|cyrl|deva|hans|hant|hebr|jpan|kore|latn|mymr")


def own_kinds(languages: Mapping[str, bool]) -> dict[str, tuple[str, ...]]:
    """The kinds of text ("phrases/de", "code/pl") that are the languages' own, whether any of it ships or not.

    Args:
        languages: their names in a recipe, and whether each is code.

    Returns:
        Kinds by name. A name that is in its own namespace is looked up there alone; one that is not, in the other (`js`
        is JavaScript even where nobody said that it is code); one that is in neither is its own tag.
    """
    return {name: _kinds(name, (CODE, NATURAL) if is_code else (NATURAL, CODE)) for name, is_code in languages.items()}


def _kinds(name: str, spaces: tuple[str, str]) -> tuple[str, ...]:
    found = next((kinds for space in spaces if (kinds := _in(space, name))), ())
    return found or (f"{spaces[0]}/{_folded(name)}",)


def _in(space: str, name: str) -> tuple[str, ...]:
    return tuple(f"{space}/{tag}" for tag in tags(name, space))


def shown(kind: str) -> str:
    """A kind of text as people read it: its tag, `de`, with a dot before that of code, `.py`."""
    space, _, tag = kind.partition("/")
    return f".{tag}" if space == CODE else tag


def tags(name: str, space: str) -> tuple[str, ...]:
    """Tags of a name in a namespace, without its region, its script, and what else follows a hyphen; () if unknown."""
    table, parts = names(space), _folded(name).split("-")
    for length in range(len(parts), 0, -1):
        found = table.get("-".join(parts[:length]), ())
        if found and (parts[0] not in _WORDS or all(map(_SUBTAG.fullmatch, parts[length:]))):
            return found
    return ()


@cache
def names(space: str) -> Mapping[str, tuple[str, ...]]:
    """Tags by name: each line of a namespace's table is a tag and its names, which other lines may have too."""
    found: dict[str, tuple[str, ...]] = {}
    for line in (FOLDER / _TABLES[space]).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            for name in (folded := list(map(_folded, line.split()))):
                found[name] = (*found.get(name, ()), folded[0])
    return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().replace("_", "-")
