"""Which files the path of a source means, and which lie there that it does not read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from orchestrator.corpus.reading.compression import COMPRESSIONS
from orchestrator.corpus.reading.files import readable, written
from orchestrator.corpus.reading.refusal import BROKEN, SPECIAL, refusal
from orchestrator.corpus.reading.saved import records
from orchestrator.errors import CorpusError

GZIP = ".gz"
_PATTERN = frozenset("*?[")


@dataclass(frozen=True)
class Found:
    """Files at a place.

    Attributes:
        files: to be read, sorted.
        left_out: suffix -> number of files there that the source does not read.
    """

    files: tuple[Path, ...]
    left_out: Mapping[str, int]

    def counts(self) -> dict[str, dict[str, int]]:
        """Numbers of files by suffix: "read" and "left_out"."""
        read = Counter(map(suffix_of, self.files))
        counts = {"read": read, "left_out": self.left_out}
        return {what: {written(suffix): n for suffix, n in sorted(of.items())} for what, of in counts.items()}


def suffix_of(path: Path) -> str:
    """The ending of a file's name in lower case; of a compressed one with that of what is inside: ``.jsonl.gz``."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() + suffix if suffix in COMPRESSIONS else suffix


def inner_suffix(path: Path) -> str:
    """The ending of a file's name in lower case, without that of its compression."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in COMPRESSIONS else suffix


def find(
    path: str, language: str, suffixes: Sequence[str] = (), *, also: Sequence[str] = (), plain: bool = False
) -> Found:
    """The files that `path` means.

    A folder, or a glob that names no suffix, may hold files of other kinds: they are left out and counted. A file or a
    suffix that is named is read or refused.

    Args:
        path: a file, a folder (searched at every depth, through links to folders) or a glob; ``{language}`` in it
            stands for the language.
        suffixes: endings of the files that the source reads, lower case with the dot; the same followed by ``.gz`` are
            read too, but for Parquet. Empty: all.
        also: endings of files that are read where `path` names them, or where there are no others; so are files that
            are compressed in another way than by gzip. "*": any.
        plain: whether the source has an option `suffixes`, and reads other files as plain text.

    Raises:
        CorpusError: no path, no such file, none that can be read, a folder that can't be read.
    """
    if not path:  # to Python the current folder
        raise CorpusError(
            "the path is empty", where="the source's `path`", fix="name a file or a folder; . is this one"
        )
    place = Path(path.replace("{language}", language)).expanduser()
    with readable(place):
        if place.is_dir():
            candidates, named = list(_walk(place)), False
        elif place.is_file():
            candidates, named = [place], True
        else:
            candidates, named = _matches(str(place)), bool(place.suffix) and not _PATTERN.intersection(place.suffix)
        there = [candidate for candidate in candidates if candidate.is_file()]
    there = sorted(set(there) - records(there))
    files = [file for file in there if _is_read(file, suffixes)]
    if named or not files:
        more = (*suffixes, *also)
        files = [file for file in there if _is_read(file, suffixes) or inner_suffix(file) in more or "*" in also]
    others = [file for file in there if file not in set(files)]
    unreal = Counter(SPECIAL if path.exists() else BROKEN for path in candidates if not path.is_file())
    left_out = Counter(map(suffix_of, others)) + unreal
    if not files or (named and others):
        raise refusal(place, left_out, suffixes, named=named and bool(others), plain=plain)
    return Found(tuple(files), left_out)


def _is_read(path: Path, suffixes: Sequence[str]) -> bool:
    suffix = suffix_of(path)
    inner = suffix.removesuffix(GZIP)
    wanted = [each.lower() for each in suffixes]
    return not wanted or suffix in wanted or (suffix != inner != ".parquet" and inner in wanted)


def _walk(folder: Path) -> Iterator[Path]:
    """Files at every depth but hidden ones, each folder once, by whatever links it is reached."""

    def fail(error: OSError) -> None:
        raise error

    seen: set[tuple[int, int]] = set()
    for place, inner, names in os.walk(folder, onerror=fail, followlinks=True):
        about = os.stat(place)  # noqa: PTH116 (a string already)
        if (about.st_dev, about.st_ino) in seen:
            inner.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def _matches(pattern: str) -> list[Path]:
    """Files that a glob matches; one that is reached by several links to folders once."""
    found = [Path(p) for p in glob(pattern, recursive=True)]  # noqa: PTH207 (absolute or not)
    files = sorted((p for p in found if not p.is_dir()), key=lambda p: (len(p.parts), p))
    return list({(p.parent.resolve(), p.name): p for p in reversed(files)}.values())
