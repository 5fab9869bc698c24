"""Short texts that people translated: messages of installed packages' catalogues, the same ones in many languages."""

from __future__ import annotations

import gettext
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import xxhash

from benchmarks._rows import notice

PACKAGES = ("django", "wagtail", "oscar")
"""Of the extra `languages-bench`; all that are installed are read."""
FOLDERS = {"zh": "zh_Hans"}
"""Folder of a language's catalogues, where it is not called by its tag."""
SOURCE = "en"
"""Language that messages are translated from."""
_FORMAT = re.compile(r"%(?:\(\w*\))?[-#0-9.]*\w|\{[\w.:]*\}|<[^>]*>|&\w+;")
_MARK = "\4"
"""Parts a message from its context."""
_TESTED = 3
"""Every third message is for testing, in all languages."""


def messages(languages: Sequence[str]) -> dict[str, dict[str, str]]:
    """Language -> message in English -> its translation, without format codes; untranslated ones are left out."""
    found: dict[str, dict[str, str]] = {language: {} for language in languages}
    for package in PACKAGES:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            notice(f"{package} is not installed: its translations are not read (extra languages-bench)")
            continue
        for language, some in found.items():
            folder = FOLDERS.get(language, language)
            for path in sorted(Path(next(iter(spec.submodule_search_locations))).rglob(f"{folder}/LC_MESSAGES/*.mo")):
                some |= _read(path)
    if SOURCE in found:
        found[SOURCE] = {source: source for some in found.values() for source in some}
    return found


def split(messages_of: Mapping[str, Mapping[str, str]]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Messages to train on and to test with, by language: a message is on one side in all languages."""
    sides: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    for language, some in messages_of.items():
        for side, tested in zip(sides, (False, True), strict=True):
            side[language] = sorted({text for source, text in some.items() if _is_tested(source) == tested})
    return sides


def _is_tested(source: str) -> bool:
    return xxhash.xxh3_64_intdigest(source.encode()) % _TESTED == 0


def _read(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        catalogue: dict[object, str] = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    cleaned = {_plain(source): _plain(text) for source, text in catalogue.items() if isinstance(source, str)}
    return {source: text for source, text in cleaned.items() if source != text and _has_letters(text)}


def _plain(message: str) -> str:
    return " ".join(_FORMAT.sub(" ", message.rpartition(_MARK)[2]).split())


def _has_letters(text: str) -> bool:
    return sum(character.isalpha() for character in text) > 1
