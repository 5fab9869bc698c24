"""Artifacts in a store that knows no rename: S3, Google Cloud Storage, or a folder that several machines share.

Keys below the address::

    files/<place>/<fingerprint>/<attempt>/<number>   what an attempt has sent; the attempt's name is random
    committed/<place>/<fingerprint>.json             which attempt is the artifact, and its files' SHA-256
    probes/<random>                                  for a moment: does the store honour put-if-absent?

An attempt sends its files under keys that nobody else uses, and then puts the commit, which succeeds only where none
is. So a reader finds an artifact whole or not at all, of several attempts one wins, and nothing that a reader knows of
is ever written again. A store that overwrites where it was told not to is refused. A rule by which readers choose among
several commits would be no substitute: an attempt that comes later could change the choice.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.disk import disk_errors, file_digest, share_files
from orchestrator.errors import ArtifactError, MomeError, ResourceError
from orchestrator.remote.commits import COMMITTED, FILES, Commit, Stored, StoredFile
from orchestrator.remote.objects import Objects, Sent
from orchestrator.remote.transfers import Transfers

_MANIFEST = "manifest.json"
_PROBES = "probes"
_ROUNDS = 3
"""Times that a file is sent or fetched before the store, and not the way there, is to blame."""
_SOON = 5.0
"""Seconds of patience with a store that has not been reached yet."""


@dataclass(frozen=True)
class RemoteStore:
    """Artifacts below an address. It can be sent to other processes.

    Attributes:
        url: ``s3://BUCKET/FOLDER``, ``gs://BUCKET/FOLDER``, ``memory://FOLDER`` or a folder.
        options: what fsspec's file system is made with; credentials are better left to the environment.
        parallel: transfers at a time; each needs up to 32 MB of memory.
        patience: seconds after a request's first failure within which it is tried again, where it may pass.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    parallel: int = 8
    patience: float = 180.0

    @property
    def shown(self) -> str:
        """Its address, without a login."""
        return self._objects.shown

    def check(self) -> None:
        """Make sure that the store can be used: address, credentials, rights, and put-if-absent.

        Raises:
            ResourceError: it can't be.
        """
        self._md5_tags  # noqa: B018 (it is looked up once)

    def publish(self, place: str, fingerprint: str, folder: Path) -> Commit:
        """Make a folder the artifact of a fingerprint. Where there is one, nothing is sent, and the first stays.

        Returns:
            What the store has now: this folder, or what somebody else has published.

        Raises:
            ArtifactError: a file is not what the folder's manifest says. ResourceError: the store fails.
        """
        name = Stored(place, fingerprint)
        if there := self.find(place, fingerprint):
            return there
        self.check()
        attempt = uuid.uuid4().hex
        commit = Commit(attempt, self._send(folder, f"{name.attempts}/{attempt}"))
        for _ in range(_ROUNDS):
            if self._objects.create(name.commit, commit.dump()):
                return commit
            if there := self.find(place, fingerprint):
                if there.attempt != attempt:  # else the put came through, and its answer was lost
                    self._objects.delete(f"{name.attempts}/{attempt}/{file.key}" for file in commit.files.values())
                return there
        raise ResourceError("an artifact comes and goes in the store", self._where(name), "let nobody remove it now")

    def find(self, place: str, fingerprint: str) -> Commit | None:
        """What the store has of a fingerprint; None: nothing.

        Raises:
            ArtifactError: it can't be read. ResourceError: the store fails.
        """
        name = Stored(place, fingerprint)
        data = self._objects.read(name.commit)
        return None if data is None else Commit.load(data, self._where(name))

    def fetch(self, place: str, fingerprint: str, folder: Path) -> bool:
        """Bring the artifact of a fingerprint into a folder, which appears whole; nothing is done where one stands.

        Returns:
            Whether the folder is there now; False: the store has no such artifact.

        Raises:
            ArtifactError: the store's files are not what was published. ResourceError: the store fails; a full disk.
        """
        if folder.exists():
            return True
        commit = self.find(place, fingerprint)
        if commit is None:
            return False
        with disk_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
            temporary.mkdir()
            try:
                self._receive(Stored(place, fingerprint), commit, temporary)
                share_files(temporary)
                _move(temporary, folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return True

    def artifacts(self) -> list[Stored]:
        """The names of all that is published, in order."""
        return sorted(name for key in self._objects.list(COMMITTED) if (name := Stored.of_commit(key)))

    def remove(self, place: str, fingerprint: str) -> None:
        """Remove an artifact: first what makes it visible, then its files and those of other attempts at it."""
        name = Stored(place, fingerprint)
        self._objects.delete([name.commit])
        self._objects.delete(self._objects.list(name.attempts))

    def sweep(self, older_than: float = 86400.0) -> int:
        """Remove what attempts that never committed have left.

        Args:
            older_than: seconds since the attempt's last file; an upload at work has sent one since, a large one perhaps
                hours ago.

        Returns:
            Bytes that were removed.
        """
        until = time.time() - older_than
        attempts: dict[tuple[Stored, str], list[str]] = {}
        found = self._objects.list(FILES)
        for key in found:
            if whose := Stored.of_file(key):
                attempts.setdefault(whose, []).append(key)
        old = [whose for whose, keys in attempts.items() if max(found[key].changed for key in keys) < until]
        names = sorted({name for name, _ in old})
        commits = dict(zip(names, self._transfers.all(lambda name: self.find(*name), names), strict=True))
        lost = [key for whose in old if _lost(commits[whose[0]], whose[1]) for key in attempts[whose]]
        probes = [key for key, facts in self._objects.list(_PROBES).items() if facts.changed < until]
        self._objects.delete([*lost, *probes])
        with suppress(ResourceError):  # not every store and role allows it
            self._objects.delete_parts(f"{FILES}/", until)
        return sum(found[key].bytes for key in lost)

    def _send(self, folder: Path, prefix: str) -> dict[str, StoredFile]:
        """Send a folder's files and make sure that they have arrived."""
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        keys = {name: f"{number:05d}" for number, name in enumerate(files)}
        sent: dict[str, Sent] = {}
        missing = list(files)
        for _ in range(_ROUNDS):
            arrived = self._transfers.all(
                lambda name: self._objects.upload(files[name], f"{prefix}/{keys[name]}"), missing
            )
            sent |= dict(zip(missing, arrived, strict=True))
            listed = self._objects.list(prefix)
            missing = [name for name, facts in sent.items() if not self._has(listed, f"{prefix}/{keys[name]}", facts)]
            if not missing:
                _match_manifest(folder, sent)
                return {name: StoredFile(keys[name], facts.bytes, facts.sha256) for name, facts in sent.items()}
        raise ResourceError("the store does not hold what was sent", self._objects.shown, "type the same command again")

    def _has(self, listed: Mapping[str, Any], key: str, sent: Sent) -> bool:
        """Whether the store lists an object as it was sent, by its size, and by MD5 where it gives that."""
        there = listed.get(key)
        if there is None or there.bytes != sent.bytes:
            return False
        return not (self._md5_tags and there.tag) or bool(there.tag == sent.md5)

    def _receive(self, name: Stored, commit: Commit, folder: Path) -> None:
        """Fetch an artifact's files into a folder and make sure of their digests."""

        def receive(file: str) -> None:
            facts, path = commit.files[file], folder / file
            key = f"{name.attempts}/{commit.attempt}/{facts.key}"
            path.parent.mkdir(parents=True, exist_ok=True)
            for _ in range(_ROUNDS):
                there = self._objects.download(key, path)
                if there and path.stat().st_size == facts.bytes and file_digest(path) == facts.sha256:
                    return
                if not there:
                    break
            what = f"{file} of an artifact has changed" if there else f"{file} of an artifact is missing"
            raise ArtifactError(f"{what} in the store", f"{self._objects.shown}/{key}", self._mend(name))

        self._transfers.all(receive, commit.files)

    def _mend(self, name: Stored) -> str:
        return f"remove {self._where(name)}, and publish the artifact again"

    def _where(self, name: Stored) -> str:
        return f"{self._objects.shown}/{name.commit}"

    @cached_property
    def _transfers(self) -> Transfers:
        return Transfers(self.parallel, self.patience)

    @cached_property
    def _objects(self) -> Objects:
        return Objects(self.url, self.options, self._transfers)

    @cached_property
    def _md5_tags(self) -> bool:
        """Whether the store gives an object's MD5; a store that can't be used is noticed here.

        Raises:
            ResourceError: it can't be used.
        """
        objects = replace(self._objects, transfers=Transfers(1, min(self.patience, _SOON)))
        key = f"{_PROBES}/{uuid.uuid4().hex}"
        first, second = (f'{{"probe": {number}}}'.encode() for number in (1, 2))
        objects.create(key, first)
        try:
            is_kept = not objects.create(key, second) and objects.read(key) == first
            listed = objects.list(_PROBES).get(key)
        finally:
            with suppress(MomeError):
                objects.delete([key])
        if not is_kept or listed is None:
            what = (
                "this store does not honour put-if-absent (If-None-Match: *)"
                if listed
                else "this store hides a new key"
            )
            raise ResourceError(
                what, self._objects.shown, "use a store or a release of it that does, or a shared folder"
            )
        return listed.tag == hashlib.md5(first, usedforsecurity=False).hexdigest()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __getstate__(self) -> dict[str, Any]:
        """Without what belongs to this process: connections and threads."""
        return {name: getattr(self, name) for name in ("url", "options", "parallel", "patience")}


def _lost(commit: Commit | None, attempt: str) -> bool:
    return commit is None or commit.attempt != attempt


def _match_manifest(folder: Path, sent: Mapping[str, Sent]) -> None:
    """Make sure that what was sent is what the folder's manifest says, where it has one that tells.

    Raises:
        ArtifactError: it is not.
    """
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        said = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["files"]
        for name, facts in dict(said).items():
            if name not in sent or sent[name].sha256 != facts["sha256"]:
                raise ArtifactError("a file has changed since it was published", str(folder / name), "make it again")


def _move(temporary: Path, folder: Path) -> None:
    """Move a folder into place, unless another process has just done so."""
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
