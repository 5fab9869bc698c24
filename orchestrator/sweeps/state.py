"""What a sweep has decided so far, so that the same command goes on from there: `sweep.json` in the run's folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.artifacts import write_json


@dataclass
class State:
    """Decisions that artifacts don't hold.

    Attributes:
        path: of the file.
        stopped: trial's key -> "step" it was stopped at and "curve", its validation losses.
        tokens: equal-time control -> tokens that it gets.
        suggestions: search -> what Optuna suggested, in order.
        kept: decisions are written.
    """

    path: Path
    stopped: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    suggestions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    kept: bool = True

    @classmethod
    def load(cls, path: Path, *, kept: bool = True) -> State:
        """The state in a file, empty where there is none."""
        try:
            return cls(path, **json.loads(path.read_text(encoding="utf-8")), kept=kept)
        except (OSError, ValueError, TypeError):
            return cls(path, kept=kept)

    def save(self) -> None:
        """Write it, whole or not at all."""
        if self.kept:
            write_json(self.path, {"stopped": self.stopped, "tokens": self.tokens, "suggestions": self.suggestions})
