"""What refers to the artifacts of runs: by name, or by a path in what a run's files say."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import ArtifactError
from orchestrator.housekeeping.finding import INDEX
from orchestrator.housekeeping.states import indexed
from orchestrator.mixtures.versions import Versions
from orchestrator.pipeline.journal import JOURNAL, JournalReader

_PATH = re.compile(r"([^\"\n]*?)stages/([^/\"]+)/([0-9a-f]{16})(?![0-9a-f])")
"""An artifact's folder in JSON: what is before it, the step, the fingerprint's beginning."""
Place = tuple[str, str]
"""Step and fingerprint's beginning: the name of an artifact's folder."""


@dataclass(frozen=True)
class References:
    """What refers to artifacts of one run.

    Attributes:
        by_place: artifact -> who refers to it, in words.
        by_fingerprint: the same, for references to any step.
        planned: artifacts that the latest plan of the run is to make.
    """

    by_place: Mapping[Place, list[str]] = field(default_factory=dict)
    by_fingerprint: Mapping[str, list[str]] = field(default_factory=dict)
    planned: frozenset[Place] = frozenset()

    def to(self, place: Place) -> list[str]:
        """Who refers to an artifact; empty: nobody."""
        return [*self.by_place.get(place, ()), *self.by_fingerprint.get(place[1], ())]


def references(root: Path, others: Iterable[Path]) -> References:
    """What refers to the artifacts of a run.

    Args:
        root: the run's folder.
        others: folders of the runs whose recipes may name a path in this one.

    Raises:
        ArtifactError: a file that would tell is damaged, or there is none: all artifacts are to stay.
    """
    if not ((root / INDEX).exists() or (root / JOURNAL).exists()):
        fix = "type its mome run command again, or delete its folder"
        raise ArtifactError("nothing says which artifacts are needed", str(root), fix)
    places: dict[Place, list[str]] = defaultdict(list)
    for folder in indexed(root).values():
        _add(places, folder, "", INDEX)
    planned = set()
    for noted in JournalReader(root).read().values():
        _add(places, noted.folder, "", "the latest plan")
        planned |= {(step, fingerprint) for _, step, fingerprint in _PATH.findall(noted.folder)}
    fingerprints: dict[str, list[str]] = defaultdict(list)
    versions = Versions(root)
    for number in versions.numbers():
        for part in versions.get(number).parts.values():
            fingerprints[part["fingerprint"][:16]].append(f"version {number}")
    for other in others:
        for file in (other / INDEX, other / JOURNAL, other / "recipe.json", *other.glob("mixtures/*/version.json")):
            own = other.resolve() == root.resolve()
            _add(places, _text(file), root.name, f"{file.name} of {'this run' if own else other.name}")
    return References(places, fingerprints, frozenset(planned))


def _add(places: dict[Place, list[str]], text: str, run: str, who: str) -> None:
    """Note the artifacts that a text names, whose path before them ends with the run's name."""
    for before, step, fingerprint in _PATH.findall(text):
        if Path(before).name == run and who not in places[step, fingerprint]:
            places[step, fingerprint].append(who)


def _text(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""  # another user's run, or none of the files that a run may have
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)  # paths without escapes
    except ValueError:
        return text
