"""Copies of runs in a store: artifacts, and records of the run as it was at a moment.

A run's store is at ``URL/RUN``. Its artifacts are published by their steps and fingerprints. An artifact that was made
again has the same fingerprint and other bytes: its name ends with what tells the two apart. Records are artifacts too,
of the place ``records``, numbered: nothing is ever written again, and the highest number is the run as it is now.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.artifacts import MANIFEST, Artifact, digest
from orchestrator.disk import disk_errors, file_digest
from orchestrator.errors import ArtifactError
from orchestrator.remote.commits import Commit
from orchestrator.remote.errors import without_login
from orchestrator.remote.store import RemoteStore

RECORDS = "records"
IDENTITY, TIMES = "identity.json", "times.json"
_RECORD = re.compile(r"[^/.][^/]*\.json|steps\.jsonl|mixtures/current\.json|mixtures/\d+/version\.json|report/.+")
_ARTIFACT = re.compile(r"stages/[^/.][^/]*/[0-9a-f]{16}|mixtures/\d+/[^/.][^/]*|report")
_FIRST_SECONDS = 10.0
"""Of patience with an address that nobody has reached yet."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """Where the artifact of a folder is in a store.

    Attributes:
        place, fingerprint: its name there.
        sha256: of its manifest, which holds the digests of all its files.
    """

    place: str
    fingerprint: str
    sha256: str


@dataclass(frozen=True)
class Snapshot:
    """A run as a store has it.

    Attributes:
        number: of its records.
        commit: of its records.
        folders: folder of the run -> its artifact.
        digests: record -> its digest, see :func:`digests`.
        times: record -> when it changed, in nanoseconds since 1970.
        records: the folder that they lie in now.
    """

    number: int
    commit: Commit
    folders: Mapping[str, Place]
    digests: Mapping[str, str]
    times: Mapping[str, int]
    records: Path


@dataclass
class Copied:
    """What a copy has transferred.

    Attributes:
        artifacts: their number.
        bytes: of their files.
        has_changed: whether the records were transferred.
    """

    artifacts: int = 0
    bytes: int = 0
    has_changed: bool = False


@dataclass
class RunStore:
    """The store of one run."""

    url: str
    run: str
    store: RemoteStore = field(init=False)

    def __post_init__(self) -> None:
        if not self.url.strip("/") or not self.run or self.run.startswith("."):
            fix = "s3://BUCKET/FOLDER, and for a run in it s3://BUCKET/FOLDER/RUN"
            raise ArtifactError("this address names no store and run", self.shown, fix)
        self.store = RemoteStore(f"{self.url.rstrip('/')}/{self.run}")

    @property
    def shown(self) -> str:
        """The run's address, without a login."""
        return without_login(f"{self.url.rstrip('/')}/{self.run}")

    @classmethod
    def at(cls, url: str) -> RunStore:
        """The store of ``URL/RUN``.

        Raises:
            ArtifactError: that is no such address.
        """
        base, _, run = url.rstrip("/").rpartition("/")
        return cls(base, run)

    def names(self) -> tuple[set[tuple[str, str]], list[int]]:
        """Names of the artifacts there, and the numbers of the records, in order.

        Raises:
            ResourceError: the store does not answer within seconds, or refuses.
        """
        names = replace(self.store, patience=_FIRST_SECONDS).artifacts()
        numbers = sorted(
            int(name.fingerprint) for name in names if name.place == RECORDS and name.fingerprint.isdigit()
        )
        return {(name.place, name.fingerprint) for name in names}, numbers

    def commit(self, number: int) -> Commit:
        """Of the records of this number.

        Raises:
            ArtifactError: there are none.
        """
        found = self.store.find(RECORDS, f"{number:08d}")
        if found is None:
            raise ArtifactError(f"records {number} have been removed", self.shown, "type the same command again")
        return found

    @contextmanager
    def snapshot(self, number: int) -> Iterator[Snapshot]:
        """A run as it was, for as long as the block lasts.

        Raises:
            ArtifactError: it is not there any more, or names a folder that no run has.
        """
        with tempfile.TemporaryDirectory() as temporary:
            records, commit = Path(temporary) / RECORDS, self.commit(number)
            self.store.fetch(RECORDS, f"{number:08d}", records)
            where = f"{self.shown}, records {number}"
            try:
                identity = json.loads(_text(records / IDENTITY))
                folders = {str(name): Place(*map(str, facts)) for name, facts in identity["folders"].items()}
                known = {str(name): str(sha256) for name, sha256 in identity["records"].items()}
                times = {str(name): int(time) for name, time in json.loads(_text(records / TIMES)).items()}
            except (OSError, ValueError, TypeError, AttributeError, KeyError):
                raise ArtifactError("the records of a run can't be read", where, "push the run again") from None
            odd = [name for name in folders if not _ARTIFACT.fullmatch(name)]
            odd += [name for name in (*times, *known) if not _RECORD.fullmatch(name) or name not in commit.files]
            if odd:
                raise ArtifactError(f"the records of a run name {odd[0]!r}, which no run has", where, "push it again")
            yield Snapshot(number, commit, folders, known, times, records)


def records_of(root: Path) -> list[str]:
    """The files of a run's folder that are its records."""
    found = [*root.glob("*.json*"), *root.glob("mixtures/*.json"), *root.glob("mixtures/*/version.json")]
    if not (root / "report" / MANIFEST).exists():  # of a sweep
        found += (root / "report").rglob("*")
    names = sorted(path.relative_to(root).as_posix() for path in found if path.is_file())
    return [name for name in names if _RECORD.fullmatch(name)]


def artifacts_of(root: Path) -> dict[str, Artifact]:
    """Folder -> artifact, of all that a run's folder holds: its steps', its versions' parts, its report.

    Raises:
        ArtifactError: one is damaged.
    """
    found: Iterable[Path] = (*root.glob("stages/*/*"), *root.glob("mixtures/*/*"), root / "report")
    names = sorted(
        (path.relative_to(root).as_posix() for path in found if (path / MANIFEST).is_file()), key=_stages_first
    )
    return {name: Artifact.open(root / name) for name in names if _ARTIFACT.fullmatch(name)}


def is_of(commit: Commit, sha256: str) -> bool:
    """Whether records are those with an :data:`IDENTITY` of this SHA-256; when they were written is no matter."""
    return IDENTITY in commit.files and commit.files[IDENTITY].sha256 == sha256


def digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Record -> SHA-256 (hex) of what it says: in JSON, the order of keys says nothing."""
    found = {}
    for name in names:
        found[name] = file_digest(folder / name)
        if name.endswith(".json"):
            with suppress(ValueError):
                found[name] = digest(json.loads(_text(folder / name)))
    return found


def copy_file(source: Path, target: Path, changed: int) -> None:
    """Copy a file so that readers see the old one or the new one, with the time of its change (ns since 1970)."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, temporary)
        os.utime(temporary, ns=(changed, changed))
        temporary.replace(target)


def _stages_first(name: str) -> tuple[bool, str]:
    return not name.startswith("stages/"), name


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")
