"""The one small object that makes an artifact visible: which attempt's files it has, and what they hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import quote, unquote

from orchestrator.errors import ArtifactError

COMMITTED, FILES = "committed", "files"
_FORMAT = 1
_SUFFIX = ".json"


class Stored(NamedTuple):
    """The name of an artifact in a store.

    Attributes:
        place: what kind of thing it is, a step say; may hold slashes.
        fingerprint: which one.
    """

    place: str
    fingerprint: str

    @property
    def folder(self) -> str:
        """The beginning of its keys.

        Raises:
            ArtifactError: the name is empty or leads elsewhere.
        """
        parts = (*self.place.split("/"), self.fingerprint)
        if any(part in ("", ".", "..") or part.startswith(".") for part in parts) or "/" in self.fingerprint:
            what = f"an artifact can't be named {self.place!r}, {self.fingerprint!r}"
            raise ArtifactError(what, "", "parts of a name are not empty and don't begin with a point")
        return "/".join(quote(part, safe="") for part in parts)

    @property
    def commit(self) -> str:
        """The key of its commit."""
        return f"{COMMITTED}/{self.folder}{_SUFFIX}"

    @property
    def attempts(self) -> str:
        """What the keys of all attempts at its files begin with."""
        return f"{FILES}/{self.folder}"

    @classmethod
    def of_commit(cls, key: str) -> Stored | None:
        """The name that a commit's key stands for; None: the key is none."""
        if not key.startswith(f"{COMMITTED}/") or not key.endswith(_SUFFIX):
            return None
        return cls._of(key.removeprefix(f"{COMMITTED}/").removesuffix(_SUFFIX))

    @classmethod
    def of_file(cls, key: str) -> tuple[Stored, str] | None:
        """Name and attempt that a file's key stands for; None: the key is none."""
        parts = key.removeprefix(f"{FILES}/").split("/")
        if not key.startswith(f"{FILES}/") or len(parts) < 4:  # place, fingerprint, attempt, number
            return None
        return cls._of("/".join(parts[:-2])), parts[-2]

    @classmethod
    def _of(cls, folder: str) -> Stored:
        place, _, fingerprint = folder.rpartition("/")
        return cls(unquote(place), unquote(fingerprint))


@dataclass(frozen=True)
class StoredFile:
    """A file of an artifact in a store.

    Attributes:
        key: last part of its key: a number, so that no name is too odd for a store.
        bytes: its size.
        sha256: hex.
    """

    key: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Commit:
    """A published artifact.

    Attributes:
        attempt: whose files it has.
        files: by their names, relative to the artifact's folder.
    """

    attempt: str
    files: Mapping[str, StoredFile]

    def dump(self) -> bytes:
        """As it is stored."""
        files = {name: asdict(file) for name, file in self.files.items()}
        return json.dumps({"format": _FORMAT, "attempt": self.attempt, "files": files}, ensure_ascii=False).encode()

    @classmethod
    def load(cls, data: bytes, where: str) -> Commit:
        """Read what :meth:`dump` wrote; whoever else may write there is not believed.

        Raises:
            ArtifactError: it is no such thing, is of a newer release, or names a file outside of its folder.
        """
        fix = "remove it, or take another address"
        try:
            about = json.loads(data)
            if about["format"] != _FORMAT:
                what = f"this is of format {about['format']}, and this release reads {_FORMAT}"
                raise ArtifactError(what, where, "take the release that wrote it, or a newer one")
            files = {
                str(name): StoredFile(str(file["key"]), int(file["bytes"]), str(file["sha256"]))
                for name, file in about["files"].items()
            }
            commit = cls(str(about["attempt"]), files)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ArtifactError("this is no artifact's commit", where, fix) from None
        parts = {commit.attempt, *(file.key for file in files.values())}
        if not all(map(_stays_inside, files)) or any("/" in part or part in ("", ".", "..") for part in parts):
            raise ArtifactError("an artifact names a file outside of its folder", where, fix)
        return commit


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name
