"""Bringing a run back from a store: each artifact appears whole, and the records that name it come afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from orchestrator.artifacts import MANIFEST
from orchestrator.disk import file_digest, link_or_copy, place_folder
from orchestrator.errors import ArtifactError
from orchestrator.housekeeping.copies import Copied, Place, RunStore, Say, Snapshot, copy_file, digests, records_of
from orchestrator.locks import locked
from orchestrator.place import runs_folder

_VERSION = "version.json"


def pull(url: str, runs: Path, say: Say) -> tuple[Path, Copied]:
    """Bring the run of ``URL/RUN`` into a folder of runs. What is there already is not fetched again.

    Args:
        url: of the run.
        runs: the folder of runs.
        say: is told what is fetched.

    Returns:
        The run's folder, and what was transferred.

    Raises:
        ArtifactError: the store has no such run; the run here has changed since it was pushed; a file in the store is
            damaged. ResourceError: the store can't be reached, or fails. RunLockedError: a command is at work there.
    """
    there = RunStore.at(url)
    _, numbers = there.names()
    if not numbers:
        fix = "mome push RUN URL puts it there; then mome pull URL/RUN"
        raise ArtifactError(f"the store has no run {there.run!r}", there.shown, fix)
    root = runs_folder(runs) / there.run
    with there.snapshot(numbers[-1]) as snapshot, locked(root):
        _check_unchanged(there, root, snapshot, numbers[:-1])
        fetching = _Fetching(there, root, snapshot, say)
        fetching.artifacts()
        fetching.records()
    return root, fetching.copied


def _check_unchanged(there: RunStore, root: Path, latest: Snapshot, earlier: list[int]) -> None:
    """Make sure that nothing is lost with the records that are here.

    Raises:
        ArtifactError: one of them is in no copy of the store.
    """
    left = _others(digests(root, records_of(root)), latest)
    for number in reversed(earlier):
        if left:
            with there.snapshot(number) as snapshot:
                left = _others(left, snapshot)
    if left:
        what = f"the run here has changed since it was pushed ({min(left)})"
        fix = f"mome push {root} {there.shown.rpartition('/')[0]}, or pull into another folder: --runs FOLDER"
        raise ArtifactError(what, str(root), fix)


def _others(left: Mapping[str, str], snapshot: Snapshot) -> dict[str, str]:
    return {name: sha256 for name, sha256 in left.items() if snapshot.digests.get(name) != sha256}


class _Fetching:
    def __init__(self, there: RunStore, root: Path, snapshot: Snapshot, say: Say) -> None:
        self.there, self.root, self.snapshot, self.say = there, root, snapshot, say
        self.copied = Copied()
        self._here: dict[str, Path] = {}  # by the manifest's SHA-256

    def artifacts(self) -> None:
        """Bring what is missing; one that differs makes place."""
        folders = self.snapshot.folders
        for name in (name for name in folders if name.startswith("stages/")):
            self._bring(name, self.root / name)
        versions = {name.rpartition("/")[0] for name in folders if name.startswith("mixtures/")}
        for version in sorted(versions):
            parts = [name for name in folders if name.startswith(f"{version}/")]
            if not all(self._is_here(name) for name in parts) or not (self.root / version / _VERSION).is_file():
                place_folder(self.root / version, partial(self._fill_version, version, parts))
        if "report" in folders and not self._is_here("report"):
            shutil.rmtree(self.root / "report", ignore_errors=True)
            self._bring("report", self.root / "report")

    def records(self) -> None:
        """Put the records in place, those that name others last."""
        times, here = self.snapshot.times, digests(self.root, records_of(self.root))
        for name in sorted(times, key=lambda name: (name == "artifacts.json", name == "mixtures/current.json", name)):
            source, target = self.snapshot.records / name, self.root / name
            if here.get(name) != self.snapshot.digests.get(name):
                copy_file(source, target, times[name])
                self.copied.has_changed = True

    def _fill_version(self, version: str, parts: list[str], folder: Path) -> None:
        for name in parts:
            self._bring(name, folder / Path(name).name)
        shutil.copyfile(self.snapshot.records / version / _VERSION, folder / _VERSION)
        self.copied.has_changed = True

    def _is_here(self, name: str) -> bool:
        manifest = self.root / name / MANIFEST
        return manifest.is_file() and file_digest(manifest) == self.snapshot.folders[name].sha256

    def _bring(self, name: str, target: Path) -> None:
        """Make a folder of the run: by links where the run has the same artifact, else from the store."""
        place = self.snapshot.folders[name]
        if self._is_here(name):
            self._here.setdefault(place.sha256, self.root / name)
            if target == self.root / name:
                return
        if known := self._here.get(place.sha256):
            place_folder(target, partial(_link, known))
        else:
            self._fetch(name, place, target)
            if target == self.root / name:  # else it is still to be moved
                self._here[place.sha256] = target

    def _fetch(self, name: str, place: Place, target: Path) -> None:
        commit = self.there.store.find(place.place, place.fingerprint)
        size = sum(file.bytes for file in commit.files.values()) if commit else 0
        self.say(f"fetching {name} ({size / 1e6:.1f} MB)")
        shutil.rmtree(target, ignore_errors=True)
        if not self.there.store.fetch(place.place, place.fingerprint, target):
            fix = "push the run again from where it is whole"
            raise ArtifactError(f"{name} is not in the store any more", self.there.shown, fix)
        self.copied.artifacts, self.copied.bytes = self.copied.artifacts + 1, self.copied.bytes + size


def _link(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=link_or_copy, dirs_exist_ok=True)
