"""Which files the path of a source means, and which lie there that it does not read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from orchestrator.corpus.sources._files import readable, written
from orchestrator.errors import CorpusError

GZIP = ".gz"
_BROKEN, _SPECIAL = "broken link", "special file"  # such as a pipe, a socket, a device
_PATTERN = frozenset("*?[")
_TABLE = "write it as JSON lines or Parquet, for example: pandas.read_csv(FILE).to_parquet(NEW)"
_PLAIN = "save it as plain text, for example: pandoc -t plain FILE -o NEW.txt"
_ADVICE = {
    ".zst": "decompress it: zstd -d FILE",
    ".bz2": "decompress it: bunzip2 FILE",
    ".xz": "decompress it: unxz FILE",
    ".lz4": "decompress it: lz4 -d FILE",
    ".zip": "unpack it: unzip FILE",
    ".tar": "unpack it: tar -xf FILE",
    ".tgz": "unpack it: tar -xf FILE",
    ".tar.gz": "unpack it: tar -xf FILE",
    ".7z": "unpack it: 7z x FILE",
    ".gz": "decompress it: gunzip FILE, or end its name in .gz after its format's suffix: part.jsonl.gz",
    ".parquet.gz": "decompress it: gunzip FILE",
    ".csv": _TABLE,
    ".tsv": _TABLE,
    ".csv.gz": _TABLE,
    ".tsv.gz": _TABLE,
    ".arrow": "write it as Parquet: pyarrow.parquet.write_table(TABLE, NEW)",
    ".feather": "write it as Parquet: pyarrow.parquet.write_table(TABLE, NEW)",
    ".xml": "editions in TEI are read by the source `tei`",
    ".html": _PLAIN,
    ".docx": _PLAIN,
    ".epub": _PLAIN,
    ".odt": _PLAIN,
    ".pdf": "save it as plain text: pdftotext FILE",
}


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
    return Path(path.stem).suffix.lower() + suffix if suffix == GZIP else suffix


def find(path: str, language: str, suffixes: Sequence[str] = (), *, plain: bool = False) -> Found:
    """The files that `path` means.

    A folder, or a glob that names no suffix, may hold files of other kinds: they are left out and counted. A file or a
    suffix that is named is read or refused.

    Args:
        path: a file, a folder (searched at every depth, through links to folders) or a glob; ``{language}`` in it
            stands for the language.
        suffixes: endings of the files that the source reads, lower case with the dot; the same followed by ``.gz`` are
            read too, but for Parquet. Empty: all.
        plain: whether the source has an option `suffixes`, and reads other files as plain text.

    Raises:
        CorpusError: no such file, none that can be read, a folder that can't be read.
    """
    place = Path(path.replace("{language}", language)).expanduser()
    with readable(place):
        if place.is_dir():
            candidates, named = list(_walk(place)), False
        elif place.is_file():
            candidates, named = [place], True
        else:
            candidates, named = _matches(str(place)), bool(place.suffix) and not _PATTERN.intersection(place.suffix)
        there = [candidate for candidate in candidates if candidate.is_file()]
    files = sorted(file for file in there if _is_read(file, suffixes))
    others = [file for file in there if not _is_read(file, suffixes)]
    if not files or (named and others):
        raise _refusal(place, others, suffixes, named=named, plain=plain)
    unreal = Counter(_SPECIAL if path.exists() else _BROKEN for path in candidates if not path.is_file())
    return Found(tuple(files), Counter(map(suffix_of, others)) + unreal)


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


def _refusal(place: Path, others: Iterable[Path], suffixes: Sequence[str], *, named: bool, plain: bool) -> CorpusError:
    kinds = f" with {', '.join(suffixes)}" if suffixes else ""
    left_out = Counter(map(suffix_of, others))
    if place.is_symlink() and not place.exists():
        fix = "mend the link, or check the source's path"
        return CorpusError(f"this link leads to nothing: {place.readlink()}", where=str(place), fix=fix)
    if place.exists() and not place.is_dir() and not place.is_file():
        fix = "write what comes out of it to a file, and name that"
        return CorpusError("this is a pipe, a socket or a device, which can't be read twice", where=str(place), fix=fix)
    if not place.exists() and not _PATTERN.intersection(str(place)):
        fix = "check the source's path" + ("" if place.is_absolute() else f"; it begins in {Path.cwd()}")
        return CorpusError("there is no such file or folder", where=str(place), fix=fix)
    if not left_out:
        return CorpusError(f"there are no files{kinds} to read", where=str(place), fix="check the source's path")
    told = ", ".join(f"{count:,} {suffix or 'without suffix'}" for suffix, count in left_out.most_common())
    fixes = [f"{suffix}: {_ADVICE[suffix]}" for suffix in left_out if suffix in _ADVICE]
    unknown = [suffix for suffix in left_out if suffix not in _ADVICE]
    if unknown and plain:
        fixes.append(f"to read files as plain text, a document each, give the source suffixes: {unknown}")
    elif unknown:
        fixes.append(f"this source reads files{kinds}")
    what = f"files of this kind are not read: {told}" if named else f"there are no files{kinds} to read, but {told}"
    return CorpusError(what, where=str(place), fix="; ".join(fixes))
