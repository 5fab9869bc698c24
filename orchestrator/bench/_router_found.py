"""Text of no expert that is found on this machine, to test rejection with: none of it is learned from.

Translated messages of the machine's programs, and files of other programming languages that the packages of this
project's own dependencies bring with them: "seen/…" where the language or the kind of file is among those that ship
(but the text is not), "unseen/…" where nothing of it is; and generated text.
"""

from __future__ import annotations

import gettext
import hashlib
import re
import struct
from collections.abc import Collection, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np

from orchestrator.routers.text.outside import fragments, generated
from orchestrator.routers.text.shipped import code, phrases

_SUFFIXES = (
    *(".c", ".h", ".hpp", ".cpp", ".js", ".css", ".html", ".json", ".yaml", ".csv"),
    *(".cu", ".cuh", ".f90", ".f", ".proto", ".cmake", ".pyf"),
)
_SAME = {".h": "c", ".hpp": "cpp"}
_PACKAGES = ("torch", "scikit-learn", "scipy", "matplotlib", "numpy", "pyarrow", "transformers", "jinja2")
_LOCALES = Path("/usr/share/locale")
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


def identity() -> str:
    """Digest of the texts that ship, and of names and sizes of what they are tested with: part of a fingerprint."""
    texts = [f"{name} {some}" for found in (phrases(), code()) for name, some in found.items()]
    versions = [f"{name} {_version(name)}" for name in _PACKAGES]
    messages = sorted(f"{path} {path.stat().st_size}" for path in _LOCALES.glob("*/LC_MESSAGES/*.mo"))
    return hashlib.sha256("\n".join([*texts, *versions, *messages]).encode()).hexdigest()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


def unlearned(languages: Collection[str], characters: int, rng: np.random.Generator) -> dict[str, list[str]]:
    """Texts to test rejection with, by kind ("seen/it", "seen/.css", "unseen/sk", "unseen/.cmake", "generated/sql").

    Args:
        languages: those that have experts; their messages and their code are left out.
        characters: of each generated kind, about.
        rng: of what is generated.
    """
    found = {
        f"{'seen' if name in phrases() else 'unseen'}/{name}": texts
        for name, texts in catalogues().items()
        if name not in (*languages, *_MIXED)
    }
    for suffix, texts in files().items():
        name = _SAME.get(suffix, suffix[1:])
        if name not in languages:
            found[f"{'seen' if name in code() else 'unseen'}/{suffix}"] = texts
    return found | generated(characters, rng)


def outside_pieces(languages: Collection[str], count: int, rng: np.random.Generator) -> dict[str, list[str]]:
    """Pieces of the texts of :func:`unlearned`, by kind."""
    return fragments(unlearned(languages, 40 * count, rng), count, rng)


@cache
def catalogues() -> Mapping[str, list[str]]:
    """Translated messages of programs on this machine, by language; none where no catalogues are installed."""
    found: dict[str, list[str]] = {}
    for folder in sorted(_LOCALES.glob("*/LC_MESSAGES")):
        name = folder.parent.name
        texts = _messages(folder) if "_" not in name and "@" not in name else []
        if sum(map(len, texts)) > _CHARACTERS_OF_A_CATALOGUE / 10:
            found[name] = texts
    return found


def _messages(folder: Path) -> list[str]:
    texts: list[str] = []
    size = 0
    for path in sorted(folder.glob("*.mo"), key=lambda path: hashlib.sha256(path.name.encode()).digest()):
        try:
            with path.open("rb") as file:
                catalogue: dict[object, str] = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        except (OSError, ValueError, struct.error):
            continue
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


@cache
def files() -> Mapping[str, list[str]]:
    """Beginnings of files of other programming languages, by suffix, spread over what is installed; no comments."""
    found: dict[str, list[Path]] = {suffix: [] for suffix in _SUFFIXES}
    for package in _PACKAGES:
        try:
            parts = metadata.distribution(package).files or []
        except metadata.PackageNotFoundError:
            continue
        for part in sorted(parts, key=str):
            if part.suffix in found and "LICENSE" not in part.name:
                found[part.suffix].append(Path(str(part.locate())))
    return {suffix: texts for suffix, paths in found.items() if (texts := _beginnings(paths, suffix))}


def _beginnings(paths: list[Path], suffix: str) -> list[str]:
    comments = _COMMENTS.get(suffix, _C_COMMENTS)
    texts = []
    for path in paths[:: max(1, len(paths) // _FILES_OF_A_KIND)]:
        try:
            texts.append(comments.sub("", path.read_text(encoding="utf-8")[:_CHARACTERS_OF_A_FILE]))
        except (OSError, UnicodeDecodeError):
            continue
    return [text for text in texts if text.strip()]
