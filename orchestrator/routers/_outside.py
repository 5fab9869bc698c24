"""Text that no expert is for, to learn rejection from: other languages, other code, data, numbers and noise.

The sentences in `phrases.json` were written for this project. A configured language that is among them learns from
its own; all others are outside. Files of other programming languages are those that the packages of this project's
own dependencies bring with them.
"""

from __future__ import annotations

import gettext
import hashlib
import json
import re
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np

from orchestrator.routers._ngrams import clip
from orchestrator.routers._pieces import Lengths, Pieces

_PACKAGES = ("torch", "scikit-learn", "scipy", "matplotlib", "numpy", "pyarrow", "transformers", "jinja2")
_SUFFIXES = (".c", ".h", ".hpp", ".cpp", ".cu", ".js", ".css", ".html", ".json", ".yaml", ".csv")
UNSEEN = ("sk", "lt", "ga", "gl", "nb", "bg", "fa", "af", "eo", "cy", "eu", "is", "hr", "th")
"""Languages whose messages no router is trained on: what it rejects of them, it rejects unseen."""
_LOCALES = Path("/usr/share/locale")
_CHARACTERS_OF_A_CATALOGUE = 40_000
_SHORTEST_MESSAGE = 30
_FORMAT = re.compile(r"%[-#0-9.()\w]*|&(?=\w)|<[^>]+>|\{\w*\}|--?[\w-]+|\x04|[A-Z_]{3,}")
_WHOLE = 256
_UNSEEN_SUFFIXES = (".f90", ".f", ".proto", ".cmake", ".cuh", ".pyf")
_FILES_OF_A_KIND = 25
_CHARACTERS_OF_A_FILE = 20_000
# Blocks of Unicode with whole alphabets, for languages that have no sentences here.
_SCRIPTS = (
    *("ԱՖաֆ", "აჰაჰ", "กฮะู", "অহাু", "அஹாு", "అహాు", "ሀፐሀፐ", "ကဟာု", "កហាុ", "АЯая"),
    *("ΑΩαω", "ابتي", "אתאת", "ぁんァン", "一鿋一鿋", "가힣가힣", "अहाु", "ਅਹਾੁ", "ກຮາຸ"),
)


@cache
def phrases() -> Mapping[str, tuple[str, ...]]:
    """Sentences by language."""
    text = Path(__file__).with_name("phrases.json").read_text(encoding="utf-8")
    return {language: tuple(sentences) for language, sentences in json.loads(text).items()}


def identity() -> str:
    """Versions of the packages and names and sizes of the catalogues that are read: part of a router's fingerprint."""
    versions = [f"{name} {_version(name)}" for name in _PACKAGES]
    messages = sorted(f"{path} {path.stat().st_size}" for path in _LOCALES.glob("*/LC_MESSAGES/*.mo"))
    return hashlib.sha256("\n".join([*versions, *messages]).encode()).hexdigest()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


def fragments(kinds: Mapping[str, Sequence[str]], count: int, rng: np.random.Generator) -> list[str]:
    """Pieces of outside texts of all lengths, equally many of each kind, `count` in all."""
    each = max(10, count // max(1, len(kinds)))
    return [piece for texts in kinds.values() for piece in _cut(texts, each, rng)]


def testing(languages: Collection[str], characters: int, rng: np.random.Generator) -> dict[str, list[str]]:
    """Texts to test rejection with, by kind: languages and code that no router has learned from, and generated text."""
    messages = {f"unseen/{name}": texts for name, texts in catalogues(unseen=True).items() if name not in languages}
    code = {f"unseen/{suffix}": texts for suffix, texts in files(unseen=True).items() if suffix[1:] not in languages}
    return messages | code | outside(languages, characters, rng, only="generated/")


def outside_pieces(languages: Collection[str], count: int, rng: np.random.Generator) -> dict[str, list[str]]:
    """Pieces of the texts of :func:`testing`, by kind."""
    kinds = testing(languages, 40 * count, rng)
    return {kind: _cut(texts, count, rng)[:count] for kind, texts in kinds.items()}


def _cut(texts: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """Pieces of texts of one kind: half of them cut to all lengths where they have words, the others whole."""
    joined = Pieces(["\n".join(texts)])
    cut = [piece for some in joined.cut(Lengths.training(count), rng).values() for piece in some] if joined else []
    whole = [clip(texts[i])[:_WHOLE] for i in rng.integers(len(texts), size=count - min(len(cut), count // 2))]
    return [*(cut[i] for i in rng.permutation(len(cut))[: count - len(whole)]), *whole]


def outside(
    languages: Collection[str], characters: int, rng: np.random.Generator, only: str = ""
) -> dict[str, list[str]]:
    """Texts by kind.

    Args:
        languages: those that have experts; their sentences and their code are left out.
        characters: of each generated kind, about.
        rng: of what is generated.
        only: beginning of the kinds wanted.
    """
    found = {f"phrases/{name}": list(some) for name, some in phrases().items() if name not in languages}
    found |= {f"catalogues/{name}": texts for name, texts in catalogues().items() if name not in languages}
    found |= {f"files/{kind}": texts for kind, texts in files().items() if kind.strip(".") not in languages}
    for name, make in GENERATORS.items():
        texts: list[str] = []
        while sum(map(len, texts)) < characters:
            texts.append(make(rng))
        found[f"generated/{name}"] = texts
    return {kind: texts for kind, texts in found.items() if kind.startswith(only)}


@cache
def catalogues(unseen: bool = False) -> Mapping[str, list[str]]:
    """Translated messages of programs on this machine, by language; none where no catalogues are installed.

    Args:
        unseen: those of the languages that routers are tested with and never learn from.
    """
    found: dict[str, list[str]] = {}
    for folder in sorted(_LOCALES.glob("*/LC_MESSAGES")):
        name = folder.parent.name
        if "_" not in name and "@" not in name and (name in UNSEEN) == unseen:
            texts = _messages(folder)
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
            text = _FORMAT.sub("", message)
            if len(text) > _SHORTEST_MESSAGE and text != source and text.count("\n") < 4:
                texts.append(text)
                size += len(text)
                if size > _CHARACTERS_OF_A_CATALOGUE:
                    return texts
    return texts


@cache
def files(unseen: bool = False) -> Mapping[str, list[str]]:
    """Beginnings of files of other programming languages, by suffix, spread over what is installed.

    Args:
        unseen: those of the kinds that routers are tested with and never learn from.
    """
    found: dict[str, list[Path]] = {suffix: [] for suffix in (_UNSEEN_SUFFIXES if unseen else _SUFFIXES)}
    for package in _PACKAGES:
        try:
            parts = metadata.distribution(package).files or []
        except metadata.PackageNotFoundError:
            continue
        for part in sorted(parts, key=str):
            if part.suffix in found and "LICENSE" not in part.name:
                found[part.suffix].append(Path(str(part.locate())))
    return {suffix: texts for suffix, paths in found.items() if (texts := _beginnings(paths))}


def _beginnings(paths: list[Path]) -> list[str]:
    texts = []
    for path in paths[:: max(1, len(paths) // _FILES_OF_A_KIND)]:
        try:
            texts.append(path.read_text(encoding="utf-8")[:_CHARACTERS_OF_A_FILE])
        except (OSError, UnicodeDecodeError):
            continue
    return texts


def _pick(rng: np.random.Generator, choices: Collection[str]) -> str:
    return tuple(choices)[int(rng.integers(len(choices)))]


_NAMES = (
    *("user", "orders", "name", "id", "price", "created_at", "email", "status", "city", "total", "items", "country"),
    *("kunde", "client", "produit", "datum", "titre", "value", "type", "count", "address", "phone", "date", "label"),
)


def _sql(rng: np.random.Generator) -> str:
    a, b, c, d = (_pick(rng, _NAMES) for _ in range(4))
    n = int(rng.integers(1, 5000))
    forms = (
        f"SELECT {a}, {b} FROM {c}s WHERE {d} = {n} ORDER BY {a} DESC LIMIT {n};",
        f"INSERT INTO {c} ({a}, {b}) VALUES ('{d}', {n});",
        f"UPDATE {c}s SET {a} = '{b}' WHERE {d}_id = {n};",
        f"select count(*) as {a} from {c} t left join {d} u on t.{b} = u.{b} group by t.{a} having count(*) > {n};",
        f"CREATE TABLE {c}s (\n  {a} INTEGER PRIMARY KEY,\n  {b} VARCHAR({n}) NOT NULL,\n  {d} TIMESTAMP\n);",
        f"DELETE FROM {c} WHERE {a} IS NULL AND {b} <> '{d}';",
    )
    return _pick(rng, forms)


def _json(rng: np.random.Generator) -> str:
    record = {
        _pick(rng, _NAMES): value
        for value in (int(rng.integers(10**6)), float(rng.random()), "a1b2", None, True, [1, 2])
    }
    return json.dumps(
        {_pick(rng, _NAMES): [record, {_pick(rng, _NAMES): _noise(rng)}]}, indent=int(rng.integers(3)) or None
    )


def _numbers(rng: np.random.Generator) -> str:
    forms = (
        "{:d}",
        "{:,d}",
        "{:.0f}.50 €",
        "+49 {:d}",
        "{:d}-{:d}-12",
        "12:{:d}",
        "${:d}",
        "{:d} %",
        "{:d};{:d}",
        "0x{:x}",
        "{:e}",
    )
    return " ".join(
        _pick(rng, forms).format(*(int(n) for n in rng.integers(1, 10**5, 2))) for _ in range(int(rng.integers(1, 8)))
    )


def _noise(rng: np.random.Generator) -> str:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    pool = (
        letters[:26] if rng.random() < 0.3 else letters + "+/=-_" if rng.random() < 0.5 else letters + "!?#$%&*;:,. ~^@"
    )
    return " ".join(
        "".join(_pick(rng, pool) for _ in range(int(rng.integers(4, 24)))) for _ in range(int(rng.integers(1, 4)))
    )


def _emoji(rng: np.random.Generator) -> str:
    return "".join(chr(int(n)) for n in rng.integers(0x1F300, 0x1F6FF, int(rng.integers(1, 12))))


def _script(rng: np.random.Generator) -> str:
    """Words of letters of one script: unlike any language but for the alphabet."""
    ends = _pick(rng, _SCRIPTS)
    ranges = [(ord(ends[i]), ord(ends[i + 1])) for i in range(0, len(ends), 2)]

    def word() -> str:
        low, high = ranges[int(rng.integers(len(ranges)))]
        low, high = min(low, high), max(low, high)
        return "".join(chr(int(n)) for n in rng.integers(low, high + 1, int(rng.integers(2, 10))))

    return " ".join(word() for _ in range(int(rng.integers(1, 8))))


def _marks(rng: np.random.Generator) -> str:
    return "".join(_pick(rng, "!?.,;:-_*+#()[]{}<>/\\|\"'§$%&=~^…·•") for _ in range(int(rng.integers(1, 30))))


GENERATORS: Mapping[str, Callable[[np.random.Generator], str]] = {
    "sql": _sql,
    "json": _json,
    "numbers": _numbers,
    "noise": _noise,
    "emoji": _emoji,
    "scripts": _script,
    "marks": _marks,
}
