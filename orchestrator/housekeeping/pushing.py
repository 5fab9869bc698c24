"""Copying a run to a store: what is there is not sent again, and readers see a run as it was or as it is."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.artifacts import MANIFEST, Artifact, write_json
from orchestrator.disk import file_digest
from orchestrator.errors import ArtifactError
from orchestrator.housekeeping.copies import (
    IDENTITY,
    RECORDS,
    TIMES,
    Copied,
    Place,
    RunStore,
    Say,
    artifacts_of,
    digests,
    is_of,
    records_of,
)
from orchestrator.remote.store import RemoteStore

_KEPT_FOR = 86400.0


def push(root: Path, url: str, say: Say) -> Copied:
    """Copy a run, finished or not, to ``URL/RUN``. Checkpoints and MLflow's files stay.

    Args:
        root: the run's folder; a command may be at work in it.
        url: of the store.
        say: is told what is sent.

    Raises:
        ArtifactError: an artifact is damaged. ResourceError: the store can't be used, or fails.
    """
    there = RunStore(url, root.name)
    there.store.check()
    names, numbers = there.names()
    known: Mapping[str, Place] = {}
    if numbers:
        with there.snapshot(numbers[-1]) as latest:
            known = {name: place for name, place in latest.folders.items() if (place.place, place.fingerprint) in names}
    copied = Copied()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        times = _gather(root, folder)  # before the artifacts that they name
        places = _send_artifacts(there, root, known, copied, say)
        folders = {name: [p.place, p.fingerprint, p.sha256] for name, p in places.items()}
        write_json(folder / IDENTITY, {"folders": folders, "records": digests(folder, times)})
        write_json(folder / TIMES, times)
        copied.has_changed = _send_records(there, folder, numbers, say)
    if copied.artifacts or copied.has_changed:
        there.store.sweep(_KEPT_FOR)
    return copied


def _gather(root: Path, folder: Path) -> dict[str, int]:
    """Copy a run's records into a folder; returns when each has changed."""
    times = {}
    for name in records_of(root):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        times[name] = (root / name).stat().st_mtime_ns
        shutil.copyfile(root / name, folder / name)
    return times


def _send_artifacts(
    there: RunStore, root: Path, known: Mapping[str, Place], copied: Copied, say: Say
) -> dict[str, Place]:
    """Folder of the run -> where its artifact is in the store now."""
    places: dict[str, Place] = {}
    sent = {place.sha256: place for place in known.values()}
    for name, artifact in artifacts_of(root).items():
        sha256 = file_digest(artifact.folder / MANIFEST)
        if sha256 not in sent:  # a version's part is a stage's artifact, mostly
            sent[sha256] = _send(there, name, artifact, copied, say)
        places[name] = sent[sha256]
    return places


def _send(there: RunStore, name: str, artifact: Artifact, copied: Copied, say: Say) -> Place:
    def sending(size: int) -> None:
        say(f"sending {name} ({size / 1e6:.1f} MB)")
        copied.artifacts, copied.bytes = copied.artifacts + 1, copied.bytes + size

    return send(there.store, name.split("/")[1 if name.startswith("stages/") else -1], artifact, sending)


def send(store: RemoteStore, step: str, artifact: Artifact, sending: Callable[[int], None] | None = None) -> Place:
    """Make sure that a run's store has an artifact.

    Args:
        store: of the run.
        step: that the artifact is of.
        artifact: of this step.
        sending: is told the bytes before they are sent, where they are not there.

    Raises:
        ArtifactError: the store has two others of this name. ResourceError: the store fails.
    """
    sha256, place = file_digest(artifact.folder / MANIFEST), f"stages/{step}"
    for fingerprint in (artifact.fingerprint, f"{artifact.fingerprint}-{sha256[:16]}"):
        commit = store.find(place, fingerprint)
        if commit is None:
            if sending:
                sending(sum(int(facts["bytes"]) for facts in artifact.manifest["files"].values()))
            commit = store.publish(place, fingerprint, artifact.folder)
        if MANIFEST in commit.files and commit.files[MANIFEST].sha256 == sha256:
            return Place(place, fingerprint, sha256)
    raise ArtifactError(
        "the store has another artifact of this name", f"{store.shown}: {place}", "take another address"
    )


def _send_records(there: RunStore, folder: Path, numbers: list[int], say: Say) -> bool:
    """Publish a run's records under the next number, unless the store has them; returns whether they were sent."""
    mine = file_digest(folder / IDENTITY)
    for number in reversed(numbers):
        if is_of(there.commit(number), mine):
            if number != numbers[-1]:
                say(f"the store is ahead of this folder: mome pull {there.shown}")
            return False
    number = max(numbers, default=0)
    while True:  # somebody else may take the same number
        number += 1
        if is_of(there.store.publish(RECORDS, f"{number:08d}", folder), mine):
            return True
