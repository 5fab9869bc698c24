"""Versions of a run's mixture: numbered folders that nothing changes, and which of them is current.

Layout, in ``runs/NAME/mixtures/``::

    1/version.json    number, action, parent, time, languages, recipe, and what each part is
    1/<part>/         an artifact, by hard links: it outlives whatever becomes of the run's stages
    current.json      which version is generated from, served and grown
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.artifacts import MANIFEST, Artifact, Store, write_json
from orchestrator.config.renames import by_new_names
from orchestrator.disk import file_digest, link_or_copy, place_folder
from orchestrator.errors import ArtifactError
from orchestrator.mixtures.version import ABOUT, FORMAT, LostVersionError, Version

FOLDER, CURRENT = "mixtures", "current.json"
TRAINED = "trained"
EXPERT = "expert-"
_NEEDED = ("corpus", "tokenizer", "blocks", "teacher", "router")
_PARTS = (*_NEEDED, "joint", "mixture", "evaluation", "report")
_REPORTED = ("corpus", "evaluation", "report")  # of these a version may have others and be the same mixture


@dataclass(frozen=True)
class Versions:
    """The versions of the run in `root`. What writes is for the holder of the run's lock."""

    root: Path

    @property
    def folder(self) -> Path:
        """Where they are."""
        return self.root / FOLDER

    def numbers(self) -> list[int]:
        """Numbers of the versions there are, damaged ones too, in order."""
        return sorted(int(path.name) for path in self.folder.glob("*") if path.name.isdigit() and path.is_dir())

    def get(self, number: int) -> Version:
        """A version by its number.

        Raises:
            ArtifactError: there is none, or it can't be read.
        """
        if number not in (known := self.numbers()):
            there = ", ".join(map(str, known)) or "none yet; finish the run: mome run RECIPE"
            raise ArtifactError(f"there is no version {number}", str(self.folder), f"versions there are: {there}")
        return Version.open(self.folder / str(number))

    def current(self) -> Version | None:
        """The current version; None where the run has none.

        Raises:
            ArtifactError: it can't be read.
        """
        number = self.current_number()
        return None if number is None else self.get(number)

    def current_number(self) -> int | None:
        """Number of the current version, whether that can be read or not; None where the run has none.

        Raises:
            ArtifactError: it can't be read which one is current.
        """
        path = self.folder / CURRENT
        if not path.exists():
            return None
        try:
            return int(json.loads(path.read_text(encoding="utf-8"))["version"])
        except (OSError, ValueError, KeyError, TypeError):
            fix = f"choose a version: mome mixture use {self.root.name} NUMBER"
            raise ArtifactError("which version is current can't be read", str(path), fix) from None

    def readable(self) -> Version | None:
        """The current version; None where the run has none, or its folder or description is lost.

        Raises:
            ArtifactError: it can't be read which one is current, or another release wrote that.
        """
        number = self.current_number()
        if number not in self.numbers():
            return None
        try:
            return self.get(number)
        except LostVersionError:
            return None

    def publish(
        self, action: str, parent: int | None, recipe: Mapping[str, Any], artifacts: Mapping[str, Artifact]
    ) -> Version:
        """Make artifacts a version, the current one. The same parts made in the same way are a version only once.

        Args:
            action, parent, recipe: see :class:`Version`.
            artifacts: by the name of their step; those that are no part of a mixture (tokens, caches) are left out.

        Raises:
            ResourceError: no space left.
        """
        names = {*_PARTS, *([] if "joint" in artifacts else _experts(recipe))}
        kept = {name: artifact for name, artifact in artifacts.items() if name in names}
        parts = {name: _facts(each.folder) for name, each in kept.items()}
        known = next((v for v in self._whole() if (v.action, v.parent) == (action, parent) and v.parts == parts), None)
        version = known or self._place(action, parent, recipe, kept, parts)
        self._switch(version.number)
        return version

    def use(self, number: int) -> Version:
        """Make a version the current one; parts that are damaged are linked again from wherever they still are whole.

        Raises:
            ArtifactError: there is no such version, or a part is lost for good; the current version stays.
        """
        version = self.get(number)
        for name in version.parts:
            try:
                version.part(name).check()
            except ArtifactError as error:
                self._mend(version, name, error)
        self._switch(number)
        return version

    def _whole(self) -> list[Version]:
        """The versions that can be read."""
        found = []
        for number in self.numbers():
            try:
                found.append(self.get(number))
            except ArtifactError:  # it is of no use to its neighbours
                continue
        return found

    def _place(
        self,
        action: str,
        parent: int | None,
        recipe: Mapping[str, Any],
        artifacts: Mapping[str, Artifact],
        parts: Mapping[str, Mapping[str, str]],
    ) -> Version:
        """Write a version's folder."""
        number = max(self.numbers(), default=0) + 1
        about = {
            "number": number,
            "action": action,
            "parent": parent,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "languages": list(recipe["corpus"]["languages"]),
            "recipe": recipe,
            "parts": parts,
        }

        def fill(folder: Path) -> None:
            for name, artifact in artifacts.items():
                _link(artifact.folder, folder / name)
            write_json(folder / ABOUT, {"format": FORMAT, **about})

        for left in self.folder.glob(".[0-9]*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        place_folder(self.folder / str(number), fill)
        return self.get(number)

    def _switch(self, number: int) -> None:
        write_json(self.folder / CURRENT, {"version": number})

    def _mend(self, version: Version, name: str, reason: ArtifactError) -> None:
        """Link a part again from the run's stages or from another version.

        Raises:
            ArtifactError: it is nowhere else.
        """
        wanted = version.parts[name]
        places = list(self.root.glob(f"stages/*/{wanted['fingerprint'][:16]}"))
        places += [self.folder / str(number) / name for number in self.numbers() if number != version.number]
        for place in places:
            try:
                whole = Artifact.open(place, deep=True)
            except ArtifactError:
                continue
            if _facts(whole.folder) == wanted:
                shutil.rmtree(version.folder / name, ignore_errors=True)
                _link(whole.folder, version.folder / name)
                return
        others = ", ".join(str(number) for number in self.numbers() if number != version.number)
        fix = (f"use another version ({others}), or " if others else "") + f"make one: mome run RECIPE --force {name}"
        raise ArtifactError(f"{reason.what}, and no other copy of it is left", reason.where, fix)


def record_run(store: Store) -> Version | None:
    """The version of what the run's recipe has made, made one where it is none yet.

    A new one is the current one; one that is known is so again, unless the mixture has been changed since. A current
    version that is lost is no hindrance.

    Returns:
        The version; None where the run is not finished.

    Raises:
        ArtifactError: nothing has been run here, or an artifact is damaged.
    """
    versions, artifacts, recipe = Versions(store.root), store.current(), recipe_of(store)
    if unfinished(artifacts, recipe):
        return None
    made = {name: _facts(artifact.folder) for name, artifact in artifacts.items() if name not in _REPORTED}
    for version in versions._whole():
        parts = {name: facts for name, facts in version.parts.items() if name not in _REPORTED}
        if version.action == TRAINED and parts.items() <= made.items():
            current = versions.readable()
            if current is None or current.action == TRAINED:
                versions._switch(version.number)
            return version
    return versions.publish(TRAINED, None, recipe, artifacts)


def recipe_of(store: Store) -> dict[str, Any]:
    """The recipe that a run was last made by, as plain data.

    Raises:
        ArtifactError: it can't be read.
    """
    path = store.root / "recipe.json"
    try:
        recipe = by_new_names(json.loads(path.read_text(encoding="utf-8")))
        return {**recipe, "corpus": {**recipe["corpus"], "languages": dict(recipe["corpus"]["languages"])}}
    except (OSError, ValueError, KeyError, TypeError):
        raise ArtifactError("this is no run of a recipe: it has none", str(path), "mome run RECIPE makes one") from None


def unfinished(artifacts: Mapping[str, Artifact], recipe: Mapping[str, Any]) -> list[str]:
    """Steps that a mixture needs and a run has not."""
    experts = [] if "joint" in artifacts else _experts(recipe)
    return [name for name in (*_NEEDED, *experts) if name not in artifacts]


def _experts(recipe: Mapping[str, Any]) -> list[str]:
    """Steps of a recipe's experts, where each is trained on its own."""
    return [f"{EXPERT}{language}" for language in recipe["corpus"]["languages"]]


def _facts(folder: Path) -> dict[str, str]:
    """What identifies an artifact: its fingerprint, and its manifest, which holds the digests of its files."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return {"fingerprint": str(manifest["fingerprint"]), "sha256": file_digest(folder / MANIFEST)}


def _link(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=link_or_copy)
