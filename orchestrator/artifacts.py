"""Artifacts: folders named by a content fingerprint, published whole or not at all, each with a manifest.

Layout of a run, ``runs/NAME/``::

    stages/<step>/<fingerprint>/   an artifact: its files and manifest.json
    work/<step>-<fingerprint>/     checkpoints and metrics of an attempt that is not finished
    artifacts.json                 which artifact of each step the latest recipe uses
    accepted.json                  artifacts that are as good as ones made with other code (`mome run --accept`)
    mixtures/                      versions of the mixture (see orchestrator/mixtures/versions.py)
    report/                        the report of the current one
    steps.jsonl                    what became of the steps of the latest plan (see orchestrator/pipeline/journal.py)
    run.lock                       held by the process at work (orchestrator/locks.py)
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.disk import disk_errors, file_digest, known_digest, link_or_copy, place_folder, remember_digest
from orchestrator.errors import ArtifactError

MANIFEST, ACCEPTED = "manifest.json", "accepted.json"
CHECKED_BY_BLOCK = "shard-*.safetensors"
"""Files of teacher caches: they may be larger than memory, and each block of them is checked when it is read."""


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value; equal values give equal digests whatever the order of their keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that readers see the old file or the new one, never half of it.

    Raises:
        ResourceError: no space left, or no leave to write.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(value, file, indent=1, ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


@dataclass(frozen=True)
class Artifact:
    """A published folder and its manifest."""

    folder: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path, *, deep: bool = False) -> Artifact:
        """Open a folder: every file of the manifest is there and of its size (`deep`: and of its SHA-256).

        Raises:
            ArtifactError: no manifest, or a file is missing or differs.
        """
        fix = f"delete {folder}, and type its mome run command again: it makes this anew"
        try:
            artifact = cls(folder, json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
            files = dict(artifact.manifest["files"])
        except (OSError, ValueError, KeyError, TypeError):
            raise ArtifactError("an artifact has no readable manifest", str(folder / MANIFEST), fix) from None
        for name, facts in files.items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != facts["bytes"]:
                raise ArtifactError("an artifact's file is missing or of another size", str(path), fix)
        return artifact.check() if deep else artifact

    def check(self, within: Path | None = None) -> Artifact:
        """Make sure, before its files are used, that they are what was published, by their SHA-256.

        A file is read for that once in a process. Those of :data:`CHECKED_BY_BLOCK` are left to their reader.

        Args:
            within: a file or folder of it that is about to be used; None: all of it.

        Raises:
            ArtifactError: a file has changed or can't be read.
        """
        for name, facts in self.manifest["files"].items():
            path = self.folder / name
            if path.match(CHECKED_BY_BLOCK) or not (within is None or path.is_relative_to(within)):
                continue
            try:
                sound = known_digest(path) == facts["sha256"]
            except OSError as error:
                raise self._damaged(path, f"can't be read ({error.strerror})") from None
            if not sound:
                raise self._damaged(path, "has changed since it was published (its SHA-256 differs)")
        return self

    def _damaged(self, path: Path, what: str) -> ArtifactError:
        """The error for one of its files, with what mends it."""
        version = self.folder.parent  # or, of an artifact in a run's stages, the step's folder
        run = version.parent.parent.name
        fix, part = f"make it again: mome run RECIPE --force {self._maker(path)}", self._step
        if version.parent.name == "mixtures":
            part = f"{self.folder.name} of version {version.name}"
            mends = f"mome mixture use {run} {version.name} mends it where another copy is left"
            fix = f"{mends}; else use another version (mome mixture list {run}), or {fix}"
        return ArtifactError(f"{path.name} of {part} in the run {run} {what}", str(path), fix)

    @property
    def _step(self) -> str:
        return str(self.manifest.get("step", self.folder.parent.name))

    def _maker(self, path: Path) -> str:
        """The step that wrote a file: this artifact's, or one of its inputs' that the file is linked from."""
        for fingerprint in dict(self.manifest.get("inputs", {})).values():
            for manifest in self.folder.parent.parent.parent.glob(f"stages/*/{fingerprint[:16]}/{MANIFEST}"):
                with suppress(ArtifactError, OSError):
                    made = Artifact.open(manifest.parent)
                    for name in made.manifest["files"]:
                        if path.samefile(made.folder / name):
                            return made._maker(made.folder / name)
        return self._step

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the stage, its version and configuration, its sources and its inputs."""
        return str(self.manifest["fingerprint"])


@dataclass(frozen=True)
class Store:
    """The artifacts of a run folder."""

    root: Path

    def folder(self, step: str, fingerprint: str) -> Path:
        """Where the artifact of a step with this fingerprint is, or would be."""
        return self.root / "stages" / step / fingerprint[:16]

    def work(self, step: str, fingerprint: str) -> Path:
        """Where an attempt keeps what must outlive it."""
        return self.root / "work" / f"{step}-{fingerprint[:16]}"

    def find(self, step: str, fingerprint: str) -> Artifact | None:
        """The artifact, or None where there is none.

        Raises:
            ArtifactError: it is there and damaged.
        """
        folder = self.folder(step, fingerprint)
        return Artifact.open(folder) if folder.exists() else None

    def elsewhere(self, step: str, fingerprint: str) -> Artifact | None:
        """The whole artifact of the same step and fingerprint that another run beside this one has made, or None."""
        there = f"stages/{step}/{fingerprint[:16]}"
        for folder in _folders_with(self.root.parent, f"{there}/{MANIFEST}"):
            try:
                artifact = Artifact.open(folder / there)
            except ArtifactError:
                continue  # that run's to mend
            if artifact.fingerprint == fingerprint:
                return artifact
        return None

    def adopt(self, step: str, artifact: Artifact) -> Artifact:
        """Link another run's artifact into this one: either run can be deleted. For the holder of the lock."""

        def link(temporary: Path) -> None:
            shutil.copytree(artifact.folder, temporary, copy_function=link_or_copy, dirs_exist_ok=True)

        return self._place(self.folder(step, artifact.fingerprint), link)

    def publish(
        self, step: str, fingerprint: str, manifest: Mapping[str, Any], write: Callable[[Path], None]
    ) -> Artifact:
        """Let `write` fill a temporary folder, add the manifest, and move it into place in one step.

        `manifest` is read after `write` has returned, so the caller may add to it. Whatever goes wrong, nothing stays
        behind.

        Raises:
            ResourceError: no space left. Whatever `write` raises.
        """

        def fill(temporary: Path) -> None:
            write(temporary)
            files = {p.relative_to(temporary).as_posix(): p for p in sorted(temporary.rglob("*")) if p.is_file()}
            facts = {name: {"bytes": p.stat().st_size, "sha256": file_digest(p)} for name, p in files.items()}
            write_json(temporary / MANIFEST, {**manifest, "fingerprint": fingerprint, "files": facts})

        artifact = self._place(self.folder(step, fingerprint), fill)
        for name, facts in artifact.manifest["files"].items():
            remember_digest(artifact.folder / name, facts["sha256"])
        return artifact

    def _place(self, target: Path, fill: Callable[[Path], None]) -> Artifact:
        place_folder(target, fill)
        return Artifact.open(target)

    def remove(self, step: str, fingerprint: str) -> None:
        """Remove an artifact and the work of its attempts."""
        shutil.rmtree(self.folder(step, fingerprint), ignore_errors=True)
        shutil.rmtree(self.work(step, fingerprint), ignore_errors=True)

    def clean(self) -> None:
        """Remove what killed attempts left: half-written folders, and work that is published. For the lock's holder."""
        for folder in self.root.glob("stages/*/.*"):
            shutil.rmtree(folder, ignore_errors=True)
        for artifact in self.root.glob("stages/*/*"):
            shutil.rmtree(self.work(artifact.parent.name, artifact.name), ignore_errors=True)

    def accepted(self) -> dict[str, list[dict[str, Any]]]:
        """Fingerprint -> what was installed each time when its artifact was said to be as good as one made anew."""
        try:
            return dict(json.loads((self.root / ACCEPTED).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError):
            raise ArtifactError("unreadable", str(self.root / ACCEPTED), "delete it, and accept drift again") from None

    def accept(self, facts: Mapping[str, Mapping[str, Any]]) -> None:
        """Add to :meth:`accepted`: fingerprint -> what is installed now. For the holder of the lock."""
        known = self.accepted()
        write_json(self.root / ACCEPTED, known | {key: [*known.get(key, []), fact] for key, fact in facts.items()})

    def current(self) -> dict[str, Artifact]:
        """Step name -> artifact of the latest recipe run here.

        Raises:
            ArtifactError: nothing has been run here, or an artifact is damaged.
        """
        index = self.root / "artifacts.json"
        try:
            steps = dict(json.loads(index.read_text(encoding="utf-8"))["steps"])
        except (OSError, ValueError, KeyError, TypeError):
            raise ArtifactError("there is no finished run in this folder", str(self.root), "mome run RECIPE") from None
        return {name: Artifact.open(self.root / folder) for name, folder in steps.items()}

    def set_current(self, recipe: str, artifacts: Mapping[str, Artifact]) -> None:
        """Record which artifacts the latest recipe uses (`artifacts.json`)."""
        steps = {
            name: Path(os.path.relpath(artifact.folder, self.root)).as_posix() for name, artifact in artifacts.items()
        }
        write_json(self.root / "artifacts.json", {"recipe": recipe, "steps": steps})


def _folders_with(parent: Path, file: str) -> Iterator[Path]:
    """Folders in a folder that hold a file. A plan asks for each of its steps, and a glob takes ten times as long."""
    with suppress(FileNotFoundError), os.scandir(parent) as entries:
        yield from (parent / entry.name for entry in entries if os.access(f"{entry.path}/{file}", os.F_OK))


def check_files(path: Path) -> None:
    """Check a file, or the files below a folder, of an artifact before they are used; other people's are taken as is.

    Raises:
        ArtifactError: a file has changed since it was published, or can't be read.
    """
    path = path.absolute()
    for folder in (path, *path.parents)[:4]:
        if (folder / MANIFEST).is_file():
            manifest: Any = None
            with suppress(OSError, ValueError):
                manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if isinstance(manifest, dict) and "fingerprint" in manifest and isinstance(manifest.get("files"), dict):
                Artifact(folder, manifest).check(within=path)
            return
