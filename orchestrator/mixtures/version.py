"""One version of a run's mixture: what it says of itself, and its parts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.artifacts import Artifact
from orchestrator.config.renames import by_new_names
from orchestrator.errors import ArtifactError

ABOUT = "version.json"
FORMAT = 1


class LostVersionError(ArtifactError):
    """What a version says of itself is damaged or gone: nobody will read it again."""


@dataclass(frozen=True)
class Version:
    """One version.

    Attributes:
        folder: its folder.
        number: its name.
        action: what made it: "trained", "add es", …
        parent: number of the version it was made from; None: it was trained from text.
        created: time, UTC.
        languages: of its experts.
        recipe: that describes it, as plain data.
        parts: name -> {"fingerprint", "sha256" (of the part's manifest)}.
    """

    folder: Path
    number: int
    action: str
    parent: int | None
    created: str
    languages: tuple[str, ...]
    recipe: Mapping[str, Any]
    parts: Mapping[str, Mapping[str, str]]

    @classmethod
    def open(cls, folder: Path) -> Version:
        """Read what a version says of itself.

        Raises:
            LostVersionError: that can't be read. ArtifactError: another release wrote it.
        """
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            if (found := about.pop("format")) != FORMAT:
                what = f"version {folder.name} can't be read: its format is {found}, this release reads {FORMAT}"
                raise ArtifactError(what, str(folder / ABOUT), "take the release that wrote it, or a newer one")
            about |= {"languages": tuple(about["languages"]), "recipe": by_new_names(about["recipe"])}
            return cls(folder=folder, **about)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            others = f"use another one (mome mixture list {folder.parents[1].name})"
            fix = f"{others}, or mome run RECIPE, which makes the run's own anew; then delete the folder"
            raise LostVersionError(f"version {folder.name} can't be read", str(folder / ABOUT), fix) from None

    @property
    def run(self) -> str:
        """Name of its run."""
        return self.folder.parents[1].name

    def part(self, name: str) -> Artifact:
        """A part's artifact, whole.

        Raises:
            ArtifactError: the version has no such part, or a file of it is missing or of another size.
        """
        try:
            if name not in self.parts:
                raise ArtifactError(f"it has no {name}", str(self.folder))
            return Artifact.open(self.folder / name)
        except ArtifactError as error:
            fix = f"mome mixture use {self.run} {self.number} mends it from the run's stages, or use another version"
            raise ArtifactError(f"version {self.number} is not whole: {error.what}", error.where, fix) from None
