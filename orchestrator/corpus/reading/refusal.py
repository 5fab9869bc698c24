"""What to do with files that a source does not read."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.errors import CorpusError

BROKEN, SPECIAL = "broken link", "special file"  # such as a pipe, a socket, a device
_PATTERN = frozenset("*?[")
_PLAIN = "save it as plain text, for example: pandoc -t plain FILE -o NEW.txt"
_NAME = "end its name in {0} after its format's suffix: part.jsonl{0}"
_ADVICE = {
    ".gz": "decompress it: gunzip FILE, or " + _NAME.format(".gz"),
    ".zst": "decompress it: zstd -d FILE, or " + _NAME.format(".zst"),
    ".bz2": "decompress it: bunzip2 FILE, or " + _NAME.format(".bz2"),
    ".xz": "decompress it: unxz FILE, or " + _NAME.format(".xz"),
    ".lz4": "decompress it: lz4 -d FILE",
    ".zip": "unpack it: unzip FILE",
    ".tar": "unpack it: tar -xf FILE",
    ".tgz": "unpack it: tar -xf FILE",
    ".tar.gz": "unpack it: tar -xf FILE",
    ".tar.xz": "unpack it: tar -xf FILE",
    ".tar.bz2": "unpack it: tar -xf FILE",
    ".tar.zst": "unpack it: tar -xf FILE",
    ".7z": "unpack it: 7z x FILE",
    ".rar": "unpack it: unrar x FILE",
    ".csv": "the source `files` reads tables",
    ".tsv": "the source `files` reads tables",
    ".arrow": "the source `files` reads Arrow",
    ".feather": "the source `files` reads Arrow",
    ".xml": "editions in TEI are read by the source `tei`",
    ".html": _PLAIN,
    ".docx": _PLAIN,
    ".epub": _PLAIN,
    ".odt": _PLAIN,
    ".xlsx": "save its table as CSV, in UTF-8",
    ".pdf": "save it as plain text: pdftotext FILE",
    BROKEN: "mend it, or check the source's path",
    SPECIAL: "write what comes out of it to a file",
}


def refusal(
    place: Path, left_out: Mapping[str, int], suffixes: Sequence[str], *, named: bool, plain: bool
) -> CorpusError:
    """The error for a place where there is nothing to read.

    Args:
        place: path or glob.
        left_out: suffix -> number of files there that are not read; so of BROKEN and SPECIAL.
        suffixes: endings of files that the source reads.
        named: whether the place names its files, or their suffix.
        plain: whether the source has an option `suffixes`, and reads other files as plain text.
    """
    kinds = f" with {', '.join(suffixes)}" if suffixes else ""
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
    by_count = sorted(left_out.items(), key=lambda each: -each[1])
    told = ", ".join(f"{count:,} {_kind(suffix, count)}" for suffix, count in by_count)
    what = f"files of this kind are not read: {told}" if named else f"there are no files{kinds} to read, but {told}"
    return CorpusError(what + _inside(place), where=str(place), fix=_fix(left_out, kinds, plain=plain))


def _kind(suffix: str, count: int) -> str:
    if suffix in (BROKEN, SPECIAL):
        return suffix + "s" * (count != 1)
    return suffix or "without suffix"


def _fix(left_out: Mapping[str, int], kinds: str, *, plain: bool) -> str:
    fixes = [f"{suffix}: {_ADVICE[suffix]}" for suffix in left_out if suffix in _ADVICE]
    unknown = [suffix for suffix in left_out if suffix not in _ADVICE]
    if unknown and plain:
        fixes.append(f"to read files as plain text, a document each, give the source suffixes: {unknown}")
    elif unknown:
        fixes.append(f"this source reads files{kinds}")
    return "; ".join(fixes)


def _inside(place: Path) -> str:
    """What a ZIP archive that is named holds, as far as it can be read."""
    if place.suffix.lower() != ".zip" or not place.is_file():
        return ""
    try:
        with zipfile.ZipFile(place) as archive:
            members = archive.infolist()
    except (OSError, zipfile.BadZipFile):
        return ""
    locked = ", under a password" if any(member.flag_bits & 1 for member in members) else ""
    return f" (an archive of {len(members):,} file{'s' * (len(members) != 1)}{locked})"
