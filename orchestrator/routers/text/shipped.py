"""Text that ships, written for this project: sentences of many languages, and code of many kinds.

A configured language learns from its own text. That of all others is learned as text of no language. `data/router` has
a file a tag, with sections that are learned and sections that rejection is tested with.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import orchestrator.data
from orchestrator.errors import CorpusError
from orchestrator.routers.text.tags import CODE, NATURAL, names, shown
from orchestrator.routers.text.units import words_in

FOLDER = Path(orchestrator.data.__file__ or "").parent / "router"
SPACES = {NATURAL: FOLDER / "natural", CODE: FOLDER / "code"}
LEARNED, TESTED = "learned", "tested"
"""Uses of a section. Nothing of a section that is tested is learned from, by a router or by its calibration."""
_SECTION = re.compile(rf"^=== ({LEARNED}|{TESTED}): (.+), (\d{{4}}-\d\d-\d\d) ===\n", re.MULTILINE)
INSTALL = "install the wheel mome_router_text of this release (in a clone: pip install ./orchestrator/data/router)"
_SEPARATORS = {NATURAL: "\n", CODE: r"\n\s*\n"}
_HELD_OUT = 5
PROMPT_WORDS = 2
"""Words of the shortest texts that ship ("hello", "weather tomorrow"): all of these are learned."""
UNMATCHED = (
    "where it is in a language that has a tag, begin its name with that tag (en-law), or what ships of that language "
    "is learned as text of no language"
)
Texts = Mapping[str, tuple[str, ...]]
"""Kind ("phrases/it", "code/sql") -> texts."""


class Section(NamedTuple):
    """Texts of one tag, one register and one use.

    Attributes:
        kind: namespace and tag.
        use: LEARNED or TESTED.
        register: which sort of text.
        date: of the last change.
        licence, origin: of the file that the section stands in.
        texts: sentences or snippets, in order.
    """

    kind: str
    use: str
    register: str
    date: str
    licence: str
    origin: str
    texts: tuple[str, ...]


def installed() -> bool:
    """Whether the text is there: it is a distribution of its own, and a clone has it."""
    try:
        # Data beside a module that a step imports is part of the step's code: see orchestrator.provenance.
        from orchestrator.data.router import code, natural  # noqa: F401
    except ImportError:
        return False
    return all(folder.is_dir() for folder in SPACES.values())


def check() -> None:
    """Make sure that the text is installed.

    Raises:
        CorpusError: it is not: the wheel of the code has none.
    """
    if not installed():
        raise CorpusError(
            "the text that the prompt router learns from is not installed",
            where=str(FOLDER),
            fix=f"{INSTALL}; or route by `paper`",
        )


@cache
def sections() -> tuple[Section, ...]:
    """All text that ships, natural languages first, tags in order.

    Raises:
        CorpusError: the text is not installed.
    """
    check()
    files = ((space, path) for space, folder in SPACES.items() for path in sorted(folder.glob("*.txt")))
    return tuple(section for space, path in files for section in _sections(space, path))


def _sections(space: str, path: Path) -> Iterator[Section]:
    content = path.read_text(encoding="utf-8")
    marks = list(_SECTION.finditer(content))
    header = dict(line.split(": ", 1) for line in content[: marks[0].start()].splitlines() if line)
    ends = [*(mark.start() for mark in marks[1:]), len(content)]
    for mark, end in zip(marks, ends, strict=True):
        texts = re.split(_SEPARATORS[space], content[mark.end() : end])
        kept = tuple(text.strip("\n") for text in texts if text.strip())
        use, register, date = mark.groups()
        yield Section(f"{space}/{header['tag']}", use, register, date, header["licence"], header["origin"], kept)


@cache
def learned() -> Texts:
    """Sentences by language, and snippets by the usual suffix of their files: what routers learn from."""
    return _texts(LEARNED)


@cache
def tested() -> Texts:
    """The same of the text that rejection is tested with."""
    return _texts(TESTED)


def _texts(use: str) -> Texts:
    found: dict[str, tuple[str, ...]] = {}
    for section in sections():
        if section.use == use:
            found[section.kind] = found.get(section.kind, ()) + section.texts
    return found


class Talk(NamedTuple):
    """Texts of a configured language: to learn from, and every fifth sentence held out for calibration."""

    learned: tuple[str, ...]
    held_out: tuple[str, ...]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Talk:
        """Some texts, split."""
        sentences = [text for text in texts if len(words_in(text)) > PROMPT_WORDS]
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


def messages(own: Mapping[str, Collection[str]]) -> list[str]:
    """A line for each language: which text that ships it learns from, and a warning where there is none."""
    return [_message(name, found) for name, found in matched(own).items()]


def _message(name: str, found: Mapping[str, Any]) -> str:
    if not found["kinds"]:
        return f"warning: no shipped text for {name!r}: {UNMATCHED}"
    tags = ", ".join(map(shown, found["kinds"]))
    if found["with"]:
        return f"{', '.join([name, *found['with']])} share the tag {tags}: none of its text is learned or rejected"
    return f"{name}: learns {found['learned']} texts that ship of the tag {tags}"


def about() -> dict[str, Any]:
    """What ships, for reports, by use: numbers of "texts", of "tags" by namespace, of texts by "registers".

    Also the "licences" and "origins" of all of it.

    Raises:
        CorpusError: the text is not installed.
    """
    registers: dict[str, Counter[str]] = {LEARNED: Counter(), TESTED: Counter()}
    for section in sections():
        registers[section.use][section.register] += len(section.texts)
    uses = {LEARNED: learned(), TESTED: tested()}
    return {
        "texts": {use: sum(map(len, texts.values())) for use, texts in uses.items()},
        "tags": {use: _namespaces(texts) for use, texts in uses.items()},
        "registers": {use: dict(found.most_common()) for use, found in registers.items()},
        "licences": sorted({section.licence for section in sections()}),
        "origins": sorted({section.origin for section in sections()}),
    }


def _namespaces(texts: Texts) -> dict[str, int]:
    """Numbers of tags of natural languages and of code."""
    return {folder.name: sum(kind.startswith(f"{space}/") for kind in texts) for space, folder in SPACES.items()}


def digest() -> str:
    """SHA-256 of all text that ships, and of the names of languages: a router is made of it."""
    content = [learned(), tested(), {space: names(space) for space in SPACES}]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
