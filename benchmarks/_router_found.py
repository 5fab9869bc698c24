"""Text of no language that is found on this machine, to measure rejection with: it varies, and nothing learns from it.

Translated messages of the machine's programs, and files of other programming languages that the packages of this
project's own dependencies bring with them: "seen/…" where the language or the kind of file is among those that ship,
"unseen/…" where it is not. What can't be read is skipped and counted.
"""

from __future__ import annotations

import gettext
import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from orchestrator.routers.text.no_language import by_sight
from orchestrator.routers.text.tags import CODE, NATURAL, tags

LOCALES = Path("/usr/share/locale")
_SUFFIXES = (
    *(".c", ".h", ".hpp", ".cpp", ".js", ".css", ".html", ".json", ".yaml", ".csv"),
    *(".cu", ".cuh", ".f90", ".f", ".proto", ".cmake", ".pyf"),
)
_PACKAGES = ("torch", "scikit-learn", "scipy", "matplotlib", "numpy", "pyarrow", "transformers", "jinja2")
_MIXED = ("nds",)
"""Languages whose catalogues are not in them: what translators left is mostly German."""
_CHARACTERS_OF_A_CATALOGUE = 40_000
_SHORTEST_MESSAGE = 30
_FORMAT = re.compile(r"%[-#0-9.()\w]*|&(?=\w)|<[^>]+>|\{\w*\}|--?[\w-]+|\x04|[A-Z_]{3,}")
_FILES_OF_A_KIND = 25
_CHARACTERS_OF_A_FILE = 20_000
_COMMENTS: Mapping[str, re.Pattern[str]] = {
    **dict.fromkeys((".f90", ".pyf"), re.compile(r"![^\n]*")),
    ".f": re.compile(r"(?m)^[cC*][^\n]*|![^\n]*"),
    **dict.fromkeys((".cmake", ".yaml"), re.compile(r"(?sm)#\[(=*)\[.*?\]\1\]|(?:^|(?<=\s))#[^\n]*")),
    **dict.fromkeys((".json", ".csv"), re.compile(r"(?!)")),
    ".html": re.compile(r"(?s)<!--.*?-->"),
}
_C_COMMENTS = re.compile(r"(?s)/\*.*?\*/|//[^\n]*")


@dataclass
class Found:
    """Texts by kind ("phrases/sk", "code/cmake"), how many files were read, and which were skipped as unreadable."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    read: int = 0
    skipped: list[Path] = field(default_factory=list)

    def to_test(self, own: Collection[str]) -> dict[str, list[str]]:
        """Texts to test rejection with, by kind ("seen/it", "unseen/.cmake"), without the experts' `own` kinds."""
        return by_sight({kind: tuple(texts) for kind, texts in self.texts.items()}, own)


def find(locales: Path | None = None) -> Found:
    """Messages of the catalogues in `locales` (None: LOCALES), and beginnings of files of installed packages."""
    found = Found()
    for folder in sorted((locales or LOCALES).glob("*/LC_MESSAGES")):
        name = folder.parent.name
        if "_" not in name and "@" not in name and name not in _MIXED:
            texts = _messages(folder, found)
            if sum(map(len, texts)) > _CHARACTERS_OF_A_CATALOGUE / 10:
                _add(found, NATURAL, name, texts)
    for suffix, paths in _files().items():
        _add(found, CODE, suffix[1:], _beginnings(paths, suffix, found))
    return found


def _add(found: Found, space: str, name: str, texts: Iterable[str]) -> None:
    kind = f"{space}/{(tags(name, space) or (name,))[0]}"
    if texts := list(texts):
        found.texts.setdefault(kind, []).extend(texts)


def _messages(folder: Path, found: Found) -> list[str]:
    """Translated messages of a language's catalogues."""
    texts: list[str] = []
    size = 0
    for path in sorted(folder.glob("*.mo"), key=lambda path: hashlib.sha256(path.name.encode()).digest()):
        try:
            with path.open("rb") as file:
                catalogue: dict[object, str] = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        except Exception:  # a damaged or strange catalogue ends gettext in whatever way it happens to
            found.skipped.append(path)
            continue
        found.read += 1
        for source, message in catalogue.items():
            text = _translated(str(source), message)
            if len(text) > _SHORTEST_MESSAGE and message.count("\n") < 4:
                texts.append(text)
                size += len(text)
                if size > _CHARACTERS_OF_A_CATALOGUE:
                    return texts
    return texts


def _translated(source: str, message: str) -> str:
    """A message without format codes and the words that it keeps from its English source: names, untranslated text."""
    kept = set(_FORMAT.sub(" ", source).split())
    return " ".join(word for word in _FORMAT.sub("", message).split() if word not in kept)


def _files() -> dict[str, list[Path]]:
    """Files of other programming languages in installed packages, by suffix."""
    found: dict[str, list[Path]] = {suffix: [] for suffix in _SUFFIXES}
    for package in _PACKAGES:
        try:
            parts = metadata.distribution(package).files or []
        except metadata.PackageNotFoundError:
            continue
        for part in sorted(parts, key=str):
            if part.suffix in found and "LICENSE" not in part.name:
                found[part.suffix].append(Path(str(part.locate())))
    return found


def _beginnings(paths: list[Path], suffix: str, found: Found) -> list[str]:
    comments = _COMMENTS.get(suffix, _C_COMMENTS)
    texts = []
    for path in paths[:: max(1, len(paths) // _FILES_OF_A_KIND)]:
        try:
            text = path.read_text(encoding="utf-8")[:_CHARACTERS_OF_A_FILE]
        except (OSError, UnicodeDecodeError):
            found.skipped.append(path)
            continue
        found.read += 1
        texts.append(comments.sub("", text))
    return [text for text in texts if text.strip()]
