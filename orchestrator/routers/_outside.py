"""Text that no expert is for: what rejection is learned from, and other text that it is tested with.

Learned from: sentences and snippets written for this project (`phrases/<language>.txt`, a sentence a line, and
`code/<kind>.txt`, snippets between blank lines), and generated text; so a router is the same on every machine. A
configured language that is among them learns from its own; all others are outside.

Tested with: translated messages of the programs of this machine, and files of other programming languages that the
packages of this project's own dependencies bring with them: "seen/…" where the language or the kind of file is among
those learned from (but the text is not), "unseen/…" where nothing of it was; and "generated/…".
"""

from __future__ import annotations

import gettext
import hashlib
import re
import struct
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np

from orchestrator.routers._generated import GENERATORS
from orchestrator.routers._ngrams import clip
from orchestrator.routers._pieces import Lengths, Pieces

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
_SIGN = re.compile(r"[_=()\[\]{}<>+*/@#%&|\\\d;:$]|\w\.\w")
_SHORT = 60
"""Pieces of code that are shorter hold a sign of code: a word of it without any is a word of a language."""
_WHOLE = 256
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


def outside(languages: Collection[str], characters: int, rng: np.random.Generator) -> dict[str, list[str]]:
    """Texts to learn rejection from, by kind ("phrases/it", "code/sql", "generated/numbers").

    Args:
        languages: those that have experts; their sentences and their code are left out.
        characters: of each generated kind, about.
        rng: of what is generated.
    """
    found = {f"phrases/{name}": list(some) for name, some in phrases().items() if name not in languages}
    found |= {f"code/{name}": list(some) for name, some in code().items() if name not in languages}
    return found | _generated(characters, rng)


def _generated(characters: int, rng: np.random.Generator) -> dict[str, list[str]]:
    found = {}
    for name, make in GENERATORS.items():
        texts: list[str] = []
        size = 0
        while size < characters:
            texts.append(make(rng))
            size += len(texts[-1])
        found[f"generated/{name}"] = texts
    return found


def fragments(kinds: Mapping[str, Sequence[str]], each: int, rng: np.random.Generator) -> dict[str, list[str]]:
    """Pieces of every kind, `each`: a third single words, a third of all lengths, and whole texts."""
    found = {}
    third = each // 3
    for kind, texts in kinds.items():
        cut = [piece for some in cut_outside(kind, texts, Lengths.training(6 * third), rng).values() for piece in some]
        cut = [cut[i] for i in rng.permutation(len(cut))[:third]]
        cut += cut_outside(kind, texts, Lengths({1: 2 * third}, {}), rng).get("1 word", [])[:third]
        whole = [clip(texts[i])[:_WHOLE] for i in rng.integers(len(texts), size=each - len(cut))]
        found[kind] = [*cut, *whole]
    return found


def buckets(kinds: Mapping[str, Sequence[str]], each: int, rng: np.random.Generator) -> dict[str, list[str]]:
    """Pieces of every kind, about `each`, in equal parts of the lengths reported; whole texts where no words are."""
    lengths = Lengths.buckets(max(1, each // 6))
    found = {}
    for kind, texts in kinds.items():
        cut = [piece for some in cut_outside(kind, texts, lengths, rng).values() for piece in some]
        found[kind] = cut or [clip(texts[i])[:_WHOLE] for i in rng.integers(len(texts), size=each)]
    return found


def cut_outside(kind: str, texts: Sequence[str], lengths: Lengths, rng: np.random.Generator) -> dict[str, list[str]]:
    """Pieces by length as :meth:`Pieces.cut` has them; none of texts without words; short ones of code hold a sign."""
    pieces = Pieces(["\n".join(texts)])
    found = pieces.cut(lengths, rng) if pieces else {}
    if not kind.startswith("code/") and "/." not in kind:
        return found
    return {name: [p for p in some if len(p) >= _SHORT or _SIGN.search(p)] for name, some in found.items()}


def testing(languages: Collection[str], characters: int, rng: np.random.Generator) -> dict[str, list[str]]:
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
    return found | _generated(characters, rng)


def outside_pieces(languages: Collection[str], count: int, rng: np.random.Generator) -> dict[str, list[str]]:
    """Pieces of the texts of :func:`testing`, by kind."""
    return fragments(testing(languages, 40 * count, rng), count, rng)


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
