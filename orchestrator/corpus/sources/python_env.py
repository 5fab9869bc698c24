"""Python source that is already on the machine: the interpreter's standard library and installed packages."""

from __future__ import annotations

import heapq
import json
import os
import re
import sys
import sysconfig
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from functools import cache
from importlib import metadata
from pathlib import Path, PurePath
from typing import Annotated, cast

import xxhash
from pydantic import Field

from orchestrator.corpus.document import Document, Lost, refuse
from orchestrator.corpus.reading.files import read_bytes, readable
from orchestrator.errors import CorpusError

# Folders that hold no source written for people to read, or no source of this distribution.
_SKIPPED = frozenset({"site-packages", "dist-packages", "test", "tests", "testing", "idle_test", "_vendor"})
_PERMISSIVE = re.compile(
    r"\b(MIT(-CMU|-0)?|BSD([ -]\d-Clause)?|0BSD|Apache([ -]2\.0)?|ISC|PSF(-2\.0)?|Python-2\.0|"
    r"Python Software Foundation|Zlib|Unlicense|CC0(-1\.0)?|HPND)\b",
    re.IGNORECASE,
)
_COPYLEFT = re.compile(r"\b([AL]?GPL|GNU|MPL|Mozilla|EPL|EUPL|CDDL|Proprietary)", re.IGNORECASE)


@dataclass(frozen=True)
class PythonEnv:
    """Python files of the running interpreter, read in place; tests and vendored copies are left out."""

    stdlib: bool = True
    """Read the standard library."""
    packages: bool | tuple[str, ...] = False
    """Read installed distributions: all whose licence is permissive, or these by name."""
    max_files: Annotated[int, Field(ge=1)] | None = None
    """Read at most this many files, spread over the whole by a hash of their names; null: all."""

    def documents(self, language: str, lost: Lost = refuse) -> Iterator[Document]:  # noqa: ARG002 (it is all Python)
        """Files by name: the standard library, then packages.

        Empty files, and those that declare no readable encoding, are left out.

        Raises:
            CorpusError: nothing or no permission to read, a named package that is not installed or not permissive.
        """
        for name, (file, licence) in self._chosen().items():
            text = _source(file)
            if text and not text.isspace():
                yield Document(name, name, text, "python_env", licence)

    def fingerprint(self, language: str) -> str:  # noqa: ARG002
        """Version of the interpreter and content of the files; not where they lie or how they were built.

        Of packages it is what their installer recorded of every file, which is fast to read.
        """
        identity = xxhash.xxh3_128()
        if self.stdlib:
            identity.update("{} {}.{}.{}".format(sys.implementation.name, *sys.version_info).encode())
            chosen = self._chosen_of(_stdlib_files())
            files = [[name, xxhash.xxh3_128_hexdigest(read_bytes(file))] for name, (file, _) in chosen.items()]
            identity.update(json.dumps(files).encode())
        for distribution in self._distributions():
            facts = [distribution.name, distribution.version, _licence(distribution), _recorded(distribution)]
            identity.update(json.dumps(facts).encode())
        return str(identity.hexdigest())

    def found(self, language: str) -> None:
        """None: it reads what is installed."""

    def _chosen(self) -> dict[str, tuple[Path, str]]:
        found = dict(_stdlib_files()) if self.stdlib else {}
        for distribution in self._distributions():
            found.update(_package_files(distribution))
        if not found:
            raise CorpusError(
                "there are no Python files to read",
                where="source python_env",
                fix="set `stdlib: true` or name `packages`",
            )
        return self._chosen_of(found)

    def _chosen_of(self, found: dict[str, tuple[Path, str]]) -> dict[str, tuple[Path, str]]:
        if self.max_files is None:
            return found
        names = heapq.nsmallest(self.max_files, found, key=lambda name: xxhash.xxh3_64_intdigest(name.encode()))
        chosen = set(names)
        return {name: place for name, place in found.items() if name in chosen}

    def _distributions(self) -> list[metadata.Distribution]:
        if self.packages is False:
            return []
        if self.packages is True:
            unique = {d.name.lower(): d for d in metadata.distributions() if d.name}
            return [unique[name] for name in sorted(unique) if _is_permissive(_licence(unique[name]))]
        return [_named(name) for name in sorted(set(self.packages), key=str.lower)]


def _stdlib_files() -> dict[str, tuple[Path, str]]:
    return _library_files(Path(sysconfig.get_path("stdlib")))


@cache  # a plan of a sweep asks for every trial; what the interpreter came with stays
def _library_files(root: Path) -> dict[str, tuple[Path, str]]:
    # _sysconfigdata_… and config-… are written by the build of this interpreter, not by people.
    built = ("_sysconfigdata", "config-")
    files = (inside for inside in sorted(_python_files(root)) if not inside.parts[0].startswith(built))
    return {f"stdlib/{inside.as_posix()}": (root / inside, "PSF-2.0") for inside in files if not _skipped(inside)}


def _python_files(root: Path) -> Iterator[Path]:
    for folder, inner, files in os.walk(root):
        inner[:] = [name for name in inner if name not in _SKIPPED]  # site-packages may hold far more than the rest
        yield from (Path(folder, name).relative_to(root) for name in files if name.endswith(".py"))


def _package_files(distribution: metadata.Distribution) -> Iterator[tuple[str, tuple[Path, str]]]:
    licence = _licence(distribution)
    for inside in sorted(distribution.files or [], key=str):
        if inside.suffix == ".py" and ".." not in inside.parts and not _skipped(inside):
            file = Path(str(inside.locate()))
            if file.is_file():
                yield f"{distribution.name}/{inside.as_posix()}", (file, licence)


def _recorded(distribution: metadata.Distribution) -> list[str]:
    """Names, digests and sizes of a distribution's Python files, but for scripts outside, which name the machine."""
    lines = (distribution.read_text("RECORD") or "").splitlines()
    return sorted(line for line in lines if ".py," in line and not line.startswith(".."))


def _named(name: str) -> metadata.Distribution:
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise CorpusError(
            f"the package {name!r} is not installed", where="source python_env, packages", fix=f"pip install {name}"
        ) from None
    licence = _licence(distribution)
    if not _is_permissive(licence):
        raise CorpusError(
            f"the licence of {name!r} is not known to be permissive: {licence or 'none stated'}",
            where="source python_env, packages",
            fix="leave the package out, or give its folder to the source `files`",
        )
    return distribution


def _licence(distribution: metadata.Distribution) -> str:
    """SPDX expression, else the trove classifiers, else the first line of the licence field."""
    about = cast(Message, distribution.metadata)
    if about.get("License-Expression"):
        return str(about["License-Expression"])
    classifiers = [c.rpartition(" :: ")[2] for c in about.get_all("Classifier") or [] if c.startswith("License :: OSI")]
    return " AND ".join(classifiers) or str(about.get("License") or "").strip().partition("\n")[0]


def _is_permissive(licence: str) -> bool:
    """Every part joined by AND offers a permissive choice, and none of those choices is copyleft."""
    parts = [re.split(r"\s+OR\s+", part) for part in re.split(r"\s+AND\s+", licence)]
    return all(any(_PERMISSIVE.search(c) and not _COPYLEFT.search(c) for c in choices) for choices in parts)


def _skipped(inside: PurePath) -> bool:
    return not _SKIPPED.isdisjoint(inside.parts) or inside.name.startswith("test_")


def _source(file: Path) -> str | None:
    try:
        with readable(file), tokenize.open(file) as lines:
            return lines.read()
    except (SyntaxError, UnicodeError, LookupError):  # the last: an encoding of bytes, not of text
        return None
