"""Runs as commands leave them, without the commands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from orchestrator.artifacts import Artifact, Store, digest
from orchestrator.pipeline.journal import Journal


def make(root: Path, step: str, text: str = "", inputs: Mapping[str, str] | None = None) -> Artifact:
    """Publish an artifact of a step; another text is another artifact."""

    def write(out: Path) -> None:
        (out / "text").write_text(text * 2000 or step)
        (out / "metrics.jsonl").write_text('{"step": 2, "steps": 2, "loss": 1.5}\n{"message": "all read"}\n')

    manifest = {"step": step, "seconds": 1.25, "inputs": inputs or {}}
    return Store(root).publish(step, digest([step, text]), manifest, write)


def plan(root: Path, *steps: str, text: str = "") -> Journal:
    """Begin a journal of steps, whose artifacts may be there or not."""
    journal = Journal(root)
    journal.plan({step: Store(root).folder(step, digest([step, text])) for step in steps})
    return journal


def work(root: Path, step: str, text: str = "", rows: int = 3) -> Path:
    """What an attempt has written of a step that is not finished."""
    folder = Store(root).work(step, digest([step, text]))
    (folder / "checkpoints" / "step-1").mkdir(parents=True)
    (folder / "checkpoints" / "step-1" / "weights").write_text("w" * 5000)
    lines = [{"step": at + 1, "steps": 9, "loss": 3.0 - at} for at in range(rows)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def finish(root: Path, *steps: str, text: str = "") -> dict[str, Artifact]:
    """A finished run of steps."""
    plan(root, *steps, text=text)
    made = {step: make(root, step, text) for step in steps}
    Store(root).set_current(root.name, made)
    return made
