"""What a built corpus holds, as plain data: printed by `mome data inspect` and drawn as the paper's Figure 1."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import ArtifactError

Files = Mapping[str, Mapping[str, Mapping[str, int]]]


@dataclass(frozen=True)
class SplitCounts:
    """Documents, characters (code points) and bytes (UTF-8) of one split of one language."""

    documents: int
    characters: int
    bytes: int


@dataclass(frozen=True)
class LanguageSummary:
    """One language of a corpus.

    Attributes:
        splits: counts by split.
        removed: documents taken out, by reason: filtered, exact_duplicates, near_duplicates, not_common.
        removed_by_split: the same by the split that the source gave them; empty where splits are drawn, which is done
            after removal.
        files: role of a source -> "read" and "left_out" -> suffix -> number of local files.
        filters: name of a filter -> "rules" and "edits" with counts, and "samples" of what was dropped; {}: none.
        unreadable: rows that were no documents: "rows", and where there are any why the "first" was none; "files"
            that were left out, where there are any, and why.
    """

    splits: dict[str, SplitCounts]
    removed: dict[str, int]
    removed_by_split: dict[str, dict[str, int]]
    files: Files
    unreadable: dict[str, Any]
    filters: dict[str, dict[str, Any]] = field(default_factory=dict)


def summary(corpus: Path) -> dict[str, LanguageSummary]:
    """Counts of a corpus folder by language.

    Raises:
        ArtifactError: the folder holds no readable corpus.
    """
    file = corpus / "corpus.json"
    try:
        languages = json.loads(file.read_text(encoding="utf-8"))["languages"]
        return {
            language: LanguageSummary(
                splits={name: SplitCounts(**counts) for name, counts in about["splits"].items()},
                removed=dict(about["removed"]),
                removed_by_split=dict(about["removed_by_split"]),
                files=dict(about["files"]),
                unreadable=dict(about["unreadable"]),
                filters=dict(about.get("filters", {})),
            )
            for language, about in languages.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"no readable corpus here ({type(error).__name__})", where=str(file), fix="build it: mome data build RECIPE"
        ) from None


def files_told(files: Files) -> list[str]:
    """A sentence for each source of local files: how many were read and left out, by suffix."""

    def listed(counts: Mapping[str, int]) -> str:
        return ", ".join(f"{count:,} {suffix or 'without suffix'}" for suffix, count in counts.items())

    return [
        ("" if role == "source" else f"{role} ")
        + f"files read: {listed(each['read'])}"
        + (f", left out: {listed(each['left_out'])}" if each["left_out"] else "")
        for role, each in files.items()
    ]
